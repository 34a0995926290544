//! HTTP/1.1 to clients: one connection, one request after another.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::clock::{Millis, Timer};
use crate::config::listener::{Limits, Protocol};
use crate::h1::scan::Scan;
use crate::h1::{request, request::HeadLimits};
use crate::http::validate::{self, wants_close};
use crate::http::{Framing, Reason, Version};
use crate::net::Wire;
use crate::proxy::body::{BodyReader, BodyWriter};
use crate::proxy::{self, Ended, Room};
use crate::snapshot::Listener;
use crate::units::Generation;

use super::opening::speak;
use super::rest::{self, Resting};
use super::visit::Visit;

mod side;
mod wait;

/// How much of an unread request body is read after an early answer, so that the answer is not
/// lost to a reset (RFC 9112 §9.6).
const DRAIN_BYTES: u64 = 64 * 1024;
/// How long that may take.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Serves a connection until it ends or rests. `wire` may hold bytes already. With [`Opening::Open`] a
/// client that begins as HTTP/2 does is served so.
pub(super) fn serve(visit: Visit, wire: Wire, opening: Opening) -> impl Future<Output = ()> {
    let timer = visit.worker.timers.slot();
    let connection = Connection::new(wire, visit.listener.clone(), timer.clock().now());
    let generation = visit.worker.view().snapshot.generation;
    converse(visit, connection, timer, generation, opening)
}

/// Goes on with a connection that has rested.
pub(super) fn resume(resting: Resting) -> impl Future<Output = ()> {
    let Resting { visit, stream, timer, due, scan, opened, requests, generation } = resting;
    let new = Connection::new(Wire::new(stream), visit.listener.clone(), opened);
    let connection = Connection { requests, scan, idle_until: due, ..new };
    converse(visit, connection, timer, generation, Opening::Past)
}

/// One request after another.
///
/// Not an `async fn`: an open connection is to be small.
#[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
fn converse(
    mut visit: Visit,
    mut connection: Connection,
    timer: Timer,
    mut generation: Generation,
    mut opening: Opening,
) -> impl Future<Output = ()> {
    async move {
        while let Some(arrived) = connection.head(&visit.worker, &timer, opening).await {
            let (mut room, judged) = {
                let (mut room, arrived) = match arrived {
                    Arrived::Head(room, length) => (room, Ok(length)),
                    Arrived::Refused(reason) => (visit.worker.room(), Err(reason)),
                    Arrived::Http2 => return speak(visit, connection.wire, Protocol::H2),
                    Arrived::Nothing(due) => {
                        return rest::begin(connection.rest(visit, timer, due, generation));
                    }
                };
                opening = Opening::Past;
                connection.follow(&mut visit, &mut generation);
                room.exchange.client.clone_from(&visit.peer);
                let judged = connection.accept_head(arrived, &mut room);
                (room, judged)
            };
            let Visit { worker, listener, .. } = &visit;
            let ended = match judged {
                Ok(()) => {
                    connection.closes |= worker.is_draining();
                    proxy::handle(worker, listener, &mut connection, &mut room, &timer).await
                }
                Err(reason) => {
                    connection.closes = true;
                    proxy::refuse(worker, listener, &mut connection, &mut room, &timer, reason).await
                }
            };
            worker.give_back(room);
            if ended == Ended::Broken {
                break;
            }
            if !connection.is_settled() && !connection.settle(&timer).await {
                break;
            }
        }
    }
}

/// Answers a client that speaks HTTP/1.1 where it is not offered, and ends the connection.
pub(super) async fn turn_away(visit: Visit, wire: Wire, reason: Reason) {
    let Visit { worker, listener, peer, .. } = &visit;
    let timer = worker.timers.slot();
    let mut connection = Connection::new(wire, listener.clone(), timer.clock().now());
    connection.closes = true;
    let mut room = worker.room();
    room.exchange.client.clone_from(peer);
    let ended = proxy::refuse(worker, listener, &mut connection, &mut room, &timer, reason).await;
    worker.give_back(room);
    if ended == Ended::Complete {
        connection.settle(&timer).await;
    }
}

/// Where a connection stands before a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// At its beginning, and the client may yet show that it speaks HTTP/2.
    Open,
    /// At its beginning; the version is agreed.
    Agreed,
    /// Behind its first request.
    Past,
}

/// What has come.
enum Arrived {
    /// A whole head, read into this room, and its length.
    Head(Box<Room>, usize),
    /// Something that is refused before it is parsed.
    Refused(Reason),
    /// The beginning of HTTP/2.
    Http2,
    /// No byte for a while; the connection ends at this time if that goes on.
    Nothing(Millis),
}

struct Connection {
    wire: Wire,
    reader: BodyReader,
    writer: BodyWriter,
    scan: Scan,
    listener: Arc<Listener>,
    version: Version,
    opened: Millis,
    requests: u32,
    /// When the wait for a request ends that has begun before a rest; never without one.
    idle_until: Millis,
    /// The connection ends after this answer.
    closes: bool,
    /// The request was written as Go's net/rpc does, and its tunnel opens in the same way.
    bare: bool,
    /// The framing of the answer that has begun.
    answering: Option<Framing>,
    /// What waited in the output when that answer began.
    waiting_before: u32,
}

impl Connection {
    fn new(wire: Wire, listener: Arc<Listener>, opened: Millis) -> Connection {
        Connection {
            wire,
            reader: BodyReader::default(),
            writer: BodyWriter::default(),
            scan: Scan::default(),
            listener,
            version: Version::Http11,
            opened,
            requests: 0,
            idle_until: Millis::NEVER,
            closes: false,
            bare: false,
            answering: None,
            waiting_before: 0,
        }
    }

    /// What is kept while nothing goes over it; the buffers are empty.
    fn rest(self, visit: Visit, timer: Timer, due: Millis, generation: Generation) -> Resting {
        let Connection { scan, opened, requests, .. } = self;
        let (stream, _) = self.wire.into_parts();
        Resting { visit, stream, timer, due, scan, opened, requests, generation }
    }

    /// Goes on under the settings of a reload; a listener that is gone lends its last ones.
    fn follow(&mut self, visit: &mut Visit, generation: &mut Generation) {
        if visit.worker.generation() == *generation {
            return;
        }
        let view = visit.worker.view();
        *generation = view.snapshot.generation;
        if let Some(current) = view.snapshot.listener(visit.listener.number) {
            self.listener = current.clone();
            visit.listener = current;
        }
        visit.listener.judge(&mut visit.peer);
    }

    /// What the listener allows.
    fn limits(&self) -> &Limits {
        &self.listener.settings.limits
    }

    fn head_limits(&self) -> HeadLimits {
        let limits = self.limits();
        HeadLimits { bytes: limits.max_header_bytes.as_usize(), fields: limits.max_headers.get() as usize }
    }

    /// The longest body of a request.
    fn body_limit(&self) -> u64 {
        self.limits().max_body_bytes.get().map_or(u64::MAX, |bytes| bytes.get())
    }

    /// Takes the head off the wire, judges it and prepares for its body.
    fn accept_head(&mut self, arrived: Result<usize, Reason>, room: &mut Room) -> Result<(), Reason> {
        self.requests = self.requests.saturating_add(1);
        // What follows a head that is refused is not known: it is read on for a while behind the answer.
        self.reader.start(Framing::UntilClose);
        self.version = Version::Http11;
        let head = &mut room.exchange.request;
        let length = arrived.inspect_err(|_| request::sketch(self.wire.input.filled(), head))?;
        self.wire.input.consume(length);
        self.version = head.version;
        validate::request(head, self.listener.settings.encoded_slashes)?;
        self.closes = wants_close(head.version, &head.fields);
        if head.framing.exceeds(self.body_limit()) {
            return Err(Reason::BodyTooLarge);
        }
        self.reader.start(head.framing);
        Ok(())
    }

    /// Whether the next request may come.
    fn is_settled(&self) -> bool {
        self.reader.is_clean() && !self.closes
    }

    /// After an answer: reads what is left of the request, and says whether the connection lives on.
    async fn settle(&mut self, timer: &Timer) -> bool {
        if self.is_settled() {
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
        let nothing_unread =
            self.reader.is_clean() && self.wire.input.is_empty() && !self.wire.stream().may_be_read();
        let mut left = DRAIN_BYTES;
        // Closing says the same as shutting down where nothing lies between us and the socket.
        let mut shut = nothing_unread && self.wire.stream().is_plain();
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
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::rc::Rc;

    use tokio::net::UnixStream;

    use super::*;
    use crate::http::Client as Peer;
    use crate::net::Stream;
    use crate::observe::access::Batch;
    use crate::observe::metrics::Registry;
    use crate::observe::writer::{Output, Target, Writer};
    use crate::proxy::Worker;
    use crate::server::Team;
    use crate::snapshot::{Live, Means, build};

    /// What an open connection may cost beside its buffers, which it gives back when idle.
    const CEILING: usize = 920;
    /// The same of one that has rested for a while.
    const RESTING: usize = 240;

    #[tokio::test]
    async fn an_idle_connection_stays_small() {
        let text = "[listener.web]\nbind = \"127.0.0.1:1\"\n[[route]]\nto = \"up\"\n[upstream.up]\nendpoints = [\"127.0.0.1:9\"]";
        let config = crate::config::parse(text, Path::new("proxy.toml"), &|_| None).unwrap();
        let registry = Registry::new(1, []);
        let means = Means {
            registry: &registry,
            acceptor: &|_, _| Err(vec![(0..0, "no TLS here".to_owned())]),
            connector: &|_, _| Ok(None),
        };
        let live = Live::new(build(config, None, &means).unwrap());
        let listener = live.load().listeners().next().cloned().unwrap();
        let writer = Arc::new(Writer::start(Output::open(Target::Off).unwrap(), 1024).unwrap());
        let worker = Rc::new(Worker::new(Arc::new(live), registry.shard(0), Batch::new(writer)));
        let (team, _mailboxes) = Team::new(1);
        let (stream, _client) = UnixStream::pair().unwrap();
        let guard = (team.enter(0), registry.shard(0).connection_opened(listener.counted));
        let visit = Visit { worker, listener, peer: Peer::default(), guard };
        let talk = super::serve(visit, Wire::new(Stream::Unix(stream)), Opening::Open);
        let size = size_of_val(&talk);
        assert!(size <= CEILING, "{size} bytes");
        assert!(size_of::<Resting>() <= RESTING, "{} bytes", size_of::<Resting>());
    }
}
