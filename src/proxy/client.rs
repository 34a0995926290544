//! The client's side of one exchange, as the proxy sees it: both front ends implement it.

use std::task::{Context, Poll};

use crate::clock::Timers;
use crate::http::Exchange;
use crate::proxy::pump::{Sink, Source};

/// The client's side of one exchange: the request body comes from it, the answer goes to it.
pub trait Client: Source + Sink {
    /// Puts an interim answer (1xx), which is in `exchange.response`, into the output.
    fn interim(&mut self, exchange: &Exchange);

    /// Puts the head of the answer, which is in `exchange.response`, into the output. The
    /// clock tells whether the connection has become too old to go on.
    fn respond(&mut self, exchange: &Exchange, clock: &Timers);

    /// Takes the answer back when no byte of it has left yet; `false` when it is too late, or when
    /// the front end can not.
    fn take_back(&mut self) -> bool {
        false
    }

    /// Ready when the client is known to be gone. A client that has only ended its own side may
    /// still wait for the answer.
    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<Gone>;

    /// Whether the whole request body has been read.
    fn is_request_read(&self) -> bool;

    /// Breaks the answer off so that the client can not take it for complete.
    fn abort(&mut self);
}

/// How a client went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It will not read an answer.
    Away,
    /// It has ended its side; whether it still reads is not known.
    HalfClosed,
}
