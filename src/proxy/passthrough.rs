//! A connection whose bytes are passed on as they are: an endpoint is found, then both directions
//! are copied until both have ended.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pool::Pool;
use super::record;
use super::worker::{Failed, Fleet, Room, View, Worker};
use crate::clock::{Millis, Timer};
use crate::endpoint::InFlight;
use crate::health::Outcome;
use crate::http::{Client as Peer, Reason};
use crate::net::buffer::LARGE;
use crate::net::{Buffer, Stream};
use crate::snapshot::{Action, Listener, Route};

/// A connection to be passed on.
#[derive(Debug)]
pub struct Arrival {
    /// The client's side.
    pub client: Stream,
    /// What was read of it already.
    pub read: Buffer,
    /// The server name that it asks for, in lower case.
    pub name: Option<Box<str>>,
}

/// Passes a connection on until it ends, and counts and logs it.
pub async fn pass(worker: &Worker, listener: &Listener, peer: &Peer, arrival: Arrival) -> Result<(), Reason> {
    let _running = worker.shard.exchange();
    let view = worker.view();
    let mut room = begin(worker, peer, arrival.name.as_deref());
    let ended = match find(&view, listener, peer, arrival.name.as_deref()) {
        Some(number) => {
            room.journal.route = Some(number);
            let route = &view.snapshot.routes[number as usize];
            run(worker, &view, route, &mut room, arrival).await
        }
        None => {
            arrival.refuse();
            Err(Reason::NoRoute)
        }
    };
    finish(worker, &view, listener, room, ended);
    ended
}

/// Counts and logs a connection that has shown no name.
pub fn refuse(worker: &Worker, listener: &Listener, peer: &Peer, reason: Reason) {
    finish(worker, &worker.view(), listener, begin(worker, peer, None), Err(reason));
}

/// A room of its own: one from the shelf has memory for heads, which a connection of days would keep.
fn begin(worker: &Worker, peer: &Peer, name: Option<&str>) -> Box<Room> {
    let mut room = Box::<Room>::default();
    room.journal.begin(worker.timers.stamp());
    room.exchange.client = peer.clone();
    room.exchange.identify(worker.identity(room.journal.started));
    let request = &mut room.exchange.request;
    request.authority = request.fields.append(name.unwrap_or_default().as_bytes());
    room
}

fn finish(worker: &Worker, view: &View, listener: &Listener, mut room: Box<Room>, ended: Result<(), Reason>) {
    match ended {
        // As other proxies log a connection that went well.
        Ok(()) => room.journal.status = 200,
        Err(reason) => room.journal.reason = Some(reason),
    }
    record::connection(worker, view, listener, &room);
}

/// The route, by the snapshot that the worker has now.
fn find(view: &View, listener: &Listener, peer: &Peer, name: Option<&str>) -> Option<u32> {
    let current = view.snapshot.listener(listener.number)?;
    current.names.find(name, peer.address.ip())
}

impl Arrival {
    /// Tells a TLS client that nobody has that name (RFC 6066 §3), as far as it takes it at once.
    fn refuse(&self) {
        const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
        if self.read.filled().first() == Some(&22)
            && let Stream::Tcp(tcp) = &self.client
            && let Err(error) = tcp.try_write(&UNRECOGNIZED_NAME)
        {
            tracing::debug!(%error, "an alert was not sent");
        }
    }
}

async fn run(
    worker: &Worker,
    view: &View,
    route: &Route,
    room: &mut Room,
    arrival: Arrival,
) -> Result<(), Reason> {
    let upstream = match &route.action {
        Action::Forward(upstream) => *upstream,
        Action::Split(split, upstreams) => upstreams[split.choose(worker.random())],
        // The configuration's checks let no other action pass.
        Action::Redirect(..) | Action::Respond(_) => return Err(Reason::NoRoute),
    };
    room.journal.upstream = Some(upstream);
    let fleet = &view.fleets[upstream];
    let (pool, _in_flight, endpoint) = connect(worker, fleet, route, room).await?;
    room.journal.answered(&pool, 0, worker.timers.stamp());
    let timer = worker.timers.slot();
    let mut relay = Relay {
        client: arrival.client,
        endpoint,
        up: Flow { buffer: arrival.read, ..Flow::default() },
        down: Flow::default(),
        moved_at: worker.timers.now(),
    };
    let idle = route.timeouts.idle.get();
    let mut answered = false;
    let ended = poll_fn(|context| {
        let polled = relay.poll(context, &timer, idle);
        if relay.down.moved > 0 && !answered {
            answered = true;
            fleet.upstream.observe(pool.endpoint(), Outcome::Answered(200));
        }
        polled
    })
    .await;
    (room.journal.received, room.journal.sent) = (relay.up.moved, relay.down.moved);
    match ended {
        Ok(()) => fleet.upstream.observe(pool.endpoint(), Outcome::Answered(200)),
        Err(Reason::UpstreamReset) => fleet.upstream.observe(pool.endpoint(), Outcome::Reset),
        Err(_) => {}
    }
    if ended.is_err() {
        // A FIN would make what has come look like the whole.
        relay.client.reset_on_close();
        relay.endpoint.reset_on_close();
    }
    ended
}

/// A connection to an endpoint: to the next one when the first does not take it.
async fn connect(
    worker: &Worker,
    fleet: &Fleet,
    route: &Route,
    room: &mut Room,
) -> Result<(Rc<Pool>, InFlight, Stream), Reason> {
    if let Some(budget) = fleet.upstream.budget() {
        budget.deposit();
    }
    let further = route.retry.0.on().map_or(0, |retry| retry.attempts as usize);
    let mut last = Reason::NoHealthyEndpoint;
    loop {
        let Some(pool) = fleet.pick(worker, &room.tried) else { return Err(last) };
        let endpoint = pool.endpoint().clone();
        let in_flight = InFlight::begin(endpoint.clone());
        let begun = worker.timers.stamp();
        match pool.connect_raw(pool.greeting(&room.exchange.client), fleet.resort(&room.tried)).await {
            Ok(stream) => return Ok((pool, in_flight, stream)),
            Err(reason) => last = reason,
        }
        drop(in_flight);
        fleet.upstream.observe(&endpoint, Outcome::ConnectFailed);
        room.tried.push(endpoint.clone());
        room.failed.push(Failed { endpoint, reason: last, took: worker.timers.stamp().since(begun) });
        if room.tried.len() > further || !fleet.upstream.try_retry() {
            return Err(last);
        }
    }
}

/// Both directions of a connection.
struct Relay {
    client: Stream,
    endpoint: Stream,
    up: Flow,
    down: Flow,
    /// When a byte last moved.
    moved_at: Millis,
}

/// One direction.
#[derive(Default)]
struct Flow {
    buffer: Buffer,
    moved: u64,
    full_reads: u8,
    /// The sender has ended its side.
    ended: bool,
    /// And the receiver knows.
    told: bool,
}

/// Whose connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Sender,
    Receiver,
}

impl Relay {
    fn poll(&mut self, context: &mut Context<'_>, timer: &Timer, idle: Duration) -> Poll<Result<(), Reason>> {
        let before = self.up.moved + self.down.moved;
        let up = self.up.poll(context, &mut self.client, &mut self.endpoint);
        let down = self.down.poll(context, &mut self.endpoint, &mut self.client);
        let upstream_reason =
            if self.down.moved == 0 { Reason::UpstreamReset } else { Reason::UpstreamTruncated };
        match (up, down) {
            (Poll::Ready(Err(Broken::Sender)), _) | (_, Poll::Ready(Err(Broken::Receiver))) => {
                return Poll::Ready(Err(Reason::ClientClosed));
            }
            (Poll::Ready(Err(Broken::Receiver)), _) | (_, Poll::Ready(Err(Broken::Sender))) => {
                return Poll::Ready(Err(upstream_reason));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ok(())),
            _ => {}
        }
        let now = timer.clock().now();
        if self.up.moved + self.down.moved > before {
            self.moved_at = now;
        }
        timer.poll(context, self.moved_at.after(Some(idle))).map(|()| Err(Reason::IdleTimeout))
    }
}

impl Flow {
    /// Ready when the sender has ended and the receiver knows.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut Stream,
        to: &mut Stream,
    ) -> Poll<Result<(), Broken>> {
        loop {
            while !self.buffer.is_empty() {
                let written = ready!(Pin::new(&mut *to).poll_write(context, self.buffer.filled()));
                match written {
                    Ok(count) if count > 0 => {
                        self.moved += count as u64;
                        self.buffer.consume(count);
                    }
                    Ok(_) | Err(_) => return Poll::Ready(Err(Broken::Receiver)),
                }
            }
            if self.ended {
                if !self.told {
                    // A receiver that is gone already needs not be told.
                    let _ = ready!(Pin::new(&mut *to).poll_shutdown(context));
                    self.told = true;
                }
                return Poll::Ready(Ok(()));
            }
            match self.poll_fill(context, from) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Sender)),
                Poll::Pending => {
                    self.buffer.release();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Reads once. After two full reads the buffer grows: much more is coming.
    fn poll_fill(&mut self, context: &mut Context<'_>, from: &mut Stream) -> Poll<io::Result<usize>> {
        if self.full_reads >= 2 {
            self.buffer.grow(LARGE);
        }
        let spare = self.buffer.spare();
        let room = spare.len();
        let mut read = ReadBuf::new(spare);
        ready!(Pin::new(from).poll_read(context, &mut read))?;
        let count = read.filled().len();
        self.buffer.fill(count);
        self.full_reads = if count == room { self.full_reads.saturating_add(1) } else { 0 };
        Poll::Ready(Ok(count))
    }
}
