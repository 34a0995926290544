//! Moves one body from its source to its sink, as fast as the slower of the two.
//!
//! Two pumps run an exchange, one a direction, polled by the same task: full duplex without locks
//! and without a copy of the proxy loop for each pair of protocols.

use std::task::{Context, Poll, ready};

use crate::clock::{Millis, Timers};
use crate::http::{Fields, Reason};
use crate::net::Pipe;
use crate::proxy::body::BULK;

/// How many pieces a pump moves before the other one of its task has its turn. A piece costs one read
/// and one write, sometimes a second read, and tokio grants a task 128 of them.
const TURN: usize = 32;

/// Where a body comes from.
pub trait Source {
    /// Ready when payload is there or the body has ended; the payload is then in
    /// [`Source::payload`], empty at the end.
    fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>>;
    /// The payload that is ready.
    fn payload(&self) -> &[u8];
    /// Drops payload from the front.
    fn consume(&mut self, count: usize);
    /// Trailer fields, complete at the end of the body.
    fn trailers(&self) -> &Fields;
    /// How many bytes a pipe could take past the payload that is ready; 0 where it is ready, framed,
    /// encrypted or looked at.
    fn ahead(&self) -> u64 {
        0
    }
    /// Puts at most `most` bytes of what is ahead into an empty pipe, at least one.
    fn poll_fill_pipe(&mut self, _: &mut Context<'_>, _: &mut Pipe, _: usize) -> Poll<Result<(), Reason>> {
        Poll::Ready(Err(Reason::Internal))
    }
}

/// A body of no bytes, with these trailers.
#[derive(Debug, Default)]
pub struct Nothing(pub Fields);

impl Source for Nothing {
    fn poll_payload(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        Poll::Ready(Ok(()))
    }

    fn payload(&self) -> &[u8] {
        &[]
    }

    fn consume(&mut self, _: usize) {}

    fn trailers(&self) -> &Fields {
        &self.0
    }
}

/// Where a body goes.
pub trait Sink {
    /// Takes payload, at least one byte, and says how much.
    fn poll_take(&mut self, context: &mut Context<'_>, payload: &[u8]) -> Poll<Result<usize, Reason>>;
    /// How many bytes it would take from a pipe.
    fn room(&self) -> u64 {
        0
    }
    /// Takes payload from a pipe, which holds no more than there is room for, and says how much.
    fn poll_take_pipe(&mut self, _: &mut Context<'_>, _: &mut Pipe) -> Poll<Result<usize, Reason>> {
        Poll::Ready(Err(Reason::Internal))
    }
    /// Hands on what was taken.
    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>>;
    /// Ends the body and hands everything on.
    fn poll_finish(&mut self, context: &mut Context<'_>, trailers: &Fields) -> Poll<Result<(), Reason>>;
}

/// One end of a pump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The side that bytes come from.
    Source,
    /// The side that bytes go to.
    Sink,
}

/// Which end failed, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The end that failed.
    pub end: End,
    /// Why.
    pub reason: Reason,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Flowing,
    Finishing,
    Done,
}

/// The state of one direction.
#[derive(Debug)]
pub struct Pump {
    state: State,
    waiting: End,
    moved: u64,
    /// What is between two sockets.
    pipe: Option<Pipe>,
    /// Whether bytes have gone through a pipe: then the rest does, too.
    piped: bool,
    /// What had been moved when the clock was last looked at, and when that was.
    seen: (u64, Millis),
}

impl Pump {
    /// A pump that has not moved anything.
    pub fn starting_at(now: Millis) -> Pump {
        Pump {
            state: State::Flowing,
            waiting: End::Source,
            moved: 0,
            pipe: None,
            piped: false,
            seen: (0, now),
        }
    }

    /// There is nothing to move: only the end is left to be told.
    pub fn skip_to_end(&mut self) {
        self.state = State::Finishing;
    }

    /// Payload bytes moved.
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether everything has been moved.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Which end it waits for; of meaning after `poll` was pending.
    pub fn waits_for(&self) -> End {
        self.waiting
    }

    /// Counts the time without progress from now on: what was waited for until now was something else.
    pub fn begin_wait(&mut self, now: Millis) {
        self.seen.1 = now;
    }

    /// When it last moved a byte, as precise as it is asked often.
    pub fn last_progress(&mut self, clock: &Timers) -> Millis {
        if self.seen.0 != self.moved {
            self.seen = (self.moved, clock.now());
        }
        self.seen.1
    }

    /// Moves what can be moved. Ready when the body has ended and the sink has all of it.
    pub fn poll(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl Source,
        sink: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        while self.state != State::Done {
            ready!(self.poll_step(context, source, sink))?;
        }
        Poll::Ready(Ok(()))
    }

    /// The same for the first of two pumps of a task: when it has moved so much that it would go on for
    /// ever, the other one has its turn. Otherwise all that tokio lets a task read and write before
    /// others have theirs would be this one's, and nothing would be left for the other.
    pub fn poll_turn(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl Source,
        sink: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        for _ in 0..TURN {
            if self.state == State::Done {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_step(context, source, sink))?;
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves one piece, sees the end of the body or has seen it out.
    #[inline]
    fn poll_step(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl Source,
        sink: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        match self.state {
            State::Done => Poll::Ready(Ok(())),
            State::Finishing => {
                self.waiting = End::Sink;
                ready!(sink.poll_finish(context, source.trailers())).map_err(from_sink)?;
                self.state = State::Done;
                Poll::Ready(Ok(()))
            }
            State::Flowing => match self.pipes(source, sink) {
                true => self.poll_pipe(context, source, sink),
                false => self.poll_copy(context, source, sink),
            },
        }
    }

    /// Moves payload that is in memory, or sees the end.
    fn poll_copy(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl Source,
        sink: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        self.waiting = End::Source;
        let Poll::Ready(ready) = source.poll_payload(context) else { return self.rest(context, sink) };
        ready.map_err(from_source)?;
        if source.payload().is_empty() {
            self.state = State::Finishing;
            return Poll::Ready(Ok(()));
        }
        self.waiting = End::Sink;
        let taken = ready!(sink.poll_take(context, source.payload())).map_err(from_sink)?;
        source.consume(taken);
        self.moved += taken as u64;
        Poll::Ready(Ok(()))
    }

    /// Whether the next bytes go through a pipe: there are many, both ends can, and a pipe is free.
    fn pipes(&mut self, source: &impl Source, sink: &impl Sink) -> bool {
        if self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0) {
            return true;
        }
        let least = if self.piped { 1 } else { BULK };
        if source.ahead().min(sink.room()) < least {
            self.pipe = None;
        } else if self.pipe.is_none() {
            self.pipe = Pipe::lend();
        }
        self.pipe.is_some()
    }

    /// Moves payload from socket to socket within the kernel.
    fn poll_pipe(
        &mut self,
        context: &mut Context<'_>,
        source: &mut impl Source,
        sink: &mut impl Sink,
    ) -> Poll<Result<(), Fault>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        if pipe.held() == 0 {
            self.waiting = End::Source;
            let most = usize::try_from(sink.room()).unwrap_or(usize::MAX);
            let Poll::Ready(filled) = source.poll_fill_pipe(context, pipe, most) else {
                // Somebody else may need it meanwhile.
                self.pipe = None;
                return self.rest(context, sink);
            };
            filled.map_err(from_source)?;
            self.piped = true;
        }
        self.waiting = End::Sink;
        let taken = ready!(sink.poll_take_pipe(context, pipe)).map_err(from_sink)?;
        self.moved += taken as u64;
        Poll::Ready(Ok(()))
    }

    /// Hands on what the sink has taken while the source is silent.
    fn rest(&mut self, context: &mut Context<'_>, sink: &mut impl Sink) -> Poll<Result<(), Fault>> {
        match sink.poll_flush(context) {
            Poll::Ready(flushed) => flushed.map_err(from_sink)?,
            Poll::Pending => self.waiting = End::Sink,
        }
        Poll::Pending
    }
}

fn from_source(reason: Reason) -> Fault {
    Fault { end: End::Source, reason }
}

fn from_sink(reason: Reason) -> Fault {
    Fault { end: End::Sink, reason }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    /// Gives its pieces one a call, pending where a piece is empty.
    #[derive(Default)]
    struct Script {
        pieces: Vec<&'static [u8]>,
        current: Vec<u8>,
        trailers: Fields,
    }

    impl Source for Script {
        fn poll_payload(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Reason>> {
            if self.current.is_empty() && !self.pieces.is_empty() {
                self.current = self.pieces.remove(0).to_vec();
                if self.current.is_empty() {
                    return Poll::Pending;
                }
            }
            Poll::Ready(Ok(()))
        }
        fn payload(&self) -> &[u8] {
            &self.current
        }
        fn consume(&mut self, count: usize) {
            self.current.drain(..count);
        }
        fn trailers(&self) -> &Fields {
            &self.trailers
        }
    }

    /// Takes `room` bytes a poll, then is pending once, unless it is always open.
    #[derive(Default)]
    struct Store {
        room: usize,
        open: bool,
        always: bool,
        bytes: Vec<u8>,
        flushes: usize,
        finished: bool,
    }

    impl Sink for Store {
        fn poll_take(&mut self, _: &mut Context<'_>, payload: &[u8]) -> Poll<Result<usize, Reason>> {
            self.open = self.always || !self.open;
            if !self.open {
                return Poll::Pending;
            }
            let count = self.room.min(payload.len());
            self.bytes.extend_from_slice(&payload[..count]);
            Poll::Ready(Ok(count))
        }
        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Reason>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }
        fn poll_finish(&mut self, _: &mut Context<'_>, _: &Fields) -> Poll<Result<(), Reason>> {
            self.finished = true;
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Woken>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_body_that_never_waits_has_its_turn_and_then_another_one() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let mut source = Script { current: vec![b'x'; 4 * TURN], ..Script::default() };
        let mut sink = Store { room: 1, always: true, ..Store::default() };
        let mut pump = Pump::starting_at(Millis(0));
        for turns in 1..=3 {
            let polled = pump.poll_turn(&mut context, &mut source, &mut sink);
            assert!(polled.is_pending());
            assert_eq!((pump.moved(), woken.0.load(Ordering::Relaxed)), ((turns * TURN) as u64, turns));
        }
    }

    #[test]
    fn all_bytes_arrive_in_order_through_a_slow_sink_and_a_silent_source_flushes() {
        let mut source = Script { pieces: vec![b"hello ", b"", b"world"], ..Script::default() };
        let mut sink = Store { room: 4, ..Store::default() };
        let mut pump = Pump::starting_at(Millis(0));
        let mut context = Context::from_waker(Waker::noop());
        let mut polls = 0;
        while pump.poll(&mut context, &mut source, &mut sink).map(Result::unwrap).is_pending() {
            polls += 1;
            assert!(polls < 50, "it must come to an end");
        }
        assert_eq!(sink.bytes, b"hello world");
        assert!(sink.finished && sink.flushes == 1 && pump.is_done());
        assert_eq!(pump.moved(), 11);
    }
}
