//! A connection to an endpoint over TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::connector::Identity;
use super::stream::peek;
use super::tls::Protocol;

/// An open connection to an endpoint over TLS, and under which identity it was made.
#[derive(Debug)]
pub struct Secure {
    pub(super) tls: TlsStream<TcpStream>,
    identity: Identity,
}

impl Secure {
    pub(super) fn new(tls: TlsStream<TcpStream>, identity: Identity) -> Secure {
        Secure { tls, identity }
    }

    /// What ALPN chose; nothing when the endpoint does not know ALPN.
    pub fn protocol(&self) -> Option<Protocol> {
        Protocol::of(self.tls.get_ref().1)
    }

    /// Under which names, roots and certificate it was made.
    pub fn identity(&self) -> Identity {
        self.identity
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
        let mut byte = [0; 1];
        match tcp.try_io(Interest::READABLE, || peek(tcp, &mut byte)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
        let mut read = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        // Pending: all that was there belonged to TLS.
        !matches!(Pin::new(&mut self.tls).poll_read(&mut context, &mut read), Poll::Pending)
    }
}
