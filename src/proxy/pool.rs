//! Connections of one worker to one endpoint: idle ones, and those that many exchanges share.

use std::cell::{Cell, OnceCell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::dial::{Purpose, dial};
use super::link::trunk::{Trunk, Trunks};
use super::link::{H1Link, H2Link, Link};
use crate::clock::Millis;
use crate::config::upstream::{self as settings, Protocol};
use crate::endpoint::Endpoint;
use crate::http::{Client, Reason};
use crate::net::connector::{Identity, late_refusal};
use crate::net::proxy_protocol::Greeting;
use crate::net::{Stream, tls};
use crate::upstream::Upstream;

/// Connections to one endpoint; of the idle ones the newest first, so that the rest of them grows old and is closed.
///
/// Of many pools most are in no cache when their turn comes, so what a request needs is one cache line,
/// with the counts of its `Rc`.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<Endpoint>,
    /// Its settings, and TLS to the endpoint: the pool is for that connector alone.
    upstream: RefCell<Arc<Upstream>>,
    /// The idle connection that rests for the shortest time.
    newest: RefCell<Option<Box<H1Link>>>,
    rare: OnceCell<Box<Rare>>,
}

/// What a pool does without that has at most one idle connection, of HTTP/1.1.
#[derive(Debug, Default)]
struct Rare {
    /// The other idle connections, the oldest first.
    #[expect(clippy::vec_box, reason = "a connection is boxed once for its life")]
    older: RefCell<Vec<Box<H1Link>>>,
    trunks: Trunks,
    /// What the endpoint agreed to last, with `auto`.
    speaks: Cell<Option<tls::Protocol>>,
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
    pub fn new(endpoint: Arc<Endpoint>, upstream: Arc<Upstream>) -> Pool {
        Pool { endpoint, upstream: RefCell::new(upstream), newest: RefCell::default(), rare: OnceCell::new() }
    }

    /// The endpoint that the connections lead to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Follows a reload, to an upstream with the same connector.
    pub fn follow(&self, upstream: &Arc<Upstream>) {
        *self.upstream.borrow_mut() = upstream.clone();
    }

    fn settings(&self) -> Ref<'_, settings::Upstream> {
        Ref::map(self.upstream.borrow(), |upstream| upstream.settings())
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// What a connection for this client begins with; only such ones are used for it.
    pub fn greeting(&self, client: &Client) -> Greeting {
        match self.settings().proxy_protocol.version() {
            None => Greeting::Silent,
            Some(version) => Greeting::for_client(version, client.address, client.local),
        }
    }

    /// An idle connection that is fit for this client, or a free stream on a shared one.
    pub fn take(&self, client: &Client, now: Millis, certainty: Certainty) -> Option<Link> {
        let greeting = &self.greeting(client);
        match self.settings().protocol {
            Protocol::H1 => self.take_idle(greeting, now, certainty),
            Protocol::H2 => self.take_stream(greeting),
            Protocol::Auto => self.take_stream(greeting).or_else(|| self.take_idle(greeting, now, certainty)),
        }
    }

    fn take_stream(&self, greeting: &Greeting) -> Option<Link> {
        let trunks = &self.rare.get()?.trunks;
        trunks.with_room(greeting, &self.settings().connections, self.identity()).map(stream_on)
    }

    fn take_idle(&self, greeting: &Greeting, now: Millis, certainty: Certainty) -> Option<Link> {
        let longest = self.longest_idle();
        loop {
            let mut link = self.pop(greeting)?;
            let fresh = link.rested(now) < longest;
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
    fn pop(&self, greeting: &Greeting) -> Option<Box<H1Link>> {
        let newest = self.newest.borrow_mut().take_if(|link| link.began_with(greeting));
        newest.or_else(|| {
            let mut older = self.rare.get()?.older.borrow_mut();
            match older.last().is_some_and(|link| link.began_with(greeting)) {
                true => older.pop(),
                false => {
                    let place = older.iter().rposition(|link| link.began_with(greeting))?;
                    Some(older.remove(place))
                }
            }
        })
    }

    fn push(&self, link: Box<H1Link>) {
        if let Some(previous) = self.newest.borrow_mut().replace(link) {
            self.rare().older.borrow_mut().push(previous);
        }
    }

    fn close_oldest(&self) {
        match self.rare.get().map(|rare| rare.older.borrow_mut()) {
            Some(mut older) if !older.is_empty() => drop(older.remove(0)),
            Some(_) | None => drop(self.newest.take()),
        }
    }

    /// How many connections of HTTP/1.1 rest here.
    fn resting(&self) -> usize {
        let older = self.rare.get().map_or(0, |rare| rare.older.borrow().len());
        older + usize::from(self.newest.borrow().is_some())
    }

    /// Keeps a connection for the next exchange, when it can carry one.
    pub fn put(&self, link: Link, now: Millis) {
        // A stream is not used twice; its connection has never left the pool.
        let Link::H1(mut link) = link else { return };
        let settings = self.settings();
        let age = settings.connections.max_age.get().map(|age| age.get());
        if !link.is_reusable() || link.is_old(now, age) || link.identity() != self.identity() {
            return;
        }
        let most = settings.connections.max_idle as usize;
        if self.resting() >= most && !link.began_with(&Greeting::Silent) && most > 0 {
            // Its client has most likely gone, and for nobody else it is of use.
            self.close_oldest();
        }
        if self.resting() < most {
            link.rest(now);
            self.push(link);
        }
    }

    /// Opens a connection, or waits for one that is being opened and has room.
    ///
    /// # Errors
    /// `ConnectRefused`, `ConnectTimeout`, `ConnectFailed`, what a TLS handshake fails by, or
    /// `UpstreamH2` when the endpoint does not speak the protocol.
    pub async fn connect(&self, greeting: Greeting, resort: Resort) -> Result<Link, Reason> {
        let limit = self.limit(resort);
        let protocol = self.settings().protocol;
        let connecting = async {
            match protocol {
                Protocol::H1 => self.open(greeting).await,
                Protocol::Auto if self.speaks() == Some(tls::Protocol::H1) => self.open(greeting).await,
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
        if self.settings().protocol == Protocol::H2 {
            return Err(Reason::TunnelImpossible);
        }
        let stream = self.connect_for(Purpose::Tunnel, greeting, resort).await?;
        Ok(Link::H1(Box::new(H1Link::new(stream, greeting))))
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
        let connections = self.settings().connections;
        let usual = connections.connect_timeout.get();
        match (resort, connections.last_connect_timeout.get()) {
            (Resort::Last, Some(last)) => usual.max(last.get()),
            (Resort::Last, None) | (Resort::More, _) => usual,
        }
    }

    /// A stream on a connection that has room, or on one that is opened when it is our turn.
    async fn connect_shared(&self, greeting: Greeting) -> Result<Link, Reason> {
        let trunks = &self.rare().trunks;
        let turn = trunks.turn(greeting).await;
        // Whoever had the turn before may have opened what is wanted here.
        let other = self.take_stream(&greeting);
        if let Some(link) = other.or_else(|| trunks.least_busy(greeting).map(stream_on)) {
            return Ok(link);
        }
        if self.settings().protocol == Protocol::Auto && self.speaks() == Some(tls::Protocol::H1) {
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
        let protocol = self.settings().protocol;
        if protocol == Protocol::Auto {
            self.rare().speaks.set(Some(agreed));
        }
        match (protocol, agreed) {
            (Protocol::H1, _) | (Protocol::Auto, tls::Protocol::H1) => {
                Ok(Link::H1(Box::new(H1Link::new(stream, greeting))))
            }
            (Protocol::H2, _) | (Protocol::Auto, tls::Protocol::H2) => {
                self.begin_trunk(stream, greeting).await
            }
        }
    }

    async fn begin_trunk(&self, stream: Stream, greeting: Greeting) -> Result<Link, Reason> {
        let connections = self.settings().connections;
        let trunk = Trunk::begin(stream, greeting, &connections).await.map_err(|error| {
            tracing::debug!(endpoint = self.endpoint.name(), %error, "HTTP/2 could not begin");
            let refused = error.get_io().and_then(late_refusal);
            let other = if error.is_library() { Reason::UpstreamH2 } else { Reason::ConnectFailed };
            refused.unwrap_or(other)
        })?;
        self.rare().trunks.add(trunk.clone(), connections.max_idle as usize);
        Ok(stream_on(trunk))
    }

    async fn dial(&self, greeting: Greeting, purpose: Purpose) -> Result<Stream, Reason> {
        let upstream = self.upstream.borrow().clone();
        dial(&self.endpoint, greeting, upstream.connector().map(Arc::as_ref), purpose).await
    }

    /// What the endpoint agreed to last, with `auto`.
    fn speaks(&self) -> Option<tls::Protocol> {
        self.rare.get()?.speaks.get()
    }

    /// The identity that connections must have.
    fn identity(&self) -> Option<Identity> {
        self.upstream.borrow().connector().map(|connector| connector.identity())
    }

    /// Closes what has been idle for too long or was closed by the endpoint.
    pub fn tidy(&self, now: Millis) {
        let (longest, identity) = (self.longest_idle(), self.identity());
        let stays = |link: &mut Box<H1Link>| {
            let age = link.rested(now);
            let ended = link.looks_ended();
            if ended {
                self.endpoint.idle_timeout.closed_at(Duration::from_millis(age));
            }
            age < longest && !ended && link.identity() == identity
        };
        if let Some(rare) = self.rare.get() {
            rare.trunks.tidy(now, longest);
            rare.older.borrow_mut().retain_mut(stays);
        }
        drop(self.newest.borrow_mut().take_if(|link| !stays(link)));
    }

    /// How many connections rest here.
    pub fn idle(&self) -> usize {
        self.resting() + self.rare.get().map_or(0, |rare| rare.trunks.idle())
    }

    /// Milliseconds: the configured time, shortened by what the endpoint has shown.
    fn longest_idle(&self) -> u64 {
        let configured = self.settings().connections.idle_timeout.get();
        self.endpoint.idle_timeout.within(configured).as_millis() as u64
    }
}

fn stream_on(trunk: Rc<Trunk>) -> Link {
    Link::H2(Box::new(H2Link::new(trunk)))
}

#[cfg(test)]
mod tests;
