//! The check that asks only for a connection.

use std::sync::Arc;

use tokio::time::timeout;

use super::{Check, Dial, Pending, Probe, ProbeError, target};
use crate::endpoint::Endpoint;

/// Passes when the endpoint accepts a connection.
#[derive(Debug)]
pub struct TcpProbe {
    settings: Check,
    dial: Arc<dyn Dial>,
}

impl TcpProbe {
    /// The probe of these settings.
    pub fn new(settings: Check, dial: Arc<dyn Dial>) -> TcpProbe {
        TcpProbe { settings, dial }
    }
}

impl Probe for TcpProbe {
    fn check<'a>(&'a self, endpoint: &'a Endpoint) -> Pending<'a, Result<(), ProbeError>> {
        Box::pin(async move {
            let address = target(endpoint, self.settings.port);
            let deadline = self.settings.timeout.get();
            let connected = timeout(deadline, self.dial.dial(&address)).await;
            connected.map_err(|_| ProbeError::Timeout(deadline))?.map_err(ProbeError::Connect)?;
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::health::tests::PLAIN;
    use crate::health::tests::{SilentDial, endpoint};
    use crate::units::Auto;

    fn probe(settings: Check) -> TcpProbe {
        TcpProbe::new(settings, Arc::new(PLAIN))
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

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_come_fails_in_time() {
        let probe = TcpProbe::new(Check::default(), Arc::new(SilentDial));
        let result = probe.check(&endpoint("127.0.0.1:1".parse().unwrap())).await;
        assert_eq!(result.unwrap_err().to_string(), "no answer within 1000ms");
    }
}
