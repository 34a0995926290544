//! A byte stream to a client or an endpoint: TCP, TLS over TCP, or a unix socket.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::connector::Identity;
use super::plain;
use super::secure::Secure;
use super::tls::Protocol;

/// One open connection.
#[derive(Debug)]
pub enum Stream {
    /// Clear text over TCP.
    Tcp(TcpStream),
    /// TLS that we accepted; boxed because a session is a kilobyte and most streams are plain.
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// Clear text over a unix socket.
    Unix(UnixStream),
    /// TLS that we began, to an endpoint.
    Secure(Box<Secure>),
}

impl Stream {
    /// Ready when the socket has bytes, an end or an error to read.
    pub fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(tcp) => tcp.poll_read_ready(context),
            Stream::Tls(tls) => tls.get_ref().0.poll_read_ready(context),
            Stream::Unix(unix) => unix.poll_read_ready(context),
            Stream::Secure(secure) => secure.tcp().poll_read_ready(context),
        }
    }

    /// Whether there may be something to read. No system call is made: it answers from what the last
    /// poll of the event loop has learnt.
    pub fn may_be_read(&self) -> bool {
        let tcp = match self {
            Stream::Tcp(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
            Stream::Unix(unix) => return unix.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Stream::Secure(secure) => return secure.may_be_read(),
        };
        plain::may_be_read(tcp)
    }

    /// Asks the kernel whether the peer has closed or sent anything: `true` means that this idle
    /// connection is of no use. One system call; with TLS to an endpoint a second one when there is
    /// something, which may be a session ticket.
    pub fn has_ended(&mut self) -> bool {
        let seen = match self {
            Stream::Tcp(tcp) => look(tcp, |peek| tcp.try_io(Interest::READABLE, peek)),
            Stream::Tls(tls) => {
                let tcp = tls.get_ref().0;
                look(tcp, |peek| tcp.try_io(Interest::READABLE, peek))
            }
            Stream::Unix(unix) => look(unix, |peek| unix.try_io(Interest::READABLE, peek)),
            Stream::Secure(secure) => return secure.has_ended(),
        };
        seen != Seen::Nothing
    }

    /// What the two ends have agreed on by ALPN, when we began TLS.
    pub fn agreed(&self) -> Option<Protocol> {
        self.secure().and_then(Secure::protocol)
    }

    /// The identity under which we began TLS.
    pub fn identity(&self) -> Option<Identity> {
        self.secure().map(Secure::identity)
    }

    fn secure(&self) -> Option<&Secure> {
        match self {
            Stream::Secure(secure) => Some(secure),
            Stream::Tcp(_) | Stream::Tls(_) | Stream::Unix(_) => None,
        }
    }

    /// Whether what is written goes to the socket as it is.
    pub fn is_plain(&self) -> bool {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => true,
            Stream::Tls(_) | Stream::Secure(_) => false,
        }
    }

    /// Closes with RST instead of FIN, so that the peer can not take what it has for the whole.
    pub fn reset_on_close(&self) {
        let tcp = match self {
            Stream::Tcp(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
            Stream::Secure(secure) => secure.tcp(),
            Stream::Unix(_) => return,
        };
        if let Err(error) = socket2::SockRef::from(tcp).set_linger(Some(std::time::Duration::ZERO)) {
            tracing::debug!(%error, "linger not set");
        }
    }
}

/// What an idle socket has to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing: it rests.
    Nothing,
    /// Bytes.
    Bytes,
    /// The same, and the event loop has not seen them yet.
    FreshBytes,
    /// Its end or an error.
    End,
}

/// Looks at a socket. The event loop's view alone would miss what has come since its last poll;
/// `try_io` corrects that view when it was wrong.
pub(super) fn look(
    socket: &impl AsFd,
    try_io: impl FnOnce(&dyn Fn() -> io::Result<usize>) -> io::Result<usize>,
) -> Seen {
    let peek = || peek(socket);
    let would_block = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    let (bytes, peeked) = match try_io(&peek) {
        Err(error) if would_block(&error) => (Seen::FreshBytes, peek()),
        peeked => (Seen::Bytes, peeked),
    };
    match peeked {
        Err(error) if would_block(&error) => Seen::Nothing,
        Ok(0) | Err(_) => Seen::End,
        Ok(_) => bytes,
    }
}

fn peek(socket: &impl AsFd) -> io::Result<usize> {
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    let (_, count) = rustix::net::recv(socket, &mut [0; 1][..], flags)?;
    Ok(count)
}

impl Stream {
    /// Reads once and says how many bytes; 0 is the end, or no room. `again` says that the last read has
    /// filled its room, so that this may go on for ever.
    pub fn poll_read_once(
        &mut self,
        context: &mut Context<'_>,
        room: &mut [u8],
        again: bool,
    ) -> Poll<io::Result<usize>> {
        match self {
            Stream::Tcp(tcp) if again => return plain::poll_read(tcp, context, room),
            Stream::Tcp(tcp) => return plain::poll_read_on(tcp, context, room),
            Stream::Tls(_) | Stream::Unix(_) | Stream::Secure(_) => {}
        }
        let mut read = ReadBuf::new(room);
        ready!(Pin::new(self).poll_read(context, &mut read))?;
        Poll::Ready(Ok(read.filled().len()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => {
                let count = ready!(plain::poll_read(tcp, cx, buf.initialize_unfilled()))?;
                buf.advance(count);
                Poll::Ready(Ok(()))
            }
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
            Stream::Unix(unix) => Pin::new(unix).poll_read(cx, buf),
            Stream::Secure(secure) => Pin::new(&mut **secure).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => plain::poll_write(tcp, cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
            Stream::Unix(unix) => Pin::new(unix).poll_write(cx, buf),
            Stream::Secure(secure) => Pin::new(&mut **secure).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            Stream::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, bufs),
            Stream::Secure(secure) => Pin::new(&mut **secure).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
            Stream::Unix(unix) => Pin::new(unix).poll_flush(cx),
            Stream::Secure(secure) => Pin::new(&mut **secure).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
            Stream::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Stream::Secure(secure) => Pin::new(&mut **secure).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Nothing is awaited between the act of the peer and the look, so the event loop can not know.
    #[tokio::test]
    async fn what_the_event_loop_has_not_seen_yet_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for speaks in [true, false] {
            let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (mut near, mut far) = (Stream::Tcp(near.unwrap()), far.unwrap().0.into_std().unwrap());
            assert!(!near.has_ended());
            match speaks {
                true => io::Write::write_all(&mut far, b"x").unwrap(),
                false => drop(far),
            }
            assert!(near.has_ended());
        }
    }
}
