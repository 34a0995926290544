//! Connections that enter a worker with their first bytes, not before them.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::setsockopt;
use nix::{setsockopt_impl, sockopt_impl};

sockopt_impl!(
    /// `TCP_DEFER_ACCEPT` (tcp(7)); the value is a time in seconds, 0 = off.
    DeferAccept,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    i32
);

/// Whether a listening socket gives a connection away only once the client has sent something. One
/// that stays silent comes a second after its handshake, when the kernel asks it again.
///
/// It saves waking up twice for each new connection: 27 % of the processor time of a connection that
/// carries one request (docs/performance.md).
///
/// # Errors
/// When the socket is none of TCP.
pub fn defer_accept(socket: &impl AsFd, defers: bool) -> io::Result<()> {
    setsockopt(socket, DeferAccept, &i32::from(defers)).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_comes_with_its_first_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        defer_accept(&listener, true).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        client.write_all(b"x").unwrap();
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn a_silent_connection_comes_at_once_where_the_server_speaks_first() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        defer_accept(&listener, true).unwrap();
        defer_accept(&listener, false).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn a_silent_connection_comes_in_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        defer_accept(&listener, true).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(listener.accept().is_ok());
    }
}
