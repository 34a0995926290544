//! The beginning of a request body, kept so that another attempt can send it again.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::pump::Source;
use crate::http::identity::Reserved;
use crate::http::{Fields, Framing, Reason};
use crate::net::Pipe;

/// What is kept of a request body.
#[derive(Debug, Default)]
pub struct Replay {
    kept: Vec<u8>,
    /// What of `kept` the running attempt has sent.
    sent: usize,
    limit: usize,
    overflowed: bool,
    /// Names that a client may not use, in its trailers either.
    reserved: Option<Arc<Reserved>>,
    none: Fields,
}

/// What a replay keeps of its memory between requests.
const KEPT: usize = 16 * 1024;

impl Replay {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.kept.clear();
        self.kept.shrink_to(KEPT);
        (self.sent, self.limit, self.overflowed, self.reserved) = (0, 0, false, None);
    }

    /// Keeps bodies of up to `limit` bytes.
    pub fn keep(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Whether all of a body that is delimited so will be kept.
    pub fn holds(&self, framing: Framing) -> bool {
        framing.is_within(self.limit as u64)
    }

    /// From now on trailers with one of these names stay behind.
    pub fn hide(&mut self, reserved: &Arc<Reserved>) {
        self.reserved = Some(reserved.clone());
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

    fn ahead(&self) -> u64 {
        // What is kept has to be seen.
        if self.replay.overflowed { self.source.ahead() } else { 0 }
    }

    fn poll_fill_pipe(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<Result<(), Reason>> {
        self.source.poll_fill_pipe(context, pipe, most)
    }

    fn trailers(&self) -> &Fields {
        let trailers = self.source.trailers();
        match &self.replay.reserved {
            // Who forges an identity loses all of them: nobody honest sends such a one.
            Some(reserved) if reserved.is_in(trailers) => &self.replay.none,
            _ => trailers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten bytes that are ready, and many behind them that a pipe could take.
    struct Large(Fields);

    impl Source for Large {
        fn poll_payload(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Reason>> {
            Poll::Ready(Ok(()))
        }
        fn payload(&self) -> &[u8] {
            &[b'x'; 10]
        }
        fn consume(&mut self, _: usize) {}
        fn trailers(&self) -> &Fields {
            &self.0
        }
        fn ahead(&self) -> u64 {
            1 << 20
        }
    }

    #[test]
    fn nothing_goes_past_a_body_that_is_still_kept_for_another_attempt() {
        let mut replay = Replay::default();
        replay.keep(15);
        let mut upload = Upload { source: Large(Fields::default()), replay: &mut replay };
        assert_eq!(upload.ahead(), 0);
        upload.consume(10);
        assert_eq!(upload.ahead(), 0, "it is whole so far");
        upload.consume(10);
        assert_eq!(upload.ahead(), 1 << 20, "it is past what is kept");
    }
}
