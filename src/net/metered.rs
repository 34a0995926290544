//! A stream of HTTP/2 on which useless frames are counted.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::{Meter, Peer, Refused, Useless};
use crate::clock::Millis;

/// What is read from a peer that was told to go, so that the reason reaches it: closing with unread
/// bytes would be a reset, and a reset overtakes the GOAWAY. In bytes.
const LINGER: usize = 1024 * 1024;

/// GOAWAY with ENHANCE_YOUR_CALM and no stream of the peer's (RFC 9113 §6.8).
const CALM: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

/// A stream with the account of its peer.
#[derive(Debug)]
pub struct Metered<S> {
    stream: S,
    gauge: Gauge,
    peer: Peer,
    /// Whether our side is shut, and what may still be read after that.
    shut: Option<usize>,
}

/// The account of a connection, for those who drive it.
#[derive(Clone, Debug)]
pub struct Gauge(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    origin: Instant,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    meter: Meter,
    /// When bytes last came.
    heard: Instant,
    shutting: bool,
}

impl Gauge {
    fn with<T>(&self, use_it: impl FnOnce(&mut State, Millis) -> T) -> T {
        let now = Millis(self.0.origin.elapsed().as_millis() as u64);
        use_it(&mut self.0.state.borrow_mut(), now)
    }

    /// What the peer sends too much of, once it is too much.
    pub fn flood(&self) -> Option<Useless> {
        self.0.state.borrow().meter.flood()
    }

    /// Whether our side of the connection is being closed.
    pub fn is_shutting(&self) -> bool {
        self.0.state.borrow().shutting
    }

    /// When bytes last came from the peer.
    pub fn heard(&self) -> Instant {
        self.0.state.borrow().heard
    }

    /// The error code that we have ended the connection with, and what is to blame; `None` while it
    /// lives or when it ended in peace.
    pub fn ended(&self) -> Option<(u32, Useless)> {
        let state = self.0.state.borrow();
        Some((state.meter.ended(), state.meter.blamed())).filter(|(code, _)| *code != 0)
    }

    /// A request was answered.
    pub fn useful(&self) {
        self.with(|state, _| state.meter.useful());
    }

    /// A request was refused for its form.
    pub fn refused(&self) {
        self.with(|state, now| state.meter.useless(Useless::Refused, now));
    }

    /// A stream was given to us.
    pub fn accepted(&self, stream: u32) {
        self.with(|state, _| state.meter.accepted(stream));
    }

    /// One of the streams that were refused without being given to us.
    pub fn next_refused(&self) -> Option<Refused> {
        self.with(|state, _| state.meter.next_refused())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Metered<S> {
    /// Counts what comes over a fresh connection.
    pub fn new(stream: S, peer: Peer) -> Metered<S> {
        let now = Instant::now();
        let state = State { meter: Meter::new(peer), heard: now, shutting: false };
        let gauge = Gauge(Rc::new(Shared { origin: now, state: RefCell::new(state) }));
        Metered { stream, gauge, peer, shut: None }
    }

    /// Its account.
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }

    /// What the reader of a flood gets. A client's connection is ended by its driver, which sees
    /// the flood; that of an endpoint has no such means, so it breaks, with a GOAWAY if there is
    /// room for one.
    fn stop(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.peer {
            Peer::Client => Poll::Pending,
            Peer::Endpoint => {
                if self.gauge.with(|state, _| state.meter.is_between()) {
                    // Written in part it does no harm: the connection ends here.
                    let _ = Pin::new(&mut self.stream).poll_write(context, &CALM);
                }
                Poll::Ready(Err(io::Error::other("the endpoint floods")))
            }
        }
    }

    /// Reads on until the peer ends as well.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4096];
        while let Some(left) = self.shut.filter(|left| *left > 0) {
            let mut read = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut read)) {
                Ok(()) if !read.filled().is_empty() => {
                    self.shut = Some(left.saturating_sub(read.filled().len()));
                }
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.gauge.flood().is_some() {
            return self.stop(context);
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let bytes = into.filled().get(before..).unwrap_or_default();
        self.gauge.with(|state, now| {
            state.heard = self.gauge.0.origin + std::time::Duration::from_millis(now.0);
            state.meter.read(bytes, now);
        });
        if self.gauge.flood().is_some() {
            into.set_filled(before);
            return self.stop(context);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.gauge.with(|state, now| state.meter.wrote(&bytes[..count], now));
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.gauge.with(|state, now| {
            let mut left = count;
            for slice in slices {
                let written = left.min(slice.len());
                state.meter.wrote(&slice[..written], now);
                left -= written;
            }
        });
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.gauge.with(|state, _| state.shutting = true);
        if self.shut.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            let blamed = self.peer == Peer::Client && self.gauge.ended().is_some();
            self.shut = Some(if blamed { LINGER } else { 0 });
        }
        self.poll_linger(context)
    }
}
