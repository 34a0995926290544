//! A connection to a registry.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;

use super::super::failure::{Failure, Kind};
use super::base::{Base, Transport};
use super::options::Tls;
use crate::net::connector::{ConnectError, Offer};
use crate::net::{Connector, Stream};

/// How long one address of several may take to accept; a registry with a dead address is still found.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// A byte stream in both directions.
pub(super) trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Pipe for S {}

/// Opens connections to one registry.
#[derive(Debug)]
pub(super) struct Connect {
    base: Base,
    tls: Tls,
    connector: Option<Arc<Connector>>,
}

impl Connect {
    pub(super) fn new(base: Base, tls: Tls) -> Connect {
        Connect { base, tls, connector: None }
    }

    /// A connection, ready for a request. The deadline of the whole is the caller's. Cancel-safe.
    pub(super) async fn connect(&mut self) -> Result<Box<dyn Pipe>, Failure> {
        let base = self.base.clone();
        let refused =
            |error: io::Error| Failure::because(Kind::Unreachable, format!("no connection to {base}"), error);
        match &self.base.transport {
            Transport::Unix(path) => {
                let stream = timeout(CONNECT_LIMIT, UnixStream::connect(path)).await;
                Ok(Box::new(stream.unwrap_or_else(|late| Err(late.into())).map_err(refused)?))
            }
            Transport::Plain(host, port) => Ok(Box::new(tcp(host, *port).await.map_err(refused)?)),
            Transport::Tls(host, port) => {
                let (host, stream) = (host.clone(), tcp(host, *port).await.map_err(refused)?);
                let secure = self.connector().await?.connect(stream, &host, Offer::H1).await;
                let secure = secure.map_err(|error| handshake(&base, error))?;
                Ok(Box::new(Stream::Secure(secure)))
            }
        }
    }

    /// What TLS is made with. Its files are looked at for every connection, away from the runtime.
    async fn connector(&mut self) -> Result<Arc<Connector>, Failure> {
        let (known, tls) = (self.connector.clone(), self.tls.connector());
        let loading = tokio::task::spawn_blocking(move || match known {
            None => Connector::load(tls, SystemTime::now()).map(Arc::new),
            Some(connector) => {
                // Files that can not be used leave what is in use.
                let _kept = connector.refresh(SystemTime::now());
                Ok(connector)
            }
        });
        let loaded =
            loading.await.map_err(|error| Failure::because(Kind::Tls, "TLS is not set up", error))?;
        let connector =
            loaded.map_err(|error| Failure::because(Kind::Tls, "TLS can not be set up", error))?;
        self.connector = Some(connector.clone());
        Ok(connector)
    }
}

fn handshake(base: &Base, error: ConnectError) -> Failure {
    let is_broken = matches!(&error, ConnectError::Handshake { source }
        if matches!(source.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe));
    let kind = if is_broken { Kind::Unreachable } else { Kind::Tls };
    Failure::because(kind, format!("no TLS with {base}"), error)
}

/// The first address of the host that accepts.
async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in lookup_host((host, port)).await? {
        match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(late) => last = late.into(),
        }
    }
    Err(last)
}
