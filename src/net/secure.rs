//! A connection to an endpoint over TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::connector::Identity;
use super::plain;
use super::stream::{Seen, look};
use super::tls::Protocol;

/// An open connection to an endpoint over TLS, and under which identity it was made.
#[derive(Debug)]
pub struct Secure {
    tls: TlsStream<TcpStream>,
    identity: Identity,
    /// Whether payload has come, so that the endpoint has taken the handshake.
    heard: bool,
    /// Why the endpoint has ended the connection, found while it was written to.
    farewell: Option<rustls::Error>,
}

impl Secure {
    pub(super) fn new(tls: TlsStream<TcpStream>, identity: Identity) -> Secure {
        Secure { tls, identity, heard: false, farewell: None }
    }

    /// What ALPN chose; nothing when the endpoint does not know ALPN.
    pub fn protocol(&self) -> Option<Protocol> {
        Protocol::of(self.tls.get_ref().1)
    }

    /// Under which names, roots and certificate it was made.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        self.tls.get_ref().0
    }

    /// Whether TLS holds what nobody has read, or the socket may have something.
    pub(super) fn may_be_read(&self) -> bool {
        !self.tls.get_ref().1.wants_read() || plain::may_be_read(self.tcp())
    }

    /// Whether the endpoint has ended it or has sent anything that nobody asked for. TLS itself
    /// sends unasked: session tickets after the handshake (RFC 8446 §4.6.1), which say nothing
    /// about the connection. They are taken here, so that they do not wait for the next request.
    pub(super) fn has_ended(&mut self) -> bool {
        let (tcp, session) = self.tls.get_ref();
        // Neither before payload that nobody has read nor after the end is more to be read.
        if !session.wants_read() {
            return true;
        }
        match look(tcp, |peek| tcp.try_io(Interest::READABLE, peek)) {
            Seen::Nothing => return false,
            // Fresh bytes can not be read before the event loop knows of them.
            Seen::End | Seen::FreshBytes => return true,
            Seen::Bytes => {}
        }
        let mut byte = [0; 1];
        let mut read = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        // Pending: all that was there belonged to TLS.
        !matches!(Pin::new(&mut self.tls).poll_read(&mut context, &mut read), Poll::Pending)
    }

    /// An endpoint that refuses our certificate closes while we still write, since in TLS 1.3 our
    /// side of the handshake is over by then. Why it does was sent before the end: that is the
    /// error, not the broken pipe.
    fn poll_farewell(&mut self, context: &mut Context<'_>, error: io::Error) -> Poll<io::Error> {
        let is_lost = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        if self.heard || !is_lost {
            return Poll::Ready(error);
        }
        let mut byte = [0; 1];
        let read = ready!(Pin::new(&mut self.tls).poll_read(context, &mut ReadBuf::new(&mut byte)));
        let told = read.err().and_then(|error| error.get_ref()?.downcast_ref().cloned());
        Poll::Ready(match told {
            Some(told) => said(self.farewell.insert(told)),
            None => error,
        })
    }

    fn written<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(Err(error)) => self.poll_farewell(context, error).map(Err),
            result => result,
        }
    }
}

fn said(error: &rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.clone())
}

impl AsyncRead for Secure {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(told) = &self.farewell {
            return Poll::Ready(Err(said(told)));
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut self.tls).poll_read(context, into))?;
        self.heard |= into.filled().len() > before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Secure {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tls).poll_write(context, bytes);
        self.written(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tls).poll_write_vectored(context, slices);
        self.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.tls).poll_flush(context);
        self.written(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(context)
    }
}
