//! Connections of one worker to one endpoint: idle ones, and those that many exchanges share.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, UnixStream};

use super::link::trunk::{Trunk, Trunks};
use super::link::{H1Link, H2Link, Link};
use crate::clock::Millis;
use crate::config::upstream::{Connections, Protocol};
use crate::endpoint::{Address, Endpoint};
use crate::http::Reason;
use crate::net::Stream;

/// Connections to one endpoint; of the idle ones the newest first, so that the rest of them grows old and is closed.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<Endpoint>,
    settings: Cell<Connections>,
    protocol: Cell<Protocol>,
    idle: RefCell<Vec<Idle>>,
    trunks: Trunks,
}

#[derive(Debug)]
struct Idle {
    link: Box<H1Link>,
    since: Millis,
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
    pub fn new(endpoint: Arc<Endpoint>, settings: Connections, protocol: Protocol) -> Pool {
        Pool {
            endpoint,
            settings: Cell::new(settings),
            protocol: Cell::new(protocol),
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
            Protocol::H2 => self.trunks.with_room(&self.settings.get()).map(stream_on),
        }
    }

    fn take_idle(&self, now: Millis, certainty: Certainty) -> Option<Link> {
        let longest = self.longest_idle();
        loop {
            let Idle { link, since } = self.idle.borrow_mut().pop()?;
            let fresh = now.0.saturating_sub(since.0) < longest;
            let ended = || match certainty {
                Certainty::Usual => link.looks_ended(),
                Certainty::Sure => link.has_ended(),
            };
            if fresh && !ended() {
                return Some(Link::H1(link));
            }
        }
    }

    /// Keeps a connection for the next exchange, when it can carry one.
    pub fn put(&self, link: Link, now: Millis) {
        // A stream is not used twice; its connection has never left the pool.
        let Link::H1(mut link) = link else { return };
        if !link.is_reusable() {
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
    /// `ConnectRefused`, `ConnectTimeout`, `ConnectFailed`, or `UpstreamH2` when the endpoint does
    /// not speak the protocol.
    pub async fn connect(&self) -> Result<Link, Reason> {
        let limit = self.settings.get().connect_timeout.get();
        let connecting = async {
            match self.protocol.get() {
                Protocol::H1 => Ok(Link::H1(Box::new(H1Link::new(self.dial().await?)))),
                Protocol::H2 => self.connect_trunk().await.map(stream_on),
            }
        };
        tokio::time::timeout(limit, connecting).await.unwrap_or(Err(Reason::ConnectTimeout))
    }

    async fn connect_trunk(&self) -> Result<Rc<Trunk>, Reason> {
        let settings = self.settings.get();
        let _turn = self.trunks.turn().await;
        // Whoever had the turn before may have opened what is wanted here.
        if let Some(trunk) = self.trunks.with_room(&settings).or_else(|| self.trunks.least_busy()) {
            return Ok(trunk);
        }
        let trunk = Trunk::begin(self.dial().await?, &settings).await.map_err(|error| {
            tracing::debug!(endpoint = self.endpoint.name(), %error, "HTTP/2 could not begin");
            if error.is_library() { Reason::UpstreamH2 } else { Reason::ConnectFailed }
        })?;
        self.trunks.add(trunk.clone());
        Ok(trunk)
    }

    async fn dial(&self) -> Result<Stream, Reason> {
        open(self.endpoint.address()).await.map_err(|error| {
            tracing::debug!(endpoint = self.endpoint.name(), %error, "connecting failed");
            match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Reason::ConnectRefused,
                io::ErrorKind::TimedOut => Reason::ConnectTimeout,
                _ => Reason::ConnectFailed,
            }
        })
    }

    /// Closes what has been idle for too long or was closed by the endpoint.
    pub fn tidy(&self, now: Millis) {
        let longest = self.longest_idle();
        self.trunks.tidy(now, longest);
        self.idle.borrow_mut().retain(|idle| {
            let age = now.0.saturating_sub(idle.since.0);
            let ended = idle.link.looks_ended();
            if ended {
                self.endpoint.idle_timeout.closed_at(Duration::from_millis(age));
            }
            age < longest && !ended
        });
    }

    /// Opens a connection for bytes that are passed through: not TLS of ours, whatever the upstream
    /// says.
    ///
    /// # Errors
    /// `ConnectRefused`, `ConnectTimeout` or `ConnectFailed`.
    pub async fn open_raw(&self) -> Result<Stream, Reason> {
        let limit = self.settings.get().connect_timeout.get();
        match tokio::time::timeout(limit, open(self.endpoint.address())).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                tracing::debug!(endpoint = self.endpoint.name(), %error, "connecting failed");
                Err(match error.kind() {
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Reason::ConnectRefused,
                    io::ErrorKind::TimedOut => Reason::ConnectTimeout,
                    _ => Reason::ConnectFailed,
                })
            }
            Err(_) => Err(Reason::ConnectTimeout),
        }
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

async fn open(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Ip(address) => {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_nodelay(true)?;
            socket.set_keepalive(true)?;
            Ok(Stream::Tcp(socket.connect(*address).await?))
        }
        Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
    }
}
