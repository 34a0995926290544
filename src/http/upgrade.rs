//! Requests that turn a connection into a tunnel: Upgrade, and CONNECT with a path.
//!
//! WebSocket and its like ask with `Upgrade` (RFC 9110 §7.8), over HTTP/2 with an extended CONNECT
//! (RFC 8441); Go's net/rpc asks with `CONNECT /path`. Towards an endpoint that speaks HTTP/1.1
//! both become what it knows. Nothing that follows the request is passed on before it agreed.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::fields::{Fields, Span, items};
use super::framing::Framing;
use super::head::{RequestHead, ResponseHead, Version};
use super::name::Name;

/// What every WebSocket endpoint appends to the key (RFC 6455 §1.3).
const WEBSOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Finds out whether an HTTP/1.1 request asks for another protocol. Protocols that are HTTP or TLS
/// themselves are not offered on: the proxy would not see what is said over them.
pub fn detect(head: &mut RequestHead) {
    let Some(value) = head.fields.get(Name::Upgrade) else { return };
    let is_asked = head.version == Version::Http11
        && head
            .fields
            .all(Name::Connection)
            .flat_map(items)
            .any(|item| item.eq_ignore_ascii_case(b"upgrade"));
    let chosen = items(value).find(|item| is_protocol(item)).map(<[u8]>::to_vec);
    if let Some(protocol) = chosen.filter(|_| is_asked) {
        head.upgrade = Some(head.fields.append(&protocol));
    }
}

/// A protocol that can be offered to an endpoint: a token with an optional version.
pub fn is_protocol(text: &[u8]) -> bool {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/".contains(byte);
    let name = text.split(|byte| *byte == b'/').next().unwrap_or_default();
    let is_ours = [&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|own| name.eq_ignore_ascii_case(own));
    !name.is_empty() && text.iter().all(is_token) && !is_ours
}

/// Makes an extended CONNECT of HTTP/2 what HTTP/1.1 has for it. A WebSocket endpoint wants a key
/// there, for which HTTP/2 has no use (RFC 8441 §5).
pub fn translate(head: &mut RequestHead, random: impl FnOnce() -> [u8; 16]) {
    let Some(protocol) = head.upgrade().filter(|_| head.version == Version::Http2) else { return };
    if protocol.eq_ignore_ascii_case(b"websocket") {
        head.fields.set(KEY, BASE64_STANDARD.encode(random()).as_bytes());
    }
}

const KEY: &[u8] = b"sec-websocket-key";
const ACCEPT: &[u8] = b"sec-websocket-accept";

/// Whether the answer opens the tunnel that the request asked for. A client of HTTP/2 can not check
/// what proves a WebSocket endpoint, so it is checked, and taken away, here.
pub fn is_agreed(request: &RequestHead, response: &mut ResponseHead) -> bool {
    if response.framing != Framing::Tunnel || response.status != 101 {
        return response.framing == Framing::Tunnel;
    }
    let Some(asked) = request.upgrade() else { return false };
    let is_asked_for = |name: &[u8]| name.eq_ignore_ascii_case(asked);
    let is_same = response.fields.get(Name::Upgrade).is_some_and(is_asked_for)
        && response.fields.all(Name::Upgrade).count() == 1;
    if !is_same || request.version != Version::Http2 {
        return is_same;
    }
    let is_proven = proves(&request.fields, &response.fields);
    response.fields.remove(ACCEPT);
    is_proven || !asked.eq_ignore_ascii_case(b"websocket")
}

fn proves(request: &Fields, response: &Fields) -> bool {
    let (Some(key), Some(accept)) = (request.find(KEY), response.find(ACCEPT)) else { return false };
    let proof = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, WEBSOCKET_GUID].concat());
    accept == BASE64_STANDARD.encode(proof).as_bytes()
}

/// The head of Go's `rpc.DialHTTP`, which ends its lines with a bare line feed and has no fields:
/// `CONNECT /_goRPC_ HTTP/1.0\n\n`. The only head of that kind that is read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareConnect {
    /// It is one, and this long.
    Complete(usize),
    /// It may become one.
    Begun,
    /// It is something else.
    No,
}

impl BareConnect {
    /// Looks at the first bytes of a connection's next request.
    pub fn of(bytes: &[u8]) -> BareConnect {
        let Some(feed) = memchr::memchr(b'\n', bytes) else { return BareConnect::Begun };
        let target = bytes[..feed].strip_prefix(b"CONNECT ").and_then(|rest| rest.strip_suffix(b" HTTP/1.0"));
        match (target, bytes.get(feed + 1)) {
            (Some([b'/', path @ ..]), _) if !path.iter().all(|byte| matches!(byte, 0x21..=0x7e)) => {
                BareConnect::No
            }
            (Some([b'/', ..]), Some(b'\n')) => BareConnect::Complete(feed + 2),
            (Some([b'/', ..]), None) => BareConnect::Begun,
            _ => BareConnect::No,
        }
    }
}

/// A protocol of an extended CONNECT, kept in the head.
pub fn adopt(head: &mut RequestHead, protocol: &[u8]) -> Option<Span> {
    is_protocol(protocol).then(|| head.fields.append(protocol))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(version: Version, fields: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead { version, ..RequestHead::default() };
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        detect(&mut head);
        head
    }

    fn switching(fields: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead { status: 101, framing: Framing::Tunnel, ..ResponseHead::default() };
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        head
    }

    #[test]
    fn an_upgrade_is_asked_for_by_two_fields_of_http_1_1() {
        let both = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "WebSocket")];
        assert_eq!(request(Version::Http11, &both).upgrade(), Some(&b"WebSocket"[..]));
        assert_eq!(request(Version::Http10, &both).upgrade(), None);
        assert_eq!(request(Version::Http11, &both[1..]).upgrade(), None);
        assert_eq!(request(Version::Http11, &both[..1]).upgrade(), None);
    }

    #[test]
    fn what_would_hide_http_from_the_proxy_is_not_offered_on() {
        for (value, chosen) in [
            ("h2c", None),
            ("h2c, websocket", Some(&b"websocket"[..])),
            ("TLS/1.2", None),
            ("HTTP/2.0", None),
            ("SPDY/3.1", Some(b"SPDY/3.1")),
            ("tcp", Some(b"tcp")),
            ("a b", None),
        ] {
            let head = request(Version::Http11, &[("Connection", "upgrade"), ("Upgrade", value)]);
            assert_eq!(head.upgrade(), chosen, "{value}");
        }
    }

    #[test]
    fn only_the_protocol_that_was_asked_for_is_agreed_on() {
        let asked = request(Version::Http11, &[("Connection", "upgrade"), ("Upgrade", "websocket")]);
        assert!(is_agreed(&asked, &mut switching(&[("Upgrade", "WebSocket")])));
        assert!(!is_agreed(&asked, &mut switching(&[("Upgrade", "tcp")])));
        assert!(!is_agreed(&asked, &mut switching(&[])));
        assert!(!is_agreed(&request(Version::Http11, &[]), &mut switching(&[("Upgrade", "websocket")])));
    }

    #[test]
    fn a_websocket_endpoint_proves_itself_to_the_proxy_when_the_client_speaks_http_2() {
        let mut asked = request(Version::Http2, &[]);
        asked.upgrade = adopt(&mut asked, b"websocket");
        translate(&mut asked, || *b"the sample nonce");
        // RFC 6455 §1.3.
        assert_eq!(asked.fields.find(KEY), Some(&b"dGhlIHNhbXBsZSBub25jZQ=="[..]));
        let proof = [("Upgrade", "websocket"), ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")];
        let mut answer = switching(&proof);
        assert!(is_agreed(&asked, &mut answer));
        assert_eq!(answer.fields.find(ACCEPT), None);
        assert!(!is_agreed(&asked, &mut switching(&proof[..1])));
    }

    #[test]
    fn the_head_of_gos_net_rpc_is_known_byte_by_byte() {
        let head = b"CONNECT /_goRPC_ HTTP/1.0\n\nrest";
        for length in 0..27 {
            assert_eq!(BareConnect::of(&head[..length]), BareConnect::Begun, "{length}");
        }
        assert_eq!(BareConnect::of(head), BareConnect::Complete(27));
        for other in [
            &b"CONNECT a:1 HTTP/1.0\n\n"[..],
            b"CONNECT / HTTP/1.1\n\n",
            b"CONNECT / HTTP/1.0\nHost: a\n\n",
            b"CONNECT / HTTP/1.0\r\n\r\n",
            b"CONNECT /a b HTTP/1.0\n\n",
            b"GET / HTTP/1.0\n\n",
            b"\n",
        ] {
            assert_eq!(BareConnect::of(other), BareConnect::No, "{}", String::from_utf8_lossy(other));
        }
    }
}
