//! HTTP/1.1 bodies over a wire: one reader and one writer, used on both sides of the proxy.

use std::io;
use std::task::{Context, Poll, ready};

use crate::h1::body::{Decoder, Malformed};
use crate::h1::write;
use crate::http::{Fields, Framing};
use crate::net::{Pipe, Wire};

/// From so many bytes on a body that needs no framing goes through a pipe, where both sides can.
pub const BULK: u64 = 32 * 1024;

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
    /// Payload at the front of the input, which is far smaller than 4 GiB.
    ready: u32,
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
            if self.ready == 0 && !self.is_done() {
                self.decode(wire)?;
            }
            if self.ready > 0 || self.is_done() {
                break;
            }
            let count = ready!(wire.poll_fill(context)).map_err(broken)?;
            if count == 0 {
                if !self.decoder.ends_with_connection() {
                    return Poll::Ready(Err(ReadError::Truncated));
                }
                self.ended = true;
            }
        }
        self.read_on(context, wire)?;
        Poll::Ready(Ok(self.ready as usize))
    }

    /// Reads once more before anything is passed on when a length promises more than a small buffer
    /// has caught: one large write instead of two.
    fn read_on(&mut self, context: &mut Context<'_>, wire: &mut Wire) -> Result<(), ReadError> {
        let promised = self.decoder.promised();
        // So large a body goes past the buffer if it can.
        let may_pass = wire.is_bare() && promised >= BULK;
        if promised > 0 && wire.begin_bulk() && !may_pass {
            // Where it is the end, the next read will see it as well.
            if let Poll::Ready(read) = wire.poll_fill(context) {
                read.map_err(broken)?;
                self.decode(wire)?;
            }
        }
        Ok(())
    }

    /// Takes the framing off what lies behind the payload that is ready.
    fn decode(&mut self, wire: &mut Wire) -> Result<(), ReadError> {
        let raw = &mut wire.input.filled_mut()[self.ready as usize..];
        if !raw.is_empty() && !self.is_done() {
            let decoded = self.decoder.decode(raw, &mut self.trailers)?;
            self.ready += decoded.payload as u32;
            wire.input.truncate(self.ready as usize + decoded.raw);
        }
        Ok(())
    }

    /// How many bytes of payload can be taken from the socket as they are, past the input.
    pub fn ahead(&self, wire: &Wire) -> u64 {
        let nothing_read = self.ready == 0 && wire.input.is_empty();
        if nothing_read && wire.is_bare() { self.decoder.promised() } else { 0 }
    }

    /// Takes at most `most` of [`BodyReader::ahead`] into a pipe and says how many.
    pub fn poll_pipe(
        &mut self,
        context: &mut Context<'_>,
        wire: &mut Wire,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<Result<(), ReadError>> {
        let most = usize::try_from(self.ahead(wire)).unwrap_or(usize::MAX).min(most);
        let count = ready!(wire.poll_fill_pipe(context, pipe, most)).map_err(broken)?;
        if count == 0 {
            return Poll::Ready(Err(ReadError::Truncated));
        }
        self.decoder.pass(count as u64);
        self.read += count as u64;
        Poll::Ready(Ok(()))
    }

    /// The payload that is ready.
    pub fn payload<'wire>(&self, wire: &'wire Wire) -> &'wire [u8] {
        &wire.input.filled()[..self.ready as usize]
    }

    /// Drops payload from the front.
    pub fn consume(&mut self, wire: &mut Wire, count: usize) {
        debug_assert!(count <= self.ready as usize, "only payload that is ready can be consumed");
        wire.input.consume(count);
        self.ready -= count as u32;
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
        self.read + u64::from(self.ready)
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
    state: State,
}

/// How the body is framed, and what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// None, or it has ended.
    #[default]
    Nothing,
    /// So many bytes.
    Length(u64),
    /// Chunks; so many bytes of the one that was begun.
    Chunk(u64),
    UntilClose,
    Tunnel,
}

impl BodyWriter {
    /// Starts the body of the message whose head was just written.
    pub fn start(&mut self, framing: Framing) {
        self.state = match framing {
            Framing::None => State::Nothing,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunk(0),
            Framing::UntilClose => State::UntilClose,
            Framing::Tunnel => State::Tunnel,
        };
    }

    /// Takes payload and says how much. What goes beyond the promised length is dropped.
    pub fn poll_data(
        &mut self,
        context: &mut Context<'_>,
        wire: &mut Wire,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.state {
            State::Nothing | State::Length(0) => Poll::Ready(Ok(data.len())),
            State::UntilClose | State::Tunnel => wire.poll_send(context, data),
            State::Length(left) => {
                let count = ready!(wire.poll_send(context, first(data, *left)))?;
                *left -= count as u64;
                Poll::Ready(Ok(count))
            }
            State::Chunk(left) => {
                if *left == 0 {
                    write::chunk_line(data.len(), &mut wire.output);
                    *left = data.len() as u64;
                }
                let count = ready!(wire.poll_send(context, first(data, *left)))?;
                *left -= count as u64;
                if *left == 0 {
                    wire.output.push(b"\r\n");
                }
                Poll::Ready(Ok(count))
            }
        }
    }

    /// How many bytes it would take from a pipe: those that need no framing.
    pub fn room(&self, wire: &Wire) -> u64 {
        match self.state {
            _ if !wire.is_bare() => 0,
            State::Length(left) => left,
            State::UntilClose | State::Tunnel => u64::MAX,
            State::Nothing | State::Chunk(_) => 0,
        }
    }

    /// Takes payload from a pipe that holds no more than [`BodyWriter::room`], and says how much.
    pub fn poll_pipe(
        &mut self,
        context: &mut Context<'_>,
        wire: &mut Wire,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        let count = ready!(wire.poll_send_pipe(context, pipe))?;
        if let State::Length(left) = &mut self.state {
            *left = left.saturating_sub(count as u64);
        }
        Poll::Ready(Ok(count))
    }

    /// Ends the body and writes everything out; a tunnel is ended in this direction as well. An
    /// error when less came than was promised.
    pub fn poll_finish(
        &mut self,
        context: &mut Context<'_>,
        wire: &mut Wire,
        trailers: &Fields,
    ) -> Poll<io::Result<()>> {
        match self.state {
            State::Length(1..) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            State::Chunk(_) => {
                write::chunked_end(trailers, &mut wire.output);
                self.state = State::Nothing;
            }
            State::Nothing | State::Length(0) | State::UntilClose | State::Tunnel => {}
        }
        ready!(wire.poll_flush(context))?;
        match self.state {
            State::Tunnel => wire.poll_shutdown(context),
            State::Nothing | State::Length(_) | State::Chunk(_) | State::UntilClose => Poll::Ready(Ok(())),
        }
    }
}

fn broken(error: io::Error) -> ReadError {
    match error.kind() {
        // A TLS peer that ends without close_notify has cut the body as well.
        io::ErrorKind::UnexpectedEof => ReadError::Truncated,
        _ => ReadError::Io(error),
    }
}

/// At most `limit` bytes of `data`.
fn first(data: &[u8], limit: u64) -> &[u8] {
    &data[..usize::try_from(limit).unwrap_or(usize::MAX).min(data.len())]
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::task::Waker;

    use super::*;
    use crate::net::Stream;
    use crate::net::buffer::{LARGE, SMALL};

    /// A wire to a peer that has sent these bytes.
    fn wire_with(bytes: &[u8]) -> (Wire, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.write_all(bytes).unwrap();
        (Wire::new(Stream::Unix(tokio::net::UnixStream::from_std(ours).unwrap())), theirs)
    }

    /// What is ready after the event loop has seen the bytes.
    async fn first_piece(reader: &mut BodyReader, wire: &mut Wire) -> usize {
        std::future::poll_fn(|context| reader.poll(context, wire)).await.unwrap()
    }

    #[tokio::test]
    async fn a_promised_body_that_fills_a_small_buffer_is_read_on_before_it_goes_out() {
        let (mut wire, _peer) = wire_with(&[b'x'; 3 * SMALL]);
        let mut reader = BodyReader::default();
        reader.start(Framing::Length(3 * SMALL as u64));
        assert_eq!(first_piece(&mut reader, &mut wire).await, 3 * SMALL);
        assert!(reader.is_done());
    }

    #[tokio::test]
    async fn what_follows_a_body_that_was_read_on_is_left_for_the_next_message() {
        let (mut wire, _peer) = wire_with(&[&[b'x'; 2 * SMALL][..], b"GET /"].concat());
        let mut reader = BodyReader::default();
        reader.start(Framing::Length(2 * SMALL as u64));
        assert_eq!(first_piece(&mut reader, &mut wire).await, 2 * SMALL);
        reader.consume(&mut wire, 2 * SMALL);
        assert!(reader.is_clean());
        assert_eq!(wire.input.filled(), b"GET /");
    }

    #[tokio::test]
    async fn a_body_that_comes_in_small_pieces_keeps_a_small_buffer() {
        let (mut wire, _peer) = wire_with(b"piece");
        let mut reader = BodyReader::default();
        reader.start(Framing::Length(1 << 30));
        assert_eq!(first_piece(&mut reader, &mut wire).await, 5);
        assert_eq!(wire.input.capacity(), SMALL);
    }

    #[tokio::test]
    async fn nothing_is_read_on_where_many_share_a_connection() {
        let (mut wire, _peer) = wire_with(&[b'x'; 3 * SMALL]);
        wire.read_ahead(SMALL);
        let mut reader = BodyReader::default();
        reader.start(Framing::Length(3 * SMALL as u64));
        assert!(first_piece(&mut reader, &mut wire).await < SMALL);
        assert_eq!(wire.input.capacity(), SMALL);
    }

    #[tokio::test]
    async fn a_peer_that_ends_inside_the_body_is_told_from_one_that_has_sent_it_all() {
        let (mut wire, peer) = wire_with(&[b'x'; 2 * SMALL]);
        drop(peer);
        let mut reader = BodyReader::default();
        reader.start(Framing::Length(LARGE as u64));
        let ready = first_piece(&mut reader, &mut wire).await;
        assert_eq!(ready, 2 * SMALL, "what came is passed on");
        reader.consume(&mut wire, ready);
        let mut context = Context::from_waker(Waker::noop());
        assert!(matches!(reader.poll(&mut context, &mut wire), Poll::Ready(Err(ReadError::Truncated))));
    }
}
