//! The connection of a check, in clear text or over TLS.

use std::fmt::{self, Debug};
use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::Pending;
use crate::endpoint::Address;
use crate::net::connector::Offer;
use crate::net::proxy_protocol::Greeting;
use crate::net::{self, Connector, tls};

/// A byte stream in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// The version of HTTP that was agreed by ALPN.
    fn agreed(&self) -> Option<tls::Protocol> {
        None
    }
}

impl Stream for TcpStream {}
impl Stream for UnixStream {}
impl Stream for tokio::io::DuplexStream {}

impl Stream for net::Stream {
    fn agreed(&self) -> Option<tls::Protocol> {
        net::Stream::agreed(self)
    }
}

/// What a check connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Where.
    pub address: Address,
    /// What the endpoint is called: a name, or the text of its address.
    pub host: Box<str>,
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.address, formatter)
    }
}

/// Opens the connection of a check.
pub trait Dial: Debug + Send + Sync {
    /// Connects. The deadline is the caller's; cancel-safe.
    fn dial<'a>(&'a self, target: &'a Target) -> Pending<'a, io::Result<Box<dyn Stream>>>;

    /// What a URL of the endpoint begins with: `:scheme` of HTTP/2.
    fn scheme(&self) -> &'static str {
        "http"
    }
}

/// Clear text.
#[derive(Clone, Copy, Debug)]
pub struct PlainDial {
    /// What each connection begins with.
    pub greeting: Greeting,
}

impl Dial for PlainDial {
    fn dial<'a>(&'a self, target: &'a Target) -> Pending<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            Ok(match &target.address {
                Address::Ip(address) => {
                    Box::new(greeted(TcpStream::connect(address).await?, self.greeting).await?)
                        as Box<dyn Stream>
                }
                Address::Unix(path) => {
                    Box::new(greeted(UnixStream::connect(path).await?, self.greeting).await?)
                }
            })
        })
    }
}

/// The header of PROXY protocol goes before everything else, TLS included.
async fn greeted<S: AsyncWrite + Unpin>(mut stream: S, greeting: Greeting) -> io::Result<S> {
    if greeting != Greeting::Silent {
        stream.write_all(&greeting.bytes()).await?;
    }
    Ok(stream)
}

/// TLS with the settings of the upstream; a connection stands when the handshake is done.
#[derive(Clone, Debug)]
pub struct SecureDial {
    /// What is trusted and shown.
    pub connector: Arc<Connector>,
    /// What each connection begins with.
    pub greeting: Greeting,
    /// The versions of HTTP on offer.
    pub offer: Offer,
}

impl Dial for SecureDial {
    fn dial<'a>(&'a self, target: &'a Target) -> Pending<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let Address::Ip(address) = &target.address else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let tcp = greeted(TcpStream::connect(address).await?, self.greeting).await?;
            let connecting = self.connector.connect(tcp, &target.host, self.offer);
            let secure = connecting.await.map_err(io::Error::other)?;
            Ok(Box::new(net::Stream::Secure(secure)) as Box<dyn Stream>)
        })
    }

    fn scheme(&self) -> &'static str {
        "https"
    }
}
