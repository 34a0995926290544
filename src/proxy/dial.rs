//! A new connection to an endpoint: the socket, what it begins with, TLS.

use std::io;
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::endpoint::{Address, Endpoint};
use crate::http::Reason;
use crate::net::connector::Offer;
use crate::net::proxy_protocol::Greeting;
use crate::net::{Connector, Stream};

/// A host that is gone is noticed within half a minute, whatever the protocol says meanwhile; the
/// system's own time is two hours.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(15))
    .with_interval(Duration::from_secs(5))
    .with_retries(3);

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Requests, in whatever version both know.
    Exchanges,
    /// A tunnel, which begins in HTTP/1.1.
    Tunnel,
    /// Bytes that are passed through: TLS, if any, is the client's.
    Bytes,
}

/// Opens a connection. The deadline is the caller's. Cancel-safe: it is closed.
///
/// # Errors
/// `ConnectRefused`, `ConnectTimeout`, `ConnectFailed`, or what a TLS handshake fails by.
pub(super) async fn dial(
    endpoint: &Endpoint,
    greeting: Greeting,
    connector: Option<&Connector>,
    purpose: Purpose,
) -> Result<Stream, Reason> {
    let stream = open(endpoint.address(), greeting).await.map_err(|error| {
        tracing::debug!(endpoint = endpoint.name(), %error, "connecting failed");
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Reason::ConnectRefused,
            io::ErrorKind::TimedOut => Reason::ConnectTimeout,
            _ => Reason::ConnectFailed,
        }
    })?;
    match (connector, purpose, stream) {
        (Some(connector), Purpose::Exchanges, Stream::Tcp(tcp)) => {
            secure(endpoint, connector, tcp, connector.settings().offer).await
        }
        (Some(connector), Purpose::Tunnel, Stream::Tcp(tcp)) => {
            secure(endpoint, connector, tcp, Offer::H1).await
        }
        (_, _, stream) => Ok(stream),
    }
}

/// The header of PROXY protocol goes before everything else, TLS included.
async fn open(address: &Address, greeting: Greeting) -> io::Result<Stream> {
    let mut stream = connect(address).await?;
    if greeting != Greeting::Silent {
        stream.write_all(&greeting.bytes()).await?;
    }
    Ok(stream)
}

async fn connect(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Ip(address) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_nodelay(true)?;
            socket2::SockRef::from(&socket).set_tcp_keepalive(&KEEPALIVE)?;
            Ok(Stream::Tcp(socket.connect(*address).await?))
        }
        Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
    }
}

async fn secure(
    endpoint: &Endpoint,
    connector: &Connector,
    tcp: TcpStream,
    offer: Offer,
) -> Result<Stream, Reason> {
    let secure = connector.connect(tcp, endpoint.host(), offer).await.map_err(|error| {
        tracing::debug!(endpoint = endpoint.name(), %error, "the TLS handshake failed");
        error.reason()
    })?;
    Ok(Stream::Secure(secure))
}
