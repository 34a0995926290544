//! Headers that the proxy sends itself.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::{Addresses, v1, v2};

/// The version of a header that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Version {
    V1,
    V2,
}

/// What a connection to an endpoint begins with. Connections that began differently are never
/// used for one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Greeting {
    /// Nothing.
    #[default]
    Silent,
    /// A header that speaks for the proxy itself: a health check, or a client of no address.
    Local(Version),
    /// A header that speaks for a client.
    Proxied(Version, Addresses),
}

impl Greeting {
    /// The greeting for a client at `source` that connected to `destination`. A client on a UNIX
    /// socket has the unspecified address.
    pub fn for_client(version: Version, source: SocketAddr, destination: SocketAddr) -> Greeting {
        if source.ip().is_unspecified() {
            return Greeting::Local(version);
        }
        Greeting::Proxied(version, Addresses { source, destination })
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Greeting::Silent => Vec::new(),
            Greeting::Local(Version::V1) => [v1::BEGIN, b"UNKNOWN\r\n"].concat(),
            Greeting::Local(Version::V2) => [v2::SIGNATURE, &[0x20, 0, 0, 0]].concat(),
            Greeting::Proxied(Version::V1, addresses) => text(&addresses.in_one_family()),
            Greeting::Proxied(Version::V2, addresses) => block(&addresses.in_one_family()),
        }
    }
}

fn text(addresses: &Addresses) -> Vec<u8> {
    let Addresses { source, destination } = addresses;
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let mut line = v1::BEGIN.to_vec();
    let written = write!(line, "{family} {from} {to} {} {}\r\n", source.port(), destination.port());
    debug_assert!(written.is_ok(), "writing to a Vec does not fail");
    line
}

fn block(addresses: &Addresses) -> Vec<u8> {
    let Addresses { source, destination } = addresses;
    let mut rest = Vec::with_capacity(36);
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(v4) => rest.extend_from_slice(&v4.octets()),
            IpAddr::V6(v6) => rest.extend_from_slice(&v6.octets()),
        }
    }
    for end in [source, destination] {
        rest.extend_from_slice(&end.port().to_be_bytes());
    }
    let family = if source.is_ipv4() { 0x11 } else { 0x21 };
    // 12 or 36: far below what one byte holds.
    let length = rest.len() as u8;
    [v2::SIGNATURE, &[0x21, family, 0, length], &rest].concat()
}
