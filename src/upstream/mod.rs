//! A named group of endpoints with all that belongs to it: who is in it, who is fit, who is next,
//! and how many retries it can bear.
//!
//! The hot path reads [`Upstream::membership`] (through a worker's own copy, renewed when
//! [`Upstream::version`] has moved) and reports to [`Upstream::observe`]. Everything else happens
//! beside it: a change of health, an ejection or a new address takes a small mutex, builds a new
//! [`Membership`] and swaps it in.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::balance::Cursor;
use crate::config::upstream as settings;
use crate::discovery::{self, Feed, Pushed, Set, Store};
use crate::endpoint::{CheckState, EjectionCause, Endpoint, Location, Moment};
use crate::health::{CheckKind, Dial, Outlier, PlainDial, SecureDial, Verdict};
use crate::net::Connector;
use crate::net::connector::Offer;
use crate::net::proxy_protocol::Greeting;

mod background;
mod budget;
mod membership;
mod names;
mod push;
mod roster;
mod speech;
mod status;

pub use crate::health::Outcome;
pub use budget::Budget;
pub use membership::{Choice, Condition, Membership};
pub use push::{PushChange, PushError};
pub use roster::Layer;
pub use status::{CheckStatus, EndpointStatus, State, UpstreamStatus};

use roster::{Change, Name, Roster};

/// A named group of endpoints.
#[derive(Debug)]
pub struct Upstream {
    name: Box<str>,
    settings: settings::Upstream,
    budget: Option<Budget>,
    outlier: Option<Outlier>,
    /// All endpoints; the lock is held while a membership is built, never while waiting.
    roster: Mutex<Roster>,
    membership: ArcSwap<Membership>,
    version: AtomicU64,
    cursor: Arc<Cursor>,
    retries: AtomicU64,
    retries_refused: AtomicU64,
    /// Names that have been looked up, found or not.
    lookups: watch::Sender<HashSet<Name>>,
    /// Tells the background task that there are other endpoints or another ejection.
    changed: Arc<Notify>,
    background: OnceLock<JoinHandle<()>>,
    /// Another configuration is in use; only exchanges that began before still use this upstream.
    retired: AtomicBool,
    /// TLS to the endpoints; clear text without it.
    connector: Option<Arc<Connector>>,
    /// Endpoints that are found elsewhere.
    feed: Option<Arc<Feed>>,
    /// Endpoints that were added and drained while the proxy runs.
    pushed: Arc<Pushed>,
}

impl Upstream {
    /// Builds an upstream, which never fails and touches no network; [`Upstream::start`] begins
    /// its checks. What `previous`, the upstream of the same name, knows about equal addresses is
    /// taken over, and nothing of it is changed: the configuration may still be refused.
    pub fn build(name: &str, settings: settings::Upstream, previous: Option<&Upstream>) -> Arc<Upstream> {
        Upstream::with_tls(name, settings, previous, None)
    }

    /// The same with TLS to its endpoints.
    pub fn with_tls(
        name: &str,
        settings: settings::Upstream,
        previous: Option<&Upstream>,
        connector: Option<Arc<Connector>>,
    ) -> Arc<Upstream> {
        let feed = feed(name, &settings, previous);
        let found = feed.as_ref().map(|feed| feed.used()).unwrap_or_default();
        let pushed = previous.map(|previous| previous.pushed.clone());
        let pushed = pushed.unwrap_or_else(|| Arc::new(Pushed::new(name)));
        let before = previous.map(Upstream::roster);
        let roster = Roster::new(&settings, found, pushed.current(), before.as_deref());
        drop(before);
        let now = Moment::now();
        let cursor = previous.map(|previous| previous.cursor.clone());
        let cursor = cursor.unwrap_or_else(|| Arc::new(Cursor::starting_at(fastrand::u64(..))));
        let membership = Membership::new(1, choose(&roster, &settings, now), &settings.balance, &cursor);
        Arc::new(Upstream {
            name: name.into(),
            budget: settings.budget.on().map(|budget| Budget::new(*budget, now)),
            outlier: settings.outlier.on().map(|outlier| Outlier::new(*outlier)),
            roster: Mutex::new(roster),
            membership: ArcSwap::from_pointee(membership),
            version: AtomicU64::new(1),
            cursor,
            retries: AtomicU64::new(previous.map_or(0, |previous| previous.retries().0)),
            retries_refused: AtomicU64::new(previous.map_or(0, |previous| previous.retries().1)),
            lookups: watch::Sender::default(),
            changed: Arc::new(Notify::new()),
            background: OnceLock::new(),
            retired: AtomicBool::new(false),
            connector,
            feed,
            pushed,
            settings,
        })
    }

    /// Begins checks, discovery, resolution of names and the end of ejections on `runtime`. They hold
    /// no more than a `Weak` and end with the upstream. Further calls change nothing.
    pub fn start(self: &Arc<Self>, runtime: &Handle, dial: Arc<dyn Dial>, store: &Store) {
        if let Some(feed) = &self.feed {
            feed.start(runtime, store);
        }
        self.background.get_or_init(|| {
            self.settle(&self.roster(), Moment::now());
            let changed = self.changed.clone();
            runtime.spawn(background::run(Arc::downgrade(self), changed, dial, store.clone()))
        });
    }

    /// Ends its checks, since `next`, the upstream of the same name, watches over the same endpoints from
    /// now on: what its own checks find is no news about them. Its source is followed on only for that.
    pub fn retire(&self, next: Option<&Upstream>) {
        self.retired.store(true, Ordering::Relaxed);
        self.changed.notify_one();
        let goes_on = |feed: &Arc<Feed>| {
            let next = next.and_then(|next| next.feed.as_ref());
            next.is_some_and(|next| Arc::ptr_eq(feed, next))
        };
        if let Some(feed) = self.feed.as_ref().filter(|feed| !goes_on(feed)) {
            feed.retire();
        }
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// TLS to its endpoints; `None` for clear text.
    pub fn connector(&self) -> Option<&Arc<Connector>> {
        self.connector.as_ref()
    }

    /// Opens the connections of its checks.
    pub fn dial(&self) -> Arc<dyn Dial> {
        // Checks begin as traffic does, unless they go to another port, where somebody else may listen.
        let other_port = self.settings.health.on().is_some_and(|check| check.port.fixed().is_some());
        let greeting = match self.settings.proxy_protocol.version() {
            Some(version) if !other_port => Greeting::Local(version),
            Some(_) | None => Greeting::Silent,
        };
        match &self.connector {
            Some(connector) => {
                let asks_grpc = self.settings.health.on().is_some_and(|check| check.check == CheckKind::Grpc);
                // gRPC is HTTP/2, whatever requests are made in.
                let offer = if asks_grpc { Offer::H2 } else { connector.settings().offer };
                Arc::new(SecureDial { connector: connector.clone(), greeting, offer })
            }
            None => Arc::new(PlainDial { greeting }),
        }
    }

    /// Ready when its source has answered or failed once and every name has been looked up once,
    /// found or not. Cancel-safe; the deadline is the caller's.
    pub async fn looked_up(&self) {
        self.pushed.loaded().await;
        self.take_push();
        if let Some(feed) = &self.feed {
            feed.settled().await;
            if self.set_found(&feed.used()) {
                self.keep_and_tell().await;
            }
        }
        // The sender lives in `self`, so the channel is not closed.
        let is_done = |tried: &HashSet<Name>| {
            self.roster().names().iter().all(|(name, known)| *known > 0 || tried.contains(name))
        };
        let _ = self.lookups.subscribe().wait_for(is_done).await;
    }

    /// How its source is doing; `None` without one.
    pub fn discovery(&self) -> Option<discovery::Status> {
        self.feed.as_ref().map(|feed| feed.status())
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its settings; equal ones mean that the upstream can be used again as it is.
    pub fn settings(&self) -> &settings::Upstream {
        &self.settings
    }

    /// The budget of its retries; `None` when it is off and they are unlimited.
    pub fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    /// Who takes traffic now.
    pub fn membership(&self) -> Arc<Membership> {
        self.membership.load_full()
    }

    /// The version of the membership, for a relaxed look whether a copy of it is old. May be ahead
    /// of what [`Upstream::membership`] returns for an instant, never behind: compare it with the
    /// copy's own version.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Takes the outcome of an attempt. A success of a sound endpoint is one relaxed load.
    pub fn observe(&self, endpoint: &Endpoint, outcome: Outcome) {
        if outcome.is_failure() {
            self.observe_failure(endpoint);
        } else if endpoint.is_suspected() && outcome != Outcome::Abandoned {
            self.observe_recovery(endpoint);
        }
    }

    /// Whether a retry may be made; takes its token if so.
    pub fn try_retry(&self) -> bool {
        let allowed = self.budget.as_ref().is_none_or(|budget| budget.try_spend(Moment::now()));
        let counter = if allowed { &self.retries } else { &self.retries_refused };
        counter.fetch_add(1, Ordering::Relaxed);
        allowed
    }

    /// Retries so far, and those that the budget has refused.
    pub fn retries(&self) -> (u64, u64) {
        (self.retries.load(Ordering::Relaxed), self.retries_refused.load(Ordering::Relaxed))
    }

    /// Publishes another membership if who is fit has changed.
    pub fn rebuild(&self) {
        self.publish(&self.roster(), Moment::now());
    }

    #[cold]
    fn observe_recovery(&self, endpoint: &Endpoint) {
        match &self.outlier {
            Some(outlier) => outlier.observe_success(endpoint, Moment::now()),
            None => endpoint.clear_suspicion(),
        }
    }

    #[cold]
    fn observe_failure(&self, endpoint: &Endpoint) {
        let Some(outlier) = &self.outlier else {
            endpoint.count_failure();
            return;
        };
        let now = Moment::now();
        match outlier.observe_failure(endpoint, now) {
            Verdict::Keep => {}
            Verdict::Eject(cause) => self.eject(outlier, endpoint, cause, now),
        }
    }

    fn eject(&self, outlier: &Outlier, endpoint: &Endpoint, cause: EjectionCause, now: Moment) {
        let roster = self.roster();
        // Another worker may have come to the same verdict first.
        if endpoint.standing.is_ejected(now) {
            return;
        }
        let is_ejected = |other: &&Arc<Endpoint>| other.standing.is_ejected(now);
        let ejected = roster.endpoints().filter(is_ejected).count();
        if ejected >= outlier.most_ejected(roster.endpoints().count()) {
            outlier.forgive(endpoint);
            debug!(upstream = &*self.name, %endpoint, reason = cause.name(), "not ejected: max_ejected");
            return;
        }
        let length = outlier.eject(endpoint, cause, now);
        self.publish(&roster, now);
        drop(roster);
        self.changed.notify_one();
        let seconds = length.as_secs_f64();
        info!(upstream = &*self.name, %endpoint, reason = cause.name(), seconds, "endpoint ejected");
    }

    /// Takes what active checks decided about an endpoint.
    fn set_check(&self, endpoint: &Endpoint, state: CheckState) {
        let before = endpoint.standing.check();
        endpoint.standing.set_check(state);
        self.rebuild();
        match (before, state) {
            (_, CheckState::Unhealthy) => {
                let reason = endpoint.checks.last_failure().unwrap_or_default();
                info!(upstream = &*self.name, %endpoint, reason, "endpoint unhealthy");
            }
            (CheckState::Unhealthy, _) => info!(upstream = &*self.name, %endpoint, "endpoint healthy"),
            _ => debug!(upstream = &*self.name, %endpoint, "endpoint healthy"),
        }
    }

    /// Takes the addresses of a name: all that it has from now on.
    fn set_addresses(&self, host: &str, port: u16, addresses: &[std::net::SocketAddr]) {
        let mut roster = self.roster();
        let change = roster.resolve(host, port, addresses);
        if change == Change::Same {
            return;
        }
        self.publish(&roster, Moment::now());
        drop(roster);
        self.changed.notify_one();
        info!(upstream = &*self.name, host, endpoints = addresses.len(), "name resolved");
    }

    /// Takes what the source has found; returns whether that ended a drain or a weight.
    fn set_found(&self, set: &Arc<Set>) -> bool {
        let mut roster = self.roster();
        let places = |roster: &Roster| -> HashSet<Location> {
            roster.entries().iter().map(|entry| entry.place.location.clone()).collect()
        };
        let before = places(&roster);
        if roster.discover(set) == Change::Same {
            return false;
        }
        let after = places(&roster);
        self.settle(&roster, Moment::now());
        drop(roster);
        self.changed.notify_one();
        self.forget_gone(&before.difference(&after).cloned().collect::<Vec<_>>())
    }

    /// Publishes a roster with other endpoints.
    fn settle(&self, roster: &Roster, now: Moment) {
        // An upstream that was replaced has no say in what is off.
        if !self.is_retired() {
            roster.endpoints().for_each(|endpoint| forget_what_is_off(&self.settings, endpoint));
        }
        self.publish(roster, now);
    }

    /// Publishes what time has changed and returns the time until it changes something again.
    fn refresh(&self) -> Option<Duration> {
        // One reading of the clock: an ejection that ends in between would be missed.
        let now = Moment::now();
        let roster = self.roster();
        self.publish(&roster, now);
        let ends = roster.endpoints().map(|endpoint| endpoint.standing.ejected_until());
        ends.filter(|end| *end > now).map(|end| end.since(now)).min()
    }

    fn publish(&self, roster: &Roster, now: Moment) {
        let current = self.membership.load();
        let choice = choose(roster, &self.settings, now);
        if current.is_same(&choice) {
            return;
        }
        let version = current.version + 1;
        let next = Arc::new(Membership::new(version, choice, &self.settings.balance, &self.cursor));
        self.membership.store(next.clone());
        self.version.store(version, Ordering::Release);
        self.report(&current, &next);
    }

    /// Logs a change of membership: loud only when the upstream as a whole gets better or worse.
    fn report(&self, before: &Membership, now: &Membership) {
        let (upstream, fit, version) = (&*self.name, now.set.len(), now.version);
        match (before.condition(), now.condition()) {
            (old, new) if old == new => debug!(upstream, version, fit, "membership changed"),
            (_, Condition::Sound) => info!(upstream, version, fit, "enough endpoints are fit"),
            (_, Condition::Panic) => {
                warn!(upstream, version, fit, "too few endpoints are fit: health is ignored")
            }
            (_, Condition::Empty) => warn!(upstream, version, "no endpoint is fit"),
        }
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(task) = self.background.get() {
            task.abort();
        }
    }
}

fn choose<'roster>(roster: &'roster Roster, settings: &settings::Upstream, now: Moment) -> Choice<'roster> {
    let is_fit = |endpoint: &Endpoint| {
        endpoint.standing.check() != CheckState::Unhealthy && !endpoint.standing.is_ejected(now)
    };
    Choice::of(roster.members(), settings.panic_threshold, is_fit)
}

/// The feed of these settings. An equal one goes on; another one begins with what is in use, so that
/// nothing is lost until it has answered.
fn feed(name: &str, settings: &settings::Upstream, previous: Option<&Upstream>) -> Option<Arc<Feed>> {
    let source = settings.discover.on()?;
    let before = previous.and_then(|previous| previous.feed.as_ref());
    match before {
        Some(feed) if feed.settings() == source => Some(feed.clone()),
        Some(_) | None => Some(Arc::new(Feed::new(name, source.clone(), before.map(Arc::as_ref)))),
    }
}

/// A verdict of checks that are off now would stand for ever.
fn forget_what_is_off(settings: &settings::Upstream, endpoint: &Endpoint) {
    if settings.health.on().is_none() {
        endpoint.standing.set_check(CheckState::Unknown);
    }
    if settings.outlier.on().is_none() {
        endpoint.standing.forget_ejections();
        endpoint.clear_suspicion();
    }
}

#[cfg(test)]
mod tests;
