//! Version 1: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Header, Read, Told};

/// How a header begins.
pub(super) const BEGIN: &[u8] = b"PROXY ";

/// What a load balancer says that can not tell.
const UNKNOWN: &[u8] = b"UNKNOWN";

/// The longest line with its CRLF, as the specification counts it.
const MAX_LINE: usize = 107;

pub(super) fn read(bytes: &[u8]) -> Read {
    let seen = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = memchr::memchr2(b'\r', b'\n', seen) else {
        return if seen.len() < MAX_LINE { Read::Incomplete } else { Read::Malformed };
    };
    match seen[end..] {
        [b'\r', b'\n', ..] => {}
        [b'\r'] if seen.len() < MAX_LINE => return Read::Incomplete,
        _ => return Read::Malformed,
    }
    let told = seen.get(BEGIN.len()..end).and_then(told);
    told.map_or(Read::Malformed, |told| Read::Header(Header { length: end + 2, told }))
}

/// What stands between `PROXY ` and CRLF.
fn told(text: &[u8]) -> Option<Told> {
    // Whatever else stands in such a line is to be ignored.
    if text.strip_prefix(UNKNOWN).is_some_and(|rest| rest.is_empty() || rest.starts_with(b" ")) {
        return Some(Told::Nothing);
    }
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let parse: fn(&str) -> Option<IpAddr> = match words.next()? {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, destination) = (parse(words.next()?)?, parse(words.next()?)?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    let addresses =
        Addresses { source: SocketAddr::new(source, from), destination: SocketAddr::new(destination, to) };
    words.next().is_none().then_some(Told::Addresses(addresses))
}

/// A port in decimal, without a sign or leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}
