//! One attempt: send the request to one endpoint, wait for its answer, stream both ways at once.

use std::task::{Context, Poll};
use std::time::Duration;

use super::client::{Client, Gone};
use super::link::{Head, Link};
use super::pump::{End, Fault, Nothing, Pump};
use super::recoded::Recoded;
use super::replay::Upload;
use super::worker::{Fleet, Room, Worker};
use crate::clock::{Millis, Timer};
use crate::config::listener::Limits;
use crate::http::grpc::{self, Dialect};
use crate::http::{Exchange, Framing, Name, Reason, RequestHead, Version};
use crate::snapshot::{Listener, Route};

/// Most interim answers (1xx) that an endpoint may send for one request.
const MAX_INTERIM: u32 = 256;

/// A client whose end comes together with its request, at most so long after it, has not given
/// up: it has said all that it had to say (`nc`, old clients, checks of load balancers), and its
/// answer is awaited as any other.
const FAREWELL: Duration = Duration::from_millis(3);

/// How long an answer is still awaited for a client that has ended its own side later: it may be
/// reading, but most likely it has gone, and TCP tells the two apart only when something is sent.
const HALF_CLOSED_GRACE: Duration = Duration::from_secs(1);

/// Everything that the attempts of one exchange share.
pub(super) struct Call<'call, C> {
    pub worker: &'call Worker,
    pub client: &'call mut C,
    pub room: &'call mut Room,
    pub timer: &'call Timer,
    pub route: &'call Route,
    pub fleet: &'call Fleet,
    /// When the whole exchange must be over, and what it means when it is not.
    pub until: Deadline,
    pub patience: Patience<'call>,
}

/// How long a listener waits for its clients. A reference, since open connections hold it.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'listener>(&'listener Limits);

impl<'listener> Patience<'listener> {
    /// The patience of a listener.
    pub fn of(listener: &'listener Listener) -> Patience<'listener> {
        Patience(&listener.settings.limits)
    }

    /// Longest silence between bytes of a request body.
    pub fn body(self) -> Duration {
        self.0.body_timeout.get()
    }

    /// Longest time without progress while the client does not read.
    pub fn write(self) -> Duration {
        self.0.write_timeout.get()
    }
}

/// Where one attempt stands.
pub(super) struct Attempt {
    begun: Millis,
    upload: Pump,
    download: Pump,
    /// The endpoint has stopped reading the request; its answer may still come.
    cut: bool,
    interim: u32,
    ending: Ending,
}

/// How the client has ended its side, if it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It has not.
    Open,
    /// With its request.
    Told,
    /// While it waited, at that time.
    Late(Millis),
}

/// A deadline with what it means when it comes.
pub(super) type Deadline = (Millis, Reason);

impl Attempt {
    pub(super) fn begin(now: Millis, exchange: &Exchange) -> Attempt {
        let mut attempt = Attempt::open(now);
        if exchange.request.framing == Framing::None && exchange.upload.is_none() {
            attempt.upload.skip_to_end();
        }
        attempt
    }

    /// Both ways open.
    fn open(now: Millis) -> Attempt {
        Attempt {
            begun: now,
            upload: Pump::starting_at(now),
            download: Pump::starting_at(now),
            cut: false,
            interim: 0,
            ending: Ending::Open,
        }
    }

    /// Whether the request has gone out whole.
    pub(super) fn is_sent(&self) -> bool {
        self.upload.is_done() && !self.cut
    }

    /// Payload bytes sent to the endpoint and to the client.
    pub(super) fn moved(&self) -> (u64, u64) {
        (self.upload.moved(), self.download.moved())
    }

    /// Ready when the head of the answer is in `room.exchange.response`. The request body goes out
    /// meanwhile.
    pub(super) fn poll_answer<C: Client>(
        &mut self,
        context: &mut Context<'_>,
        call: &mut Call<'_, C>,
        link: &mut Link,
    ) -> Poll<Result<(), Reason>> {
        if let Some(fault) = self.poll_upload(context, call, link) {
            match fault.end {
                End::Source => return Poll::Ready(Err(fault.reason)),
                End::Sink => self.cut = true,
            }
        }
        loop {
            // What was passed on leaves before more is read: the endpoint waits for a client that does not
            // read.
            if self.interim > 0 && call.client.poll_flush(context)?.is_pending() {
                break;
            }
            let exchange = &mut call.room.exchange;
            match link.poll_head(context, exchange.request.method, &mut exchange.response) {
                Poll::Ready(Ok(Head::Final)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(Head::Interim)) => self.pass_interim(call)?,
                Poll::Ready(Err(reason)) => return Poll::Ready(Err(reason)),
                Poll::Pending => break,
            }
        }
        self.watch_client(context, call)?;
        let deadline = self.answer_deadline(call);
        self.poll_deadline(context, call, deadline)
    }

    /// The head of the answer has come: a silence of its body begins now, not with the request.
    pub(super) fn answered(&mut self, now: Millis) {
        self.download.begin_wait(now);
    }

    /// Ready when the whole answer has gone to the client.
    pub(super) fn poll_stream<C: Client>(
        &mut self,
        context: &mut Context<'_>,
        call: &mut Call<'_, C>,
        link: &mut Link,
    ) -> Poll<Result<(), Reason>> {
        // An endpoint that has begun to answer may leave the rest of the request unread, and what
        // is wrong with that rest does not take the answer back, unless nobody is there to read it.
        if let Some(fault) = self.poll_upload(context, call, link) {
            if fault.reason == Reason::ClientClosed {
                return Poll::Ready(Err(fault.reason));
            }
            self.cut = true;
        }
        let recoder = call.room.exchange.download.as_deref_mut();
        match self.download.poll(context, &mut Recoded { source: link, recoder }, call.client) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault.reason)),
            Poll::Pending => {}
        }
        if self.download.waits_for() == End::Source {
            self.watch_client(context, call)?;
        }
        let deadline = self.stream_deadline(call);
        self.poll_deadline(context, call, deadline)
    }

    /// Carries bytes both ways until each side has ended its own. Called once the endpoint has agreed
    /// and the client knows; both have left HTTP behind then.
    pub(super) fn begin_tunnel<C: Client>(&mut self, call: &mut Call<'_, C>) {
        let now = call.worker.timers.now();
        *self = Attempt::open(now);
        // The exchange is over when the tunnel has begun; how long that lasts is for `idle` to say.
        call.until = (Millis::NEVER, Reason::RequestDeadline);
    }

    /// Ready when both sides have ended.
    pub(super) fn poll_tunnel<C: Client>(
        &mut self,
        context: &mut Context<'_>,
        call: &mut Call<'_, C>,
        link: &mut Link,
    ) -> Poll<Result<(), Reason>> {
        if !self.cut && !self.upload.is_done() {
            match self.upload.poll_turn(context, call.client, link) {
                Poll::Ready(Err(Fault { end: End::Source, reason })) => return Poll::Ready(Err(reason)),
                // What the endpoint has sent before it closed is still to be read.
                Poll::Ready(Err(Fault { end: End::Sink, .. })) => self.cut = true,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        if !self.download.is_done()
            && let Poll::Ready(Err(fault)) = self.download.poll(context, link, call.client)
        {
            return Poll::Ready(Err(fault.reason));
        }
        if self.download.is_done() && (self.cut || self.upload.is_done()) {
            return Poll::Ready(Ok(()));
        }
        let deadline = self.tunnel_deadline(call);
        self.poll_deadline(context, call, deadline)
    }

    fn tunnel_deadline<C: Client>(&mut self, call: &Call<'_, C>) -> Deadline {
        let clock = &call.worker.timers;
        let last = self.upload.last_progress(clock).max(self.download.last_progress(clock));
        // A client that goes on talking to an endpoint which has ended is cut before long.
        let idle = call.route.timeouts.idle.get();
        let patience = if self.download.is_done() { call.patience.write().min(idle) } else { idle };
        (last.after(Some(patience)), Reason::IdleTimeout)
    }

    fn poll_upload<C: Client>(
        &mut self,
        context: &mut Context<'_>,
        call: &mut Call<'_, C>,
        link: &mut Link,
    ) -> Option<Fault> {
        if self.cut || self.upload.is_done() {
            return None;
        }
        let polled = if holds_back(&call.room.exchange.request) {
            self.upload.poll_turn(context, &mut Nothing::default(), link)
        } else {
            let Room { exchange, replay, .. } = &mut *call.room;
            let recoder = exchange.upload.as_deref_mut();
            let mut source = Upload { source: Recoded { source: call.client, recoder }, replay };
            self.upload.poll_turn(context, &mut source, link)
        };
        match polled {
            Poll::Ready(Err(fault)) => Some(fault),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        }
    }

    /// 103 and 102 go to every client that can take them, 100 only to one that waits for it.
    fn pass_interim<C: Client>(&mut self, call: &mut Call<'_, C>) -> Result<(), Reason> {
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(Reason::TooManyInterim);
        }
        let exchange = &call.room.exchange;
        let wanted = exchange.response.status != 100 || exchange.request.fields.get(Name::Expect).is_some();
        if wanted && exchange.request.version != Version::Http10 {
            call.client.interim(exchange);
        }
        Ok(())
    }

    /// Looks whether a client that has nothing more to say is still there.
    fn watch_client<C: Client>(
        &mut self,
        context: &mut Context<'_>,
        call: &mut Call<'_, C>,
    ) -> Result<(), Reason> {
        let is_heard = self.cut || call.client.is_request_read() || holds_back(&call.room.exchange.request);
        if !is_heard || self.ending != Ending::Open {
            return Ok(());
        }
        match call.client.poll_gone(context) {
            Poll::Ready(Gone::Away) => Err(Reason::ClientClosed),
            Poll::Ready(Gone::HalfClosed) => {
                let clock = &call.worker.timers;
                let asked = call.room.journal.started.millis().max(self.upload.last_progress(clock));
                let is_farewell = clock.now() <= asked.after(Some(FAREWELL));
                self.ending = if is_farewell { Ending::Told } else { Ending::Late(clock.now()) };
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }

    fn answer_deadline<C: Client>(&mut self, call: &Call<'_, C>) -> Deadline {
        let clock = &call.worker.timers;
        let sending = !self.cut && !self.upload.is_done();
        let progress = self.upload.last_progress(clock);
        if sending && self.upload.waits_for() == End::Source {
            // A gRPC stream may be quiet for as long as its route allows.
            let is_call = grpc::dialect(&call.room.exchange) == Some(Dialect::Native);
            let silence = if is_call { call.route.timeouts.idle.get() } else { call.patience.body() };
            return (progress.after(Some(silence)), Reason::RequestTimeout);
        }
        let since = self.begun.max(progress);
        (since.after(Some(call.route.timeouts.response.get())), Reason::ResponseTimeout)
    }

    fn stream_deadline<C: Client>(&mut self, call: &Call<'_, C>) -> Deadline {
        let clock = &call.worker.timers;
        let (up, down) = (self.upload.last_progress(clock), self.download.last_progress(clock));
        match self.download.waits_for() {
            End::Sink => (down.after(Some(call.patience.write())), Reason::ClientStalled),
            End::Source => (up.max(down).after(Some(call.route.timeouts.idle.get())), Reason::IdleTimeout),
        }
    }

    /// Waits for the nearest of the phase's deadline, the exchange's, and the grace of a
    /// half-closed client.
    fn poll_deadline<C: Client>(
        &mut self,
        context: &mut Context<'_>,
        call: &Call<'_, C>,
        phase: Deadline,
    ) -> Poll<Result<(), Reason>> {
        let progress = self.download.last_progress(&call.worker.timers);
        let grace = match self.ending {
            Ending::Open | Ending::Told => Millis::NEVER,
            Ending::Late(since) => since.max(progress).after(Some(HALF_CLOSED_GRACE)),
        };
        let nearest = [phase, call.until, (grace, Reason::ClientClosed)]
            .into_iter()
            .min_by_key(|(due, _)| *due)
            .unwrap_or(phase);
        call.timer.poll(context, nearest.0).map(|()| Err(nearest.1))
    }
}

/// Whether what follows the head is for the tunnel that the endpoint has not agreed to yet.
fn holds_back(request: &RequestHead) -> bool {
    request.asks_for_tunnel() && request.framing.is_empty()
}
