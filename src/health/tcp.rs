//! The check that asks only for a connection.

use super::{Pending, Probe, ProbeError, Stream};
use crate::endpoint::Endpoint;

/// Passes when the endpoint accepts a connection.
#[derive(Debug)]
pub struct TcpProbe;

impl Probe for TcpProbe {
    fn ask<'a>(
        &'a self,
        _endpoint: &'a Endpoint,
        _stream: Box<dyn Stream>,
    ) -> Pending<'a, Result<(), ProbeError>> {
        Box::pin(async move { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;

    use super::*;
    use crate::health::tests::{PLAIN, endpoint};
    use crate::health::{Check, CheckKind, Checker, HttpVersion, build};
    use crate::units::Auto;

    fn probe(settings: Check) -> Arc<Checker> {
        build(&Check { check: CheckKind::Tcp, ..settings }, HttpVersion::Http1, Arc::new(PLAIN))
    }

    #[tokio::test]
    async fn an_endpoint_that_accepts_passes_and_one_that_refuses_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = endpoint(listener.local_addr().unwrap());
        let probe = probe(Check::default());
        probe.check(&endpoint).await.unwrap();
        drop(listener);
        assert!(matches!(probe.check(&endpoint).await, Err(ProbeError::Connect(_))));
    }

    #[tokio::test]
    async fn another_port_is_checked_when_one_is_configured() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = Auto::Fixed(listener.local_addr().unwrap().port());
        let probe = probe(Check { port, ..Check::default() });
        probe.check(&endpoint("127.0.0.1:1".parse().unwrap())).await.unwrap();
    }
}
