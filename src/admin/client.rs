//! Asks a running proxy, for `tidegate reload`, `tidegate status` and `tidegate endpoints`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::net::listen::Address;

/// How long the connection may take: it is the same machine, as a rule.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Largest answer; the metrics of a very large configuration fit.
const MAX_ANSWER: usize = 64 << 20;

/// What a proxy answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status of the answer.
    pub status: u16,
    /// The body.
    pub text: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens, or not in time.
    #[error("cannot connect to {address}; is tidegate running, and is this the `bind` of its [admin]?")]
    Connect {
        /// Where it was asked.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// An address of a socket unit can not be connected to.
    #[error("{address} names a socket of the service manager; give the address that it listens on")]
    Inherited {
        /// Where it was asked.
        address: Address,
    },
    /// The answer did not come in time.
    #[error("{address} did not answer within {} s", limit.as_secs())]
    Late {
        /// Where it was asked.
        address: Address,
        /// How long it had.
        limit: Duration,
    },
    /// The answer is no HTTP, or was broken off.
    #[error("{address} answered with something else than HTTP")]
    Answer {
        /// Where it was asked.
        address: Address,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Sends a request to the admin listener there, with this body; the answer may take `limit`.
///
/// # Errors
///
/// When nobody listens there, or no complete answer comes in time. Any status is an answer.
pub async fn ask(
    address: &Address,
    method: Method,
    path: &str,
    body: &str,
    limit: Duration,
) -> Result<Answer, AskError> {
    let asked = Asked { method, path, body };
    let answer = async {
        match address {
            Address::Tcp(at) => {
                let stream = connect(address, TcpStream::connect(reachable(*at))).await?;
                converse(address, stream, asked).await
            }
            Address::Unix(at) => {
                let stream = connect(address, UnixStream::connect(at)).await?;
                converse(address, stream, asked).await
            }
            Address::Inherited(_) => Err(AskError::Inherited { address: address.clone() }),
        }
    };
    match timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(AskError::Late { address: address.clone(), limit }),
    }
}

async fn connect<S>(
    address: &Address,
    connecting: impl Future<Output = io::Result<S>>,
) -> Result<S, AskError> {
    let connected = timeout(CONNECT_LIMIT, connecting).await.unwrap_or_else(|late| Err(late.into()));
    connected.map_err(|source| AskError::Connect { address: address.clone(), source })
}

/// A request.
struct Asked<'a> {
    method: Method,
    path: &'a str,
    body: &'a str,
}

async fn converse<S>(address: &Address, stream: S, asked: Asked<'_>) -> Result<Answer, AskError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |source| AskError::Answer { address: address.clone(), source };
    let request = Request::builder().method(asked.method).uri(asked.path).header(HOST, "localhost");
    let request =
        request.body(Full::new(Bytes::from(asked.body.to_owned()))).map_err(|error| broken(error.into()))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.into()))?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(Answer { status, text })
    };
    // The connection only moves while it is polled, and its own errors come out of the exchange.
    let moving = async {
        let _ = connection.await;
        std::future::pending().await
    };
    let answer: Result<Answer, Box<dyn std::error::Error + Send + Sync>> = tokio::select! {
        answer = exchange => answer,
        never = moving => never,
    };
    answer.map_err(broken)
}

/// A wildcard address is listened on, not connected to.
fn reachable(at: SocketAddr) -> SocketAddr {
    match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, at.port())),
        _ => at,
    }
}
