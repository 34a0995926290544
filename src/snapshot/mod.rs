//! A compiled configuration: everything that a request needs, immutable, names resolved.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;

use crate::config::{self, Config, listener::UnknownHost};
use crate::http::forwarded::Forwarded;
use crate::http::{Client, Exchange, Name, Reason};
use crate::middleware::Middleware;
use crate::net::tls::Acceptor;
use crate::observe::metrics::{ListenerId, RouteId};
use crate::route::settings::{HostHeader, Retries, Timeouts, Upgrade};
use crate::route::{self, Redirect, Rewrite, Split, Table};
use crate::units::{Generation, Network};
use crate::upstream::Upstream;

mod build;

pub use build::{MakeAcceptor, MakeConnector, Means, Misplaced, build};

/// A compiled configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Its number; grows by one with every reload.
    pub generation: Generation,
    /// What it was compiled from.
    pub config: Config,
    /// Finds the route of a request.
    pub table: Table,
    /// Routes by number.
    pub routes: Vec<Route>,
    /// Upstreams by number.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Listeners by number; numbers stay with their names over reloads, so there may be gaps.
    listeners: Vec<Option<Arc<Listener>>>,
    /// When it was compiled.
    pub since: Instant,
}

impl Snapshot {
    /// The listener of that number.
    pub fn listener(&self, number: u32) -> Option<Arc<Listener>> {
        self.listeners.get(number as usize)?.clone()
    }

    /// All listeners.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.iter().flatten()
    }
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its name in logs and metrics.
    pub name: Arc<str>,
    /// What it is counted under.
    pub number: RouteId,
    /// What happens to its requests.
    pub action: Action,
    /// In the order of `use`.
    pub middlewares: Vec<Arc<dyn Middleware>>,
    /// What the endpoint sees of the path.
    pub rewrite: Rewrite,
    /// What the endpoint is told as Host.
    pub host_header: HostHeader,
    /// Whether its clients may switch to another protocol.
    pub upgrade: Upgrade,
    /// How long its exchanges may take.
    pub timeouts: Timeouts,
    /// When its requests are tried again.
    pub retry: Retries,
}

/// What happens to the requests of a route.
#[derive(Debug)]
pub enum Action {
    /// They go to the upstream of that number.
    Forward(usize),
    /// They go to one of the upstreams, by weight.
    Split(Split, Vec<usize>),
    /// They are sent elsewhere with that status.
    Redirect(Redirect, u16),
    /// They get a fixed answer.
    Respond(Fixed),
}

/// A fixed answer.
#[derive(Debug)]
pub struct Fixed(route::settings::Respond);

impl Fixed {
    /// Puts the answer into the exchange.
    pub fn fill(&self, exchange: &mut Exchange) {
        exchange.response.clear();
        exchange.response.status = self.0.status.get();
        for (name, value) in &self.0.headers {
            exchange.response.fields.push(name.as_str().as_bytes(), value.as_str().as_bytes());
        }
        if !self.0.body.is_empty() && exchange.response.fields.get(Name::ContentType).is_none() {
            exchange.response.fields.push(b"content-type", b"text/plain; charset=utf-8");
        }
        exchange.reply.clear();
        exchange.reply.extend_from_slice(self.0.body.as_bytes());
    }
}

/// Where clients connect, and what they may do there.
#[derive(Debug)]
pub struct Listener {
    /// Stays with the name over reloads.
    pub number: u32,
    /// What it is counted under.
    pub counted: ListenerId,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The table of the configuration.
    pub settings: config::Listener,
    /// Present when clients speak TLS.
    pub tls: Option<Arc<Acceptor>>,
    trusted: Arc<[Network]>,
    forwarded: Forwarded,
}

impl Listener {
    /// Whether the peer is one of `trusted_proxies`.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(peer))
    }

    /// Settles what is believed of a client and said about it, by the address of its connection.
    pub fn judge(&self, client: &mut Client) {
        client.trusted = self.trusts(client.address.ip());
        client.real = client.address.ip();
        client.forwarded = self.forwarded;
    }

    /// Why a request that no route takes is refused.
    pub fn unknown(&self, host_is_known: bool) -> Reason {
        match self.settings.unknown_host {
            _ if host_is_known => Reason::NoRoute,
            UnknownHost::NotFound => Reason::NoRoute,
            UnknownHost::Misdirected => Reason::MisdirectedHost,
            UnknownHost::Close => Reason::UnknownHost,
        }
    }
}

/// The snapshot that new requests use.
#[derive(Debug)]
pub struct Live {
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
}

impl Live {
    /// Starts with a snapshot.
    pub fn new(snapshot: Snapshot) -> Live {
        let generation = AtomicU64::new(snapshot.generation.0);
        Live { current: ArcSwap::from_pointee(snapshot), generation }
    }

    /// The snapshot now.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The number of the snapshot now: one relaxed load, for workers that keep a copy.
    pub fn generation(&self) -> Generation {
        Generation(self.generation.load(Ordering::Acquire))
    }

    /// Makes this the snapshot of all new requests. Can not fail.
    pub fn store(&self, snapshot: Arc<Snapshot>) {
        let generation = snapshot.generation.0;
        self.current.store(snapshot);
        self.generation.store(generation, Ordering::Release);
    }
}
