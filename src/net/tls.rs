//! TLS towards clients: what a listener offers, and the handshake.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{
    CommonState, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certs::{CertificateError, CertificateStore};

/// Tickets after a full TLS 1.3 handshake. rustls sends 2, for browsers that open connections in
/// parallel; they speak HTTP/2 to us over one, and a service keeps only the newest ticket. Each
/// costs a key derivation, two encryptions and about 250 bytes. A resumption brings a new one.
const TICKETS: usize = 1;

/// Tickets for a client that asks for a number of them (RFC 9149 §2).
const TICKETS_ON_REQUEST: usize = 4;

/// What a listener offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Versions of HTTP for ALPN (RFC 7301), preferred first.
    pub protocols: Vec<Protocol>,
    /// The oldest version that is accepted.
    pub min_version: Version,
    /// Whether sessions resume.
    pub resumption: Resumption,
    /// Longest time from the accepted connection to the end of the handshake.
    pub handshake_timeout: Duration,
}

/// A version of HTTP as ALPN names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `http/1.1`
    H1,
    /// `h2`
    H2,
}

impl Protocol {
    pub(super) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::H1 => b"http/1.1",
            Self::H2 => b"h2",
        }
    }

    /// What ALPN has chosen.
    pub(super) fn of(connection: &CommonState) -> Option<Self> {
        let chosen = connection.alpn_protocol();
        [Self::H1, Self::H2].into_iter().find(|one| chosen == Some(one.alpn()))
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl Version {
    /// As logs and metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    fn and_newer(self) -> Vec<&'static SupportedProtocolVersion> {
        match self {
            Self::Tls12 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
            Self::Tls13 => vec![&rustls::version::TLS13],
        }
    }
}

/// Whether sessions resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resumption {
    /// By tickets whose keys all listeners and workers share and that turn every six hours.
    Tickets,
    /// Every connection makes a full handshake.
    Off,
}

/// Why a listener can not have TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key can not be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The cryptographic library refuses the settings.
    #[error("TLS can not be set up")]
    Library(#[from] rustls::Error),
}

/// Makes TLS connections of accepted ones; shared by all workers.
#[derive(Clone)]
pub struct Acceptor {
    inner: TlsAcceptor,
    store: Arc<CertificateStore>,
    handshake_timeout: Duration,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// The TLS side of a listener. Acceptors with the same `tickets` resume each other's sessions.
    ///
    /// # Errors
    /// When the library refuses the settings.
    pub fn new(
        settings: &Settings,
        store: Arc<CertificateStore>,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Self, TlsError> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&settings.min_version.and_newer())?
            .with_no_client_auth()
            .with_cert_resolver(store.clone());
        config.alpn_protocols = settings.protocols.iter().map(|one| one.alpn().to_vec()).collect();
        // A cache on the server would be a lock between the workers, and would not help a client
        // that reaches another process; tickets alone do both.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match settings.resumption {
            Resumption::Tickets => {
                config.ticketer = tickets.clone();
                config.send_tls13_tickets = TICKETS;
                config.max_tls13_tickets = TICKETS_ON_REQUEST;
            }
            Resumption::Off => config.send_tls13_tickets = 0,
        }
        // A replayed request must not reach an endpoint (RFC 8446 §8).
        config.max_early_data_size = 0;
        let inner = TlsAcceptor::from(Arc::new(config));
        Ok(Self { inner, store, handshake_timeout: settings.handshake_timeout })
    }

    /// Makes the handshake within the listener's time. Boxed, since a session is a kilobyte that
    /// most of a connection's states do not need inline. Not cancel-safe: the connection is lost.
    ///
    /// # Errors
    /// A client that is too slow, goes away, or offers nothing that we take; an alert was sent.
    pub async fn accept<S>(&self, stream: S) -> Result<Box<TlsStream<S>>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match tokio::time::timeout(self.handshake_timeout, self.inner.accept(stream)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(HandshakeError::classify(error)),
            Err(_) => Err(HandshakeError::Timeout),
        }
    }

    /// The certificates that it shows.
    pub fn store(&self) -> &Arc<CertificateStore> {
        &self.store
    }
}

/// Why a handshake failed. The client's doing: never logged above debug.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Not finished in time.
    #[error("the handshake took too long")]
    Timeout,
    /// The connection broke or was closed.
    #[error("the client went away during the handshake")]
    Gone(#[source] io::Error),
    /// Nothing in common, or not TLS at all.
    #[error("the client and the listener do not agree")]
    Refused(#[source] io::Error),
}

impl HandshakeError {
    fn classify(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Refused(error),
            _ => Self::Gone(error),
        }
    }
}

/// What a handshake came to, for the choice of the protocol, the access log and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The negotiated version.
    pub version: Version,
    /// Whether a ticket saved the full handshake.
    pub resumed: bool,
    /// What ALPN chose; nothing when the client did not offer any.
    pub protocol: Option<Protocol>,
}

impl Handshake {
    /// Of a connection whose handshake is done.
    pub fn of(connection: &ServerConnection) -> Self {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => Version::Tls13,
            _ => Version::Tls12,
        };
        let resumed = matches!(connection.handshake_kind(), Some(HandshakeKind::Resumed));
        Self { version, resumed, protocol: Protocol::of(connection) }
    }
}

/// The cryptography of the process: aws-lc-rs, with the hybrid that a recorded connection keeps
/// its secrets by (X25519MLKEM768) before the classic groups, whatever the library's default is.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let make = || {
        use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
        let kx_groups = vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1];
        Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
    };
    PROVIDER.get_or_init(make).clone()
}

#[cfg(test)]
mod tests;
