//! Metrics: every worker counts into a shard of its own, a scrape adds the shards up.
//!
//! Routes and listeners are known by numbers that are given out when a configuration is built, so
//! a request neither hashes nor formats a name. A number stays with its name as long as the
//! process lives: counters of a name that is in the old and the new configuration just go on.
//! Labels come from the configuration alone, so a client can not make new series.

mod counter;
mod encode;
mod figures;
mod histogram;
mod names;
mod shard;
mod table;
mod useless;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use encode::CONTENT_TYPE;
pub use figures::{DiscoveryFigures, EndpointFigures, Figures, HandshakeFigures, Health, UpstreamFigures};
pub use names::{ListenerId, RouteId};
pub use shard::{Handshake, OpenConnection, Resumption, Running, Shard, TlsVersion};
pub use useless::Useless;

use encode::Scrape;
use names::Names;

/// All metrics of the process.
#[derive(Debug)]
pub struct Registry {
    shards: Vec<Arc<Shard>>,
    reasons: Vec<&'static str>,
    names: Mutex<Labels>,
}

/// The names behind the numbers.
#[derive(Debug)]
struct Labels {
    routes: Names,
    listeners: Names,
}

impl Registry {
    /// One shard for each worker; `reasons` names what [`Shard::reason`] counts, by position.
    pub fn new(workers: usize, reasons: impl IntoIterator<Item = &'static str>) -> Registry {
        let reasons: Vec<_> = reasons.into_iter().collect();
        let shards = (0..workers.max(1)).map(|_| Arc::new(Shard::new(reasons.len()))).collect();
        let labels =
            Labels { routes: Names::new(shard::MAX_ROUTES), listeners: Names::new(shard::MAX_LISTENERS) };
        let registry = Registry { shards, reasons, names: Mutex::new(labels) };
        registry.expose([], []);
        registry
    }

    /// The shard of the worker of that number. Only one thread may write to a shard, or counts
    /// are lost: numbers past the last worker share the last shard.
    pub fn shard(&self, worker: usize) -> Arc<Shard> {
        let last = self.shards.len() - 1;
        self.shards[worker.min(last)].clone()
    }

    /// The number of the route of that name. Its series appear once [`Registry::expose`] lists it.
    pub fn route(&self, name: &str) -> RouteId {
        RouteId(self.labels().routes.intern(name))
    }

    /// The number of the listener of that name; as with [`Registry::route`].
    pub fn listener(&self, name: &str) -> ListenerId {
        ListenerId(self.labels().listeners.intern(name))
    }

    /// From now on exactly these are exported, and [`RouteId::NONE`]: call it when a configuration has become the
    /// current one, so that one which failed to build leaves no trace. What is hidden goes on
    /// counting, and continues there if its name comes back.
    pub fn expose(
        &self,
        routes: impl IntoIterator<Item = RouteId>,
        listeners: impl IntoIterator<Item = ListenerId>,
    ) {
        let mut labels = self.labels();
        labels.routes.expose(routes.into_iter().chain([RouteId::NONE]).map(|route| route.0));
        labels.listeners.expose(listeners.into_iter().map(|listener| listener.0));
    }

    /// All series in the OpenMetrics text format ([`CONTENT_TYPE`]).
    pub fn encode(&self, figures: Figures) -> String {
        let (routes, listeners) = {
            let labels = self.labels();
            (labels.routes.exposed(), labels.listeners.exposed())
        };
        let scrape =
            Scrape { shards: self.shards.clone(), reasons: self.reasons.clone(), routes, listeners, figures };
        scrape.into_text()
    }

    fn labels(&self) -> MutexGuard<'_, Labels> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
