//! The client's side of an exchange over HTTP/1.1: its body is read, its answer is written.

use std::io;
use std::task::{Context, Poll, ready};

use super::Connection;
use crate::clock::Timers;
use crate::h1::write::{self, Persistence};
use crate::http::{Exchange, Fields, Framing, Method, Name, Reason, Version};
use crate::net::Pipe;
use crate::net::buffer::SMALL;
use crate::proxy::body::ReadError;
use crate::proxy::pump::{Sink, Source};
use crate::proxy::{Client, Gone};

impl Connection {
    /// How the connection goes on after the answer whose head is being written.
    fn persistence(&mut self, framing: Framing, clock: &Timers) -> Persistence {
        let limits = self.limits();
        let age = limits.max_connection_age.get();
        let old = age.is_some_and(|age| clock.recent().millis() >= self.opened.after(Some(age.get())));
        let spent =
            limits.max_requests_per_connection.get().is_some_and(|most| u64::from(self.requests) >= most);
        self.closes |= matches!(framing, Framing::UntilClose | Framing::Tunnel) || old || spent;
        match (self.closes, self.version) {
            _ if framing == Framing::Tunnel => Persistence::Tunnel,
            (true, _) => Persistence::Close,
            (false, Version::Http10) => Persistence::KeepTold,
            (false, _) => Persistence::Keep,
        }
    }

    /// Why the body of the request can not be read any further; the connection ends then.
    fn unreadable(&mut self, error: &ReadError) -> Reason {
        self.closes = true;
        match error {
            ReadError::Malformed => Reason::BadRequestChunk,
            ReadError::Truncated => Reason::BodyTruncated,
            ReadError::Io(_) => Reason::ClientClosed,
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
        // Who asks for a tunnel may send into it before it is open; those bytes are no request.
        self.closes |= request.method == Method::Connect && framing != Framing::Tunnel;
        let persistence = self.persistence(framing, clock);
        let length = response.fields.get(Name::ContentLength);
        self.wire.begin_message();
        self.waiting_before = self.wire.output.len() as u32;
        let output = &mut self.wire.output;
        if framing == Framing::Tunnel {
            self.reader.start(framing);
        }
        match persistence {
            Persistence::Tunnel if self.bare => write::bare_response(response, |bytes| output.push(bytes)),
            _ => write::response(response, framing, length, persistence, |bytes| output.push(bytes)),
        }
        self.writer.start(framing);
        self.answering = Some(framing);
    }

    fn take_back(&mut self) -> bool {
        let is_unsent = self.wire.is_unsent();
        if is_unsent {
            self.wire.output.truncate(self.waiting_before as usize);
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
        if matches!(self.answering, Some(Framing::UntilClose | Framing::Tunnel)) {
            self.wire.stream().reset_on_close();
        }
    }
}

impl Source for Connection {
    fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let read = ready!(self.reader.poll(context, &mut self.wire));
        if self.reader.size() > self.body_limit() {
            self.closes = true;
            return Poll::Ready(Err(Reason::BodyTooLarge));
        }
        Poll::Ready(read.map(drop).map_err(|error| self.unreadable(&error)))
    }

    fn ahead(&self) -> u64 {
        self.reader.ahead(&self.wire)
    }

    fn poll_fill_pipe(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<Result<(), Reason>> {
        let filled = ready!(self.reader.poll_pipe(context, &mut self.wire, pipe, most));
        Poll::Ready(filled.map_err(|error| self.unreadable(&error)))
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

    fn room(&self) -> u64 {
        self.writer.room(&self.wire)
    }

    fn poll_take_pipe(&mut self, context: &mut Context<'_>, pipe: &mut Pipe) -> Poll<Result<usize, Reason>> {
        self.writer.poll_pipe(context, &mut self.wire, pipe).map_err(gone)
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
