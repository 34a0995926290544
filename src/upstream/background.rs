//! What goes on beside the traffic: active checks, resolution of names, the end of ejections.
//!
//! One task per upstream watches over the others and owns them. All hold a `Weak` while they wait,
//! so that the last user of an upstream ends them by letting go of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::net::lookup_host;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::Upstream;
use crate::config::upstream::Protocol;
use crate::endpoint::{CheckRecord, Endpoint, Moment};
use crate::health::settings::Check;
use crate::health::{self, Checker, Dial, HttpVersion, Judge};

/// Between two looks at everything, in case nobody has told about a change: the standing of an
/// endpoint may also be changed by an older upstream of the same name that still has exchanges.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// Between two lookups of a name, and the longest that one may take.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(5);

/// Watches over one upstream until it is gone.
pub async fn run(upstream: Weak<Upstream>, changed: Arc<Notify>, dial: Arc<dyn Dial>) {
    let mut tasks = JoinSet::new();
    let mut checks = Checks::default();
    if let Some(upstream) = upstream.upgrade() {
        for (host, port, known) in upstream.roster().names() {
            let lookup = if known == 0 { Lookup::First } else { Lookup::Again };
            tasks.spawn(resolve(Arc::downgrade(&upstream), host, port, lookup));
        }
        let version = match upstream.settings.protocol {
            Protocol::H1 => HttpVersion::Http1,
            Protocol::H2 => HttpVersion::Http2,
            Protocol::Auto => HttpVersion::Agreed,
        };
        let checker = |check: &Check| (check.clone(), health::build(check, version, dial.clone()));
        checks.checker = upstream.settings.health.on().map(checker);
    }
    loop {
        let wait = {
            let Some(upstream) = upstream.upgrade() else { return };
            checks.adapt(&upstream, &mut tasks);
            upstream.refresh().map_or(LOOK_AROUND, |end| end.min(LOOK_AROUND))
        };
        // Tasks of endpoints that are gone have ended; their results take memory until collected.
        while tasks.try_join_next().is_some() {}
        tokio::select! {
            () = sleep(wait) => {}
            () = changed.notified() => {}
        }
    }
}

/// The running checks, one task for each endpoint.
#[derive(Default)]
struct Checks {
    checker: Option<(Check, Arc<Checker>)>,
    /// By the address of the endpoint in memory, which the `Arc` keeps from being used again.
    running: HashMap<usize, (Arc<Endpoint>, AbortHandle)>,
}

impl Checks {
    /// Ends the checks of endpoints that are gone and begins those of new ones.
    fn adapt(&mut self, upstream: &Arc<Upstream>, tasks: &mut JoinSet<()>) {
        let Some((settings, checker)) = &self.checker else { return };
        let mut before = std::mem::take(&mut self.running);
        for endpoint in upstream.roster().endpoints() {
            let key = Arc::as_ptr(endpoint).addr();
            let entry = before.remove(&key).unwrap_or_else(|| {
                let (watched, endpoint) = (Arc::downgrade(upstream), endpoint.clone());
                let task = tasks.spawn(watch(watched, endpoint.clone(), checker.clone(), settings.clone()));
                (endpoint, task)
            });
            self.running.insert(key, entry);
        }
        before.into_values().for_each(|(_, task)| task.abort());
    }
}

/// Checks one endpoint, at once and then again and again.
async fn watch(upstream: Weak<Upstream>, endpoint: Arc<Endpoint>, checker: Arc<Checker>, settings: Check) {
    let mut judge = Judge::new(&settings, endpoint.standing.check());
    loop {
        let begun = Instant::now();
        let result = checker.check(&endpoint).await;
        let passed = result.is_ok();
        endpoint.checks.push(CheckRecord {
            at: SystemTime::now(),
            took: begun.elapsed(),
            failure: result.err().map(|error| error.to_string()),
        });
        if let Some(state) = judge.step(passed) {
            let Some(upstream) = upstream.upgrade() else { return };
            upstream.set_check(&endpoint, state);
        }
        sleep(jittered(settings.interval.get(), fastrand::f64())).await;
    }
}

/// An interval of 90 to 110 %, so that the checks of many endpoints and proxies spread out.
fn jittered(interval: Duration, random: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * random)
}

/// Whether somebody may be waiting for the lookup.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lookup {
    /// The name has no address yet.
    First,
    /// The name has addresses.
    Again,
}

/// Looks one name up, at once and then again and again. A failure keeps the last addresses.
async fn resolve(upstream: Weak<Upstream>, host: String, port: u16, mut lookup: Lookup) {
    let mut failing = false;
    loop {
        let begun = Moment::now();
        let found = find(&host, port).await;
        {
            let Some(upstream) = upstream.upgrade() else { return };
            let name = upstream.name();
            match &found {
                Ok(addresses) => upstream.set_addresses(&host, port, addresses),
                Err(error) if !failing => warn!(upstream = name, host, %error, "name not resolved"),
                Err(_) => {}
            }
            if failing && found.is_ok() {
                info!(upstream = name, host, "name resolved again");
            }
            failing = found.is_err();
            if lookup == Lookup::First {
                upstream.lookups.send_modify(|pending| *pending = pending.saturating_sub(1));
                lookup = Lookup::Again;
            }
        }
        let rest = RESOLVE_INTERVAL.saturating_sub(Moment::now().since(begun));
        sleep(jittered(rest.max(Duration::from_secs(1)), fastrand::f64())).await;
    }
}

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error("{0}")]
    Failed(#[source] std::io::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("no addresses")]
    Empty,
}

async fn find(host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
    let answer = timeout(RESOLVE_INTERVAL, lookup_host((host, port))).await;
    let addresses: Vec<_> = answer.map_err(|_| LookupError::Timeout)?.map_err(LookupError::Failed)?.collect();
    match addresses.is_empty() {
        true => Err(LookupError::Empty),
        false => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_varies_by_a_tenth() {
        let interval = Duration::from_secs(10);
        assert_eq!(jittered(interval, 0.0), Duration::from_secs(9));
        assert!(jittered(interval, 0.999) <= Duration::from_secs(11));
    }
}
