//! TLS towards endpoints: what an upstream trusts, what it shows, and the handshake.
//!
//! The files behind it are followed like those of listeners. What is loaded has an [`Identity`];
//! a connection that was made under another one is not used again.

mod failure;
mod load;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub use failure::{ConnectError, late_refusal};
pub use load::{Anybody, ConnectorError, Key};

use super::certs::Files;
use super::secure::Secure;
use super::tls::Protocol;
use load::Contents;

/// What an upstream trusts, shows and offers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Who may have signed the certificates of the endpoints.
    pub authorities: Authorities,
    /// The name that is asked for and verified instead of the endpoint's own.
    pub server_name: Option<ServerName<'static>>,
    /// The certificate that is shown to endpoints which ask for one.
    pub certificate: Option<Files>,
    /// Whether the certificates of the endpoints are looked at.
    pub verification: Verification,
    /// The versions of HTTP for ALPN (RFC 7301).
    pub offer: Offer,
}

impl Settings {
    /// The files that are followed, for the log.
    pub fn files(&self) -> String {
        let authorities = match &self.authorities {
            Authorities::File(path) => Some(path),
            Authorities::System => None,
        };
        let own = self.certificate.iter().flat_map(|files| [&files.cert, &files.key]);
        let all: Vec<_> = authorities.into_iter().chain(own).map(|path| path.display().to_string()).collect();
        all.join(", ")
    }
}

/// Who may have signed the certificates of the endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Authorities {
    /// Those that the system trusts.
    System,
    /// Those in a PEM file, and nobody else.
    File(PathBuf),
}

/// Whether the certificates of the endpoints are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verification {
    /// Signed by an authority, for the name, now.
    Full,
    /// Anybody may be the endpoint.
    Off,
}

/// The versions of HTTP that are offered to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offer {
    /// HTTP/1.1; an endpoint that knows nothing of ALPN speaks it too.
    H1,
    /// HTTP/2; the endpoint must agree.
    H2,
    /// HTTP/2 where the endpoint takes it, else HTTP/1.1.
    Either,
}

impl Offer {
    const fn protocols(self) -> &'static [Protocol] {
        match self {
            Offer::H1 => &[Protocol::H1],
            Offer::H2 => &[Protocol::H2],
            Offer::Either => &[Protocol::H2, Protocol::H1],
        }
    }

    fn names(self) -> Vec<Vec<u8>> {
        self.protocols().iter().map(|one| one.alpn().to_vec()).collect()
    }
}

/// Tells apart what connections were made under: names, roots and certificate as they were loaded
/// at one moment. Two of them are never equal, also when the same files are loaded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(u64);

impl Identity {
    fn fresh() -> Identity {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Identity(LAST.fetch_add(1, Relaxed))
    }
}

/// Makes TLS connections to the endpoints of an upstream; shared by all workers.
#[derive(Debug)]
pub struct Connector {
    settings: Settings,
    current: ArcSwap<Current>,
    /// The contents of the files that were looked at last, in use or refused. For the control
    /// plane; a handshake never takes it.
    seen: Mutex<u64>,
}

/// What is in use. Sessions that resume belong to it, so none outlives what it was trusted for.
#[derive(Debug)]
struct Current {
    config: Arc<ClientConfig>,
    identity: Identity,
    expires: Option<i64>,
}

impl Connector {
    /// Reads the files. Blocks: not for a worker's thread.
    ///
    /// # Errors
    /// A file that can not be used, or no authority at all.
    pub fn load(settings: Settings, now: SystemTime) -> Result<Connector, ConnectorError> {
        let contents = Contents::read(&settings);
        let seen = Mutex::new(contents.digest());
        let current = ArcSwap::from_pointee(contents.parse(&settings, now)?);
        Ok(Connector { settings, current, seen })
    }

    /// Reads the files again; when their contents are others, they are used from now on, or
    /// refused and what is in use stays. `None` when nothing is new. Blocks on files.
    pub fn refresh(&self, now: SystemTime) -> Option<Result<(), ConnectorError>> {
        let contents = Contents::read(&self.settings);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if contents.digest() == *seen {
            return None;
        }
        *seen = contents.digest();
        let parsed = contents.parse(&self.settings, now);
        Some(parsed.map(|current| self.current.store(Arc::new(current))))
    }

    /// What it was made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The identity that new connections have.
    pub fn identity(&self) -> Identity {
        self.current.load().identity
    }

    /// When the certificate that is shown expires, in seconds since 1970.
    pub fn expiry(&self) -> Option<i64> {
        self.current.load().expires
    }

    /// Makes the handshake with the endpoint that is called `host`, a name or an address, with these
    /// versions of HTTP on offer. The deadline is the caller's. Cancel-safe: the connection is closed.
    ///
    /// # Errors
    /// The endpoint does not show what it must, does not take what it is shown, or does not speak
    /// TLS. In TLS 1.3 it looks at our certificate only after that: see [`late_refusal`].
    pub async fn connect(
        &self,
        stream: TcpStream,
        host: &str,
        offer: Offer,
    ) -> Result<Box<Secure>, ConnectError> {
        let name = match &self.settings.server_name {
            Some(name) => name.clone(),
            None => name_of(host).ok_or(ConnectError::Name)?,
        };
        let current = self.current.load_full();
        let connector = TlsConnector::from(current.config.clone());
        let tls = match offer == self.settings.offer {
            true => connector.connect(name, stream).await?,
            false => connector.with_alpn(offer.names()).connect(name, stream).await?,
        };
        let secure = Box::new(Secure::new(tls, current.identity));
        match (offer, secure.protocol()) {
            (Offer::H2, Some(Protocol::H1) | None) => Err(ConnectError::NoHttp2),
            (Offer::H2, Some(Protocol::H2)) | (Offer::H1 | Offer::Either, _) => Ok(secure),
        }
    }
}

/// What a certificate must be for. A last dot belongs to the notation of DNS, not to the name.
pub fn name_of(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.strip_suffix('.').unwrap_or(host)).ok().map(|name| name.to_owned())
}

#[cfg(test)]
mod tests;
