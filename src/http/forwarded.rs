//! What is passed on of a head, and what the proxy says about the client.
//!
//! One place decides for both versions of HTTP which fields cross the proxy: hop-by-hop fields and
//! those that `Connection` lists stay behind (RFC 9110 §7.6.1), forwarding fields are replaced
//! unless the peer is in `trusted_proxies`.

use std::io::Write as _;

use serde::Deserialize;

use super::exchange::Exchange;
use super::fields::{Fields, items};
use super::head::ResponseHead;
use super::name::Name;

mod chain;
mod element;

pub use chain::client_of;

/// Which requests get the field Forwarded (RFC 7239). X-Forwarded-* are always there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forwarded {
    /// Those to which a trusted proxy has given one; it is continued.
    #[default]
    Continue,
    /// All.
    Always,
}

/// Calls `put` for each field that goes to the endpoint, except Host and Content-Length, which
/// belong to the writer of the head.
pub fn request_fields(exchange: &Exchange, mut put: impl FnMut(&[u8], &[u8])) {
    let fields = &exchange.request.fields;
    fields
        .iter()
        .filter(|(known, ..)| reaches_endpoint(*known))
        .for_each(|(_, name, value)| put(name, value));
    AboutClient::of(exchange).each(&mut put);
    if wants_trailers(fields) {
        put(b"te", b"trailers");
    }
}

/// Whether such a field of the client goes to the endpoint as it is.
pub fn reaches_endpoint(name: Name) -> bool {
    !(name.is_hop_by_hop() || matches!(name, Name::Host | Name::ContentLength) || is_forwarding(name))
}

/// Whether the client takes trailers.
pub fn wants_trailers(fields: &Fields) -> bool {
    fields.all(Name::Te).flat_map(items).any(|item| item.eq_ignore_ascii_case(b"trailers"))
}

/// Calls `put` for each field of the answer that goes to the client, except Content-Length,
/// which belongs to the writer of the head.
pub fn response_fields(response: &ResponseHead, mut put: impl FnMut(&[u8], &[u8])) {
    let passed = response.fields.iter().filter(|(known, ..)| reaches_client(*known, response.status));
    passed.for_each(|(_, name, value)| put(name, value));
}

/// Whether such a field of an answer with this status goes to the client as it is.
pub fn reaches_client(name: Name, status: u16) -> bool {
    let upgrade_is_told = name == Name::Upgrade && matches!(status, 101 | 426);
    (!name.is_hop_by_hop() || upgrade_is_told) && name != Name::ContentLength
}

/// Removes the fields that `Connection` lists (RFC 9110 §7.6.1). Done when a head has come, so that
/// it can not touch what middlewares set later. Fields that never cross the proxy stay: it reads
/// some of them itself, Upgrade and TE among them.
pub fn drop_listed(fields: &mut Fields) {
    if !fields.may_have(Name::Connection) {
        return;
    }
    let usual = |item: &[u8]| {
        [&b"close"[..], b"keep-alive", b"te", b"upgrade"].iter().any(|name| item.eq_ignore_ascii_case(name))
    };
    // Rare: most heads list nothing but the usual.
    if fields.all(Name::Connection).flat_map(items).all(usual) {
        return;
    }
    let lists: Vec<Vec<u8>> = fields.all(Name::Connection).map(<[u8]>::to_vec).collect();
    fields.retain(|known, name, _| {
        let listed = || lists.iter().flat_map(|list| items(list)).any(|item| item.eq_ignore_ascii_case(name));
        known.is_hop_by_hop() || !known.is_removable_by_connection() || !listed()
    });
}

fn is_forwarding(name: Name) -> bool {
    matches!(
        name,
        Name::Forwarded
            | Name::XForwardedFor
            | Name::XForwardedHost
            | Name::XForwardedPort
            | Name::XForwardedProto
            | Name::XRequestId
    )
}

/// What the endpoint is told about the client.
pub struct AboutClient<'a> {
    addresses: Scratch,
    /// X-Forwarded-Proto.
    pub proto: &'a [u8],
    /// X-Forwarded-Host; without one it is empty.
    pub host: &'a [u8],
    port: Port<'a>,
    /// X-Request-Id.
    pub request_id: &'a [u8],
    element: Option<Scratch>,
}

enum Port<'a> {
    Told(&'a [u8]),
    Own(Scratch),
}

impl<'a> AboutClient<'a> {
    /// What is told with this exchange.
    #[inline]
    pub fn of(exchange: &'a Exchange) -> AboutClient<'a> {
        let (request, client) = (&exchange.request, &exchange.client);
        let believed = |name| if client.trusted { request.fields.get(name) } else { None };
        let mut addresses = Scratch::default();
        if client.trusted {
            for earlier in request.fields.all(Name::XForwardedFor) {
                addresses.push(earlier);
                addresses.push(b", ");
            }
        }
        addresses.address(client.address.ip());
        let tells = client.forwarded == Forwarded::Always || believed(Name::Forwarded).is_some();
        AboutClient {
            addresses,
            proto: believed(Name::XForwardedProto).unwrap_or(client.scheme.name().as_bytes()),
            host: believed(Name::XForwardedHost).unwrap_or(request.authority()),
            port: match believed(Name::XForwardedPort).or_else(|| request.port()) {
                Some(text) => Port::Told(text),
                None => Port::Own(Scratch::of_number(client.local.port())),
            },
            request_id: exchange.request_id(),
            element: tells.then(|| element::value(exchange)),
        }
    }

    /// X-Forwarded-For.
    pub fn addresses(&self) -> &[u8] {
        self.addresses.text()
    }

    /// X-Forwarded-Port.
    pub fn port(&self) -> &[u8] {
        match &self.port {
            Port::Told(text) => text,
            Port::Own(number) => number.text(),
        }
    }

    /// Forwarded (RFC 7239).
    pub fn forwarded(&self) -> Option<&[u8]> {
        self.element.as_ref().map(Scratch::text)
    }

    fn each(&self, put: &mut impl FnMut(&[u8], &[u8])) {
        put(b"x-forwarded-for", self.addresses());
        put(b"x-forwarded-proto", self.proto);
        put(b"x-forwarded-port", self.port());
        put(b"x-request-id", self.request_id);
        if !self.host.is_empty() {
            put(b"x-forwarded-host", self.host);
        }
        if let Some(element) = self.forwarded() {
            put(b"forwarded", element);
        }
    }
}

/// A short text on the stack; longer ones spill to the heap (a long chain of trusted proxies).
struct Scratch {
    inline: [u8; 48],
    length: usize,
    spilled: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch { inline: [0; 48], length: 0, spilled: Vec::new() }
    }
}

impl Scratch {
    fn push(&mut self, bytes: &[u8]) {
        match self.inline.get_mut(self.length..self.length + bytes.len()) {
            Some(room) if self.spilled.is_empty() => {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
            }
            _ => {
                if self.spilled.is_empty() {
                    self.spilled.extend_from_slice(&self.inline[..self.length]);
                }
                self.spilled.extend_from_slice(bytes);
            }
        }
    }

    fn address(&mut self, address: std::net::IpAddr) {
        match address {
            std::net::IpAddr::V4(v4) => {
                // Behind a list of other addresses it may not have room.
                let (mut text, mut end) = ([0u8; 16], 0);
                for octet in v4.octets() {
                    let [digits @ .., length] = OCTETS[usize::from(octet)];
                    text[end..end + 4].copy_from_slice(&digits);
                    end += usize::from(length);
                }
                match self.length {
                    0 => {
                        self.inline[..16].copy_from_slice(&text);
                        self.length = end - 1;
                    }
                    _ => self.push(&text[..end - 1]),
                }
            }
            std::net::IpAddr::V6(v6) => {
                let mut text = [0u8; 48];
                let mut rest = &mut text[..];
                let _ = write!(rest, "{v6}");
                let left = rest.len();
                self.push(&text[..48 - left]);
            }
        }
    }

    fn of_number(number: u16) -> Scratch {
        let mut digits = [0u8; 5];
        let (mut at, mut left) = (digits.len(), number);
        loop {
            at -= 1;
            digits[at] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        let mut text = Scratch::default();
        text.push(&digits[at..]);
        text
    }

    fn text(&self) -> &[u8] {
        if self.spilled.is_empty() { &self.inline[..self.length] } else { &self.spilled }
    }
}

/// Every octet in decimal with a dot behind it, and the length of that.
const OCTETS: [[u8; 5]; 256] = {
    let (mut table, mut octet) = ([[0; 5]; 256], 0);
    while octet < 256 {
        let [hundreds, tens, ones] = [octet / 100, octet / 10 % 10, octet % 10];
        let digits = [b'0' + hundreds as u8, b'0' + tens as u8, b'0' + ones as u8];
        table[octet] = match octet {
            100.. => [digits[0], digits[1], digits[2], b'.', 4],
            10.. => [digits[1], digits[2], b'.', 0, 3],
            _ => [digits[2], b'.', 0, 0, 2],
        };
        octet += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Authority, Client, Scheme};

    fn passed(trusted: bool, fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut exchange = Exchange::default();
        exchange.client = Client {
            address: "192.0.2.7:5000".parse().unwrap(),
            local: "10.0.0.1:8443".parse().unwrap(),
            scheme: Scheme::Https,
            trusted,
            ..Client::default()
        };
        let authority = exchange.request.fields.append(b"a.example");
        exchange.request.authority = Authority::at(authority, &exchange.request.fields);
        for (name, value) in fields {
            exchange.request.fields.push(name.as_bytes(), value.as_bytes());
        }
        drop_listed(&mut exchange.request.fields);
        exchange.set_request_id([7; 16]);
        let mut out = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        request_fields(&exchange, |name, value| out.push((text(name), text(value))));
        out
    }

    fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
        fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    #[test]
    fn the_endpoint_learns_who_asked() {
        let fields = passed(false, &[]);
        assert_eq!(value(&fields, "x-forwarded-for"), Some("192.0.2.7"));
        assert_eq!(value(&fields, "x-forwarded-proto"), Some("https"));
        assert_eq!(value(&fields, "x-forwarded-host"), Some("a.example"));
        assert_eq!(value(&fields, "x-forwarded-port"), Some("8443"));
        assert_eq!(value(&fields, "x-request-id"), Some("07070707-0707-7707-8707-070707070707"));
    }

    #[test]
    fn addresses_are_written_as_everybody_writes_them() {
        let mut addresses: Vec<std::net::IpAddr> = vec!["2001:db8::7".parse().unwrap()];
        addresses.extend((0..=255).map(|octet| std::net::IpAddr::from([octet, 0, 255 - octet, octet])));
        for address in addresses {
            let mut text = Scratch::default();
            text.address(address);
            assert_eq!(text.text(), address.to_string().as_bytes());
        }
    }

    #[test]
    fn forwarding_fields_of_a_stranger_are_replaced_and_of_a_trusted_proxy_kept() {
        let sent = [
            ("X-Forwarded-For", "1.2.3.4"),
            ("x-forwarded-proto", "http"),
            ("Forwarded", "for=x"),
            ("x-request-id", "abc"),
        ];
        let stranger = passed(false, &sent);
        assert_eq!(value(&stranger, "x-forwarded-for"), Some("192.0.2.7"));
        assert_eq!(value(&stranger, "forwarded"), None);
        assert_ne!(value(&stranger, "x-request-id"), Some("abc"));
        let trusted = passed(true, &sent);
        assert_eq!(value(&trusted, "x-forwarded-for"), Some("1.2.3.4, 192.0.2.7"));
        assert_eq!(value(&trusted, "x-forwarded-proto"), Some("http"));
        let continued = "for=x, for=192.0.2.7;by=10.0.0.1;host=a.example;proto=https";
        assert_eq!(value(&trusted, "forwarded"), Some(continued));
        assert_eq!(
            trusted.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-forwarded-proto")).count(),
            1
        );
    }

    #[test]
    fn hop_by_hop_fields_and_what_connection_lists_stay_behind() {
        let fields = passed(
            false,
            &[
                ("Connection", "close, X-Hop, Cookie, TE, Upgrade, Keep-Alive, HTTP2-Settings"),
                ("Upgrade", "websocket"),
                ("HTTP2-Settings", "AA"),
                ("X-Hop", "1"),
                ("Keep-Alive", "5"),
                ("Cookie", "a"),
                ("TE", "gzip, trailers"),
                ("Proxy", "x"),
            ],
        );
        for name in ["connection", "x-hop", "keep-alive", "proxy", "upgrade", "http2-settings"] {
            assert_eq!(value(&fields, name), None, "{name}");
        }
        assert_eq!(value(&fields, "cookie"), Some("a"), "Connection can not remove credentials");
        assert_eq!(value(&fields, "te"), Some("trailers"));
    }

    #[test]
    fn an_answer_loses_its_connection_fields() {
        let mut response = ResponseHead { status: 200, ..ResponseHead::default() };
        for (name, value) in [
            ("Connection", "X-Hop, Upgrade, Keep-Alive"),
            ("X-Hop", "1"),
            ("Keep-Alive", "timeout=9"),
            ("Upgrade", "x"),
            ("A", "b"),
        ] {
            response.fields.push(name.as_bytes(), value.as_bytes());
        }
        drop_listed(&mut response.fields);
        let mut names = Vec::new();
        response_fields(&response, |name, _| names.push(String::from_utf8_lossy(name).into_owned()));
        assert_eq!(names, ["A"]);
    }
}
