//! HTTP/1.1 bodies over a wire: one reader and one writer, used on both sides of the proxy.

use std::io;
use std::task::{Context, Poll, ready};

use crate::h1::body::{Decoder, Malformed};
use crate::h1::write;
use crate::http::{Fields, Framing};
use crate::net::Wire;

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The peer closed inside the body.
    #[error("the connection ended inside the body")]
    Truncated,
    /// The chunked framing is broken.
    #[error("the chunked coding is malformed")]
    Malformed,
    /// The socket failed.
    #[error("reading failed")]
    Io(#[source] io::Error),
}

impl From<Malformed> for ReadError {
    fn from(Malformed: Malformed) -> ReadError {
        ReadError::Malformed
    }
}

/// Reads one body from the input of a wire. Payload lies at the front of the input buffer.
#[derive(Debug, Default)]
pub struct BodyReader {
    decoder: Decoder,
    ready: usize,
    read: u64,
    ended: bool,
    /// Few bodies have any, and a connection that rests is to be small.
    trailers: Option<Box<Fields>>,
}

impl BodyReader {
    /// Starts the body of the message whose head was just taken from the wire.
    pub fn start(&mut self, framing: Framing) {
        self.decoder = Decoder::new(framing);
        (self.ready, self.read, self.ended) = (0, 0, false);
        self.trailers = None;
    }

    /// Ready with the number of payload bytes at the front of the input; 0 at the end.
    pub fn poll(&mut self, context: &mut Context<'_>, wire: &mut Wire) -> Poll<Result<usize, ReadError>> {
        loop {
            if self.ready == 0 && !self.is_done() && !wire.input.is_empty() {
                let decoded = self.decoder.decode(wire.input.filled_mut(), &mut self.trailers)?;
                wire.input.truncate(decoded.payload + decoded.raw);
                self.ready = decoded.payload;
            }
            if self.ready > 0 || self.is_done() {
                return Poll::Ready(Ok(self.ready));
            }
            let count = match ready!(wire.poll_fill(context)) {
                Ok(count) => count,
                // A TLS peer that ends without close_notify has cut the body as well.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Err(ReadError::Truncated));
                }
                Err(error) => return Poll::Ready(Err(ReadError::Io(error))),
            };
            if count == 0 {
                if !self.decoder.ends_with_connection() {
                    return Poll::Ready(Err(ReadError::Truncated));
                }
                self.ended = true;
            }
        }
    }

    /// The payload that is ready.
    pub fn payload<'wire>(&self, wire: &'wire Wire) -> &'wire [u8] {
        &wire.input.filled()[..self.ready]
    }

    /// Drops payload from the front.
    pub fn consume(&mut self, wire: &mut Wire, count: usize) {
        debug_assert!(count <= self.ready, "only payload that is ready can be consumed");
        wire.input.consume(count);
        self.ready -= count;
        self.read += count as u64;
    }

    /// Whether all of the body was read; payload may still be waiting to be consumed.
    pub fn is_done(&self) -> bool {
        self.ended || self.decoder.is_done()
    }

    /// Whether the body came to its end by its own framing and all of it was consumed, so that
    /// the connection can carry another message.
    pub fn is_clean(&self) -> bool {
        self.decoder.is_done() && self.ready == 0
    }

    /// Payload bytes consumed and ready so far.
    pub fn size(&self) -> u64 {
        self.read + self.ready as u64
    }

    /// Trailer fields; complete once the body is done.
    pub fn trailers(&self) -> &Fields {
        const NONE: &Fields = &Fields::none();
        self.trailers.as_deref().unwrap_or(NONE)
    }
}

/// Writes one body to a wire, framed as the head has promised.
#[derive(Debug, Default)]
pub struct BodyWriter {
    framing: Framing,
    chunk: u64,
    ended: bool,
}

impl BodyWriter {
    /// Starts the body of the message whose head was just written.
    pub fn start(&mut self, framing: Framing) {
        *self = BodyWriter { framing, chunk: 0, ended: false };
    }

    /// Takes payload and says how much. What goes beyond the promised length is dropped.
    pub fn poll_data(
        &mut self,
        context: &mut Context<'_>,
        wire: &mut Wire,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.framing {
            Framing::None | Framing::Length(0) => Poll::Ready(Ok(data.len())),
            Framing::UntilClose | Framing::Tunnel => wire.poll_send(context, data),
            Framing::Length(left) => {
                let count = ready!(wire.poll_send(context, first(data, *left)))?;
                *left -= count as u64;
                Poll::Ready(Ok(count))
            }
            Framing::Chunked => {
                if self.chunk == 0 {
                    write::chunk_line(data.len(), |bytes| wire.output.push(bytes));
                    self.chunk = data.len() as u64;
                }
                let count = ready!(wire.poll_send(context, first(data, self.chunk)))?;
                self.chunk -= count as u64;
                if self.chunk == 0 {
                    wire.output.push(b"\r\n");
                }
                Poll::Ready(Ok(count))
            }
        }
    }

    /// Ends the body and writes everything out; a tunnel is ended in this direction as well. An
    /// error when less came than was promised.
    pub fn poll_finish(
        &mut self,
        context: &mut Context<'_>,
        wire: &mut Wire,
        trailers: &Fields,
    ) -> Poll<io::Result<()>> {
        if !self.ended {
            match self.framing {
                Framing::Length(1..) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Framing::Chunked => write::chunked_end(trailers, |bytes| wire.output.push(bytes)),
                Framing::None | Framing::Length(0) | Framing::UntilClose | Framing::Tunnel => {}
            }
            self.ended = true;
        }
        ready!(wire.poll_flush(context))?;
        match self.framing {
            Framing::Tunnel => wire.poll_shutdown(context),
            Framing::None | Framing::Length(_) | Framing::Chunked | Framing::UntilClose => {
                Poll::Ready(Ok(()))
            }
        }
    }
}

/// At most `limit` bytes of `data`.
fn first(data: &[u8], limit: u64) -> &[u8] {
    &data[..usize::try_from(limit).unwrap_or(usize::MAX).min(data.len())]
}
