//! A connection to an endpoint, or a stream on one, for the length of one exchange.
//!
//! The exchange sees one type whatever the endpoint speaks; a new protocol is a file here and an
//! arm in each method.

use std::task::{Context, Poll};
use std::time::Duration;

use crate::http::{Exchange, Fields, Method, Reason, ResponseHead};
use crate::net::Pipe;
use crate::proxy::pump::{Sink, Source};

pub mod h1;
pub mod h2;
pub mod trunk;

pub use h1::H1Link;
pub use h2::H2Link;

/// What kind of head has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// 1xx: another one follows.
    Interim,
    /// The answer.
    Final,
}

/// The endpoint's side of one exchange.
#[derive(Debug)]
pub enum Link {
    /// A whole HTTP/1.1 connection; boxed once for its life in the pool.
    H1(Box<H1Link>),
    /// One stream of an HTTP/2 connection.
    H2(Box<H2Link>),
}

impl Link {
    /// Puts the head of a request into the output. `host` is what the endpoint is told.
    pub fn send_head(&mut self, exchange: &Exchange, host: &[u8]) {
        match self {
            Link::H1(link) => link.send_head(exchange, host),
            Link::H2(link) => link.send_head(exchange, host),
        }
    }

    /// Reads the next head, interim or final, into `head`.
    pub fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        method: Method,
        head: &mut ResponseHead,
    ) -> Poll<Result<Head, Reason>> {
        match self {
            Link::H1(link) => link.poll_head(context, method, head),
            Link::H2(link) => link.poll_head(context, method, head),
        }
    }

    /// Whether the endpoint may have closed it before it saw this request.
    pub fn is_reused(&self) -> bool {
        match self {
            Link::H1(link) => link.is_reused(),
            Link::H2(link) => link.is_reused(),
        }
    }

    /// Whether no byte of this request has left.
    pub fn is_unsent(&self) -> bool {
        match self {
            Link::H1(link) => link.is_unsent(),
            Link::H2(link) => link.is_unsent(),
        }
    }

    /// Whether any byte of an answer has come.
    pub fn is_answered(&self) -> bool {
        match self {
            Link::H1(link) => link.is_answered(),
            Link::H2(link) => link.is_answered(),
        }
    }
}

impl Source for Link {
    fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        match self {
            Link::H1(link) => link.poll_payload(context),
            Link::H2(link) => link.poll_payload(context),
        }
    }

    fn payload(&self) -> &[u8] {
        match self {
            Link::H1(link) => link.payload(),
            Link::H2(link) => link.payload(),
        }
    }

    fn consume(&mut self, count: usize) {
        match self {
            Link::H1(link) => link.consume(count),
            Link::H2(link) => link.consume(count),
        }
    }

    fn trailers(&self) -> &Fields {
        match self {
            Link::H1(link) => link.trailers(),
            Link::H2(link) => link.trailers(),
        }
    }

    fn ahead(&self) -> u64 {
        match self {
            Link::H1(link) => link.ahead(),
            Link::H2(_) => 0,
        }
    }

    fn poll_fill_pipe(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<Result<(), Reason>> {
        match self {
            Link::H1(link) => link.poll_fill_pipe(context, pipe, most),
            Link::H2(_) => Poll::Ready(Err(Reason::Internal)),
        }
    }
}

impl Sink for Link {
    fn poll_take(&mut self, context: &mut Context<'_>, payload: &[u8]) -> Poll<Result<usize, Reason>> {
        match self {
            Link::H1(link) => link.poll_take(context, payload),
            Link::H2(link) => link.poll_take(context, payload),
        }
    }

    fn room(&self) -> u64 {
        match self {
            Link::H1(link) => link.room(),
            Link::H2(_) => 0,
        }
    }

    fn poll_take_pipe(&mut self, context: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<usize, Reason>> {
        match self {
            Link::H1(link) => link.poll_take_pipe(context, pipe),
            Link::H2(_) => Poll::Ready(Err(Reason::Internal)),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        match self {
            Link::H1(link) => link.poll_flush(context),
            Link::H2(link) => link.poll_flush(context),
        }
    }

    fn poll_finish(&mut self, context: &mut Context<'_>, trailers: &Fields) -> Poll<Result<(), Reason>> {
        match self {
            Link::H1(link) => link.poll_finish(context, trailers),
            Link::H2(link) => link.poll_finish(context, trailers),
        }
    }
}

/// A span, a tenth shorter or longer, so that connections that were opened together do not end
/// together.
fn spread(span: Duration) -> Duration {
    span.mul_f64(0.9 + 0.2 * fastrand::f64())
}
