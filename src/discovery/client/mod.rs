//! A small HTTP/1.1 client for registries: TCP, TLS or a UNIX socket, one connection for each
//! request, every wait with a deadline, every answer with a largest size.
//!
//! Registries are asked every few seconds, or hold one answer open; a pool would save nothing.

mod base;
mod connect;
mod options;
mod stream;

use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::failure::{Failure, Kind};

pub use base::{Base, Url};
pub use options::{Secret, Tls, Token};
#[cfg(feature = "kubernetes")]
pub use stream::LineBuffer;
pub use stream::Lines;

use connect::Connect;
use stream::Reading;

/// Largest answer that is read whole.
const MOST_BYTES: usize = 16 << 20;
/// Most tables of an answer, by its braces. An empty one takes two bytes there and hundreds here, so a
/// small answer could fill the memory; an instance of Consul has about twenty.
const MOST_TABLES: usize = 400_000;
/// How much of an answer is told when its status is an error.
const TOLD: usize = 120;

/// Asks one registry.
#[derive(Debug)]
pub struct Client {
    base: Base,
    connect: Connect,
    token: Token,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its method.
    pub method: Method,
    /// Path and query; the path of the base comes before it.
    pub path: String,
    /// Fields besides Host, Accept, User-Agent and the token.
    pub fields: Vec<(HeaderName, String)>,
    /// Its body; empty for none.
    pub body: Bytes,
    /// Time from the beginning to the end of the answer, or to its head when it is read by lines.
    pub deadline: Duration,
}

impl Ask {
    /// A GET of this path and query.
    pub fn get(path: impl Into<String>, deadline: Duration) -> Ask {
        Ask { method: Method::GET, path: path.into(), fields: Vec::new(), body: Bytes::new(), deadline }
    }

    /// A POST of this JSON.
    pub fn post(path: impl Into<String>, json: &serde_json::Value, deadline: Duration) -> Ask {
        let fields = vec![(hyper::header::CONTENT_TYPE, "application/json".to_owned())];
        Ask { method: Method::POST, fields, body: json.to_string().into(), ..Ask::get(path, deadline) }
    }

    /// The same with another field.
    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Ask {
        self.fields.push((name, value.into()));
        self
    }
}

/// A whole answer, of any status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its header fields.
    pub fields: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The answer when its status is 2xx or 304.
    ///
    /// # Errors
    /// Any other status, with the beginning of what the registry said.
    pub fn successful(self) -> Result<Answer, Failure> {
        match self.status {
            200..=299 | 304 => Ok(self),
            status => Err(refusal(status, &self.body)),
        }
    }

    /// A field by its name, when it is text.
    pub fn field(&self, name: &HeaderName) -> Option<&str> {
        self.fields.get(name)?.to_str().ok()
    }

    /// The body as JSON. Parses large answers away from the runtime.
    ///
    /// # Errors
    /// When it is something else.
    pub async fn json(&self) -> Result<serde_json::Value, Failure> {
        const SMALL: usize = 64 << 10;
        bounded(&self.body)?;
        let invalid = |error| Failure::because(Kind::Invalid, "the answer is not JSON", error);
        if self.body.len() <= SMALL {
            return serde_json::from_slice(&self.body).map_err(invalid);
        }
        let body = self.body.clone();
        let parsed = tokio::task::spawn_blocking(move || serde_json::from_slice(&body)).await;
        parsed
            .map_err(|error| Failure::because(Kind::Invalid, "the answer was not read", error))?
            .map_err(invalid)
    }
}

/// Refuses JSON that would take far more memory than it is long.
///
/// # Errors
/// When it has too many tables.
pub(super) fn bounded(json: &[u8]) -> Result<(), Failure> {
    match memchr::memchr_iter(b'{', json).count() > MOST_TABLES {
        true => Err(Failure::new(Kind::Invalid, format!("the answer has more than {MOST_TABLES} tables"))),
        false => Ok(()),
    }
}

/// What sort of failure a status is.
pub(super) fn kind_of(status: u16) -> Kind {
    match status {
        401 | 403 => Kind::Denied,
        404 => Kind::Missing,
        _ => Kind::Refused,
    }
}

/// What a status that is no success means.
fn refusal(status: u16, body: &[u8]) -> Failure {
    let kind = kind_of(status);
    let said = String::from_utf8_lossy(body.get(..TOLD).unwrap_or(body)).trim().to_owned();
    match said.is_empty() {
        true => Failure::new(kind, format!("status {status}")),
        false => Failure::new(kind, format!("status {status}: {said}")),
    }
}

impl Client {
    /// A client of the registry there. Touches neither network nor disk.
    pub fn new(base: Base, tls: Tls, token: Token) -> Client {
        Client { connect: Connect::new(base.clone(), tls), base, token }
    }

    /// Where it asks, without secrets.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// From now on this is shown with every request.
    pub fn set_token(&mut self, token: Token) {
        self.token = token;
    }

    /// Sends the request and reads the whole answer. Cancel-safe.
    ///
    /// # Errors
    /// When no whole answer comes in time. Any status is an answer: see [`Answer::successful`].
    pub async fn ask(&mut self, ask: Ask) -> Result<Answer, Failure> {
        let (base, limit) = (self.base.to_string(), ask.deadline);
        let whole = async {
            let mut reading = self.begin(&ask).await?;
            let body = reading.rest(MOST_BYTES).await?;
            Ok(Answer { status: reading.status, fields: reading.fields, body })
        };
        timeout(limit, whole).await.unwrap_or_else(|_| Err(late(&base, limit)))
    }

    /// Sends the request and waits for the head of an answer that is then read by lines. Cancel-safe.
    ///
    /// # Errors
    /// When no head comes in time, or its status is not 2xx.
    pub async fn lines(&mut self, ask: Ask) -> Result<Lines, Failure> {
        let (base, limit) = (self.base.to_string(), ask.deadline);
        let head = async {
            let mut reading = self.begin(&ask).await?;
            match reading.status {
                200..=299 => Ok(Lines::new(reading)),
                status => Err(refusal(status, &reading.rest(MOST_BYTES).await?)),
            }
        };
        timeout(limit, head).await.unwrap_or_else(|_| Err(late(&base, limit)))
    }

    async fn begin(&mut self, ask: &Ask) -> Result<Reading, Failure> {
        let request = self.request(ask).await?;
        let stream = self.connect.connect().await?;
        let broken = |error: hyper::Error| broken(&self.base, error);
        let (mut sender, connection): (SendRequest<Full<Bytes>>, _) =
            http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // The connection moves in a task that ends with the answer's reader.
        let mut moving = JoinSet::new();
        moving.spawn(async move {
            // Its errors come out of the exchange.
            let _ = connection.await;
        });
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let is_declared_large = body.size_hint().lower() > MOST_BYTES as u64;
        if is_declared_large {
            return Err(stream::too_large(MOST_BYTES));
        }
        Ok(Reading::new(self.base.clone(), head.status.as_u16(), head.headers, body, moving))
    }

    async fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, Failure> {
        let target = format!("{}{}", self.base.prefix(), ask.path);
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(target)
            .header(HOST, self.base.host_field())
            .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        if !ask.fields.iter().any(|(name, _)| name == ACCEPT) {
            request = request.header(ACCEPT, "application/json");
        }
        for (name, value) in &ask.fields {
            request = request.header(name, value);
        }
        if let Some((name, value)) = self.token.read(AUTHORIZATION).await? {
            let secret = |mut value: HeaderValue| {
                value.set_sensitive(true);
                value
            };
            let value = HeaderValue::from_str(&value).map(secret);
            let value =
                value.map_err(|_| Failure::new(Kind::Denied, "the token has bytes that no header takes"))?;
            request = request.header(name, value);
        }
        let built = request.body(Full::new(ask.body.clone()));
        built.map_err(|error| Failure::because(Kind::Invalid, "the request can not be written", error))
    }
}

fn late(base: &str, limit: Duration) -> Failure {
    Failure::new(Kind::Timeout, format!("no answer from {base} within {} ms", limit.as_millis()))
}

/// What the HTTP library says about a connection.
fn broken(base: &Base, error: hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::because(Kind::Invalid, format!("{base} does not speak HTTP/1.1"), error);
    }
    Failure::because(Kind::Unreachable, format!("the connection to {base} broke"), error)
}

#[cfg(test)]
mod tests;
