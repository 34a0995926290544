//! The beginning of a request body, kept so that another attempt can send it again.

use std::task::{Context, Poll};

use super::pump::Source;
use crate::http::{Fields, Reason};

/// What is kept of a request body.
#[derive(Debug, Default)]
pub struct Replay {
    kept: Vec<u8>,
    /// What of `kept` the running attempt has sent.
    sent: usize,
    limit: usize,
    overflowed: bool,
}

/// What a replay keeps of its memory between requests.
const KEPT: usize = 16 * 1024;

impl Replay {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.kept.shrink_to(KEPT);
        *self = Replay { kept: std::mem::take(&mut self.kept), ..Replay::default() };
    }

    /// Keeps bodies of up to `limit` bytes.
    pub fn keep(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Begins another attempt; `false` when the body is past what was kept.
    pub fn rewind(&mut self) -> bool {
        self.sent = 0;
        !self.overflowed
    }

    /// Whether another attempt could send the body again.
    pub fn is_whole(&self) -> bool {
        !self.overflowed
    }

    fn record(&mut self, payload: &[u8]) {
        if self.overflowed {
            return;
        }
        if self.kept.len() + payload.len() > self.limit {
            self.overflowed = true;
            self.kept.clear();
            self.sent = 0;
            return;
        }
        self.kept.extend_from_slice(payload);
        self.sent = self.kept.len();
    }
}

/// The request body as an attempt reads it: first what is kept, then what comes.
pub struct Upload<'call, S> {
    /// Where the body comes from.
    pub source: S,
    /// What is kept of it.
    pub replay: &'call mut Replay,
}

impl<S: Source> Source for Upload<'_, S> {
    fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        if self.replay.sent < self.replay.kept.len() {
            return Poll::Ready(Ok(()));
        }
        self.source.poll_payload(context)
    }

    fn payload(&self) -> &[u8] {
        match self.replay.kept.get(self.replay.sent..) {
            Some(kept) if !kept.is_empty() => kept,
            _ => self.source.payload(),
        }
    }

    fn consume(&mut self, count: usize) {
        if self.replay.sent < self.replay.kept.len() {
            self.replay.sent += count;
            return;
        }
        self.replay.record(&self.source.payload()[..count]);
        self.source.consume(count);
    }

    fn trailers(&self) -> &Fields {
        self.source.trailers()
    }
}
