//! Connections of one worker to one endpoint: idle ones, and those that many exchanges share.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::TcpKeepalive;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::link::trunk::{Trunk, Trunks};
use super::link::{H1Link, H2Link, Link};
use crate::clock::Millis;
use crate::config::upstream::{Connections, Protocol};
use crate::endpoint::{Address, Endpoint};
use crate::http::Reason;
use crate::net::connector::{Identity, Offer, late_refusal};
use crate::net::{Connector, Stream, tls};

/// Connections to one endpoint; of the idle ones the newest first, so that the rest of them grows old and is closed.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<Endpoint>,
    settings: Cell<Connections>,
    protocol: Cell<Protocol>,
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
}

/// What a connection is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Requests, in whatever version both know.
    Exchanges,
    /// A tunnel, which begins in HTTP/1.1.
    Tunnel,
}

/// How sure a reused connection must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    /// The request can be repeated: what the event loop knows is enough.
    Usual,
    /// The request can not be repeated: the kernel is asked as well.
    Sure,
}

impl Pool {
    /// An empty pool.
    pub fn new(
        endpoint: Arc<Endpoint>,
        settings: Connections,
        protocol: Protocol,
        connector: Option<Arc<Connector>>,
    ) -> Pool {
        Pool {
            endpoint,
            settings: Cell::new(settings),
            protocol: Cell::new(protocol),
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
    pub fn set(&self, settings: Connections, protocol: Protocol) {
        self.settings.set(settings);
        self.protocol.set(protocol);
    }

    /// An idle connection that is fit for use, or a free stream on a shared one.
    pub fn take(&self, now: Millis, certainty: Certainty) -> Option<Link> {
        match self.protocol.get() {
            Protocol::H1 => self.take_idle(now, certainty),
            Protocol::H2 => self.take_stream(),
            Protocol::Auto => self.take_stream().or_else(|| self.take_idle(now, certainty)),
        }
    }

    fn take_stream(&self) -> Option<Link> {
        self.trunks.with_room(&self.settings.get(), self.identity()).map(stream_on)
    }

    fn take_idle(&self, now: Millis, certainty: Certainty) -> Option<Link> {
        let longest = self.longest_idle();
        loop {
            let Idle { mut link, since } = self.idle.borrow_mut().pop()?;
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

    /// Keeps a connection for the next exchange, when it can carry one.
    pub fn put(&self, link: Link, now: Millis) {
        // A stream is not used twice; its connection has never left the pool.
        let Link::H1(mut link) = link else { return };
        let age = self.settings.get().max_age.get().map(|age| age.get());
        if !link.is_reusable() || link.is_old(now, age) || link.identity() != self.identity() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.settings.get().max_idle as usize {
            link.rest();
            idle.push(Idle { link, since: now });
        }
    }

    /// Opens a connection, or waits for one that is being opened and has room.
    ///
    /// # Errors
    /// `ConnectRefused`, `ConnectTimeout`, `ConnectFailed`, what a TLS handshake fails by, or
    /// `UpstreamH2` when the endpoint does not speak the protocol.
    pub async fn connect(&self) -> Result<Link, Reason> {
        let limit = self.settings.get().connect_timeout.get();
        let connecting = async {
            match self.protocol.get() {
                Protocol::H1 => self.begin(self.dial(Purpose::Exchanges).await?).await,
                Protocol::H2 => self.connect_shared().await,
                Protocol::Auto if self.speaks.get() == Some(tls::Protocol::H1) => {
                    self.begin(self.dial(Purpose::Exchanges).await?).await
                }
                Protocol::Auto => self.connect_shared().await,
            }
        };
        tokio::time::timeout(limit, connecting).await.unwrap_or(Err(Reason::ConnectTimeout))
    }

    /// Opens a connection of HTTP/1.1 that will become a tunnel, so it is never one of others.
    ///
    /// # Errors
    /// As [`Pool::connect`], or `TunnelImpossible`.
    pub async fn connect_for_tunnel(&self) -> Result<Link, Reason> {
        if self.protocol.get() == Protocol::H2 {
            return Err(Reason::TunnelImpossible);
        }
        let limit = self.settings.get().connect_timeout.get();
        let connecting = tokio::time::timeout(limit, self.dial(Purpose::Tunnel));
        let stream = connecting.await.unwrap_or(Err(Reason::ConnectTimeout))?;
        Ok(Link::H1(Box::new(H1Link::new(stream))))
    }

    /// A stream on a connection that has room, or on one that is opened when it is our turn.
    async fn connect_shared(&self) -> Result<Link, Reason> {
        let turn = self.trunks.turn().await;
        // Whoever had the turn before may have opened what is wanted here.
        let known = self.take_stream().or_else(|| self.trunks.least_busy().map(stream_on));
        if let Some(link) = known {
            return Ok(link);
        }
        if self.protocol.get() == Protocol::Auto && self.speaks.get() == Some(tls::Protocol::H1) {
            // Nobody can share what is opened now, so nobody waits for it.
            drop(turn);
            return self.begin(self.dial(Purpose::Exchanges).await?).await;
        }
        self.begin(self.dial(Purpose::Exchanges).await?).await
    }

    /// Begins HTTP on a fresh connection.
    async fn begin(&self, stream: Stream) -> Result<Link, Reason> {
        let agreed = stream.agreed().unwrap_or(tls::Protocol::H1);
        self.speaks.set(Some(agreed));
        match (self.protocol.get(), agreed) {
            (Protocol::H1, _) | (Protocol::Auto, tls::Protocol::H1) => {
                Ok(Link::H1(Box::new(H1Link::new(stream))))
            }
            (Protocol::H2, _) | (Protocol::Auto, tls::Protocol::H2) => self.begin_trunk(stream).await,
        }
    }

    async fn begin_trunk(&self, stream: Stream) -> Result<Link, Reason> {
        let trunk = Trunk::begin(stream, &self.settings.get()).await.map_err(|error| {
            tracing::debug!(endpoint = self.endpoint.name(), %error, "HTTP/2 could not begin");
            let refused = error.get_io().and_then(late_refusal);
            let other = if error.is_library() { Reason::UpstreamH2 } else { Reason::ConnectFailed };
            refused.unwrap_or(other)
        })?;
        self.trunks.add(trunk.clone());
        Ok(stream_on(trunk))
    }

    async fn dial(&self, purpose: Purpose) -> Result<Stream, Reason> {
        let stream = open(self.endpoint.address()).await.map_err(|error| {
            tracing::debug!(endpoint = self.endpoint.name(), %error, "connecting failed");
            match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Reason::ConnectRefused,
                io::ErrorKind::TimedOut => Reason::ConnectTimeout,
                _ => Reason::ConnectFailed,
            }
        })?;
        match (&self.connector, stream) {
            (Some(connector), Stream::Tcp(tcp)) => self.secure(connector, tcp, purpose).await,
            (_, stream) => Ok(stream),
        }
    }

    async fn secure(
        &self,
        connector: &Connector,
        tcp: TcpStream,
        purpose: Purpose,
    ) -> Result<Stream, Reason> {
        let offer = match purpose {
            Purpose::Exchanges => connector.settings().offer,
            Purpose::Tunnel => Offer::H1,
        };
        let secure = connector.connect_offering(tcp, self.endpoint.host(), offer).await.map_err(|error| {
            tracing::debug!(endpoint = self.endpoint.name(), %error, "the TLS handshake failed");
            error.reason()
        })?;
        Ok(Stream::Secure(secure))
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

/// A host that is gone is noticed within half a minute, whatever the protocol says meanwhile; the
/// system's own time is two hours.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(15))
    .with_interval(Duration::from_secs(5))
    .with_retries(3);

async fn open(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Ip(address) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_nodelay(true)?;
            socket2::SockRef::from(&socket).set_tcp_keepalive(&KEEPALIVE)?;
            Ok(Stream::Tcp(socket.connect(*address).await?))
        }
        Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
    }
}
