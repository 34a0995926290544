//! The one strict check that every request passes, whichever front end read it.
//!
//! A front end has filled method, target, version and fields; byte-level syntax (tokens, control
//! bytes, line ends) is its matter. Here the message is judged as a whole and made canonical:
//! one framing, one authority, one path, seen alike by routes, middlewares and endpoints.

use super::fields::{Fields, Repeated, Span, items};
use super::find;
use super::forwarded::drop_listed;
use super::framing::Framing;
use super::head::{Authority, Method, RequestHead, Version, split_port};
use super::name::Name;
use super::path::{self, EncodedSlashes};
use super::reason::Reason;
use super::upgrade;

/// Longest request line, method and version included (RFC 9112 §3 asks for 8,000 at least).
pub const MAX_REQUEST_LINE: usize = 16 * 1024;

/// Judges a request and fills authority, path, query and framing.
pub fn request(head: &mut RequestHead, slashes: EncodedSlashes) -> Result<(), Reason> {
    drop_aliases(head);
    drop_listed(&mut head.fields);
    head.framing = framing(head)?;
    expectation(head)?;
    upgrade::detect(head);
    let target = split_target(head)?;
    authority(head, target.authority)?;
    canonical_path(head, target.path, slashes)
}

/// Drops names that some endpoints read as a framing, host or forwarding field because they map
/// `_` to `-` (CGI environments, `underscores_in_headers`).
fn drop_aliases(head: &mut RequestHead) {
    let is_suspicious = |name: &[u8]| name.contains(&b'_');
    if head.fields.every(Name::Other).any(|field| is_suspicious(head.fields.text(field.name))) {
        head.fields.retain(|known, name, _| known != Name::Other || !Name::is_alias(name));
    }
}

/// RFC 9112 §6.3, read strictly: one length or one `chunked`, never a choice.
fn framing(head: &RequestHead) -> Result<Framing, Reason> {
    let single = |name| head.fields.single_value(name).map_err(|Repeated| Reason::BadRequestFraming);
    match (single(Name::TransferEncoding)?, single(Name::ContentLength)?) {
        (Some(_), Some(_)) => Err(Reason::BadRequestFraming),
        (Some(coding), None) => {
            if head.version != Version::Http11 {
                return Err(Reason::BadRequestFraming);
            }
            transfer_coding(coding)
        }
        (None, Some(length)) => content_length(length).map(Framing::Length).ok_or(Reason::BadRequestFraming),
        (None, None) => Ok(Framing::None),
    }
}

fn transfer_coding(coding: &[u8]) -> Result<Framing, Reason> {
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    // A coding of the registry is well-formed but not ours to decode; all else is an attempt.
    let unknown = [&b"gzip"[..], b"deflate", b"compress", b"gzip, chunked", b"deflate, chunked"];
    if unknown.iter().any(|name| coding.eq_ignore_ascii_case(name)) {
        return Err(Reason::NotImplemented);
    }
    Err(Reason::BadRequestFraming)
}

/// The value of a Content-Length: digits only, below 2^63.
pub fn content_length(value: &[u8]) -> Option<u64> {
    number(value).filter(|number| *number <= i64::MAX as u64)
}

/// One to nineteen digits, which can not overflow.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let mut number = 0u64;
    for byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    Some(number)
}

/// `100-continue` is the only expectation there is (RFC 9110 §10.1.1); 1.0 clients can not wait.
fn expectation(head: &mut RequestHead) -> Result<(), Reason> {
    let Some(first) = head.fields.get(Name::Expect) else { return Ok(()) };
    if head.version == Version::Http10 {
        head.fields.retain(|known, _, _| known != Name::Expect);
        return Ok(());
    }
    let single = head.fields.all(Name::Expect).count() == 1;
    if single && first.eq_ignore_ascii_case(b"100-continue") {
        Ok(())
    } else {
        Err(Reason::ExpectationFailed)
    }
}

/// The parts of a target: the authority of an absolute form, then path and query.
struct Target {
    authority: Option<Span>,
    path: Span,
}

/// Takes the target apart by its form (RFC 9112 §3.2).
fn split_target(head: &mut RequestHead) -> Result<Target, Reason> {
    let text = head.target();
    if text.is_empty() || find::target_fault(head.fields.whole_text(), head.target.range()).is_some() {
        return Err(Reason::BadRequestTarget);
    }
    let start = head.target.start as usize;
    if head.method == Method::Connect {
        return split_connect(head);
    }
    if text == b"*" {
        if head.method != Method::Options {
            return Err(Reason::BadRequestTarget);
        }
        return Ok(Target { authority: None, path: head.target });
    }
    if text.first() == Some(&b'/') {
        return Ok(Target { authority: None, path: head.target });
    }
    let (scheme, rest) = [&b"http://"[..], b"https://"]
        .iter()
        .find(|scheme| text.len() > scheme.len() && text[..scheme.len()].eq_ignore_ascii_case(scheme))
        .map(|scheme| (scheme.len() - 3, scheme.len()))
        .ok_or(Reason::BadRequestTarget)?;
    let end =
        text[rest..].iter().position(|byte| matches!(byte, b'/' | b'?')).map_or(text.len(), |at| rest + at);
    if end == rest {
        return Err(Reason::BadRequestTarget);
    }
    // RFC 9112 §3.2.4: OPTIONS of a URI without a path asks about the server as a whole.
    let is_about_server = head.method == Method::Options && end == text.len();
    let path = match is_about_server {
        true => head.fields.append(b"*"),
        false => Span::new(start + end, start + text.len()),
    };
    head.scheme = Span::new(start, start + scheme);
    Ok(Target { authority: Some(Span::new(start + rest, start + end)), path })
}

/// CONNECT with a path, as Go's net/rpc asks for a tunnel; with an authority it would ask for a
/// forward proxy. What follows the head is no body (RFC 9110 §9.3.6), so none may be announced.
fn split_connect(head: &RequestHead) -> Result<Target, Reason> {
    match head.target().first() {
        Some(b'/') if head.framing.is_empty() => Ok(Target { authority: None, path: head.target }),
        Some(b'/') => Err(Reason::BadRequestFraming),
        Some(_) | None => Err(Reason::ConnectNotAllowed),
    }
}

/// Settles who is addressed: exactly one valid Host, or the absolute form, which wins.
fn authority(head: &mut RequestHead, absolute: Option<Span>) -> Result<(), Reason> {
    let host = head.fields.single(Name::Host).map_err(|Repeated| Reason::BadRequestHost)?;
    let judge = |span| -> Result<Authority, Reason> {
        let whole = without_empty_port(head, span);
        let host = host_length(&head.fields, whole).ok_or(Reason::BadRequestHost)?;
        Ok(Authority::new(whole, host))
    };
    let absolute = absolute.map(judge).transpose()?;
    let host = host.map(|field| judge(field.value)).transpose()?;
    let chosen = match (absolute, host) {
        (_, None) if head.version == Version::Http11 => return Err(Reason::BadRequestHost),
        (Some(absolute), _) => absolute,
        (None, Some(host)) => host,
        (None, None) => return Ok(()),
    };
    head.authority = chosen;
    if find::capital(head.fields.whole_text(), chosen.range()).is_some() {
        let lower = head.authority().to_ascii_lowercase();
        head.authority = Authority::new(head.fields.append(&lower), head.host().len());
    }
    Ok(())
}

/// `a:` is `a` (RFC 3986 §6.2.3).
fn without_empty_port(head: &RequestHead, span: Span) -> Span {
    let has_one = head.fields.text(span).ends_with(b":");
    Span { end: span.end - u32::from(has_one), ..span }
}

/// How long the host is of `host [":" port]` of RFC 3986 without userinfo, empty host or comma; `None`
/// of anything else.
fn host_length(fields: &Fields, whole: Span) -> Option<usize> {
    let text = fields.text(whole);
    let end = find::host_end(fields.whole_text(), whole.range());
    let usual = end.map_or(text.len(), |end| end - whole.start as usize);
    let name = usual + text[usual..].iter().take_while(|byte| NAME[usize::from(**byte)]).count();
    let is_name = (1..=MAX_NAME).contains(&name);
    match &text[name..] {
        [] => is_name.then_some(name),
        [b':', port @ ..] => (is_name && is_port(port)).then_some(name),
        [b'[', ..] if name == 0 => {
            let (host, port) = split_port(text);
            (port.is_none_or(is_port) && is_bracketed_address(host)).then_some(host.len())
        }
        _ => None,
    }
}

/// Longest name of a host, in bytes: what DNS can carry (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;

fn is_port(port: &[u8]) -> bool {
    port.len() <= 5 && number(port).is_some_and(|number| number <= u64::from(u16::MAX))
}

/// What a host may be made of beside the colon of a port and the brackets of an address: `reg-name`
/// of RFC 3986 §3.2.2 without the comma.
const NAME: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let (others, mut at) = (b"-._~%!$&'()*+;=", 0);
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

fn is_bracketed_address(host: &[u8]) -> bool {
    host.strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"))
        .and_then(|inner| std::str::from_utf8(inner).ok())
        .is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Splits the query off and makes the path canonical.
fn canonical_path(head: &mut RequestHead, whole: Span, slashes: EncodedSlashes) -> Result<(), Reason> {
    let text = head.fields.text(whole);
    if text == b"*" {
        head.path = whole;
        return Ok(());
    }
    let (start, end) = (whole.start as usize, whole.end as usize);
    let question = find::byte_within(head.fields.whole_text(), start..end, b'?');
    head.query = question.map(|at| Span::new(at + 1, end));
    let raw = Span::new(start, question.unwrap_or(end));
    if raw.is_empty() {
        // `OPTIONS http://a` asks about the server itself (RFC 9112 §3.2.4).
        let is_server = head.method == Method::Options && question.is_none();
        head.path = head.fields.append(if is_server { b"*" } else { b"/" });
        return Ok(());
    }
    let mut rewritten = Vec::new();
    let outcome = path::canonical(head.fields.text(raw), slashes, &mut rewritten);
    head.path = match outcome.map_err(|_| Reason::BadRequestTarget)? {
        path::Canonical::Unchanged => raw,
        path::Canonical::Rewritten => head.fields.append(&rewritten),
    };
    Ok(())
}

/// Whether the client asked with `Connection: close`, or is an 1.0 client that did not ask to
/// keep the connection (RFC 9112 §9.3).
pub fn wants_close(version: Version, fields: &Fields) -> bool {
    let mut keep = version != Version::Http10;
    if !fields.may_have(Name::Connection) {
        return !keep;
    }
    for item in fields.all(Name::Connection).flat_map(items) {
        if item.eq_ignore_ascii_case(b"close") {
            return true;
        }
        keep |= item.eq_ignore_ascii_case(b"keep-alive");
    }
    !keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(
        method: &[u8],
        target: &[u8],
        version: Version,
        fields: &[(&str, &str)],
    ) -> Result<RequestHead, Reason> {
        let mut head = RequestHead { version, method: Method::of(method), ..RequestHead::default() };
        head.method_text = head.fields.append(method);
        head.target = head.fields.append(target);
        for (name, value) in fields {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        request(&mut head, EncodedSlashes::Keep).map(|()| head)
    }

    fn refused(method: &[u8], target: &[u8], fields: &[(&str, &str)]) -> Option<Reason> {
        judge(method, target, Version::Http11, fields).err()
    }

    const HOST: (&str, &str) = ("Host", "A.example:8080");

    #[test]
    fn a_plain_request_gets_one_authority_one_path_and_its_query_untouched() {
        let head = judge(b"GET", b"/a/../b?x=;%zz", Version::Http11, &[HOST]).unwrap();
        assert_eq!(head.authority(), b"a.example:8080");
        assert_eq!(head.host(), b"a.example");
        assert_eq!(head.path(), b"/b");
        assert_eq!(head.query(), Some(&b"x=;%zz"[..]));
        assert_eq!(head.framing, Framing::None);
    }

    #[test]
    fn the_absolute_form_wins_over_host() {
        let head = judge(b"GET", b"http://Right.example/x", Version::Http11, &[HOST]).unwrap();
        assert_eq!(head.authority(), b"right.example");
        assert_eq!(head.path(), b"/x");
        let head = judge(b"GET", b"http://right.example?q", Version::Http11, &[HOST]).unwrap();
        assert_eq!((head.path(), head.query()), (&b"/"[..], Some(&b"q"[..])));
    }

    #[test]
    fn an_ambiguous_length_is_refused() {
        let chunked = ("Transfer-Encoding", "chunked");
        for fields in [
            &[HOST, ("Content-Length", "5"), chunked][..],
            &[HOST, ("Content-Length", "5"), ("Content-Length", "5")],
            &[HOST, chunked, chunked],
            &[HOST, ("Content-Length", "5, 5")],
            &[HOST, ("Content-Length", "+5")],
            &[HOST, ("Content-Length", "")],
            &[HOST, ("Content-Length", "9223372036854775808")],
            &[HOST, ("Transfer-Encoding", "chunked, identity")],
            &[HOST, ("Transfer-Encoding", "xchunked")],
            &[HOST, ("Transfer-Encoding", "")],
        ] {
            assert_eq!(refused(b"POST", b"/", fields), Some(Reason::BadRequestFraming), "{fields:?}");
        }
        assert_eq!(
            refused(b"POST", b"/", &[HOST, ("Transfer-Encoding", "gzip")]),
            Some(Reason::NotImplemented)
        );
        assert!(judge(b"POST", b"/", Version::Http10, &[HOST, chunked]).is_err());
    }

    #[test]
    fn a_bad_host_is_refused() {
        for host in ["", "a b", "a,b", "user@a", "a/b", "a:x", "a:99999", "[::g]", "a:80:80", "a:+8"] {
            assert_eq!(refused(b"GET", b"/", &[("Host", host)]), Some(Reason::BadRequestHost), "{host}");
        }
        assert_eq!(refused(b"GET", b"/", &[]), Some(Reason::BadRequestHost));
        assert_eq!(refused(b"GET", b"/", &[HOST, HOST]), Some(Reason::BadRequestHost));
        assert!(judge(b"GET", b"/", Version::Http10, &[]).is_ok());
        assert!(judge(b"GET", b"/", Version::Http11, &[("Host", "[::1]:80")]).is_ok());
    }

    #[test]
    fn an_empty_port_is_no_port() {
        let authority = |target: &[u8], host| {
            judge(b"GET", target, Version::Http11, &[("Host", host)]).map(|head| head.authority().to_vec())
        };
        assert_eq!(authority(b"/", "a.example:"), Ok(b"a.example".to_vec()));
        assert_eq!(authority(b"/", "[::1]:"), Ok(b"[::1]".to_vec()));
        assert_eq!(authority(b"http://b.example:/", "a"), Ok(b"b.example".to_vec()));
        assert_eq!(authority(b"/", "a::"), Err(Reason::BadRequestHost));
        assert_eq!(authority(b"/", ":"), Err(Reason::BadRequestHost));
    }

    #[test]
    fn a_target_of_the_wrong_form_is_refused() {
        for (method, target) in [
            (&b"GET"[..], &b"*"[..]),
            (b"GET", b"x"),
            (b"GET", b"/a#b"),
            (b"GET", b"/\x80"),
            (b"GET", b"ftp://a/"),
            (b"GET", b"http:///x"),
            (b"GET", b""),
        ] {
            assert_eq!(refused(method, target, &[HOST]), Some(Reason::BadRequestTarget));
        }
        assert_eq!(refused(b"CONNECT", b"a.example:443", &[HOST]), Some(Reason::ConnectNotAllowed));
        assert!(judge(b"OPTIONS", b"*", Version::Http11, &[HOST]).is_ok());
    }

    #[test]
    fn connect_with_a_path_asks_for_a_tunnel_and_announces_no_body() {
        let head = judge(b"CONNECT", b"/_goRPC_", Version::Http10, &[]).unwrap();
        assert!(head.asks_for_tunnel());
        assert_eq!(head.path(), b"/_goRPC_");
        let chunked = (("Transfer-Encoding", "chunked"), Reason::BadRequestFraming);
        for (field, reason) in [chunked, (("Content-Length", "1"), Reason::BadRequestFraming)] {
            assert_eq!(refused(b"CONNECT", b"/_goRPC_", &[HOST, field]), Some(reason));
        }
    }

    #[test]
    fn options_without_a_path_asks_about_the_server_itself() {
        let path = |method, target| judge(method, target, Version::Http11, &[HOST]).unwrap().path().to_vec();
        assert_eq!(path(b"OPTIONS", b"http://a.example"), b"*");
        assert_eq!(path(b"OPTIONS", b"http://a.example/"), b"/");
        assert_eq!(path(b"OPTIONS", b"http://a.example?q"), b"/");
        assert_eq!(path(b"GET", b"http://a.example"), b"/");
    }

    #[test]
    fn an_underscore_alias_of_a_framing_field_is_dropped_and_other_underscores_pass() {
        let head = judge(
            b"GET",
            b"/",
            Version::Http11,
            &[HOST, ("Content_Length", "5"), ("x_forwarded-For", "1"), ("x_a", "1")],
        );
        let head = head.unwrap();
        assert_eq!(head.fields.find(b"content_length"), None);
        assert_eq!(head.fields.find(b"x_forwarded-for"), None);
        assert_eq!(head.fields.find(b"x_a"), Some(&b"1"[..]));
    }

    #[test]
    fn only_100_continue_can_be_expected() {
        assert!(judge(b"POST", b"/", Version::Http11, &[HOST, ("Expect", "100-Continue")]).is_ok());
        assert_eq!(
            refused(b"POST", b"/", &[HOST, ("Expect", "y 100-continue")]),
            Some(Reason::ExpectationFailed)
        );
        let head = judge(b"POST", b"/", Version::Http10, &[HOST, ("Expect", "100-continue")]).unwrap();
        assert_eq!(head.fields.get(Name::Expect), None);
    }

    #[test]
    fn persistence_follows_version_and_connection() {
        let closes = |version, told: Option<&[u8]>| {
            let mut fields = Fields::default();
            told.into_iter().for_each(|told| fields.push(b"Connection", told));
            wants_close(version, &fields)
        };
        assert!(!closes(Version::Http11, Some(b"x")));
        assert!(closes(Version::Http11, Some(b"x, Close")));
        assert!(!closes(Version::Http11, None));
        assert!(closes(Version::Http10, None));
        assert!(!closes(Version::Http10, Some(b"keep-alive")));
    }
}
