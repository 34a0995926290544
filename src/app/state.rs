//! What the control plane knows, for those who look at it: the admin listener.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::admin::{BoxFuture, Readiness, View};
use crate::config;
use crate::discovery::{self, Kind};
use crate::observe::log::Log;
use crate::observe::metrics::{
    DiscoveryFigures, EndpointFigures, Figures, HandshakeFigures, Health, Registry, UpstreamFigures,
};
use crate::observe::writer::Writer;
use crate::server::Team;
use crate::snapshot::Live;
use crate::units::Generation;
use crate::upstream::{State as Standing, Upstream, UpstreamStatus};

/// A request to reload, and where its answer goes.
pub(super) type Ask = oneshot::Sender<Result<Generation, String>>;

/// The state of the process.
pub(super) struct State {
    pub live: Arc<Live>,
    pub registry: Arc<Registry>,
    pub team: Team,
    pub access: Arc<Writer>,
    pub log: Log,
    pub started: Instant,
    readiness: AtomicU8,
    reloads: AtomicU64,
    refusals: AtomicU64,
    last_error: Mutex<Option<String>>,
    asks: mpsc::Sender<Ask>,
}

const READINESS: [Readiness; 3] = [Readiness::Starting, Readiness::Serving, Readiness::Draining];

impl State {
    pub(super) fn new(
        live: Arc<Live>,
        registry: Arc<Registry>,
        team: Team,
        access: Arc<Writer>,
        log: Log,
        asks: mpsc::Sender<Ask>,
    ) -> State {
        State {
            live,
            registry,
            team,
            access,
            log,
            started: Instant::now(),
            readiness: AtomicU8::new(0),
            reloads: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
            last_error: Mutex::new(None),
            asks,
        }
    }

    pub(super) fn set_readiness(&self, readiness: Readiness) {
        let number = READINESS.iter().position(|one| *one == readiness).unwrap_or_default();
        self.readiness.store(number as u8, Relaxed);
    }

    /// A new configuration has become current.
    pub(super) fn accepted(&self) {
        self.reloads.fetch_add(1, Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether this is why the last configuration was refused.
    pub(super) fn is_known(&self, report: &str) -> bool {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).as_deref() == Some(report)
    }

    /// A configuration was refused, and the old one stays.
    pub(super) fn refused(&self, report: &str) {
        self.refusals.fetch_add(1, Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.to_owned());
    }
}

impl View for State {
    fn readiness(&self) -> Readiness {
        READINESS.get(usize::from(self.readiness.load(Relaxed))).copied().unwrap_or(Readiness::Starting)
    }

    fn metrics(&self) -> String {
        let snapshot = self.live.load();
        let stores = snapshot.listeners().filter_map(|listener| listener.tls.as_ref().map(|tls| tls.store()));
        let shown = snapshot.upstreams.iter().filter_map(|upstream| upstream.connector()?.expiry());
        let expiry = stores.map(|store| store.earliest_expiry()).chain(shown);
        let expiry = expiry.filter_map(|expiry| u64::try_from(expiry).ok()).min();
        let handshakes = snapshot.listeners().filter_map(|listener| {
            let occupancy = listener.tls.as_ref()?.occupancy();
            let (running, waiting) = (occupancy.running as u64, occupancy.waiting as u64);
            Some(HandshakeFigures { listener: listener.name.to_string(), running, waiting })
        });
        let handshakes = handshakes.collect();
        self.registry.encode(Figures {
            handshakes,
            generation: snapshot.generation.0,
            configuration_age: snapshot.since.elapsed(),
            reloads_succeeded: self.reloads.load(Relaxed),
            reloads_failed: self.refusals.load(Relaxed),
            certificate_expiry: expiry.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds)),
            access_lines_dropped: self.access.dropped(),
            log_lines_dropped: self.log.dropped(),
            upstreams: snapshot.upstreams.iter().map(|upstream| figures(upstream)).collect(),
        })
    }

    fn status(&self) -> Value {
        let snapshot = self.live.load();
        let listeners: Vec<Value> = snapshot
            .listeners()
            .map(|listener| {
                let bind: Vec<_> =
                    listener.settings.bind.iter().map(|bind| bind.get_ref().to_string()).collect();
                json!({ "name": &*listener.name, "bind": bind, "tls": listener.tls.is_some() })
            })
            .collect();
        let upstreams: Vec<UpstreamStatus> =
            snapshot.upstreams.iter().map(|upstream| upstream.status()).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "state": self.readiness().name(),
            "generation": snapshot.generation.0,
            "configured_at": rfc3339(SystemTime::now() - snapshot.since.elapsed()),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "workers": self.team.size(),
            "connections": self.team.connections(),
            "last_reload_error": *self.last_error.lock().unwrap_or_else(PoisonError::into_inner),
            "listeners": listeners,
            "routes": snapshot.routes.iter().map(|route| &*route.name).collect::<Vec<_>>(),
            "upstreams": upstreams,
        })
    }

    fn reload(&self) -> BoxFuture<'_, Result<Generation, String>> {
        Box::pin(async {
            let (answer, answered) = oneshot::channel();
            let asked = self.asks.send(answer).await;
            let ended = || "the process is ending".to_owned();
            asked.map_err(|_| ended())?;
            answered.await.unwrap_or_else(|_| Err(ended()))
        })
    }

    fn upstream(&self, name: &str) -> Result<Arc<Upstream>, String> {
        let upstreams = &self.live.load().upstreams;
        let found = upstreams.iter().find(|upstream| upstream.name() == name);
        found.cloned().ok_or_else(|| no_upstream(name, upstreams))
    }
}

/// Why there is no upstream of that name, with the one that may be meant.
fn no_upstream(name: &str, upstreams: &[Arc<Upstream>]) -> String {
    let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.name()).collect();
    match config::nearest(name, &names) {
        Some(near) => format!("no upstream has the name `{name}`; did you mean `{near}`?"),
        None => format!("no upstream has the name `{name}`; there is {}", names.join(", ")),
    }
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}

fn figures(upstream: &Upstream) -> UpstreamFigures {
    let status = upstream.status();
    let endpoints = status.endpoints.into_iter().map(|endpoint| EndpointFigures {
        health: match endpoint.state {
            Standing::Healthy => Health::Healthy,
            Standing::Unknown => Health::Unknown,
            Standing::Unhealthy => Health::Unhealthy,
            Standing::Ejected => Health::Ejected,
            Standing::Draining => Health::Draining,
        },
        name: endpoint.name,
        in_flight: u64::from(endpoint.in_flight),
        attempts: endpoint.requests,
        failures: endpoint.failures,
        ejections: endpoint.ejections,
    });
    let (retries, retries_refused) = upstream.retries();
    UpstreamFigures {
        name: status.name,
        panic: status.panic,
        retries,
        retries_refused,
        endpoints: endpoints.collect(),
        discovery: status.discovery.map(discovery_figures),
    }
}

fn discovery_figures(status: discovery::Status) -> DiscoveryFigures {
    DiscoveryFigures {
        is_failing: status.failure.is_some(),
        age: status.age_seconds.map(Duration::from_secs_f64),
        endpoints: status.endpoints as u64,
        unusable: status.unusable as u64,
        updates: status.updates,
        failures: Kind::ALL.iter().map(|kind| kind.name()).zip(status.failures).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Outcome;

    #[test]
    fn the_figures_of_an_upstream_count_its_retries_and_ejections_over_a_reload() {
        let text = "endpoints = [\"127.0.0.1:1\", \"127.0.0.1:2\"]";
        let upstream = Upstream::build("users", toml::from_str(text).expect("settings"), None);
        let endpoint = upstream.membership().set.iter().next().expect("an endpoint").endpoint.clone();
        for _ in 0..5 {
            upstream.observe(&endpoint, Outcome::Reset);
        }
        while upstream.try_retry() {}
        let before = figures(&upstream);
        assert_eq!(before.endpoints.iter().map(|one| one.ejections).sum::<u64>(), 1);
        assert!(before.retries > 0, "some retries were allowed");
        assert_eq!(before.retries_refused, 1);

        let text = format!("{text}\noutlier = \"off\"");
        let reloaded = Upstream::build("users", toml::from_str(&text).expect("settings"), Some(&upstream));
        let after = figures(&reloaded);
        assert_eq!(after.endpoints.iter().map(|one| one.ejections).sum::<u64>(), 1);
        assert_eq!((after.retries, after.retries_refused), (before.retries, 1));
    }
}
