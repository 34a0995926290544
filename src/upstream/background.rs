//! What goes on beside the traffic: active checks, discovery, resolution of names, the end of
//! ejections.
//!
//! One task per upstream watches over the others and owns them. All hold a `Weak` while they wait,
//! so that the last user of an upstream ends them by letting go of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};

use super::Upstream;
use super::names::resolve;
use super::roster::Name;
use super::speech::Speech;
use crate::config::upstream::Protocol;
use crate::discovery::{Pushed, Set, Store};
use crate::endpoint::{CheckRecord, Endpoint};
use crate::health::settings::Check;
use crate::health::{self, Checker, Dial, HttpVersion, Judge};

/// Between two looks at everything, in case nobody has told about a change: the standing of an
/// endpoint may also be changed by an older upstream of the same name that still has exchanges.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// Between two changes of what is discovered: a burst of them is taken together. The first one is
/// taken at once.
const DISCOVERY_PAUSE: Duration = Duration::from_millis(20);

/// Watches over one upstream until it is gone.
pub async fn run(upstream: Weak<Upstream>, changed: Arc<Notify>, dial: Arc<dyn Dial>, store: Store) {
    let mut tasks = JoinSet::new();
    let (mut checks, mut lookups) = (Checks::default(), Lookups::default());
    if let Some(upstream) = upstream.upgrade() {
        tasks.spawn(take_pushes(Arc::downgrade(&upstream), upstream.pushed.clone(), store));
        let answers = upstream.feed.as_ref().map(|feed| feed.subscribe_answers());
        tasks.spawn(forget_absent(Arc::downgrade(&upstream), upstream.pushed.clone(), answers));
        if let Some(feed) = &upstream.feed {
            tasks.spawn(discover(Arc::downgrade(&upstream), feed.subscribe()));
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
            lookups.adapt(&upstream, &mut tasks);
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

/// Takes what the source has found, now and whenever it changes.
async fn discover(upstream: Weak<Upstream>, mut sets: watch::Receiver<Arc<Set>>) {
    let mut speech = Speech::default();
    loop {
        {
            let Some(upstream) = upstream.upgrade() else { return };
            let set = sets.borrow_and_update().clone();
            speech.compare(&upstream.name, upstream.settings.protocol, &set);
            if upstream.set_found(&set) {
                upstream.keep_and_tell().await;
            }
        }
        sleep(DISCOVERY_PAUSE).await;
        if sets.changed().await.is_err() {
            return;
        }
    }
}

/// Takes what is pushed, from the disk at first, then whenever it changes.
async fn take_pushes(upstream: Weak<Upstream>, pushed: Arc<Pushed>, store: Store) {
    pushed.load(&store).await;
    let mut pushes = pushed.subscribe();
    loop {
        pushes.mark_unchanged();
        match upstream.upgrade() {
            Some(upstream) => upstream.take_push(),
            None => return,
        }
        if pushes.changed().await.is_err() {
            return;
        }
    }
}

/// Forgets what was pushed about places that went while nobody looked: when what was stored has been
/// read, and the source, if there is one, has answered.
async fn forget_absent(upstream: Weak<Upstream>, pushed: Arc<Pushed>, answers: Option<watch::Receiver<u64>>) {
    pushed.loaded().await;
    if let Some(mut answers) = answers
        && answers.wait_for(|count| *count > 0).await.is_err()
    {
        return;
    }
    let Some(upstream) = upstream.upgrade() else { return };
    if upstream.forget_absent() {
        upstream.keep_and_tell().await;
    }
}

/// The running lookups, one task for each name.
#[derive(Default)]
struct Lookups(BTreeMap<Name, AbortHandle>);

impl Lookups {
    /// Ends the lookups of names that are gone and begins those of new ones.
    fn adapt(&mut self, upstream: &Arc<Upstream>, tasks: &mut JoinSet<()>) {
        let mut before = std::mem::take(&mut self.0);
        for (host, port) in upstream.roster().names().into_keys() {
            let name = (host, port);
            let task = before
                .remove(&name)
                .unwrap_or_else(|| tasks.spawn(resolve(Arc::downgrade(upstream), name.0.clone(), port)));
            self.0.insert(name, task);
        }
        for (name, task) in before {
            task.abort();
            upstream.lookups.send_if_modified(|tried| tried.remove(&name));
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
