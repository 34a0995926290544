//! Reads and writes of a plain TCP socket.
//!
//! What tokio's own `poll_read` and `poll_write` do, with less on the way that is taken when the socket
//! is ready: no waker is looked at, and the system is called directly.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::coop;

/// Whether there may be something to read, as far as the event loop knows.
pub(super) fn may_be_read(tcp: &TcpStream) -> bool {
    tcp.try_io(Interest::READABLE, || Ok(())).is_ok()
}

/// Reads once and says how many bytes; 0 is the end.
pub(super) fn poll_read(
    tcp: &TcpStream,
    context: &mut Context<'_>,
    room: &mut [u8],
) -> Poll<io::Result<usize>> {
    // Whoever finds its socket ready again and again must let others have their turn.
    let turn = ready!(coop::poll_proceed(context));
    let read = poll_read_on(tcp, context, room);
    if read.is_ready() {
        turn.made_progress();
    }
    read
}

/// The same for whoever does not read again and again: the last read did not fill its room.
pub(super) fn poll_read_on(
    tcp: &TcpStream,
    context: &mut Context<'_>,
    room: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        let mut count = 0;
        let read = tcp.try_io(Interest::READABLE, || {
            (count, _) = recv(tcp, &mut *room, RecvFlags::empty())?;
            // A read that has not filled its room has emptied the socket: its readiness ends here, so
            // that the next one is not made in vain. An end is not emptied.
            if 0 < count && count < room.len() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match read {
            Ok(()) => {}
            // It was read; the error is ours.
            Err(_) if count > 0 => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                ready!(tcp.poll_read_ready(context))?;
                continue;
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
        return Poll::Ready(Ok(count));
    }
}

/// Writes once. As `AsyncWrite::poll_write`.
pub(super) fn poll_write(
    tcp: &TcpStream,
    context: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        let mut count = 0;
        let written = tcp.try_io(Interest::WRITABLE, || {
            count = send(tcp, bytes, SendFlags::NOSIGNAL)?;
            // The same: the socket is full.
            if 0 < count && count < bytes.len() { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match written {
            Ok(()) => return Poll::Ready(Ok(count)),
            Err(_) if count > 0 => return Poll::Ready(Ok(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(tcp.poll_write_ready(context))?,
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}
