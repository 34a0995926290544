//! One request on one connection, over each of the wires that the demo shows.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net::connector::Anybody;

/// Bytes of an answer's body that are kept; what follows is not read.
const MAX_BODY: usize = 1 << 20;

/// A request and where it goes.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method. Default: GET.
    pub method: Method,
    /// Where the connection goes.
    pub address: SocketAddr,
    /// What the connection speaks.
    pub wire: Wire,
    /// The host that is asked for.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Bytes of the body that are enough; the rest is not read. Default: 1 MiB.
    pub enough: usize,
    /// From the connect to the last byte. Default: 5 s.
    pub deadline: Duration,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1 in clear text.
    H1,
    /// HTTP/1.1 over TLS; the certificate is not verified.
    H1Tls,
    /// HTTP/2 over TLS, which the server has to agree to; the certificate is not verified.
    H2Tls,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The fields of the head.
    pub headers: HeaderMap,
    /// The body, or the beginning that was enough.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No connection.
    #[error("no connection to {address}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Tls(#[source] io::Error),
    /// The server speaks no HTTP/2.
    #[error("the server did not agree to HTTP/2")]
    NoH2,
    /// The path or the host is none.
    #[error("the request can not be written")]
    Request(#[source] http::Error),
    /// HTTP/1.1 failed on the way.
    #[error("the exchange failed")]
    H1(#[source] hyper::Error),
    /// HTTP/2 failed on the way.
    #[error("the exchange failed")]
    H2(#[source] h2::Error),
    /// It took too long.
    #[error("no answer within {0:?}")]
    Late(Duration),
}

impl Call {
    /// A GET over HTTP/1.1 in clear text.
    pub fn get(address: SocketAddr, path: impl Into<String>) -> Call {
        Call {
            method: Method::GET,
            address,
            wire: Wire::H1,
            host: address.to_string(),
            path: path.into(),
            enough: MAX_BODY,
            deadline: Duration::from_secs(5),
        }
    }

    /// Sends the request on a connection of its own. Cancel-safe: the connection ends with it.
    ///
    /// # Errors
    /// When there is no answer; a status of an error is an answer.
    pub async fn send(&self) -> Result<Reply, FetchError> {
        match tokio::time::timeout(self.deadline, self.connect()).await {
            Ok(result) => result,
            Err(_elapsed) => Err(FetchError::Late(self.deadline)),
        }
    }

    async fn connect(&self) -> Result<Reply, FetchError> {
        let failed = |source| FetchError::Connect { address: self.address, source };
        let stream = TcpStream::connect(self.address).await.map_err(failed)?;
        match self.wire {
            Wire::H1 => self.h1(stream).await,
            Wire::H1Tls => self.h1(self.handshake(stream, b"http/1.1").await?).await,
            Wire::H2Tls => {
                let stream = self.handshake(stream, b"h2").await?;
                match stream.get_ref().1.alpn_protocol() {
                    Some(b"h2") => self.h2(stream).await,
                    _ => Err(FetchError::NoH2),
                }
            }
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        protocol: &[u8],
    ) -> Result<TlsStream<TcpStream>, FetchError> {
        let tls = |error| FetchError::Tls(io::Error::other(error));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(tls)?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let host = self.host.rsplit_once(':').map_or(self.host.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|error| FetchError::Tls(io::Error::other(error)))?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(FetchError::Tls)
    }

    async fn h1<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Reply, FetchError> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(FetchError::H1)?;
        let uri = self.path.parse::<Uri>().map_err(|error| FetchError::Request(error.into()))?;
        let mut request = self.request(uri).header(HOST, &self.host);
        if self.method == Method::POST {
            request = request.header(CONTENT_LENGTH, 0);
        }
        let request = request.body(Full::<Bytes>::default()).map_err(FetchError::Request)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(FetchError::H1)?;
            let (head, mut body) = response.into_parts();
            let mut kept = Vec::new();
            while kept.len() < self.enough
                && let Some(frame) = body.frame().await
            {
                kept.extend_from_slice(frame.map_err(FetchError::H1)?.data_ref().unwrap_or(&Bytes::new()));
            }
            Ok(self.reply(Response::from_parts(head, kept)))
        };
        driven(exchange, async { connection.await.map_err(FetchError::H1) }).await
    }

    async fn h2<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Reply, FetchError> {
        let (mut sender, connection) = h2::client::handshake(stream).await.map_err(FetchError::H2)?;
        let uri = Uri::builder().scheme("https").authority(self.host.as_str()).path_and_query(&self.path);
        let request = self.request(uri.build().map_err(FetchError::Request)?);
        let request = request.body(()).map_err(FetchError::Request)?;
        let exchange = async move {
            let (response, _body) = sender.send_request(request, true).map_err(FetchError::H2)?;
            let (head, mut body) = response.await.map_err(FetchError::H2)?.into_parts();
            let mut kept = Vec::new();
            while kept.len() < self.enough
                && let Some(data) = body.data().await
            {
                let data = data.map_err(FetchError::H2)?;
                body.flow_control().release_capacity(data.len()).map_err(FetchError::H2)?;
                kept.extend_from_slice(&data);
            }
            Ok(self.reply(Response::from_parts(head, kept)))
        };
        driven(exchange, async { connection.await.map_err(FetchError::H2) }).await
    }

    fn request(&self, uri: Uri) -> http::request::Builder {
        let request = Request::builder().method(&self.method).uri(uri);
        request.header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")))
    }

    fn reply(&self, response: Response<Vec<u8>>) -> Reply {
        let (head, mut body) = response.into_parts();
        body.truncate(self.enough.max(MAX_BODY));
        Reply { status: head.status.as_u16(), headers: head.headers, body: body.into() }
    }
}

/// Drives the connection for as long as the exchange needs it; it may end a little earlier.
async fn driven(
    exchange: impl Future<Output = Result<Reply, FetchError>>,
    connection: impl Future<Output = Result<(), FetchError>>,
) -> Result<Reply, FetchError> {
    tokio::pin!(exchange);
    tokio::select! {
        reply = &mut exchange => reply,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;
