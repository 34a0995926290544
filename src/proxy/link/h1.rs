//! One HTTP/1.1 connection to an endpoint, used for one exchange after another.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::{Head, spread};
use crate::clock::Millis;
use crate::h1::response::{self, MAX_HEAD};
use crate::h1::scan::Scan;
use crate::h1::write;
use crate::http::fields::items;
use crate::http::validate::wants_close;
use crate::http::{Exchange, Fields, Framing, Method, Name, Reason, ResponseHead, Version};
use crate::net::buffer::{LARGE, SMALL};
use crate::net::connector::{Identity, late_refusal};
use crate::net::proxy_protocol::Greeting;
use crate::net::{Pipe, Stream, Wire};
use crate::proxy::body::{BodyReader, BodyWriter, ReadError};

/// An open connection to an endpoint. Of many, most are in no cache when they are used again, so it is
/// kept to as few cache lines as it can be.
#[derive(Debug)]
#[repr(align(64))]
pub struct H1Link {
    wire: Wire,
    reader: BodyReader,
    writer: BodyWriter,
    scan: Scan,
    /// Whether it has carried an exchange before this one.
    reused: bool,
    /// Whether bytes of an answer have come.
    answered: bool,
    /// Whether the endpoint lets the connection live on.
    keeps: bool,
    sent: bool,
    /// What it began with; hardly any begins with anything.
    greeting: Option<Box<Greeting>>,
    /// Since when it rests.
    rests_since: Millis,
    /// When it is too old to rest in the pool: never, until it first does.
    retires: Millis,
}

impl H1Link {
    /// Wraps a fresh connection that has begun so.
    pub fn new(stream: Stream, greeting: Greeting) -> H1Link {
        H1Link {
            wire: Wire::new(stream),
            reader: BodyReader::default(),
            writer: BodyWriter::default(),
            scan: Scan::default(),
            reused: false,
            answered: false,
            keeps: false,
            sent: false,
            greeting: (greeting != Greeting::Silent).then(|| Box::new(greeting)),
            rests_since: Millis::NEVER,
            retires: Millis::NEVER,
        }
    }

    /// Puts the head of a request into the output.
    pub fn send_head(&mut self, exchange: &Exchange, host: &[u8]) {
        self.wire.begin_message();
        (self.answered, self.keeps, self.sent) = (false, false, false);
        self.scan = Scan::default();
        // A client of HTTP/2 can let a hundred answers wait at one time.
        let shares = exchange.request.version == Version::Http2;
        self.wire.read_ahead(if shares { SMALL } else { LARGE });
        write::request(exchange, host, &mut self.wire.output);
        self.writer.start(exchange.request.framing);
    }

    /// Whether it has carried an exchange before, so that the endpoint may have closed it.
    pub fn is_reused(&self) -> bool {
        self.reused
    }

    /// Whether no byte of this request has left.
    pub fn is_unsent(&self) -> bool {
        self.wire.is_unsent()
    }

    /// Whether any byte of an answer has come.
    pub fn is_answered(&self) -> bool {
        self.answered
    }

    /// Reads the next head, interim or final, into `head`.
    pub fn poll_head(
        &mut self,
        context: &mut Context<'_>,
        method: Method,
        head: &mut ResponseHead,
    ) -> Poll<Result<Head, Reason>> {
        loop {
            let bytes = self.wire.input.filled();
            if let Some(length) = read_head(&mut self.scan, bytes, method, head)? {
                if length > MAX_HEAD {
                    return Poll::Ready(Err(Reason::ResponseHeaderTooLarge));
                }
                self.wire.input.consume(length);
                self.scan = Scan::default();
                return Poll::Ready(self.accept_head(head));
            }
            if bytes.len() >= MAX_HEAD {
                return Poll::Ready(Err(Reason::ResponseHeaderTooLarge));
            }
            match ready!(self.wire.poll_fill(context)) {
                Ok(0) if self.answered => return Poll::Ready(Err(Reason::BadResponseHead)),
                Ok(0) => return Poll::Ready(Err(Reason::UpstreamReset)),
                Err(error) => return Poll::Ready(Err(lost(error))),
                Ok(_) => self.answered = true,
            }
        }
    }

    fn accept_head(&mut self, head: &ResponseHead) -> Result<Head, Reason> {
        match head.status {
            // Whether it was asked for is judged with the request.
            101 => {}
            100..=199 => return Ok(Head::Interim),
            _ => {}
        }
        self.reader.start(head.framing);
        let closes = wants_close(head.version, &head.fields);
        self.keeps = !closes && !matches!(head.framing, Framing::UntilClose | Framing::Tunnel);
        if head.framing == Framing::Tunnel {
            self.writer.start(Framing::Tunnel);
        }
        Ok(Head::Final)
    }

    /// Whether the connection can carry another exchange: everything was sent, the answer came to
    /// its end by its own framing, nothing follows it, and the endpoint did not say close.
    pub fn is_reusable(&self) -> bool {
        self.keeps && self.sent && self.reader.is_clean() && self.wire.input.is_empty()
    }

    /// Whether it began with this greeting, and so is for the same clients.
    pub fn began_with(&self, greeting: &Greeting) -> bool {
        match (&self.greeting, greeting) {
            (None, Greeting::Silent) => true,
            (None, _) => false,
            (Some(own), other) => **own == *other,
        }
    }

    /// Whether it is older than `age`, which runs from its first rest, a tenth more or less.
    pub fn is_old(&mut self, now: Millis, age: Option<Duration>) -> bool {
        let Some(age) = age else { return false };
        if self.retires == Millis::NEVER {
            self.retires = now.after(Some(spread(age)));
        }
        now >= self.retires
    }

    /// Makes it ready to rest in the pool from now on.
    pub fn rest(&mut self, now: Millis) {
        self.reused = true;
        self.rests_since = now;
        self.wire.rest();
        self.wire.change_hands();
    }

    /// For how many milliseconds it has rested.
    pub fn rested(&self, now: Millis) -> u64 {
        now.0.saturating_sub(self.rests_since.0)
    }

    /// Whether a resting connection has seen an end or unasked bytes. No system call.
    pub fn looks_ended(&mut self) -> bool {
        self.wire.stream().may_be_read() && self.has_ended()
    }

    /// The same, asking the kernel: for requests that must not be lost to a close on the way.
    pub fn has_ended(&mut self) -> bool {
        self.wire.has_ended()
    }

    /// The identity under which TLS was begun.
    pub fn identity(&self) -> Option<Identity> {
        self.wire.stream().identity()
    }

    /// Ready when payload of the answer is there.
    pub fn poll_payload(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        let read = ready!(self.reader.poll(context, &mut self.wire));
        Poll::Ready(read.map(drop).map_err(unreadable))
    }

    /// How many bytes of the answer a pipe could take.
    pub fn ahead(&self) -> u64 {
        self.reader.ahead(&self.wire)
    }

    /// Puts bytes of the answer into a pipe.
    pub fn poll_fill_pipe(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<Result<(), Reason>> {
        self.reader.poll_pipe(context, &mut self.wire, pipe, most).map_err(unreadable)
    }

    /// The payload that is ready.
    pub fn payload(&self) -> &[u8] {
        self.reader.payload(&self.wire)
    }

    /// Drops payload from the front.
    pub fn consume(&mut self, count: usize) {
        self.reader.consume(&mut self.wire, count);
    }

    /// Trailer fields of the answer.
    pub fn trailers(&self) -> &Fields {
        self.reader.trailers()
    }

    /// Takes payload of the request.
    pub fn poll_take(&mut self, context: &mut Context<'_>, payload: &[u8]) -> Poll<Result<usize, Reason>> {
        self.writer.poll_data(context, &mut self.wire, payload).map_err(lost)
    }

    /// How many bytes of the request it would take from a pipe.
    pub fn room(&self) -> u64 {
        self.writer.room(&self.wire)
    }

    /// Takes bytes of the request from a pipe.
    pub fn poll_take_pipe(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<Result<usize, Reason>> {
        self.writer.poll_pipe(context, &mut self.wire, pipe).map_err(lost)
    }

    /// Writes out what was taken.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        self.wire.poll_flush(context).map_err(lost)
    }

    /// Ends the request.
    pub fn poll_finish(&mut self, context: &mut Context<'_>, trailers: &Fields) -> Poll<Result<(), Reason>> {
        let finished = ready!(self.writer.poll_finish(context, &mut self.wire, trailers));
        self.sent = finished.is_ok();
        Poll::Ready(finished.map_err(lost))
    }
}

/// Reads a head if it is there and returns its length. Most come in one piece, and reading those
/// finds their end; what comes in pieces is searched for its end first, once over every byte.
fn read_head(
    scan: &mut Scan,
    bytes: &[u8],
    method: Method,
    head: &mut ResponseHead,
) -> Result<Option<usize>, Reason> {
    if bytes.is_empty() {
        return Ok(None);
    }
    if scan.is_fresh()
        && let Some(length) = response::parse(bytes, method, head)?
    {
        return Ok(Some(length));
    }
    let end = match method {
        Method::Connect => scan.end_of_bare_head(bytes),
        _ => scan.end_of_head(bytes).map_err(|_| Reason::BadResponseHead)?,
    };
    end.map_or(Ok(None), |length| response::parse(&bytes[..length], method, head))
}

fn unreadable(error: ReadError) -> Reason {
    match error {
        ReadError::Malformed => Reason::BadResponseChunk,
        ReadError::Truncated | ReadError::Io(_) => Reason::UpstreamTruncated,
    }
}

fn lost(error: io::Error) -> Reason {
    tracing::debug!(%error, "the connection to the endpoint broke");
    late_refusal(&error).unwrap_or(Reason::UpstreamReset)
}

/// The time that an endpoint says it keeps an idle connection: `Keep-Alive: timeout=5`.
pub fn announced_idle_timeout(head: &ResponseHead) -> Option<Duration> {
    let value = head.fields.get(Name::KeepAlive)?;
    let timeout = items(value).find_map(|item| item.strip_prefix(b"timeout="))?;
    let seconds = std::str::from_utf8(timeout).ok()?.parse::<u32>().ok()?;
    Some(Duration::from_secs(u64::from(seconds)))
}
