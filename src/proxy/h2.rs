//! HTTP/2 bodies and fields over the streams of the `h2` crate: one reader and one writer, used
//! on both sides of the proxy.

use std::task::{Context, Poll, ready};

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};

use crate::h1::body::may_be_trailer;
use crate::http::Fields;

/// What is gathered before it goes out as a DATA frame: the frame size that every peer takes
/// (RFC 9113 §4.2).
const PIECE: usize = 16 * 1024;

/// What the library may hold of one stream until the socket takes it, in bytes.
pub const SEND_BUFFER: usize = 64 * 1024;

/// Most trailer fields that are passed on, as for HTTP/1.1.
const MAX_TRAILERS: usize = 64;

/// Largest flow-control window (RFC 9113 §6.9.1).
const MAX_WINDOW: u32 = i32::MAX as u32;

/// A size as a flow-control window.
pub fn window(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(MAX_WINDOW).min(MAX_WINDOW)
}

/// Reads one body. The window opens again as payload is consumed, so a slow reader slows the
/// sender down and no more than a window is ever held.
#[derive(Debug)]
pub struct Incoming {
    stream: RecvStream,
    piece: Bytes,
    /// Consumed, but not given back to the window yet.
    owed: usize,
    read: u64,
    ended: bool,
    trailers: Fields,
}

impl Incoming {
    /// The body that comes over a stream.
    pub fn new(stream: RecvStream) -> Incoming {
        let ended = stream.is_end_stream();
        Incoming { stream, piece: Bytes::new(), owed: 0, read: 0, ended, trailers: Fields::default() }
    }

    /// Ready when payload is there or the body has ended.
    ///
    /// # Errors
    /// The stream or its connection was lost.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while self.piece.is_empty() && !self.ended {
            match ready!(self.stream.poll_data(context)) {
                Some(piece) => {
                    self.piece = piece?;
                    self.read += self.piece.len() as u64;
                    self.owed = self.piece.len();
                }
                None => {
                    let trailers = ready!(self.stream.poll_trailers(context))?;
                    self.ended = true;
                    self.take_trailers(&trailers.unwrap_or_default());
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take_trailers(&mut self, trailers: &HeaderMap) {
        let allowed = trailers.iter().filter(|(name, _)| may_be_trailer(name.as_str().as_bytes()));
        for (name, value) in allowed.take(MAX_TRAILERS) {
            self.trailers.push(name.as_str().as_bytes(), value.as_bytes());
        }
    }

    /// The payload that is ready.
    pub fn payload(&self) -> &[u8] {
        &self.piece
    }

    /// Drops payload from the front.
    pub fn consume(&mut self, count: usize) {
        self.piece.advance(count.min(self.piece.len()));
        if self.piece.is_empty() && self.owed > 0 {
            // An error means that the stream is gone, which the next read tells.
            let _ = self.stream.flow_control().release_capacity(std::mem::take(&mut self.owed));
        }
    }

    /// Trailer fields, complete at the end of the body.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }

    /// Payload bytes read so far.
    pub fn size(&self) -> u64 {
        self.read
    }

    /// Whether the whole body was read and consumed.
    pub fn is_done(&self) -> bool {
        self.piece.is_empty() && (self.ended || self.stream.is_end_stream())
    }
}

/// Why a body could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The stream does not take a body, or no longer.
    #[error("the stream is closed")]
    Closed,
    /// The peer has reset the stream or the connection is lost.
    #[error("the stream is lost")]
    Lost(#[from] h2::Error),
}

/// Writes one body. Small pieces wait for company until the source pauses; payload is copied once.
#[derive(Debug, Default)]
pub struct Outgoing {
    stream: Option<SendStream<Bytes>>,
    gathered: BytesMut,
    ended: bool,
}

impl Outgoing {
    /// The body of a message whose head was just sent.
    pub fn new(stream: SendStream<Bytes>) -> Outgoing {
        Outgoing { stream: Some(stream), ..Outgoing::default() }
    }

    /// A message whose head was its end: payload is dropped.
    pub fn ended(stream: SendStream<Bytes>) -> Outgoing {
        Outgoing { ended: true, ..Outgoing::new(stream) }
    }

    /// The stream, once the head was sent.
    pub fn stream(&mut self) -> Option<&mut SendStream<Bytes>> {
        self.stream.as_mut()
    }

    /// Takes payload and says how much.
    ///
    /// # Errors
    /// The peer does not want more of it, or is gone.
    pub fn poll_take(
        &mut self,
        context: &mut Context<'_>,
        payload: &[u8],
    ) -> Poll<Result<usize, WriteError>> {
        if self.ended {
            return Poll::Ready(Ok(payload.len()));
        }
        if self.gathered.len() >= PIECE {
            ready!(self.poll_out(context, false))?;
        }
        let count = payload.len().min(PIECE - self.gathered.len());
        self.gathered.extend_from_slice(&payload[..count]);
        Poll::Ready(Ok(count))
    }

    /// Hands on what was gathered, as far as the windows allow.
    ///
    /// # Errors
    /// As [`Outgoing::poll_take`].
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        if self.ended { Poll::Ready(Ok(())) } else { self.poll_out(context, false) }
    }

    /// Ends the body.
    ///
    /// # Errors
    /// As [`Outgoing::poll_take`].
    pub fn poll_finish(
        &mut self,
        context: &mut Context<'_>,
        trailers: &Fields,
    ) -> Poll<Result<(), WriteError>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let has_trailers = !trailers.list().is_empty();
        ready!(self.poll_out(context, !has_trailers))?;
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(WriteError::Closed)) };
        if has_trailers {
            let mut map = Map::default();
            trailers.iter().for_each(|(_, name, value)| map.put(name, value));
            stream.send_trailers(map.0)?;
        } else if !self.ended {
            stream.send_data(Bytes::new(), true)?;
        }
        self.ended = true;
        Poll::Ready(Ok(()))
    }

    /// Sends what was gathered; with `end`, the last frame of it ends the stream.
    fn poll_out(&mut self, context: &mut Context<'_>, end: bool) -> Poll<Result<(), WriteError>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(Err(WriteError::Closed)) };
        while !self.gathered.is_empty() {
            stream.reserve_capacity(self.gathered.len());
            let mut room = stream.capacity();
            if room == 0 {
                room = match ready!(stream.poll_capacity(context)) {
                    Some(room) => room?,
                    None => return Poll::Ready(Err(WriteError::Closed)),
                };
            }
            let frame = self.gathered.split_to(room.min(self.gathered.len())).freeze();
            self.ended = end && self.gathered.is_empty();
            stream.send_data(frame, self.ended)?;
        }
        Poll::Ready(Ok(()))
    }
}

/// A head in the library's form.
#[derive(Debug, Default)]
pub struct Map(pub HeaderMap);

impl Map {
    /// Appends a field. What came over HTTP/1.1 has passed stricter rules than the ones here, so
    /// nothing is lost.
    pub fn put(&mut self, name: &[u8], value: &[u8]) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            let appended = self.0.try_append(name, value);
            debug_assert!(appended.is_ok(), "heads are bounded far below the limit of the map");
        }
    }
}

/// Appends the fields of a head in the library's form.
pub fn read_fields(map: &HeaderMap, fields: &mut Fields) {
    for (name, value) in map {
        fields.push(name.as_str().as_bytes(), value.as_bytes());
    }
}
