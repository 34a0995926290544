//! A stream with its two buffers: what HTTP/1.1 is spoken over, on both sides of the proxy.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::buffer::{Buffer, LARGE};
use super::pipe::Pipe;
use super::plain;
use super::stream::Stream;

/// Output up to this size is gathered into one write; larger pieces are written from where they
/// lie. Copying 8 KiB costs less than a second system call.
pub const GATHER: usize = 8 * 1024;

/// A stream with what was read but not used, and what is to be written.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    /// Read, not used yet.
    pub input: Buffer,
    /// To be written.
    pub output: Buffer,
    full_reads: u8,
    /// A body is coming that is worth a large buffer.
    bulk: bool,
    /// The socket has taken bytes of the message that was begun last.
    taken: bool,
    /// The task that has the wire will be woken when there is something to read.
    is_watched: bool,
    /// What the input grows to for a body that fills it.
    ahead: u32,
}

impl Wire {
    /// Wraps a fresh stream.
    pub fn new(stream: Stream) -> Wire {
        Wire {
            stream,
            input: Buffer::default(),
            output: Buffer::default(),
            full_reads: 0,
            bulk: false,
            taken: false,
            is_watched: false,
            ahead: LARGE as u32,
        }
    }

    /// A stream whose first bytes were read already.
    pub fn with_input(stream: Stream, input: Buffer) -> Wire {
        Wire { input, ..Wire::new(stream) }
    }

    /// The next bytes of the output begin a message.
    pub fn begin_message(&mut self) {
        self.taken = false;
    }

    /// Whether the socket has taken no byte since a message was begun.
    pub fn is_unsent(&self) -> bool {
        !self.taken
    }

    /// How far bodies are read ahead of their use, in bytes: less where many share what is there.
    pub fn read_ahead(&mut self, bytes: usize) {
        self.ahead = bytes as u32;
    }

    /// The stream below.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether a resting connection has seen an end or unasked bytes: see [`Stream::has_ended`].
    pub fn has_ended(&mut self) -> bool {
        self.is_watched = false;
        self.stream.has_ended()
    }

    /// The stream, with the bytes that were read ahead of their use.
    pub fn into_parts(self) -> (Stream, Buffer) {
        (self.stream, self.input)
    }

    /// Reads once and says how many bytes came; 0 is the end. The input grows when it is full and
    /// after two full reads, since then a body is coming that is worth it; full at its largest is
    /// an error.
    pub fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // Most connections that are asked have nothing to tell: no memory is lent for that.
        if self.input.is_empty()
            && let Stream::Tcp(tcp) = &self.stream
            && !plain::may_be_read(tcp)
        {
            if self.is_watched {
                return self.starve();
            }
            let Poll::Ready(ready) = tcp.poll_read_ready(context) else {
                self.is_watched = true;
                return self.starve();
            };
            ready?;
        }
        // Whoever was woken is not woken again.
        self.is_watched = false;
        if self.full_reads >= 2 || self.bulk {
            self.bulk = true;
            self.input.grow(self.ahead as usize);
        }
        let mut spare = self.input.spare();
        if spare.is_empty() {
            self.input.grow(LARGE);
            spare = self.input.spare();
        }
        let room = spare.len();
        if room == 0 {
            // Reading into no room looks like the end of the stream.
            return Poll::Ready(Err(io::ErrorKind::StorageFull.into()));
        }
        let again = self.full_reads > 0 || self.bulk;
        let Poll::Ready(read) = self.stream.poll_read_once(context, spare, again) else {
            return self.starve();
        };
        let count = read?;
        self.input.fill(count);
        self.full_reads = if count == room { self.full_reads.saturating_add(1) } else { 0 };
        Poll::Ready(Ok(count))
    }

    /// Nothing is there to read.
    fn starve<T>(&mut self) -> Poll<T> {
        // The next one to read gets the memory while the processor's caches still have it.
        if self.bulk {
            self.input.release();
        }
        Poll::Pending
    }

    /// Whether the last read has filled a small buffer, so that more is there; the next one then has a
    /// large buffer. For bodies of which more is promised.
    pub fn begin_bulk(&mut self) -> bool {
        let begins = self.full_reads > 0 && self.input.capacity() < self.ahead as usize;
        self.bulk |= begins;
        begins
    }

    /// Takes `data` for writing and says how much of it was taken: small pieces wait for company
    /// in the output buffer, large ones go out at once, together with what waited.
    pub fn poll_send(&mut self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.output.len() + data.len() <= GATHER {
            self.output.push(data);
            return Poll::Ready(Ok(data.len()));
        }
        let waiting = self.output.len();
        let slices = [IoSlice::new(self.output.filled()), IoSlice::new(data)];
        let slices = if waiting == 0 { &slices[1..] } else { &slices[..] };
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.taken = true;
        self.output.consume(written.min(waiting));
        // Nothing of `data` went out: try again, the next write waits for the socket.
        match written.saturating_sub(waiting) {
            0 => self.poll_send(context, data),
            taken => Poll::Ready(Ok(taken)),
        }
    }

    /// Whether a pipe can take bytes from the socket or give them to it.
    pub fn is_bare(&self) -> bool {
        matches!(self.stream, Stream::Tcp(_))
    }

    /// Takes at most `most` bytes from a bare socket into an empty pipe, past the input, and says how
    /// many; 0 is the end.
    pub fn poll_fill_pipe(
        &mut self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        self.is_watched = false;
        self.input.release();
        match &self.stream {
            Stream::Tcp(tcp) => pipe.poll_fill(context, tcp, most),
            Stream::Tls(_) | Stream::Unix(_) | Stream::Secure(_) => Poll::Ready(Ok(0)),
        }
    }

    /// Gives what is in a pipe to a bare socket, behind the output, and says how much was taken.
    pub fn poll_send_pipe(&mut self, context: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(context))?;
        let sent = match &self.stream {
            Stream::Tcp(tcp) => ready!(pipe.poll_drain(context, tcp))?,
            Stream::Tls(_) | Stream::Unix(_) | Stream::Secure(_) => 0,
        };
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.taken = true;
        Poll::Ready(Ok(sent))
    }

    /// Writes out everything that waits.
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, self.output.filled()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken = true;
            self.output.consume(written);
        }
        // A plain socket has nothing below; TLS may still hold a record that the socket refused.
        match &mut self.stream {
            Stream::Tls(tls) => Pin::new(tls).poll_flush(context),
            Stream::Secure(_) => Pin::new(&mut self.stream).poll_flush(context),
            Stream::Tcp(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    /// Says that nothing more will be written (FIN, after `close_notify` with TLS).
    pub fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    /// Gives empty buffers back to the pool.
    pub fn rest(&mut self) {
        (self.full_reads, self.bulk) = (0, false);
        self.input.release();
        self.output.release();
    }

    /// From now on another task may have the wire.
    pub fn change_hands(&mut self) {
        self.is_watched = false;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::{Wake, Waker};

    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Woken>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    /// A task that can be asked how often it was woken.
    fn task() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), woken.into())
    }

    async fn wire() -> (Wire, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (Wire::new(Stream::Tcp(near.unwrap())), far.unwrap().0)
    }

    #[tokio::test]
    async fn whoever_has_the_wire_is_woken_each_time_that_something_comes() {
        let (mut wire, mut peer) = wire().await;
        let (woken, waker) = task();
        let mut context = Context::from_waker(&waker);
        for round in 1..=3 {
            // The second look finds the first one's registration.
            assert!(wire.poll_fill(&mut context).is_pending());
            assert!(wire.poll_fill(&mut context).is_pending());
            peer.write_all(b"x").await.unwrap();
            while woken.0.load(Relaxed) < round {
                tokio::task::yield_now().await;
            }
            assert!(matches!(wire.poll_fill(&mut context), Poll::Ready(Ok(1))));
            wire.input.consume(1);
        }
    }

    #[tokio::test]
    async fn another_task_is_woken_when_the_wire_has_changed_hands() {
        let (mut wire, mut peer) = wire().await;
        let ((_, first), (woken, second)) = (task(), task());
        assert!(wire.poll_fill(&mut Context::from_waker(&first)).is_pending());
        wire.change_hands();
        assert!(wire.poll_fill(&mut Context::from_waker(&second)).is_pending());
        peer.write_all(b"x").await.unwrap();
        while woken.0.load(Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    }
}
