//! The check over HTTP for endpoints that choose the version by ALPN, as requests do.

use super::http1::Http1Probe;
use super::http2::Http2Probe;
use super::{Pending, Probe, ProbeError, Stream};
use crate::endpoint::Endpoint;
use crate::net::tls::Protocol;

/// Passes when the probe of the agreed version does.
#[derive(Debug)]
pub struct AgreedProbe {
    /// For HTTP/1.1, and where nothing was agreed.
    pub http1: Http1Probe,
    /// For HTTP/2.
    pub http2: Http2Probe,
}

impl Probe for AgreedProbe {
    fn ask<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        stream: Box<dyn Stream>,
    ) -> Pending<'a, Result<(), ProbeError>> {
        match stream.agreed() {
            Some(Protocol::H2) => self.http2.ask(endpoint, stream),
            Some(Protocol::H1) | None => self.http1.ask(endpoint, stream),
        }
    }
}
