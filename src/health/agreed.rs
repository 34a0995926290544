//! The check over HTTP for endpoints that choose the version by ALPN, as requests do.

use std::sync::Arc;

use tokio::time::timeout;

use super::http1::Http1Probe;
use super::http2::Http2Probe;
use super::{Check, Dial, Pending, Probe, ProbeError, target};
use crate::endpoint::Endpoint;
use crate::net::tls::Protocol;

/// Passes when the probe of the agreed version does.
#[derive(Debug)]
pub struct AgreedProbe {
    settings: Check,
    dial: Arc<dyn Dial>,
    http1: Http1Probe,
    http2: Http2Probe,
}

impl AgreedProbe {
    /// The probe of these settings.
    pub fn new(settings: &Check, dial: Arc<dyn Dial>) -> AgreedProbe {
        AgreedProbe {
            http1: Http1Probe::new(settings.clone(), dial.clone()),
            http2: Http2Probe::new(settings.clone(), dial.clone()),
            settings: settings.clone(),
            dial,
        }
    }

    async fn ask(&self, endpoint: &Endpoint) -> Result<(), ProbeError> {
        let target = target(endpoint, self.settings.port);
        let stream = self.dial.dial(&target).await.map_err(ProbeError::Connect)?;
        match stream.agreed() {
            Some(Protocol::H2) => self.http2.ask_over(endpoint, stream).await,
            Some(Protocol::H1) | None => self.http1.ask_over(endpoint, stream).await,
        }
    }
}

impl Probe for AgreedProbe {
    fn check<'a>(&'a self, endpoint: &'a Endpoint) -> Pending<'a, Result<(), ProbeError>> {
        let deadline = self.settings.timeout.get();
        Box::pin(async move {
            timeout(deadline, self.ask(endpoint)).await.map_err(|_| ProbeError::Timeout(deadline))?
        })
    }
}
