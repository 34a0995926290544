//! HTTP/2 connections to one endpoint: a few, each of which many exchanges share.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ::http::uri::Scheme;
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use rustc_hash::FxHashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::spread;
use crate::clock::Millis;
use crate::config::upstream::Connections;
use crate::h1::response::MAX_HEAD;
use crate::net::connector::Identity;
use crate::net::flood::Peer;
use crate::net::proxy_protocol::Greeting;
use crate::net::{Gauge, Metered, Stream};
use crate::proxy::h2::{SEND_BUFFER, window};

/// Window of one stream, in bytes: half a Gbit/s at a round trip of 1 ms. A client can let 128 of
/// them wait unread.
const STREAM_WINDOW: usize = 64 * 1024;

/// Most connections of one worker to one endpoint. When all of their streams are in use, requests
/// wait in the least busy of them.
const MAX_TRUNKS: usize = 32;

/// A connection that did not answer a request for so long, nor any other meanwhile, may lead
/// nowhere: it gets no more requests.
const SILENCE: Duration = Duration::from_secs(1);

/// The connections to one endpoint that take requests. Those that began with different greetings
/// never stand in for one another.
#[derive(Debug, Default)]
pub struct Trunks {
    open: RefCell<Vec<Rc<Trunk>>>,
    /// Of each kind one connection is opened at a time: those who wait mostly find room on it.
    opening: RefCell<FxHashMap<Greeting, Arc<Semaphore>>>,
}

impl Trunks {
    /// A connection with a free stream. The first that has one is chosen, so that those which are
    /// not needed any more grow idle. Those that were made under another identity take no more.
    pub fn with_room(
        &self,
        greeting: &Greeting,
        settings: &Connections,
        identity: Option<Identity>,
    ) -> Option<Rc<Trunk>> {
        let mut open = self.open.borrow_mut();
        open.retain(|trunk| trunk.takes_requests() && trunk.identity == identity);
        open.iter().find(|trunk| trunk.greeting == *greeting && trunk.has_room(settings)).cloned()
    }

    /// The least busy connection, once there are as many as there may be.
    pub fn least_busy(&self, greeting: Greeting) -> Option<Rc<Trunk>> {
        let open = self.open.borrow();
        let alike = || open.iter().filter(|trunk| trunk.greeting == greeting);
        let full = alike().count() >= MAX_TRUNKS;
        full.then(|| alike().min_by_key(|trunk| trunk.streams.get()).cloned()).flatten()
    }

    /// Waits for the turn to open a connection. Cancel-safe.
    pub async fn turn(&self, greeting: Greeting) -> Option<OwnedSemaphorePermit> {
        let opening = self.opening.borrow_mut().entry(greeting).or_insert_with(one_permit).clone();
        // The semaphore is never closed, so there is always a turn.
        opening.acquire_owned().await.ok()
    }

    /// Adds a connection. Of those that serve one client only, `most` may rest: the oldest one
    /// that does makes room.
    pub fn add(&self, trunk: Rc<Trunk>, most: usize) {
        let mut open = self.open.borrow_mut();
        let rests = |trunk: &Rc<Trunk>| trunk.streams.get() == 0 && trunk.greeting != Greeting::Silent;
        if open.iter().filter(|trunk| rests(trunk)).count() >= most.max(1)
            && let Some(oldest) = open.iter().position(rests)
        {
            open.remove(oldest);
        }
        open.push(trunk);
    }

    /// Closes what has been idle for longer than `longest` milliseconds.
    pub fn tidy(&self, now: Millis, longest: u64) {
        self.opening.borrow_mut().retain(|_, opening| Arc::strong_count(opening) > 1);
        self.open.borrow_mut().retain(|trunk| trunk.takes_requests() && !trunk.is_old(now, longest));
    }

    /// Connections without a stream.
    pub fn idle(&self) -> usize {
        self.open.borrow().iter().filter(|trunk| trunk.streams.get() == 0).count()
    }
}

fn one_permit() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

/// One HTTP/2 connection. The task that drives it ends with it.
#[derive(Debug)]
pub struct Trunk {
    sender: RefCell<SendRequest<Bytes>>,
    /// What it began with.
    greeting: Greeting,
    driver: AbortHandle,
    gauge: Gauge,
    /// When it is too old for more requests.
    retires: Option<Instant>,
    streams: Rc<Cell<usize>>,
    /// Requests that it has carried.
    served: Cell<u64>,
    /// Answers that it has brought.
    heard: Cell<u64>,
    retired: Cell<bool>,
    idle_since: Cell<Option<Millis>>,
    /// The identity under which TLS was begun.
    identity: Option<Identity>,
}

impl Trunk {
    /// Begins HTTP/2 on a fresh connection and waits until the endpoint has shown that it speaks
    /// it, since only its SETTINGS tell how many streams it takes. Cancel-safe.
    ///
    /// # Errors
    /// The connection is lost, or the endpoint speaks something else.
    pub async fn begin(
        stream: Stream,
        greeting: Greeting,
        settings: &Connections,
    ) -> Result<Rc<Trunk>, h2::Error> {
        let streams = settings.max_streams.get() as usize;
        let identity = stream.identity();
        let stream = Metered::new(stream, Peer::Endpoint);
        let gauge = stream.gauge();
        let handshake = Builder::new()
            .enable_push(false)
            // None until the endpoint has told: then every other number is what it has told.
            .initial_max_send_streams(0)
            .initial_window_size(window(STREAM_WINDOW))
            // As much as all streams together, so that slow clients do not hold up the others.
            .initial_connection_window_size(window(STREAM_WINDOW.saturating_mul(streams)))
            // More than is allowed, so that what is too large is told apart from what is wrong.
            .max_header_list_size(window(2 * MAX_HEAD))
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(streams)
            // Over the life of a connection, which may be long: the gauge counts them by time.
            .max_local_error_reset_streams(None)
            .handshake(stream);
        let (sender, mut connection) = handshake.await?;
        poll_fn(|context| match pin!(&mut connection).poll(context) {
            Poll::Ready(ended) => Poll::Ready(ended.and(Err(h2::Reason::NO_ERROR.into()))),
            Poll::Pending if sender.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let streams = Rc::new(Cell::new(0));
        let interval = settings.h2_ping_interval.get().map(|interval| interval.get());
        let driver = tokio::task::spawn_local(drive(connection, gauge.clone(), streams.clone(), interval));
        Ok(Rc::new(Trunk {
            sender: RefCell::new(sender),
            greeting,
            driver: driver.abort_handle(),
            gauge,
            retires: settings.max_age.get().map(|age| Instant::now() + spread(age.get())),
            streams,
            served: Cell::new(0),
            heard: Cell::new(0),
            retired: Cell::new(false),
            idle_since: Cell::new(None),
            identity,
        }))
    }

    /// Whether new requests may go there: it has neither failed nor been given up nor become old,
    /// and the endpoint has not said GOAWAY.
    fn takes_requests(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        !self.retired.get()
            && self.retires.is_none_or(|at| Instant::now() < at)
            && !matches!(self.sender.borrow_mut().poll_ready(&mut context), Poll::Ready(Err(_)))
    }

    fn has_room(&self, settings: &Connections) -> bool {
        let allowed = self.sender.borrow().current_max_send_streams();
        self.streams.get() < allowed.min(settings.max_streams.get() as usize)
    }

    fn is_old(&self, now: Millis, longest: u64) -> bool {
        if self.streams.get() > 0 {
            return false;
        }
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        now.0.saturating_sub(since.0) >= longest
    }
}

/// Runs the connection until it ends or a PING stays without an answer.
async fn drive(
    mut connection: Connection<Metered<Stream>, Bytes>,
    gauge: Gauge,
    streams: Rc<Cell<usize>>,
    interval: Option<Duration>,
) {
    let pings = interval.zip(connection.ping_pong());
    let silence = async {
        match pings {
            Some((interval, pings)) => wait_for_silence(pings, &gauge, &streams, interval).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = connection => if let Err(error) = ended {
            tracing::debug!(%error, "an HTTP/2 connection to an endpoint broke");
        },
        () = silence => tracing::debug!("an HTTP/2 endpoint does not answer PING"),
    }
}

/// Ends when open streams have heard nothing for an interval and a PING got no answer within
/// another.
async fn wait_for_silence(mut pings: PingPong, gauge: &Gauge, streams: &Cell<usize>, interval: Duration) {
    loop {
        tokio::time::sleep(interval.saturating_sub(gauge.heard().elapsed())).await;
        if streams.get() == 0 {
            tokio::time::sleep(interval).await;
        } else if gauge.heard().elapsed() >= interval && is_silent(&mut pings, gauge, interval).await {
            return;
        }
    }
}

/// Asks by PING; `true` when nothing came for an interval after it. There can be only one PING at a
/// time, so its answer is awaited for as long as anything else comes.
async fn is_silent(pings: &mut PingPong, gauge: &Gauge, interval: Duration) -> bool {
    let mut asked = Instant::now();
    let mut pong = pin!(pings.ping(Ping::opaque()));
    loop {
        match tokio::time::timeout(interval, &mut pong).await {
            Ok(Ok(_)) => return false,
            // The connection has ended, and its task will see it.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) if gauge.heard() < asked => return true,
            Err(_) => asked = Instant::now(),
        }
    }
}

impl Drop for Trunk {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A place on a connection, for one exchange.
#[derive(Debug)]
pub struct Place {
    trunk: Rc<Trunk>,
    /// Whether the connection rested before, so that the endpoint may have closed it.
    pub was_idle: bool,
    began: std::time::Instant,
    heard_before: u64,
    pub(super) answered: bool,
}

impl Place {
    /// Takes a place; the connection counts it until it is dropped.
    pub fn take(trunk: Rc<Trunk>) -> Place {
        let was_idle = trunk.streams.get() == 0 && trunk.served.get() > 0;
        trunk.streams.set(trunk.streams.get() + 1);
        trunk.served.set(trunk.served.get() + 1);
        trunk.idle_since.set(None);
        let heard_before = trunk.heard.get();
        Place { trunk, was_idle, began: std::time::Instant::now(), heard_before, answered: false }
    }

    /// A handle that sends one request.
    pub fn sender(&self) -> SendRequest<Bytes> {
        self.trunk.sender.borrow().clone()
    }

    /// What the connection is spoken over, for `:scheme`.
    pub fn scheme(&self) -> Scheme {
        match self.trunk.identity {
            Some(_) => Scheme::HTTPS,
            None => Scheme::HTTP,
        }
    }

    /// Whether the connection was broken off for a flood of the endpoint.
    pub fn is_flooded(&self) -> bool {
        self.trunk.gauge.flood().is_some()
    }

    /// Bytes of an answer have come.
    pub fn hear(&mut self) {
        self.answered = true;
        self.trunk.heard.set(self.trunk.heard.get().wrapping_add(1));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let trunk = &self.trunk;
        trunk.streams.set(trunk.streams.get().saturating_sub(1));
        let unheard = !self.answered && trunk.heard.get() == self.heard_before;
        if unheard && self.began.elapsed() >= SILENCE {
            trunk.retired.set(true);
        }
    }
}
