//! One check: the connection is opened, the probe asks over it, and both have one deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Dial, Probe, ProbeError, Target};
use crate::endpoint::{Address, Endpoint};
use crate::units::Auto;

/// Checks endpoints by one probe.
#[derive(Debug)]
pub struct Checker {
    pub(super) dial: Arc<dyn Dial>,
    pub(super) port: Auto<u16>,
    pub(super) timeout: Duration,
    pub(super) probe: Box<dyn Probe>,
}

impl Checker {
    /// Checks once; cancel-safe.
    ///
    /// # Errors
    /// What the endpoint lacks; [`ProbeError::Timeout`] when connecting and asking have together
    /// taken the configured time.
    pub async fn check(&self, endpoint: &Endpoint) -> Result<(), ProbeError> {
        let checked = timeout(self.timeout, self.connect_and_ask(endpoint)).await;
        checked.map_err(|_| ProbeError::Timeout(self.timeout))?
    }

    async fn connect_and_ask(&self, endpoint: &Endpoint) -> Result<(), ProbeError> {
        let target = target(endpoint, self.port);
        let stream = self.dial.dial(&target).await.map_err(ProbeError::Connect)?;
        self.probe.ask(endpoint, stream).await
    }
}

/// Makes an exchange over its connection. The connection is driven here and not in a task, so that a
/// check that is given up ends it; it may end before the answer has been looked at.
pub(super) async fn driven<E>(
    exchange: impl Future<Output = Result<(), ProbeError>>,
    connection: impl Future<Output = Result<(), E>>,
    broken: fn(E) -> ProbeError,
) -> Result<(), ProbeError> {
    tokio::pin!(exchange);
    tokio::select! {
        result = &mut exchange => result,
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(broken(error)),
        },
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
    use std::io;

    use super::*;
    use crate::health::tests::endpoint;
    use crate::health::{Check, CheckKind, HttpVersion, Pending, Stream, build};

    /// Connects to a peer that never says a word, or never connects.
    #[derive(Debug)]
    struct SilentDial {
        connects: bool,
    }

    impl Dial for SilentDial {
        fn dial<'a>(&'a self, _target: &'a Target) -> Pending<'a, io::Result<Box<dyn Stream>>> {
            Box::pin(async move {
                if !self.connects {
                    std::future::pending::<()>().await;
                }
                let (ours, theirs) = tokio::io::duplex(1 << 10);
                tokio::spawn(async move {
                    let _open = theirs;
                    std::future::pending::<()>().await;
                });
                Ok(Box::new(ours) as Box<dyn Stream>)
            })
        }
    }

    async fn check(check: CheckKind, version: HttpVersion, connects: bool) -> Result<(), ProbeError> {
        let settings = Check { check, ..Check::default() };
        let checker = build(&settings, version, Arc::new(SilentDial { connects }));
        checker.check(&endpoint("127.0.0.1:1".parse().unwrap())).await
    }

    #[tokio::test(start_paused = true)]
    async fn every_kind_fails_in_time_when_nothing_connects_or_nothing_answers() {
        let versions = [HttpVersion::Http1, HttpVersion::Http2, HttpVersion::Agreed];
        for kind in [CheckKind::Http, CheckKind::Grpc, CheckKind::Tcp] {
            for version in versions {
                let failed = check(kind, version, false).await.unwrap_err();
                assert_eq!(failed.to_string(), "no answer within 1000ms", "{kind:?} {version:?}");
                let answered = check(kind, version, true).await;
                match kind {
                    CheckKind::Tcp => answered.unwrap(),
                    _ => assert!(
                        matches!(answered, Err(ProbeError::Timeout(_))),
                        "{kind:?} {version:?}: {answered:?}"
                    ),
                }
            }
        }
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
