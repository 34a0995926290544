//! Connections of one worker to one endpoint: idle ones, and those that many exchanges share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::dial::{Purpose, dial};
use super::link::trunk::{Trunk, Trunks};
use super::link::{H1Link, H2Link, Link};
use crate::clock::Millis;
use crate::config::upstream::{Connections, Protocol, ProxyProtocol, Upstream};
use crate::endpoint::Endpoint;
use crate::http::{Client, Reason};
use crate::net::connector::{Identity, late_refusal};
use crate::net::proxy_protocol::Greeting;
use crate::net::{Connector, Stream, tls};

/// Connections to one endpoint; of the idle ones the newest first, so that the rest of them grows old and is closed.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<Endpoint>,
    settings: Cell<Connections>,
    protocol: Cell<Protocol>,
    proxy_protocol: Cell<ProxyProtocol>,
    /// TLS to the endpoint; the pool is for this one alone.
    connector: Option<Arc<Connector>>,
    /// What the endpoint agreed to last, with `auto`.
    speaks: Cell<Option<tls::Protocol>>,
    idle: RefCell<Vec<Idle>>,
    trunks: Trunks,
}

#[derive(Debug)]
struct Idle {
    link: Box<H1Link>,
    since: Millis,
    /// What the connection began with.
    greeting: Greeting,
}

/// How sure a reused connection must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The request can be repeated: what the event loop knows is enough.
    Usual,
    /// The request can not be repeated: the kernel is asked as well.
    Sure,
}

/// Whether there is another endpoint to go to when this one can not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resort {
    /// There is.
    More,
    /// This is the last one.
    Last,
}

impl Pool {
    /// An empty pool.
    pub fn new(endpoint: Arc<Endpoint>, settings: &Upstream, connector: Option<Arc<Connector>>) -> Pool {
        Pool {
            endpoint,
            settings: Cell::new(settings.connections),
            protocol: Cell::new(settings.protocol),
            proxy_protocol: Cell::new(settings.proxy_protocol),
            connector,
            speaks: Cell::new(None),
            idle: RefCell::default(),
            trunks: Trunks::default(),
        }
    }

    /// The endpoint that the connections lead to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Follows a reload.
    pub fn set(&self, settings: &Upstream) {
        self.settings.set(settings.connections);
        self.protocol.set(settings.protocol);
        self.proxy_protocol.set(settings.proxy_protocol);
    }

    /// What a connection for this client begins with; only such ones are used for it.
    pub fn greeting(&self, client: &Client) -> Greeting {
        match self.proxy_protocol.get().version() {
            None => Greeting::Silent,
            Some(version) => Greeting::for_client(version, client.address, client.local),
        }
    }

    /// An idle connection that is fit for use, or a free stream on a shared one.
    pub fn take(&self, greeting: &Greeting, now: Millis, certainty: Certainty) -> Option<Link> {
        match self.protocol.get() {
            Protocol::H1 => self.take_idle(greeting, now, certainty),
            Protocol::H2 => self.take_stream(greeting),
            Protocol::Auto => self.take_stream(greeting).or_else(|| self.take_idle(greeting, now, certainty)),
        }
    }

    fn take_stream(&self, greeting: &Greeting) -> Option<Link> {
        self.trunks.with_room(greeting, &self.settings.get(), self.identity()).map(stream_on)
    }

    fn take_idle(&self, greeting: &Greeting, now: Millis, certainty: Certainty) -> Option<Link> {
        let longest = self.longest_idle();
        loop {
            let Idle { mut link, since, .. } = self.pop(greeting)?;
            let fresh = now.0.saturating_sub(since.0) < longest;
            let current = link.identity() == self.identity();
            let mut ended = || match certainty {
                Certainty::Usual => link.looks_ended(),
                Certainty::Sure => link.has_ended(),
            };
            if fresh && current && !ended() {
                return Some(Link::H1(link));
            }
        }
    }

    /// The newest idle connection that began so: without PROXY protocol the last one.
    fn pop(&self, greeting: &Greeting) -> Option<Idle> {
        let mut idle = self.idle.borrow_mut();
        let place = idle.iter().rposition(|idle| idle.greeting == *greeting)?;
        Some(idle.remove(place))
    }

    /// Keeps a connection for the next exchange, when it can carry one.
    pub fn put(&self, link: Link, greeting: Greeting, now: Millis) {
        // A stream is not used twice; its connection has never left the pool.
        let Link::H1(mut link) = link else { return };
        let age = self.settings.get().max_age.get().map(|age| age.get());
        if !link.is_reusable() || link.is_old(now, age) || link.identity() != self.identity() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let most = self.settings.get().max_idle as usize;
        if idle.len() >= most && greeting != Greeting::Silent && most > 0 {
            // Its client has most likely gone, and for nobody else it is of use.
            idle.remove(0);
        }
        if idle.len() < most {
            link.rest();
            idle.push(Idle { link, since: now, greeting });
        }
    }

    /// Opens a connection, or waits for one that is being opened and has room.
    ///
    /// # Errors
    /// `ConnectRefused`, `ConnectTimeout`, `ConnectFailed`, what a TLS handshake fails by, or
    /// `UpstreamH2` when the endpoint does not speak the protocol.
    pub async fn connect(&self, greeting: Greeting, resort: Resort) -> Result<Link, Reason> {
        let limit = self.limit(resort);
        let connecting = async {
            match self.protocol.get() {
                Protocol::H1 => self.open(greeting).await,
                Protocol::Auto if self.speaks.get() == Some(tls::Protocol::H1) => self.open(greeting).await,
                Protocol::H2 | Protocol::Auto => self.connect_shared(greeting).await,
            }
        };
        tokio::time::timeout(limit, connecting).await.unwrap_or(Err(Reason::ConnectTimeout))
    }

    /// Opens a connection of HTTP/1.1 that will become a tunnel, so it is never one of others.
    ///
    /// # Errors
    /// As [`Pool::connect`], or `TunnelImpossible`.
    pub async fn connect_for_tunnel(&self, greeting: Greeting, resort: Resort) -> Result<Link, Reason> {
        if self.protocol.get() == Protocol::H2 {
            return Err(Reason::TunnelImpossible);
        }
        let stream = self.connect_for(Purpose::Tunnel, greeting, resort).await?;
        Ok(Link::H1(Box::new(H1Link::new(stream))))
    }

    /// Opens a connection for bytes that are passed through: nothing of ours is said on it but what
    /// it begins with, no TLS either.
    ///
    /// # Errors
    /// As [`Pool::connect`].
    pub async fn connect_raw(&self, greeting: Greeting, resort: Resort) -> Result<Stream, Reason> {
        self.connect_for(Purpose::Bytes, greeting, resort).await
    }

    async fn connect_for(
        &self,
        purpose: Purpose,
        greeting: Greeting,
        resort: Resort,
    ) -> Result<Stream, Reason> {
        let limit = self.limit(resort);
        let dialling = self.dial(greeting, purpose);
        tokio::time::timeout(limit, dialling).await.unwrap_or(Err(Reason::ConnectTimeout))
    }

    /// How long a connection is waited for.
    fn limit(&self, resort: Resort) -> Duration {
        let settings = self.settings.get();
        let usual = settings.connect_timeout.get();
        match (resort, settings.last_connect_timeout.get()) {
            (Resort::Last, Some(last)) => usual.max(last.get()),
            (Resort::Last, None) | (Resort::More, _) => usual,
        }
    }

    /// A stream on a connection that has room, or on one that is opened when it is our turn.
    async fn connect_shared(&self, greeting: Greeting) -> Result<Link, Reason> {
        let turn = self.trunks.turn(greeting).await;
        // Whoever had the turn before may have opened what is wanted here.
        let other = self.take_stream(&greeting);
        if let Some(link) = other.or_else(|| self.trunks.least_busy(greeting).map(stream_on)) {
            return Ok(link);
        }
        if self.protocol.get() == Protocol::Auto && self.speaks.get() == Some(tls::Protocol::H1) {
            // Nobody can share what is opened now, so nobody waits for it.
            drop(turn);
            return self.open(greeting).await;
        }
        self.open(greeting).await
    }

    /// Opens a connection and begins HTTP on it.
    async fn open(&self, greeting: Greeting) -> Result<Link, Reason> {
        let stream = self.dial(greeting, Purpose::Exchanges).await?;
        let agreed = stream.agreed().unwrap_or(tls::Protocol::H1);
        self.speaks.set(Some(agreed));
        match (self.protocol.get(), agreed) {
            (Protocol::H1, _) | (Protocol::Auto, tls::Protocol::H1) => {
                Ok(Link::H1(Box::new(H1Link::new(stream))))
            }
            (Protocol::H2, _) | (Protocol::Auto, tls::Protocol::H2) => {
                self.begin_trunk(stream, greeting).await
            }
        }
    }

    async fn begin_trunk(&self, stream: Stream, greeting: Greeting) -> Result<Link, Reason> {
        let settings = self.settings.get();
        let trunk = Trunk::begin(stream, greeting, &settings).await.map_err(|error| {
            tracing::debug!(endpoint = self.endpoint.name(), %error, "HTTP/2 could not begin");
            let refused = error.get_io().and_then(late_refusal);
            let other = if error.is_library() { Reason::UpstreamH2 } else { Reason::ConnectFailed };
            refused.unwrap_or(other)
        })?;
        self.trunks.add(trunk.clone(), settings.max_idle as usize);
        Ok(stream_on(trunk))
    }

    async fn dial(&self, greeting: Greeting, purpose: Purpose) -> Result<Stream, Reason> {
        dial(&self.endpoint, greeting, self.connector.as_deref(), purpose).await
    }

    /// The identity that connections must have.
    fn identity(&self) -> Option<Identity> {
        self.connector.as_ref().map(|connector| connector.identity())
    }

    /// Closes what has been idle for too long or was closed by the endpoint.
    pub fn tidy(&self, now: Millis) {
        let longest = self.longest_idle();
        self.trunks.tidy(now, longest);
        let identity = self.identity();
        self.idle.borrow_mut().retain_mut(|idle| {
            let age = now.0.saturating_sub(idle.since.0);
            let ended = idle.link.looks_ended();
            if ended {
                self.endpoint.idle_timeout.closed_at(Duration::from_millis(age));
            }
            age < longest && !ended && idle.link.identity() == identity
        });
    }

    /// How many connections rest here.
    pub fn idle(&self) -> usize {
        self.idle.borrow().len() + self.trunks.idle()
    }

    /// Milliseconds: the configured time, shortened by what the endpoint has shown.
    fn longest_idle(&self) -> u64 {
        self.endpoint.idle_timeout.within(self.settings.get().idle_timeout.get()).as_millis() as u64
    }
}

fn stream_on(trunk: Rc<Trunk>) -> Link {
    Link::H2(Box::new(H2Link::new(trunk)))
}
