//! Connections of one worker to one endpoint: idle ones, and those that many exchanges share.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, UnixStream};

use super::link::trunk::{Trunk, Trunks};
use super::link::{H1Link, H2Link, Link};
use crate::clock::Millis;
use crate::config::upstream::{Connections, Protocol, ProxyProtocol, Upstream};
use crate::endpoint::{Address, Endpoint};
use crate::http::{Client, Reason};
use crate::net::Stream;
use crate::net::proxy_protocol::Greeting;

/// Connections to one endpoint; of the idle ones the newest first, so that the rest of them grows old and is closed.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<Endpoint>,
    settings: Cell<Connections>,
    protocol: Cell<Protocol>,
    proxy_protocol: Cell<ProxyProtocol>,
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

impl Pool {
    /// An empty pool.
    pub fn new(endpoint: Arc<Endpoint>, settings: &Upstream) -> Pool {
        Pool {
            endpoint,
            settings: Cell::new(settings.connections),
            protocol: Cell::new(settings.protocol),
            proxy_protocol: Cell::new(settings.proxy_protocol),
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
            Protocol::H2 => self.trunks.with_room(greeting, &self.settings.get()).map(stream_on),
        }
    }

    fn take_idle(&self, greeting: &Greeting, now: Millis, certainty: Certainty) -> Option<Link> {
        let longest = self.longest_idle();
        loop {
            let Idle { link, since, .. } = self.pop(greeting)?;
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
        if !link.is_reusable() {
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
    /// `ConnectRefused`, `ConnectTimeout`, `ConnectFailed`, or `UpstreamH2` when the endpoint does
    /// not speak the protocol.
    pub async fn connect(&self, greeting: Greeting) -> Result<Link, Reason> {
        let limit = self.settings.get().connect_timeout.get();
        let connecting = async {
            match self.protocol.get() {
                Protocol::H1 => Ok(Link::H1(Box::new(H1Link::new(self.dial(greeting).await?)))),
                Protocol::H2 => self.connect_trunk(greeting).await.map(stream_on),
            }
        };
        tokio::time::timeout(limit, connecting).await.unwrap_or(Err(Reason::ConnectTimeout))
    }

    async fn connect_trunk(&self, greeting: Greeting) -> Result<Rc<Trunk>, Reason> {
        let settings = self.settings.get();
        let _turn = self.trunks.turn(greeting).await;
        // Whoever had the turn before may have opened what is wanted here.
        let other = self.trunks.with_room(&greeting, &settings);
        if let Some(trunk) = other.or_else(|| self.trunks.least_busy(greeting)) {
            return Ok(trunk);
        }
        let stream = self.dial(greeting).await?;
        let trunk = Trunk::begin(stream, greeting, &settings).await.map_err(|error| {
            tracing::debug!(endpoint = self.endpoint.name(), %error, "HTTP/2 could not begin");
            if error.is_library() { Reason::UpstreamH2 } else { Reason::ConnectFailed }
        })?;
        self.trunks.add(trunk.clone(), settings.max_idle as usize);
        Ok(trunk)
    }

    async fn dial(&self, greeting: Greeting) -> Result<Stream, Reason> {
        open(self.endpoint.address(), greeting).await.map_err(|error| {
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

async fn open(address: &Address, greeting: Greeting) -> io::Result<Stream> {
    let mut stream = connect(address).await?;
    if greeting != Greeting::Silent {
        stream.write_all(&greeting.bytes()).await?;
    }
    Ok(stream)
}

async fn connect(address: &Address) -> io::Result<Stream> {
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
