//! HTTP/2 to clients: one connection, a task for each of its streams.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason as Code, RecvStream};
use tokio::task::JoinSet;

use crate::clock::{Millis, Timer};
use crate::config::listener::Limits;
use crate::h1::request::HeadLimits;
use crate::http::{Client as Peer, Reason, upgrade};
use crate::net::flood::Peer as Side;
use crate::net::{Gauge, Metered, Prefixed};
use crate::proxy::h2::{SEND_BUFFER, window};
use crate::proxy::{self, Ended, Worker};
use crate::snapshot::Listener;
use head::Body;
use stream::Stream;

mod head;
mod notes;
mod stream;

/// How long a client that was told to go may stay without a stream, and one that floods at all.
const FAREWELL: Duration = Duration::from_secs(1);

/// What RFC 9113 §6.5.2 adds to the size of each field.
const FIELD_OVERHEAD: usize = 32;

/// Tasks to one allowed stream: a stream that the client has reset is free for the client at once,
/// while its task is still on its way out.
const TASKS_PER_STREAM: usize = 2;

/// Serves a connection until it ends. Large: to be boxed.
pub async fn serve(worker: &Rc<Worker>, listener: Arc<Listener>, peer: Peer, stream: Prefixed) {
    let timer = worker.timers.slot();
    let opened = timer.clock().now();
    let stream = Metered::new(stream, Side::Client);
    let gauge = stream.gauge();
    let due = opened.after(Some(listener.settings.limits.header_timeout.get()));
    let mut handshake = pin!(builder(&listener).handshake(stream));
    let greeted = poll_fn(|context| match handshake.as_mut().poll(context) {
        Poll::Ready(greeted) => Poll::Ready(Some(greeted)),
        Poll::Pending => timer.poll(context, due).map(|()| None),
    });
    let connection = match greeted.await {
        Some(Ok(connection)) => connection,
        Some(Err(error)) if error.is_library() => {
            return notes::note(worker, &listener, peer, Reason::BadRequestH2);
        }
        Some(Err(_)) | None => return,
    };
    let mut conversation = Conversation {
        worker,
        listener,
        peer,
        connection,
        gauge,
        tasks: JoinSet::new(),
        opened,
        quiet: Some(opened),
        requests: 0,
        closing: false,
        ending: None,
    };
    conversation.run(&timer).await;
    notes::ended(&conversation);
    let Conversation { connection, mut tasks, .. } = conversation;
    // Every stream that is still open learns that its client is gone, and is logged so.
    drop(connection);
    while tasks.join_next().await.is_some() {}
}

/// What the listener allows, in the library's words. Floods are the matter of the [`Gauge`], which
/// lets honest connections live on; the library's limits stay below it as a second line.
fn builder(listener: &Listener) -> Builder {
    let limits = &listener.settings.limits;
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.h2_max_streams.get())
        .initial_window_size(window(limits.h2_stream_window.as_usize()))
        .initial_connection_window_size(window(limits.h2_connection_window.as_usize()))
        .max_header_list_size(window(head_list(limits)))
        .max_concurrent_reset_streams(limits.h2_max_streams.get() as usize)
        // Over the life of a connection, which may be long: the gauge counts them by time.
        .max_local_error_reset_streams(None)
        .max_send_buffer_size(SEND_BUFFER)
        // RFC 8441: WebSocket over a stream.
        .enable_connect_protocol();
    builder
}

/// Size of a head that the library reads, as RFC 9113 §6.5.2 counts it: more than is allowed, so that
/// what is too large is refused here, with an answer and a line of the log.
fn head_list(limits: &Limits) -> usize {
    let lines = FIELD_OVERHEAD * (limits.max_headers.get() as usize + 4);
    (2 * limits.max_header_bytes.as_usize()).saturating_add(lines)
}

struct Conversation<'worker> {
    worker: &'worker Rc<Worker>,
    listener: Arc<Listener>,
    peer: Peer,
    connection: h2::server::Connection<Metered<Prefixed>, Bytes>,
    /// What the client has cost.
    gauge: Gauge,
    tasks: JoinSet<()>,
    opened: Millis,
    /// Since when no stream is served; `None` while one is.
    quiet: Option<Millis>,
    requests: u64,
    /// The client was told to open no more streams.
    closing: bool,
    /// When the connection is cut, whatever its streams do: it floods or has broken a rule.
    ending: Option<Millis>,
}

type Request = (::http::Request<RecvStream>, SendResponse<Bytes>);

impl Conversation<'_> {
    /// Takes streams until the connection ends.
    async fn run(&mut self, timer: &Timer) {
        while let Some((request, respond)) = self.next(timer).await {
            self.begin(request, respond);
        }
    }

    /// The next request; `None` at the end of the connection.
    async fn next(&mut self, timer: &Timer) -> Option<Request> {
        poll_fn(|context| {
            loop {
                while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(context) {}
                self.end_flood(timer);
                match self.connection.poll_accept(context) {
                    Poll::Ready(Some(Ok(request))) => return Poll::Ready(Some(request)),
                    Poll::Ready(Some(Err(error))) => {
                        tracing::debug!(%error, "an HTTP/2 connection broke");
                        return Poll::Ready(None);
                    }
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => {}
                }
                notes::refused(self);
                if self.end_flood(timer) {
                    continue;
                }
                let now = timer.clock().now();
                self.quiet = self.tasks.is_empty().then(|| self.quiet.unwrap_or(now));
                if self.should_close(now) {
                    self.close(now);
                    continue;
                }
                let (due, ends) = self.deadline();
                if timer.poll(context, due).is_pending() {
                    return Poll::Pending;
                }
                if ends {
                    return Poll::Ready(None);
                }
                self.close(now);
            }
        })
        .await
    }

    /// Tells a client that floods to go, and its streams that it is gone (RFC 9113 §10.5). `true` when
    /// it has just been told.
    fn end_flood(&mut self, timer: &Timer) -> bool {
        let is_flood = self.gauge.flood().is_some();
        if self.ending.is_some() || !(is_flood || self.gauge.is_shutting()) {
            return false;
        }
        self.ending = Some(timer.clock().now().after(Some(FAREWELL)));
        self.closing = true;
        if is_flood {
            self.connection.abrupt_shutdown(Code::ENHANCE_YOUR_CALM);
        }
        is_flood
    }

    /// Whether the client is to be told to go although it does something.
    fn should_close(&self, now: Millis) -> bool {
        let limits = &self.listener.settings.limits;
        let age = limits.max_connection_age.get().map(|span| span.get());
        let most = limits.max_requests_per_connection.get().unwrap_or(u64::MAX);
        let old = now >= self.opened.after(age);
        !self.closing && (self.worker.is_draining() || self.requests >= most || old)
    }

    /// Says GOAWAY (RFC 9113 §6.8): the library sends it twice, a round trip apart, so that no
    /// request which is on its way is lost.
    fn close(&mut self, now: Millis) {
        self.closing = true;
        self.quiet = self.quiet.map(|_| now);
        self.connection.graceful_shutdown();
    }

    /// When something is to be done although nothing comes, and whether that is the end.
    fn deadline(&self) -> (Millis, bool) {
        if let Some(ending) = self.ending {
            return (ending, true);
        }
        let limits = &self.listener.settings.limits;
        let aged = match limits.max_connection_age.get() {
            Some(age) if !self.closing => self.opened.after(Some(age.get())),
            _ => Millis::NEVER,
        };
        let Some(quiet) = self.quiet else { return (aged, false) };
        if self.connection.has_streams() {
            // Answers lie in the library and the client does not read them.
            return (quiet.after(Some(limits.write_timeout.get())), true);
        }
        if self.closing {
            return (quiet.after(Some(FAREWELL)), true);
        }
        (quiet.after(Some(limits.idle_timeout.get())).min(aged), false)
    }

    fn begin(&mut self, request: ::http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        self.gauge.accepted(respond.stream_id().as_u32());
        let number = self.listener.number;
        if let Some(listener) = self.worker.view().snapshot.listener(number) {
            self.listener = listener;
        }
        let most = self.listener.settings.limits.h2_max_streams.get() as usize;
        if self.tasks.len() >= most.saturating_mul(TASKS_PER_STREAM) {
            respond.send_reset(Code::REFUSED_STREAM);
            return;
        }
        self.requests += 1;
        self.quiet = None;
        let (worker, listener, peer) = (self.worker.clone(), self.listener.clone(), self.peer.clone());
        // Boxed: a task that holds its future itself moves it four times while it begins and ends.
        self.tasks.spawn_local(Box::pin(answer(
            worker,
            listener,
            peer,
            self.gauge.clone(),
            request,
            respond,
        )));
    }
}

/// Answers one request.
async fn answer(
    worker: Rc<Worker>,
    listener: Arc<Listener>,
    peer: Peer,
    gauge: Gauge,
    request: ::http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let timer = worker.timers.slot();
    let limits = &listener.settings.limits;
    let head_limits =
        HeadLimits { bytes: limits.max_header_bytes.as_usize(), fields: limits.max_headers.get() as usize };
    let most = limits.max_body_bytes.get().map_or(u64::MAX, |bytes| bytes.get());
    let (parts, body) = request.into_parts();
    let has_body = if body.is_end_stream() { Body::Absent } else { Body::Follows };
    let mut stream = Stream::new(body, respond, most);
    let mut room = worker.room();
    room.exchange.client = peer;
    listener.judge(&mut room.exchange.client);
    let slashes = listener.settings.encoded_slashes;
    let request = &mut room.exchange.request;
    let judged = head::read(&parts, has_body, head_limits, slashes, request)
        .and_then(|()| if request.framing.exceeds(most) { Err(Reason::BodyTooLarge) } else { Ok(()) });
    drop(parts);
    upgrade::translate(request, || worker.identity(worker.timers.stamp()));
    let ended = match judged {
        Ok(()) => proxy::handle(&worker, &listener, &mut stream, &mut room, &timer).await,
        Err(reason) => {
            gauge.refused();
            proxy::refuse(&worker, &listener, &mut stream, &mut room, &timer, reason).await
        }
    };
    worker.give_back(room);
    if ended == Ended::Complete {
        if judged.is_ok() {
            gauge.useful();
        }
        stream.drain(&timer).await;
    }
}
