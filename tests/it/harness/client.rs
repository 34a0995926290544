//! A client of raw bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::PATIENCE;
use super::http::{Expect, Reader, Response, status_of};

/// A connection to the proxy.
pub struct Client {
    reader: Reader<TcpStream>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("no connection to {address}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a duration above zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("a duration above zero");
        stream.set_nodelay(true).expect("the socket is open");
        Client { reader: Reader::new(stream) }
    }

    /// Sends bytes as they are. A peer that has closed already is no failure: its answer counts.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _peer_may_have_closed = self.reader.stream.write_all(bytes.as_ref());
    }

    /// Sends a request without a body and reads its answer.
    pub fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response()
    }

    /// The next answer to anything but HEAD; 1xx count as answers.
    pub fn response(&mut self) -> Response {
        self.try_response().expect("an answer comes")
    }

    /// The same, or why there was none.
    pub fn try_response(&mut self) -> io::Result<Response> {
        self.read(Expect::Response { to_head: false })
    }

    pub fn response_to_head(&mut self) -> Response {
        self.read(Expect::Response { to_head: true }).expect("an answer comes")
    }

    fn read(&mut self, expect: Expect) -> io::Result<Response> {
        let head = self.reader.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let raw_body = self.reader.body(&head, expect)?;
        Ok(Response { status: status_of(&head), head, raw_body })
    }

    /// The head of an answer whose body is read piece by piece.
    pub fn head(&mut self) -> String {
        self.reader.head().expect("a head comes").expect("a head comes")
    }

    /// Exactly so many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        self.reader.exactly(count).expect("the bytes come")
    }

    /// Everything up to the end of the connection, a reset included.
    pub fn rest(&mut self) -> Vec<u8> {
        loop {
            match self.reader.fill() {
                Ok(count) if count > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    panic!("the connection stays open")
                }
                Ok(_) | Err(_) => return std::mem::take(&mut self.reader.buffer),
            }
        }
    }

    /// Whether the proxy ends the connection within so long, without another byte.
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        self.reader.stream.set_read_timeout(Some(limit)).expect("a duration above zero");
        let ended = match self.reader.stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        };
        self.reader.stream.set_read_timeout(Some(PATIENCE)).expect("a duration above zero");
        ended
    }

    /// Says that nothing more will come, and goes on reading.
    pub fn end_sending(&self) {
        self.reader.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }
}

/// Sends bytes on a connection of their own and reads until the proxy closes it.
pub fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut client = Client::connect(address);
    client.send(bytes);
    client.rest()
}
