//! The PROXY protocol: what a load balancer says about a client before the client's first byte.
//!
//! Versions 1 and 2 after <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>. No I/O
//! here but in [`receive`]: bytes in, a header out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

mod receive;
mod v1;
mod v2;
mod write;

pub use receive::{ReceiveError, receive};
pub use write::{Greeting, Version};

/// Longest header that is read, in bytes, with all that version 2 may append.
pub const MAX_HEADER: usize = 4096;

/// What the beginning of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// More bytes will show it. All that has come belongs to the header.
    Incomplete,
    /// A header; what follows belongs to the client.
    Header(Header),
    /// No header, or one that breaks the rules: the connection is to be closed.
    Malformed,
}

/// A header that has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes.
    pub length: usize,
    /// Who talks to whom.
    pub told: Told,
}

/// What a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing: the load balancer speaks for itself (LOCAL, a health check), or does not know.
    Nothing,
    /// A client of no address, as on a UNIX socket.
    Nameless,
    /// A client over IP.
    Addresses(Addresses),
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

impl Addresses {
    /// Both in one family, as a header needs them: IPv4 unless one of them is a true IPv6 address.
    fn in_one_family(self) -> Addresses {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let (source, destination) = (canonical(self.source), canonical(self.destination));
        if source.is_ipv4() == destination.is_ipv4() {
            return Addresses { source, destination };
        }
        Addresses { source: mapped(source), destination: mapped(destination) }
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Reads a header of either version. What it says never changes when more bytes come, unless it
/// is [`Read::Incomplete`].
pub fn read(bytes: &[u8]) -> Read {
    if is_prefix(bytes, v1::BEGIN) {
        return v1::read(bytes);
    }
    if is_prefix(bytes, v2::SIGNATURE) {
        return v2::read(bytes);
    }
    Read::Malformed
}

/// Whether the bytes begin like `mark`, as far as they have come.
fn is_prefix(bytes: &[u8], mark: &[u8]) -> bool {
    let seen = bytes.len().min(mark.len());
    bytes[..seen] == mark[..seen]
}

fn four(octets: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(octets), port))
}

fn six(octets: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::from(octets), port))
}

#[cfg(test)]
mod tests;
