//! Is an endpoint fit? Active checks ask it, outlier ejection watches its traffic.
//!
//! [`Judge`] and [`Outlier`] are pure state machines: results and the clock go in, a decision comes
//! out. [`Checker`] and its [`Probe`] are the part that touches the network. Who acts on it is `upstream`.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use crate::endpoint::Endpoint;

mod agreed;
mod answer;
mod checker;
mod dial;
mod grpc;
mod http1;
mod http2;
mod judge;
mod outlier;
pub mod settings;
mod tcp;

pub use checker::Checker;
pub use dial::{Dial, PlainDial, SecureDial, Stream, Target};
pub use judge::Judge;
pub use outlier::{Outcome, Outlier, Verdict};
pub use settings::{Check, CheckKind};

/// A future that a trait object returns.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One way to ask an endpoint whether it is well.
pub trait Probe: Debug + Send + Sync {
    /// Asks once over a new connection. The deadline is the caller's; cancel-safe.
    fn ask<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        stream: Box<dyn Stream>,
    ) -> Pending<'a, Result<(), ProbeError>>;
}

/// Why an active check failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error("connect: {0}")]
    Connect(#[source] io::Error),
    /// The connection broke, or what came back is not HTTP.
    #[error("exchange: {0}")]
    Exchange(#[source] hyper::Error),
    /// The same over HTTP/2.
    #[error("exchange: {0}")]
    Exchange2(#[source] h2::Error),
    /// In TLS 1.3 it comes when the connection stands already.
    #[error("connect: tls_client_certificate: the endpoint wants a certificate or refuses ours")]
    ClientCertificate,
    /// The configured path or host can not be sent.
    #[error("request: {0}")]
    Request(#[source] ::http::Error),
    /// The answer has a status that is not expected.
    #[error("status {0}")]
    Status(u16),
    /// The expected text is not in the first 64 KiB of the body.
    #[error("the body does not contain the expected text")]
    Body,
    /// A call ended with another status than OK.
    #[error("grpc-status {0}: {1}")]
    Grpc(u32, String),
    /// The endpoint answered, but not that the service is serving.
    #[error("the service is {0}")]
    NotServing(&'static str),
    /// No answer in time.
    #[error("no answer within {}ms", .0.as_millis())]
    Timeout(std::time::Duration),
}

/// The version that a check over HTTP is made in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge, or because it was the only one that was offered.
    Http2,
    /// The one that was agreed by ALPN.
    Agreed,
}

/// The check of these settings, for endpoints that speak `version`.
pub fn build(settings: &Check, version: HttpVersion, dial: Arc<dyn Dial>) -> Arc<Checker> {
    let scheme = dial.scheme();
    let http1 = || http1::Http1Probe { settings: settings.clone() };
    let http2 = || http2::Http2Probe { settings: settings.clone(), scheme };
    let probe: Box<dyn Probe> = match (settings.check, version) {
        (CheckKind::Http, HttpVersion::Http1) => Box::new(http1()),
        (CheckKind::Http, HttpVersion::Http2) => Box::new(http2()),
        (CheckKind::Http, HttpVersion::Agreed) => {
            Box::new(agreed::AgreedProbe { http1: http1(), http2: http2() })
        }
        (CheckKind::Grpc, _) => Box::new(grpc::GrpcProbe { service: settings.service.clone(), scheme }),
        (CheckKind::Tcp, _) => Box::new(tcp::TcpProbe),
    };
    Arc::new(Checker { dial, port: settings.port, timeout: settings.timeout.get(), probe })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    /// Clear text without a word before it.
    pub const PLAIN: PlainDial = PlainDial { greeting: crate::net::proxy_protocol::Greeting::Silent };

    /// An endpoint at this address.
    pub fn endpoint(address: SocketAddr) -> Endpoint {
        Endpoint::new(address.into())
    }
}
