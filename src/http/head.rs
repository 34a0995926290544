//! The two heads of an exchange: request and response.

use super::fields::{Fields, Span};
use super::find;
use super::framing::Framing;

/// A request method. Unknown methods are passed through by their text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token.
    Other,
}

impl Method {
    /// Recognises a method; methods are case-sensitive (RFC 9110 §9.1).
    pub fn of(text: &[u8]) -> Method {
        match text {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Other,
        }
    }

    /// Whether repeating the request has the effect of making it once (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        matches!(
            self,
            Method::Get | Method::Head | Method::Put | Method::Delete | Method::Options | Method::Trace
        )
    }
}

/// The version that a message was written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Version {
    Http10,
    #[default]
    Http11,
    Http2,
}

impl Version {
    /// The name in the access log.
    pub fn name(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }
}

/// The head of a request, independent of the version that brought it.
///
/// A front end fills method, target and fields; `http::validate::request` then checks the whole
/// and fills `authority`, `path`, `query` and `framing`, or refuses it.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// Recognised method.
    pub method: Method,
    /// The method as written.
    pub method_text: Span,
    /// The target as written (h2: `:path`, or `:authority` for CONNECT).
    pub target: Span,
    /// The version of the front end.
    pub version: Version,
    /// Field lines.
    pub fields: Fields,
    /// The scheme of an absolute-form target or `:scheme`; empty when absent.
    pub scheme: Span,
    /// Host and optional port, lower case; empty only for HTTP/1.0 without Host.
    pub authority: Authority,
    /// The canonical path that routing, middlewares and endpoints see; `*` for OPTIONS *.
    pub path: Span,
    /// The query without `?`, never touched; `None` when there is no `?`.
    pub query: Option<Span>,
    /// How the body is delimited.
    pub framing: Framing,
    /// The protocol that the client wants to switch to; see [`super::upgrade`].
    pub upgrade: Option<Span>,
}

impl RequestHead {
    /// Makes it ready for the next head, keeping the memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead { fields, ..RequestHead::default() };
    }

    /// The method as written.
    pub fn method_text(&self) -> &[u8] {
        self.fields.text(self.method_text)
    }

    /// The target as written, for logs.
    pub fn target(&self) -> &[u8] {
        self.fields.text(self.target)
    }

    /// Host and optional port in lower case.
    pub fn authority(&self) -> &[u8] {
        self.fields.text(self.authority.whole)
    }

    /// The authority without its port.
    pub fn host(&self) -> &[u8] {
        self.fields.text(Span { end: self.authority.host_end, ..self.authority.whole })
    }

    /// The port of the authority, if there is one.
    pub fn port(&self) -> Option<&[u8]> {
        let Authority { whole, host_end } = self.authority;
        (host_end < whole.end).then(|| self.fields.text(Span { start: host_end + 1, ..whole }))
    }

    /// The canonical path.
    pub fn path(&self) -> &[u8] {
        self.fields.text(self.path)
    }

    /// The query without `?`.
    pub fn query(&self) -> Option<&[u8]> {
        self.query.map(|span| self.fields.text(span))
    }

    /// The protocol that the client wants to switch to.
    pub fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.map(|span| self.fields.text(span))
    }

    /// Whether the connection becomes a tunnel if the endpoint agrees.
    pub fn asks_for_tunnel(&self) -> bool {
        self.upgrade.is_some() || self.method == Method::Connect
    }
}

/// Who is asked, in lower case: a host, and a port if one was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    whole: Span,
    host_end: u32,
}

impl Authority {
    /// Where it stands.
    pub fn range(self) -> std::ops::Range<usize> {
        self.whole.range()
    }

    /// An authority whose host is so long.
    pub fn new(whole: Span, host: usize) -> Authority {
        Authority { whole, host_end: whole.start + host as u32 }
    }

    /// The authority that stands there.
    pub fn at(whole: Span, fields: &Fields) -> Authority {
        Authority::new(whole, split_port(fields.text(whole)).0.len())
    }
}

/// The head of a response.
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// Three digits.
    pub status: u16,
    /// The reason phrase; passed on over h1.
    pub reason: Span,
    /// The version of the endpoint.
    pub version: Version,
    /// Field lines.
    pub fields: Fields,
    /// How the body is delimited, the request's method considered.
    pub framing: Framing,
}

impl ResponseHead {
    /// Makes it ready for the next head, keeping the memory.
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }
}

/// Splits `host:port`; a port is absent when there is no colon after the host or bracket.
///
/// One search forward: only an IPv6 address has a bracket, and that is its first byte
/// (RFC 3986 §3.2.2).
pub fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let bracket = match authority.first() {
        Some(b'[') => memchr::memchr(b']', authority).unwrap_or_default(),
        Some(_) | None => 0,
    };
    match find::byte(authority, bracket, b':') {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_split_off_names_and_addresses() {
        assert_eq!(split_port(b"a.example:80"), (&b"a.example"[..], Some(&b"80"[..])));
        assert_eq!(split_port(b"[::1]:80"), (&b"[::1]"[..], Some(&b"80"[..])));
        assert_eq!(split_port(b"[::1]"), (&b"[::1]"[..], None));
        assert_eq!(split_port(b"a"), (&b"a"[..], None));
        assert_eq!(split_port(b"a:"), (&b"a"[..], Some(&b""[..])));
        assert_eq!(split_port(b""), (&b""[..], None));
    }

    #[test]
    fn methods_are_case_sensitive() {
        assert_eq!(Method::of(b"GET"), Method::Get);
        assert_eq!(Method::of(b"get"), Method::Other);
    }
}
