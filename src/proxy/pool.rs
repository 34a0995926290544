//! Idle connections of one worker to one endpoint.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, UnixStream};

use super::link::{H1Link, Link};
use crate::clock::Millis;
use crate::config::upstream::Connections;
use crate::endpoint::{Address, Endpoint};
use crate::http::Reason;
use crate::net::Stream;

/// Connections to one endpoint; newest first, so that the rest of them grows old and is closed.
#[derive(Debug)]
pub struct Pool {
    endpoint: Arc<Endpoint>,
    settings: Cell<Connections>,
    idle: RefCell<Vec<Idle>>,
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
    pub fn new(endpoint: Arc<Endpoint>, settings: Connections) -> Pool {
        Pool { endpoint, settings: Cell::new(settings), idle: RefCell::default() }
    }

    /// The endpoint that the connections lead to.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Follows a reload.
    pub fn set(&self, settings: Connections) {
        self.settings.set(settings);
    }

    /// An idle connection that is fit for use.
    pub fn take(&self, now: Millis, certainty: Certainty) -> Option<Link> {
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
        let Link::H1(mut link) = link;
        if !link.is_reusable() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.settings.get().max_idle as usize {
            link.rest();
            idle.push(Idle { link, since: now });
        }
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// `ConnectRefused`, `ConnectTimeout` or `ConnectFailed`.
    pub async fn connect(&self) -> Result<Link, Reason> {
        let limit = self.settings.get().connect_timeout.get();
        let opened = tokio::time::timeout(limit, open(self.endpoint.address())).await;
        match opened {
            Err(_) => Err(Reason::ConnectTimeout),
            Ok(Ok(stream)) => Ok(Link::H1(Box::new(H1Link::new(stream)))),
            Ok(Err(error)) => {
                tracing::debug!(endpoint = self.endpoint.name(), %error, "connecting failed");
                match error.kind() {
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Err(Reason::ConnectRefused),
                    io::ErrorKind::TimedOut => Err(Reason::ConnectTimeout),
                    _ => Err(Reason::ConnectFailed),
                }
            }
        }
    }

    /// Closes what has been idle for too long or was closed by the endpoint.
    pub fn tidy(&self, now: Millis) {
        let longest = self.longest_idle();
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
        self.idle.borrow().len()
    }

    /// Milliseconds: the configured time, shortened by what the endpoint has shown.
    fn longest_idle(&self) -> u64 {
        self.endpoint.idle_timeout.within(self.settings.get().idle_timeout.get()).as_millis() as u64
    }
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
