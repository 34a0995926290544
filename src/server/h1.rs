//! HTTP/1.1 to clients: one connection, one request after another.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::clock::{Millis, Timer, Timers};
use crate::h1::scan::Scan;
use crate::h1::write::{self, Persistence};
use crate::h1::{request, request::HeadLimits};
use crate::http::validate::{self, MAX_REQUEST_LINE, wants_close};
use crate::http::{Client as Peer, Exchange, Fields, Framing, Name, Reason, Version};
use crate::net::Wire;
use crate::net::buffer::SMALL;
use crate::proxy::body::{BodyReader, BodyWriter, ReadError};
use crate::proxy::pump::{Sink, Source};
use crate::proxy::{self, Client, Ended, Gone, Room, Worker};
use crate::snapshot::Listener;

/// How much of an unread request body is read after an early answer, so that the answer is not
/// lost to a reset (RFC 9112 §9.6).
const DRAIN_BYTES: u64 = 64 * 1024;
/// How long that may take.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Serves a connection until it ends. `wire` may hold bytes already.
///
/// Not an `async fn`: that would keep the room of its arguments beside what is made of them, and
/// an idle connection is to be small.
pub fn serve(
    worker: &Rc<Worker>,
    mut listener: Arc<Listener>,
    peer: Peer,
    wire: Wire,
) -> impl Future<Output = ()> {
    let timer = worker.timers.slot();
    let mut connection = Connection::new(wire, &timer);
    let mut first = true;
    async move {
        loop {
            listener = worker.view().snapshot.listener(listener.number).unwrap_or(listener);
            connection.limits = Limits::of(&listener);
            let Some(arrived) = connection.head(worker, &timer, first).await else { break };
            first = false;
            let mut room = worker.room();
            room.exchange.client = peer;
            room.exchange.client.trusted = listener.trusts(peer.address.ip());
            let ended = match connection.read_head(arrived, &mut room) {
                Ok(()) => {
                    connection.closes |= worker.is_draining();
                    proxy::handle(worker, &listener, &mut connection, &mut room, &timer).await
                }
                Err(reason) => {
                    connection.closes = true;
                    proxy::refuse(worker, &listener, &mut connection, &mut room, &timer, reason).await
                }
            };
            worker.give_back(room);
            if ended == Ended::Broken || !connection.settle(&timer).await {
                break;
            }
        }
    }
}

/// Answers a client that speaks HTTP/1.1 where it is not offered, and ends the connection.
pub async fn turn_away(worker: &Rc<Worker>, listener: &Listener, peer: Peer, wire: Wire, reason: Reason) {
    let timer = worker.timers.slot();
    let mut connection = Connection::new(wire, &timer);
    connection.closes = true;
    let mut room = worker.room();
    room.exchange.client = peer;
    let ended = proxy::refuse(worker, listener, &mut connection, &mut room, &timer, reason).await;
    worker.give_back(room);
    if ended == Ended::Complete {
        connection.settle(&timer).await;
    }
}

/// What the listener allows.
#[derive(Clone, Copy, Debug)]
struct Limits {
    head: HeadLimits,
    body: u64,
    requests: u64,
    age: Option<Duration>,
    header_timeout: Duration,
    idle_timeout: Duration,
    slashes: crate::http::path::EncodedSlashes,
}

impl Limits {
    fn of(listener: &Listener) -> Limits {
        let limits = &listener.settings.limits;
        Limits {
            head: HeadLimits {
                bytes: limits.max_header_bytes.as_usize(),
                fields: limits.max_headers.get() as usize,
            },
            body: limits.max_body_bytes.get().map_or(u64::MAX, |bytes| bytes.get()),
            requests: limits.max_requests_per_connection.get().unwrap_or(u64::MAX),
            age: limits.max_connection_age.get().map(|span| span.get()),
            header_timeout: limits.header_timeout.get(),
            idle_timeout: limits.idle_timeout.get(),
            slashes: listener.settings.encoded_slashes,
        }
    }
}

/// A head that has come, or the reason why it is refused before it is parsed.
type Arrived = Result<usize, Reason>;

struct Connection {
    wire: Wire,
    reader: BodyReader,
    writer: BodyWriter,
    scan: Scan,
    limits: Limits,
    version: Version,
    opened: Millis,
    requests: u64,
    /// The connection ends after this answer.
    closes: bool,
    /// The framing of the answer that has begun.
    answering: Option<Framing>,
    /// What was written, and what waited in the output, when that answer began.
    before_answer: (u64, usize),
}

impl Connection {
    fn new(wire: Wire, timer: &Timer) -> Connection {
        Connection {
            wire,
            reader: BodyReader::default(),
            writer: BodyWriter::default(),
            scan: Scan::default(),
            limits: Limits {
                head: HeadLimits { bytes: 0, fields: 0 },
                body: 0,
                requests: 0,
                age: None,
                header_timeout: Duration::ZERO,
                idle_timeout: Duration::ZERO,
                slashes: crate::http::path::EncodedSlashes::Keep,
            },
            version: Version::Http11,
            opened: timer.clock().now(),
            requests: 0,
            closes: false,
            answering: None,
            before_answer: (0, 0),
        }
    }

    /// Waits for the next head; `None` when the connection has ended or stayed idle too long.
    /// Cancel-safe: what was read stays in the wire.
    async fn head(&mut self, worker: &Worker, timer: &Timer, first: bool) -> Option<Arrived> {
        (self.scan, self.answering) = (Scan::default(), None);
        // A new client has no more time than one that has begun its head.
        let patience = if first { self.limits.header_timeout } else { self.limits.idle_timeout };
        let mut due = timer.clock().now().after(Some(patience));
        let (mut started, mut draining) = (first, false);
        poll_fn(|context| {
            loop {
                if let Some(arrived) = self.look_for_head() {
                    return Poll::Ready(Some(arrived));
                }
                match self.wire.poll_fill(context) {
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(None),
                    Poll::Pending => break,
                }
            }
            if self.wire.input.is_empty() {
                self.wire.rest();
            } else if !started {
                started = true;
                due = timer.clock().now().after(Some(self.limits.header_timeout));
            }
            if worker.is_draining() && !started && !draining {
                // A request may be on its way already, so an idle connection is not cut at once.
                draining = true;
                due = due.min(timer.clock().now().after(Some(DRAIN_TIME)));
            }
            ready!(timer.poll(context, due));
            Poll::Ready((!self.wire.input.is_empty()).then_some(Err(Reason::RequestTimeout)))
        })
        .await
    }

    fn look_for_head(&mut self) -> Option<Arrived> {
        // One empty line before a request line is skipped (RFC 9112 §2.2).
        if self.scan.is_fresh() && self.wire.input.filled().starts_with(b"\r\n") {
            self.wire.input.consume(2);
        }
        let bytes = self.wire.input.filled();
        match self.scan.end_of_head(bytes) {
            Ok(Some(length)) if length > self.limits.head.bytes => Some(Err(Reason::HeaderTooLarge)),
            Ok(Some(length)) => Some(Ok(length)),
            Err(_) if memchr::memchr(b'\n', bytes).is_some_and(|feed| !bytes[..feed].ends_with(b"\r")) => {
                Some(Err(Reason::BadRequestLine))
            }
            Err(_) => Some(Err(Reason::BadRequestField)),
            Ok(None) if bytes.len() >= MAX_REQUEST_LINE && memchr::memchr(b'\n', bytes).is_none() => {
                Some(Err(Reason::TargetTooLong))
            }
            Ok(None) if bytes.len() >= self.limits.head.bytes => Some(Err(Reason::HeaderTooLarge)),
            Ok(None) => None,
        }
    }

    /// Takes the head off the wire, judges it and prepares for its body.
    fn read_head(&mut self, arrived: Arrived, room: &mut Room) -> Result<(), Reason> {
        self.requests += 1;
        self.reader.start(Framing::None);
        self.version = Version::Http11;
        let length = arrived?;
        let head = &mut room.exchange.request;
        request::parse(&self.wire.input.filled()[..length], self.limits.head, head)?;
        self.wire.input.consume(length);
        self.version = head.version;
        validate::request(head, self.limits.slashes)?;
        self.closes = wants_close(head.version, head.fields.all(Name::Connection));
        if head.framing.exceeds(self.limits.body) {
            return Err(Reason::BodyTooLarge);
        }
        self.reader.start(head.framing);
        Ok(())
    }

    /// After an answer: reads what is left of the request, and says whether the connection lives on.
    async fn settle(&mut self, timer: &Timer) -> bool {
        if self.reader.is_clean() && !self.closes {
            return true;
        }
        let due = timer.clock().now().after(Some(DRAIN_TIME));
        if !self.closes && self.drain_body(timer, due).await {
            return true;
        }
        self.linger(timer, due).await;
        false
    }

    /// Reads the rest of the request body; `false` when it is too long in coming.
    async fn drain_body(&mut self, timer: &Timer, due: Millis) -> bool {
        let mut left = DRAIN_BYTES;
        poll_fn(|context| {
            while !self.reader.is_clean() {
                match self.reader.poll(context, &mut self.wire) {
                    Poll::Ready(Ok(count)) if (count as u64) <= left => {
                        left -= count as u64;
                        self.reader.consume(&mut self.wire, count);
                    }
                    Poll::Ready(_) => return Poll::Ready(false),
                    Poll::Pending => return timer.poll(context, due).map(|()| false),
                }
            }
            Poll::Ready(true)
        })
        .await
    }

    /// Ends our side and waits for the client to end its own, so that it reads the answer before
    /// anything resets the connection.
    async fn linger(&mut self, timer: &Timer, due: Millis) {
        // A client that has sent nothing more can not make the kernel reset the connection.
        let nothing_unread = self.reader.is_clean() && self.wire.input.is_empty();
        let mut left = DRAIN_BYTES;
        let mut shut = false;
        poll_fn(|context| {
            if !shut {
                match self.wire.poll_shutdown(context) {
                    Poll::Ready(Ok(())) => shut = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return timer.poll(context, due),
                }
            }
            if nothing_unread {
                return Poll::Ready(());
            }
            loop {
                self.wire.input.consume(usize::MAX);
                match self.wire.poll_fill(context) {
                    Poll::Ready(Ok(count)) if count > 0 && (count as u64) < left => left -= count as u64,
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return timer.poll(context, due),
                }
            }
        })
        .await;
    }

    /// How the connection goes on after the answer whose head is being written.
    fn persistence(&mut self, framing: Framing, clock: &Timers) -> Persistence {
        let old = self.limits.age.is_some_and(|age| clock.now() >= self.opened.after(Some(age)));
        self.closes |= framing == Framing::UntilClose || old || self.requests >= self.limits.requests;
        match (self.closes, self.version) {
            (true, _) => Persistence::Close,
            (false, Version::Http10) => Persistence::KeepTold,
            (false, _) => Persistence::Keep,
        }
    }
}

impl Client for Connection {
    fn interim(&mut self, exchange: &Exchange) {
        let output = &mut self.wire.output;
        write::interim(&exchange.response, |bytes| output.push(bytes));
    }

    fn respond(&mut self, exchange: &Exchange, clock: &Timers) {
        let (request, response) = (&exchange.request, &exchange.response);
        let framing = write::framing_for(self.version, request.method, response.status, response.framing);
        let persistence = self.persistence(framing, clock);
        let length = response.fields.get(Name::ContentLength);
        self.before_answer = (self.wire.written(), self.wire.output.len());
        let output = &mut self.wire.output;
        write::response(response, framing, length, persistence, |bytes| output.push(bytes));
        self.writer.start(framing);
        self.answering = Some(framing);
    }

    fn take_back(&mut self) -> bool {
        let (written, waiting) = self.before_answer;
        let is_unsent = self.wire.written() == written;
        if is_unsent {
            self.wire.output.truncate(waiting);
            self.answering = None;
        }
        is_unsent
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Gone> {
        while self.wire.input.len() < SMALL {
            match self.wire.poll_fill(context) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Gone::HalfClosed),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Gone::Away),
                Poll::Pending => {
                    self.wire.input.release();
                    return Poll::Pending;
                }
            }
        }
        Poll::Pending
    }

    fn is_request_read(&self) -> bool {
        self.reader.is_clean()
    }

    fn abort(&mut self) {
        self.closes = true;
        if self.answering == Some(Framing::UntilClose) {
            self.wire.stream().reset_on_close();
        }
    }
}

impl Source for Connection {
    fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let read = ready!(self.reader.poll(context, &mut self.wire));
        if self.reader.size() > self.limits.body {
            self.closes = true;
            return Poll::Ready(Err(Reason::BodyTooLarge));
        }
        Poll::Ready(read.map(drop).map_err(|error| {
            self.closes = true;
            match error {
                ReadError::Malformed => Reason::BadRequestChunk,
                ReadError::Truncated => Reason::BodyTruncated,
                ReadError::Io(_) => Reason::ClientClosed,
            }
        }))
    }

    fn payload(&self) -> &[u8] {
        self.reader.payload(&self.wire)
    }

    fn consume(&mut self, count: usize) {
        self.reader.consume(&mut self.wire, count);
    }

    fn trailers(&self) -> &Fields {
        self.reader.trailers()
    }
}

impl Sink for Connection {
    fn poll_take(&mut self, context: &mut Context<'_>, payload: &[u8]) -> Poll<Result<usize, Reason>> {
        self.writer.poll_data(context, &mut self.wire, payload).map_err(gone)
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        self.wire.poll_flush(context).map_err(gone)
    }

    fn poll_finish(&mut self, context: &mut Context<'_>, trailers: &Fields) -> Poll<Result<(), Reason>> {
        self.writer.poll_finish(context, &mut self.wire, trailers).map_err(gone)
    }
}

fn gone(error: io::Error) -> Reason {
    tracing::debug!(%error, "writing to the client failed");
    Reason::ClientClosed
}
