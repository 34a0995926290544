//! The first message of a TLS client, looked at before anything is decided.
//!
//! Every byte stays in the caller's buffer: a connection that is passed through, or that turns out
//! to be clear text, begins with what was looked at.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::server::{Accepted, AcceptedAlert, Acceptor};
use tokio::io::{AsyncRead, ReadBuf};

use super::buffer::Buffer;

/// Why the first bytes are no ClientHello.
#[derive(Debug, thiserror::Error)]
pub enum HelloError {
    /// A protocol without TLS.
    #[error("the client does not speak TLS")]
    ClearText,
    /// It begins like TLS but is none.
    #[error("the ClientHello is malformed")]
    Malformed {
        /// What the library said.
        #[source]
        error: rustls::Error,
        /// What the client is to be told.
        alert: Box<AcceptedAlert>,
    },
    /// More than a buffer holds, 16 KiB.
    #[error("the ClientHello is larger than 16 KiB")]
    TooLarge,
    /// The connection broke or ended.
    #[error("the client went away before its ClientHello was complete")]
    Gone(#[source] io::Error),
}

/// Takes a ClientHello that comes in pieces; it may lie in several records.
#[derive(Default)]
pub struct HelloReader {
    acceptor: Acceptor,
    seen: usize,
}

impl HelloReader {
    /// Looks at all bytes that have come so far: `None` when more are needed.
    ///
    /// # Errors
    /// When they can not become a ClientHello.
    pub fn look(&mut self, bytes: &[u8]) -> Result<Option<Accepted>, HelloError> {
        match bytes.first() {
            None => return Ok(None),
            Some(first) if first.is_ascii_graphic() || first.is_ascii_whitespace() => {
                return Err(HelloError::ClearText);
            }
            // A handshake record begins with byte 22 (RFC 8446 §5.1), and for anything else the
            // library has an alert.
            Some(_) => {}
        }
        let mut fresh = bytes.get(self.seen..).unwrap_or_default();
        self.seen = bytes.len();
        while !fresh.is_empty() {
            self.acceptor.read_tls(&mut fresh).map_err(HelloError::Gone)?;
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(accepted) => return Ok(accepted),
                Err((error, alert)) => return Err(HelloError::Malformed { error, alert: Box::new(alert) }),
            }
        }
        Ok(None)
    }
}

/// Reads until the ClientHello is complete; what was read is in `bytes`. The deadline is the
/// caller's. Not cancel-safe.
///
/// # Errors
/// When there is no ClientHello.
pub async fn read<S>(stream: &mut S, bytes: &mut Buffer) -> Result<Accepted, HelloError>
where
    S: AsyncRead + Unpin,
{
    let mut reader = HelloReader::default();
    poll_fn(|context| {
        loop {
            if ready!(poll_fill(stream, bytes, context)).map_err(HelloError::Gone)? == 0 {
                return Poll::Ready(Err(HelloError::Gone(io::ErrorKind::UnexpectedEof.into())));
            }
            if let Some(accepted) = reader.look(bytes.filled())? {
                return Poll::Ready(Ok(accepted));
            }
            if bytes.spare().is_empty() {
                return Poll::Ready(Err(HelloError::TooLarge));
            }
        }
    })
    .await
}

/// Reads once; a client that is silent holds no memory.
fn poll_fill<S>(stream: &mut S, bytes: &mut Buffer, context: &mut Context<'_>) -> Poll<io::Result<usize>>
where
    S: AsyncRead + Unpin,
{
    let mut read = ReadBuf::new(bytes.spare());
    let polled = Pin::new(stream).poll_read(context, &mut read);
    let count = read.filled().len();
    bytes.fill(count);
    if polled.is_pending() {
        bytes.release();
    }
    polled.map_ok(|()| count)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What a client that asks for `name` sends first.
    fn hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    /// The same message in records of so many bytes.
    fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
        let pieces = hello[5..].chunks(size);
        pieces.flat_map(|piece| [&[22, 3, 1, 0, piece.len() as u8][..], piece].concat()).collect()
    }

    fn name_of(accepted: &Accepted) -> Option<String> {
        accepted.client_hello().server_name().map(str::to_owned)
    }

    #[test]
    fn a_name_is_found_however_the_hello_is_cut() {
        let whole = hello("Db.Example.com");
        for bytes in [whole.clone(), in_records(&whole, 100), in_records(&whole, 7)] {
            let mut reader = HelloReader::default();
            for length in 0..bytes.len() {
                assert!(reader.look(&bytes[..length]).unwrap().is_none(), "complete at {length}");
            }
            let accepted = reader.look(&bytes).unwrap().expect("it is complete");
            assert_eq!(name_of(&accepted).as_deref(), Some("db.example.com"));
        }
    }

    #[test]
    fn an_address_is_no_name() {
        let accepted = HelloReader::default().look(&hello("127.0.0.1")).unwrap().expect("it is complete");
        assert_eq!(name_of(&accepted), None);
    }

    #[test]
    fn text_is_told_from_broken_tls() {
        for text in [&b"GET / HTTP/1.1\r\n"[..], b"PRI", b"\r\n", b"p"] {
            assert!(matches!(HelloReader::default().look(text), Err(HelloError::ClearText)), "{text:?}");
        }
        for bytes in [&[0x80, 0x2e, 1, 0, 2][..], &[22, 3, 1, 0, 4, 9, 0, 0, 0], &[0; 9]] {
            let looked = HelloReader::default().look(bytes);
            assert!(matches!(looked, Err(HelloError::Malformed { .. })), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_hello_without_an_end_is_given_up_at_16_kib() {
        let length = 60_000_u32.to_be_bytes();
        let mut bytes = vec![22, 3, 1, 0x40, 0, 1, length[1], length[2], length[3]];
        bytes.resize(64 * 1024, 0);
        for at in (0x4005..bytes.len() - 5).step_by(0x4005) {
            bytes[at..at + 5].copy_from_slice(&[22, 3, 1, 0x40, 0]);
        }
        let mut buffer = Buffer::default();
        let read = read(&mut &bytes[..], &mut buffer).await;
        assert!(matches!(read, Err(HelloError::TooLarge)), "{:?}", read.err());
    }

    #[tokio::test]
    async fn what_was_looked_at_stays_in_the_buffer() {
        let bytes = hello("a.test");
        let mut buffer = Buffer::default();
        read(&mut &bytes[..], &mut buffer).await.unwrap();
        assert_eq!(buffer.filled(), bytes);
        let ended = read(&mut &bytes[..20], &mut Buffer::default()).await;
        assert!(matches!(ended, Err(HelloError::Gone(_))));
    }
}
