//! TLS towards clients: what a listener offers, and the handshake.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::UnixTime;
use rustls::server::{AcceptedAlert, NoClientAuth, NoServerSessionStorage, ProducesTickets};
use rustls::{
    CommonState, HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

use super::Buffer;
use super::certs::{CertificateError, CertificateStore, Demand, Trust, TrustStore};
use super::client_hello::{self, HelloError};
use super::turn::{Occupancy, Places, Turn};
pub use crate::http::TlsVersion as Version;

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
    /// Handshakes that run at one time; further ones wait.
    pub max_handshakes: usize,
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

fn and_newer(version: Version) -> Vec<&'static SupportedProtocolVersion> {
    match version {
        Version::Tls12 => vec![&rustls::version::TLS13, &rustls::version::TLS12],
        Version::Tls13 => vec![&rustls::version::TLS13],
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
pub struct Acceptor {
    settings: Settings,
    store: Arc<CertificateStore>,
    clients: Option<Arc<TrustStore>>,
    tickets: Arc<dyn ProducesTickets>,
    /// Made anew when `clients` has changed.
    offer: ArcSwap<Offer>,
    places: Places,
}

/// What is offered to one client, and how its certificate is judged.
struct Offer {
    config: Arc<ServerConfig>,
    trust: Option<Arc<Trust>>,
}

/// What a new connection turned out to be.
#[derive(Debug)]
pub enum Greeting<S> {
    /// TLS. Boxed, since a session is a kilobyte that most of a connection's states do not need
    /// inline.
    Tls(Box<TlsStream<S>>),
    /// A protocol without TLS, with its first bytes.
    ClearText(S, Buffer),
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Acceptor {
    /// The TLS side of a listener. Acceptors with the same `tickets` resume each other's sessions,
    /// but those that judge clients only sessions that began under the same trust.
    ///
    /// # Errors
    /// When the library refuses the settings.
    pub fn new(
        settings: Settings,
        store: Arc<CertificateStore>,
        clients: Option<Arc<TrustStore>>,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Self, TlsError> {
        let trust = clients.as_ref().map(|clients| clients.current());
        let offer = ArcSwap::from_pointee(Offer::new(&settings, &store, trust, tickets)?);
        let places = Places::new(settings.max_handshakes.min(tokio::sync::Semaphore::MAX_PERMITS));
        Ok(Self { settings, store, clients, tickets: tickets.clone(), offer, places })
    }

    /// Makes the handshake within the listener's time, when it is its turn. Not cancel-safe: the
    /// connection is lost.
    ///
    /// # Errors
    /// A client that is too slow, goes away, offers nothing that we take, or has no certificate
    /// that we take; an alert was sent.
    pub async fn accept<S>(&self, stream: S, turn: &Turn) -> Result<Greeting<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = self.handshake(stream, turn);
        let limit = self.settings.handshake_timeout;
        tokio::time::timeout(limit, handshake).await.unwrap_or(Err(HandshakeError::Timeout))
    }

    async fn handshake<S>(&self, mut stream: S, turn: &Turn) -> Result<Greeting<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut read = Buffer::default();
        let accepted = match client_hello::read(&mut stream, &mut read).await {
            Ok(accepted) => accepted,
            Err(HelloError::ClearText) => return Ok(Greeting::ClearText(stream, read)),
            Err(HelloError::Gone(error)) => return Err(HandshakeError::Gone(error)),
            Err(HelloError::TooLarge) => return Err(HandshakeError::TooLarge),
            Err(HelloError::Malformed { error, alert }) => {
                send(&mut stream, *alert).await;
                return Err(HandshakeError::Refused(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        };
        drop(read);
        // A client that is silent until here has taken no place from another.
        let _place = self.places.take().await;
        let offer = self.offer().map_err(HandshakeError::Setup)?;
        let config = offer.config.clone();
        let begin = || StartHandshake::from_parts(accepted, stream).into_stream(config);
        let stream = turn.take(begin).await.await.map_err(HandshakeError::classify)?;
        if let Some(trust) = &offer.trust {
            trust.judge(stream.get_ref().1, UnixTime::now()).map_err(HandshakeError::Client)?;
        }
        Ok(Greeting::Tls(Box::new(stream)))
    }

    /// What holds now.
    fn offer(&self) -> Result<Arc<Offer>, TlsError> {
        let offer = self.offer.load_full();
        let Some(clients) = &self.clients else { return Ok(offer) };
        let current = clients.current();
        if offer.trust.as_ref().is_some_and(|trust| Arc::ptr_eq(trust, &current)) {
            return Ok(offer);
        }
        // Two workers may do this at once; both make the same.
        let offer = Arc::new(Offer::new(&self.settings, &self.store, Some(current), &self.tickets)?);
        self.offer.store(offer.clone());
        Ok(offer)
    }

    /// Whether nobody comes in without a certificate.
    pub fn demands_certificates(&self) -> bool {
        self.clients.as_ref().is_some_and(|clients| clients.demand() == Demand::Required)
    }

    /// The certificates that it shows.
    pub fn store(&self) -> &Arc<CertificateStore> {
        &self.store
    }

    /// Handshakes that run, and those that wait for their turn.
    pub fn occupancy(&self) -> Occupancy {
        self.places.occupancy()
    }
}

impl Offer {
    fn new(
        settings: &Settings,
        store: &Arc<CertificateStore>,
        trust: Option<Arc<Trust>>,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Offer, TlsError> {
        let verifier = trust.as_ref().map_or_else(|| Arc::new(NoClientAuth) as _, |it| it.verifier.clone());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&and_newer(settings.min_version))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(store.clone());
        config.alpn_protocols = settings.protocols.iter().map(|one| one.alpn().to_vec()).collect();
        // A cache on the server would be a lock between the workers, and would not help a client
        // that reaches another process; tickets alone do both.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match settings.resumption {
            Resumption::Tickets => {
                config.ticketer = trust.as_ref().map_or(tickets, |trust| &trust.tickets).clone();
                config.send_tls13_tickets = TICKETS;
                config.max_tls13_tickets = TICKETS_ON_REQUEST;
            }
            Resumption::Off => config.send_tls13_tickets = 0,
        }
        // A replayed request must not reach an endpoint (RFC 8446 §8).
        config.max_early_data_size = 0;
        Ok(Offer { config: Arc::new(config), trust })
    }
}

/// Tells the client why, as far as it takes it at once.
async fn send<S: AsyncWrite + Unpin>(stream: &mut S, mut alert: AcceptedAlert) {
    let mut bytes = Vec::new();
    if alert.write_all(&mut bytes).is_ok()
        && let Err(error) = stream.write_all(&bytes).await
    {
        tracing::debug!(%error, "an alert was not sent");
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
    /// A ClientHello that is no use to anybody.
    #[error("the ClientHello is larger than 16 KiB")]
    TooLarge,
    /// A session that may not go on.
    #[error("the certificate of the resumed session is not valid any more")]
    Client(#[source] rustls::Error),
    /// Our own fault; nobody comes in.
    #[error("the listener can not offer TLS")]
    Setup(#[source] TlsError),
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
