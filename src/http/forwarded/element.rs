//! The field Forwarded (RFC 7239): one element for each proxy on the way.

use std::net::IpAddr;

use super::Scratch;
use crate::http::exchange::{Client, Exchange};
use crate::http::name::Name;

/// Calls `hop` for each element of a list with the value of its `for`; `None` where it has none
/// that can be read.
pub(super) fn sources(list: &[u8], mut hop: impl FnMut(Option<&[u8]>)) {
    for element in split(list, b',') {
        let element = element.trim_ascii();
        if !element.is_empty() {
            hop(split(element, b';').find_map(source));
        }
    }
}

/// The value of a pair that is `for=…`.
fn source(pair: &[u8]) -> Option<&[u8]> {
    let pair = pair.trim_ascii();
    let value = pair.get(..4).filter(|name| name.eq_ignore_ascii_case(b"for=")).and(pair.get(4..))?;
    match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.strip_suffix(b"\""),
        None => Some(value),
    }
}

/// The parts of a text at a byte that stands in no quoted string.
fn split(text: &[u8], at: u8) -> impl Iterator<Item = &[u8]> {
    let mut quotes = Quotes::default();
    text.split(move |byte| {
        quotes.see(*byte);
        !quotes.is_open && *byte == at
    })
}

/// Follows the quoted strings of a text (RFC 9110 §5.6.4).
#[derive(Default)]
struct Quotes {
    is_open: bool,
    is_escaped: bool,
}

impl Quotes {
    fn see(&mut self, byte: u8) {
        let was_escaped = std::mem::take(&mut self.is_escaped);
        match byte {
            b'"' if !was_escaped => self.is_open = !self.is_open,
            b'\\' if self.is_open => self.is_escaped = !was_escaped,
            _ => {}
        }
    }
}

/// Whether every quoted string of a list ends, so that something can be appended to it.
fn is_closed(list: &[u8]) -> bool {
    let mut quotes = Quotes::default();
    list.iter().for_each(|byte| quotes.see(*byte));
    !quotes.is_open
}

/// The whole field for the endpoint: what trusted proxies have said, then ours.
pub(super) fn value(exchange: &Exchange) -> Scratch {
    let mut value = Scratch::default();
    if exchange.client.trusted {
        for earlier in exchange.request.fields.all(Name::Forwarded).filter(|list| is_closed(list)) {
            value.push(earlier);
            value.push(b", ");
        }
    }
    own(&mut value, &exchange.client, exchange.request.authority());
    value
}

fn own(value: &mut Scratch, client: &Client, host: &[u8]) {
    value.push(b"for=");
    match client.address.ip() {
        nobody if nobody.is_unspecified() => value.push(b"unknown"),
        address => node(value, address),
    }
    if !client.local.ip().is_unspecified() {
        value.push(b";by=");
        node(value, client.local.ip());
    }
    if !host.is_empty() {
        value.push(b";host=");
        let is_plain = host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte));
        if is_plain { value.push(host) } else { quoted(value, host) }
    }
    value.push(b";proto=");
    value.push(client.scheme.name().as_bytes());
}

/// RFC 7239 §6: an IPv6 address stands in brackets, which need quotes.
fn node(value: &mut Scratch, address: IpAddr) {
    let address = address.to_canonical();
    if address.is_ipv4() {
        return value.address(address);
    }
    value.push(b"\"[");
    value.address(address);
    value.push(b"]\"");
}

fn quoted(value: &mut Scratch, text: &[u8]) {
    value.push(b"\"");
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            value.push(b"\\");
        }
        value.push(&[*byte]);
    }
    value.push(b"\"");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Authority, Scheme};

    fn written(client: &str, local: &str, host: &str, earlier: &[&str]) -> String {
        let mut exchange = Exchange::default();
        exchange.client = Client {
            address: client.parse().unwrap(),
            local: local.parse().unwrap(),
            scheme: Scheme::Https,
            trusted: true,
            ..Client::default()
        };
        let authority = exchange.request.fields.append(host.as_bytes());
        exchange.request.authority = Authority::at(authority, &exchange.request.fields);
        for line in earlier {
            exchange.request.fields.push(b"Forwarded", line.as_bytes());
        }
        String::from_utf8(value(&exchange).text().to_vec()).unwrap()
    }

    #[test]
    fn an_element_tells_who_asked_whom_for_what() {
        assert_eq!(
            written("192.0.2.7:5000", "10.0.0.1:443", "a.example", &[]),
            "for=192.0.2.7;by=10.0.0.1;host=a.example;proto=https"
        );
    }

    #[test]
    fn what_is_no_token_is_quoted() {
        assert_eq!(
            written("[2001:db8::7]:5000", "[2001:db8::1]:443", "[2001:db8::1]:8443", &[]),
            "for=\"[2001:db8::7]\";by=\"[2001:db8::1]\";host=\"[2001:db8::1]:8443\";proto=https"
        );
        assert!(written("192.0.2.7:1", "10.0.0.1:443", "a:1", &[]).contains(";host=\"a:1\";"));
    }

    #[test]
    fn a_client_without_an_address_is_unknown() {
        assert_eq!(written("0.0.0.0:0", "0.0.0.0:0", "", &[]), "for=unknown;proto=https");
    }

    #[test]
    fn a_chain_is_continued_in_one_line() {
        assert_eq!(
            written("10.0.0.2:1", "10.0.0.1:1", "", &["for=1.2.3.4", "for=10.0.0.3;by=\"_a,b\""]),
            "for=1.2.3.4, for=10.0.0.3;by=\"_a,b\", for=10.0.0.2;by=10.0.0.1;proto=https"
        );
    }

    #[test]
    fn a_line_with_an_open_quote_would_swallow_what_follows_and_is_left_out() {
        for open in ["for=\"1.2.3.4", "for=a, for=\"x\\\"", "for=\"a\", for=\""] {
            let value = written("10.0.0.2:1", "10.0.0.1:1", "", &[open]);
            assert_eq!(value, "for=10.0.0.2;by=10.0.0.1;proto=https", "{open}");
        }
    }
}
