//! Is an endpoint fit? Active checks ask it, outlier ejection watches its traffic.
//!
//! [`Judge`] and [`Outlier`] are pure state machines: results and the clock go in, a decision comes
//! out. [`Probe`] is the part that touches the network. Who acts on it is `upstream`.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::endpoint::{Address, Endpoint};
use crate::units::Auto;

mod agreed;
mod answer;
mod dial;
mod grpc;
mod http1;
mod http2;
mod judge;
mod outlier;
pub mod settings;
mod tcp;

pub use dial::{Dial, PlainDial, SecureDial, Stream, Target};
pub use judge::Judge;
pub use outlier::{Outcome, Outlier, Verdict};
pub use settings::{Check, CheckKind};

/// A future that a trait object returns.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One way to ask an endpoint whether it is well.
pub trait Probe: Debug + Send + Sync {
    /// Asks once. Ends within the configured timeout; cancel-safe.
    fn check<'a>(&'a self, endpoint: &'a Endpoint) -> Pending<'a, Result<(), ProbeError>>;
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

/// The probe of these settings, for endpoints that speak `version`.
pub fn build(settings: &Check, version: HttpVersion, dial: Arc<dyn Dial>) -> Arc<dyn Probe> {
    match (settings.check, version) {
        (CheckKind::Http, HttpVersion::Http1) => Arc::new(http1::Http1Probe::new(settings.clone(), dial)),
        (CheckKind::Http, HttpVersion::Http2) => Arc::new(http2::Http2Probe::new(settings.clone(), dial)),
        (CheckKind::Http, HttpVersion::Agreed) => Arc::new(agreed::AgreedProbe::new(settings, dial)),
        (CheckKind::Grpc, _) => Arc::new(grpc::GrpcProbe::new(settings.clone(), dial)),
        (CheckKind::Tcp, _) => Arc::new(tcp::TcpProbe::new(settings.clone(), dial)),
    }
}

/// The address that is checked: the endpoint's, with another port if one is configured.
fn target(endpoint: &Endpoint, port: Auto<u16>) -> Target {
    let address = match (endpoint.address(), port.fixed()) {
        (Address::Ip(address), Some(port)) => SocketAddr::new(address.ip(), port).into(),
        (address, _) => address.clone(),
    };
    Target { address, host: endpoint.host().into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clear text without a word before it.
    pub const PLAIN: PlainDial = PlainDial { greeting: crate::net::proxy_protocol::Greeting::Silent };

    /// Never connects.
    #[derive(Debug)]
    pub struct SilentDial;

    impl Dial for SilentDial {
        fn dial<'a>(&'a self, _target: &'a Target) -> Pending<'a, io::Result<Box<dyn Stream>>> {
            Box::pin(std::future::pending())
        }
    }

    /// An endpoint at this address.
    pub fn endpoint(address: SocketAddr) -> Endpoint {
        Endpoint::new(address.into())
    }

    #[test]
    fn a_configured_port_replaces_that_of_an_ip_address_only() {
        let ip = endpoint("10.0.0.1:80".parse().unwrap());
        assert_eq!(target(&ip, Auto::Fixed(81)).to_string(), "10.0.0.1:81");
        assert_eq!(target(&ip, Auto::Auto).to_string(), "10.0.0.1:80");
        let unix = Endpoint::new("unix:/run/a.sock".parse().unwrap());
        assert_eq!(target(&unix, Auto::Fixed(81)).to_string(), "unix:/run/a.sock");
    }
}
