//! Takes a header off a socket, and not a byte more.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;

use rustix::net::RecvFlags;
use tokio::io::Interest;

use super::{Header, MAX_HEADER, Read, read};
use crate::net::Stream;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The peer sent something else.
    #[error("not a PROXY protocol header")]
    Malformed,
    /// The peer closed without a byte, as simple health checks do.
    #[error("the connection ended before anything came")]
    Silent,
    /// The peer closed before its header was complete.
    #[error("the connection ended inside its PROXY protocol header")]
    Ended,
    /// The connection broke.
    #[error("connection: {0}")]
    Io(#[source] io::Error),
}

/// Reads the header with which a connection begins. The first byte of TLS or HTTP stays in the
/// socket: the kernel's buffer is looked at first, and only what belongs to the header is taken.
///
/// Not cancel-safe: what has come of a header is lost. The deadline is the caller's.
///
/// # Errors
/// [`ReceiveError`]; the connection is of no use then.
pub async fn receive(stream: &Stream) -> Result<Header, ReceiveError> {
    let mut buffer = vec![0; MAX_HEADER];
    let mut taken = 0;
    loop {
        poll_fn(|context| stream.poll_read_ready(context)).await.map_err(ReceiveError::Io)?;
        let spare = buffer.get_mut(taken..).unwrap_or_default();
        let seen = match take(stream, spare, RecvFlags::PEEK) {
            Ok(0) if taken == 0 => return Err(ReceiveError::Silent),
            Ok(0) => return Err(ReceiveError::Ended),
            Ok(count) => taken + count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(ReceiveError::Io(error)),
        };
        let (end, found) = match read(&buffer[..seen]) {
            Read::Malformed => return Err(ReceiveError::Malformed),
            Read::Incomplete => (seen, None),
            Read::Header(header) => (header.length, Some(header)),
        };
        while taken < end {
            taken += match take(stream, &mut buffer[taken..end], RecvFlags::empty()) {
                Ok(0) => return Err(ReceiveError::Ended),
                Ok(count) => count,
                Err(error) => return Err(ReceiveError::Io(error)),
            };
        }
        if let Some(header) = found {
            return Ok(header);
        }
    }
}

/// One system call; the event loop learns of it when nothing is there.
fn take(stream: &Stream, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    let flags = flags | RecvFlags::DONTWAIT;
    match stream {
        Stream::Tcp(tcp) => tcp.try_io(Interest::READABLE, || recv(tcp, into, flags)),
        Stream::Unix(unix) => unix.try_io(Interest::READABLE, || recv(unix, into, flags)),
        // A header comes before TLS, never inside.
        Stream::Tls(_) | Stream::Secure(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn recv(socket: impl AsFd, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    let (_, count) = rustix::net::recv(socket, into, flags)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::net::proxy_protocol::Told;

    const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n";

    #[tokio::test]
    async fn what_follows_the_header_stays_in_the_socket() {
        let (mut peer, own) = UnixStream::pair().unwrap();
        peer.write_all(&[LINE, b"GET / HTTP/1.1\r\n"].concat()).await.unwrap();
        let mut stream = Stream::Unix(own);
        let header = receive(&stream).await.unwrap();
        assert_eq!(header.length, LINE.len());
        assert!(matches!(header.told, Told::Addresses(_)));
        let mut rest = [0; 16];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"GET / HTTP/1.1\r\n");
    }

    #[tokio::test]
    async fn a_header_may_come_byte_by_byte() {
        let (mut peer, own) = UnixStream::pair().unwrap();
        let stream = Stream::Unix(own);
        let sends = async {
            for byte in LINE {
                peer.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let (header, ()) = tokio::join!(receive(&stream), sends);
        assert_eq!(header.unwrap().length, LINE.len());
    }

    #[tokio::test]
    async fn half_a_header_and_something_else_are_no_header() {
        let (mut peer, own) = UnixStream::pair().unwrap();
        peer.write_all(&LINE[..20]).await.unwrap();
        drop(peer);
        assert!(matches!(receive(&Stream::Unix(own)).await, Err(ReceiveError::Ended)));
        let (mut peer, own) = UnixStream::pair().unwrap();
        peer.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(matches!(receive(&Stream::Unix(own)).await, Err(ReceiveError::Malformed)));
    }
}
