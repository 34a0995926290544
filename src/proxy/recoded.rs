//! A body as it goes on: as it came, or as a middleware changes it.

use std::task::{Context, Poll, ready};

use super::pump::Source;
use crate::http::recode::Recoder;
use crate::http::{Fields, Reason};
use crate::net::Pipe;

/// A source whose body is changed when there is a recoder; without one nothing is copied.
pub struct Recoded<'a, S> {
    /// Where the body comes from.
    pub source: &'a mut S,
    /// What changes it.
    pub recoder: Option<&'a mut Recoder>,
}

/// Most of a body that is changed at one time, in bytes.
const PIECE: usize = 16 * 1024;

impl<S: Source> Source for Recoded<'_, S> {
    fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let Some(recoder) = &mut self.recoder else { return self.source.poll_payload(context) };
        while recoder.ready().is_empty() && !recoder.has_ended() {
            ready!(self.source.poll_payload(context))?;
            let payload = self.source.payload();
            let piece = &payload[..payload.len().min(PIECE)];
            if piece.is_empty() {
                recoder.end(self.source.trailers())?;
            } else {
                let count = piece.len();
                recoder.piece(piece)?;
                self.source.consume(count);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn payload(&self) -> &[u8] {
        self.recoder.as_ref().map_or_else(|| self.source.payload(), |recoder| recoder.ready())
    }

    fn consume(&mut self, count: usize) {
        match &mut self.recoder {
            Some(recoder) => recoder.consume(count),
            None => self.source.consume(count),
        }
    }

    fn ahead(&self) -> u64 {
        if self.recoder.is_some() { 0 } else { self.source.ahead() }
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
        self.recoder.as_ref().map_or_else(|| self.source.trailers(), |recoder| recoder.trailers())
    }
}
