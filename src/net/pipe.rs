//! Pipes through which the kernel passes bytes from one TCP socket to another without copying them.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The most that a pipe takes, in bytes of payload.
pub const PIPE: usize = 256 * 1024;
/// How many pipes a worker has at one time. Where more bodies wait for slow readers, the others are
/// copied.
const MOST: usize = 32;
/// How many descriptors the pipes of a worker take at most.
pub const DESCRIPTORS: usize = 2 * MOST;

thread_local! {
    static POOL: RefCell<Vec<Ends>> = const { RefCell::new(Vec::new()) };
    /// Pipes that are lent.
    static LENT: Cell<usize> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Ends {
    fn new() -> io::Result<Ends> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused where the user has many pages in pipes already: it works with 64 KiB as well.
        if let Err(error) = fcntl_setpipe_size(&writer, PIPE) {
            tracing::debug!(%error, "a pipe stays small");
        }
        Ok(Ends { reader, writer })
    }
}

/// A pipe with what is in it; lent by a pool of the worker.
#[derive(Debug)]
pub struct Pipe {
    /// Taken out only when it is dropped.
    ends: Option<Ends>,
    /// At most [`PIPE`].
    held: u32,
}

impl Pipe {
    /// An empty pipe; `None` when the worker has none left or the process no descriptors.
    pub fn lend() -> Option<Pipe> {
        if LENT.get() >= MOST {
            return None;
        }
        let ends = POOL.with_borrow_mut(Vec::pop).map_or_else(Ends::new, Ok);
        let ends = ends.inspect_err(|error| tracing::debug!(%error, "no pipe")).ok()?;
        LENT.set(LENT.get() + 1);
        Some(Pipe { ends: Some(ends), held: 0 })
    }

    /// How many bytes are in it.
    pub fn held(&self) -> usize {
        self.held as usize
    }

    /// Takes at most `most` bytes from a socket into the empty pipe and says how many; 0 is the end.
    pub fn poll_fill(
        &mut self,
        context: &mut Context<'_>,
        from: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(from.poll_read_ready(context))?;
            let filled = from.try_io(Interest::READABLE, || pass(from, &ends.writer, most.min(PIPE)));
            if let Some(filled) = unless_blocked(filled) {
                let count = filled?;
                self.held += count as u32;
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// Gives bytes to a socket and says how many it took.
    pub fn poll_drain(&mut self, context: &mut Context<'_>, to: &TcpStream) -> Poll<io::Result<usize>> {
        let Some(ends) = &self.ends else { return Poll::Ready(Ok(0)) };
        loop {
            ready!(to.poll_write_ready(context))?;
            let taken = to.try_io(Interest::WRITABLE, || pass(&ends.reader, to, self.held as usize));
            if let Some(taken) = unless_blocked(taken) {
                let count = taken?;
                self.held = self.held.saturating_sub(count as u32);
                return Poll::Ready(Ok(count));
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // A pipe may be dropped while its thread ends.
        let _ = LENT.try_with(|lent| lent.set(lent.get().saturating_sub(1)));
        // What is left in it belongs to nobody else.
        if let (0, Some(ends)) = (self.held, self.ends.take()) {
            let _ = POOL.try_with(|pool| pool.borrow_mut().push(ends));
        }
    }
}

fn pass(from: impl AsFd, to: impl AsFd, most: usize) -> io::Result<usize> {
    Ok(splice(from, None, to, None, most, SpliceFlags::NONBLOCK | SpliceFlags::MOVE)?)
}

/// `None` when the socket was not ready after all: the event loop knows it by now.
fn unless_blocked(passed: io::Result<usize>) -> Option<io::Result<usize>> {
    match passed {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        passed => Some(passed),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream as Blocking};

    use super::*;

    /// A socket as the worker has it, and its peer.
    fn pair() -> (TcpStream, Blocking) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = Blocking::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        ours.set_nonblocking(true).unwrap();
        (TcpStream::from_std(ours).unwrap(), peer)
    }

    #[tokio::test]
    async fn bytes_go_from_one_socket_to_the_other_in_order_and_no_more_than_was_asked_for() {
        let ((from, mut sender), (to, mut receiver)) = (pair(), pair());
        sender.write_all(b"hello world").unwrap();
        let mut pipe = Pipe::lend().unwrap();
        assert_eq!(poll_fn(|context| pipe.poll_fill(context, &from, 5)).await.unwrap(), 5);
        assert_eq!(pipe.held(), 5);
        assert_eq!(poll_fn(|context| pipe.poll_drain(context, &to)).await.unwrap(), 5);
        assert_eq!(pipe.held(), 0);
        let mut came = [0; 5];
        receiver.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"hello");
        let mut rest = [0; 16];
        assert_eq!(from.try_read(&mut rest).unwrap(), 6, "the rest is still in the socket");
    }

    #[tokio::test]
    async fn the_end_of_a_socket_is_no_bytes() {
        let (from, sender) = pair();
        drop(sender);
        let mut pipe = Pipe::lend().unwrap();
        assert_eq!(poll_fn(|context| pipe.poll_fill(context, &from, 5)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_one_exchange_has_left_in_a_pipe_never_reaches_another() {
        let (from, mut sender) = pair();
        sender.write_all(b"secret").unwrap();
        let mut pipe = Pipe::lend().unwrap();
        poll_fn(|context| pipe.poll_fill(context, &from, PIPE)).await.unwrap();
        drop(pipe);
        assert_eq!(POOL.with_borrow(Vec::len), 0);
        drop(Pipe::lend());
        assert_eq!(POOL.with_borrow(Vec::len), 1, "an empty pipe is used again");
    }

    #[test]
    fn a_worker_has_no_more_than_its_number_of_pipes() {
        let mut lent: Vec<Pipe> = std::iter::from_fn(Pipe::lend).collect();
        assert_eq!(lent.len(), MOST);
        lent.pop();
        assert!(Pipe::lend().is_some());
    }
}
