//! Reads a request head.

use super::lines::{self, Ends, Fault, is_token, is_token_byte, line_end};
use crate::http::fields::Span;
use crate::http::validate::MAX_REQUEST_LINE;
use crate::http::{Method, Reason, RequestHead, Version, find};

/// Most field lines that any limit may allow.
pub const MAX_FIELDS: usize = 256;

/// Limits on a request head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head; default 32 KiB.
    pub bytes: usize,
    /// Number of field lines; default 100, at most [`MAX_FIELDS`].
    pub fields: usize,
}

/// Reads the head at the front of `bytes` into `head`: method, target, version and fields, all
/// strictly by RFC 9112. Judging them is `http::validate`'s part. The length of the head with its
/// empty line; `None` when that has not come.
pub fn parse(
    bytes: &[u8],
    ends: Ends,
    limits: HeadLimits,
    head: &mut RequestHead,
) -> Result<Option<usize>, Reason> {
    head.clear();
    let Some(line) = request_line(bytes, ends)? else { return Ok(None) };
    if line.method.len() + line.target.len() + b"  HTTP/1.1".len() > MAX_REQUEST_LINE {
        return Err(Reason::TargetTooLong);
    }
    match lines::read(bytes, line.end, ends, limits.fields.min(MAX_FIELDS), &mut head.fields) {
        Ok(end) => {
            head.fields.append(&bytes[..end]);
            head.method = line.known;
            (head.method_text, head.target, head.version) = (line.method, line.target, line.version);
            Ok(Some(end))
        }
        Err(Fault::Incomplete) => Ok(None),
        Err(Fault::Malformed) => Err(Reason::BadRequestField),
        Err(Fault::TooMany) => Err(Reason::HeaderTooLarge),
    }
}

/// A request line, taken apart.
struct RequestLine {
    known: Method,
    method: Span,
    target: Span,
    version: Version,
    /// Where the field lines begin.
    end: usize,
}

/// RFC 9112 §3: three words with one space between them.
fn request_line(bytes: &[u8], ends: Ends) -> Result<Option<RequestLine>, Reason> {
    let Some(stop) = find::line_stop(bytes, 0) else { return Ok(None) };
    let end = match line_end(bytes, stop, ends) {
        Ok(end) => end,
        Err(Fault::Incomplete) => return Ok(None),
        Err(Fault::Malformed | Fault::TooMany) => return Err(Reason::BadRequestLine),
    };
    let line = &bytes[..stop];
    // What ends the line ends a target, too.
    let space = find::byte(bytes, 0, b' ').filter(|space| *space < stop).ok_or(Reason::BadRequestLine)?;
    let known = Method::of(&line[..space]);
    if known == Method::Other && !is_token(&line[..space]) {
        return Err(Reason::BadRequestLine);
    }
    let target = Span::new(space + 1, find::target_end(bytes, space + 1).ok_or(Reason::BadRequestLine)?);
    let version = match &line[target.end as usize..] {
        _ if target.is_empty() => return Err(Reason::BadRequestLine),
        b" HTTP/1.1" => Version::Http11,
        b" HTTP/1.0" => Version::Http10,
        [b' ', ..] if has_other_version(line) => return Err(Reason::VersionNotSupported),
        _ => return Err(Reason::BadRequestLine),
    };
    Ok(Some(RequestLine { known, method: Span::new(0, space), target, version, end }))
}

/// What is wrong already with a head that has not come whole: a client that speaks TLS or HTTP/0.9
/// is not to wait for an answer until its time is over.
pub fn early(bytes: &[u8]) -> Option<Reason> {
    match bytes {
        [] | [b'\r'] => return None,
        [first, ..] if !is_token_byte(*first) => return Some(Reason::BadRequestLine),
        _ => {}
    }
    let line = &bytes[..memchr::memchr(b'\r', bytes)?];
    match is_request_line(line) {
        true => None,
        false if has_other_version(line) => Some(Reason::VersionNotSupported),
        false => Some(Reason::BadRequestLine),
    }
}

/// Puts into `head` what can be known of a request that is refused before or while it is read, for
/// the answer (none to HEAD has a body) and the access line. Nothing is forwarded of such a head.
pub fn sketch(bytes: &[u8], head: &mut RequestHead) {
    head.clear();
    let mut words = first_line(bytes).split(|byte| *byte == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return };
    if method.len() > MAX_SKETCH || !is_token(method) || !target.iter().all(u8::is_ascii_graphic) {
        return;
    }
    head.method = Method::of(method);
    head.method_text = head.fields.append(method);
    head.target = head.fields.append(&target[..target.len().min(MAX_SKETCH)]);
    let is_old = words.next().is_some_and(|version| version.starts_with(b"HTTP/1.0"));
    head.version = if is_old { Version::Http10 } else { Version::Http11 };
}

/// How much of a method and of a target that are refused the access line shows.
const MAX_SKETCH: usize = 256;

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default()
}

/// Whether a line is made of three words of which the last is a version that we speak.
fn is_request_line(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    matches!(words.next(), Some(b"HTTP/1.1" | b"HTTP/1.0")) && words.next().is_none()
}

/// Whether the request line is well-formed but for a version that we do not speak.
fn has_other_version(bytes: &[u8]) -> bool {
    let mut words = first_line(bytes).split(|byte| *byte == b' ');
    let version = words.nth(2).unwrap_or_default();
    words.next().is_none()
        && matches!(version, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Name;

    const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, fields: 100 };

    fn read(bytes: &[u8]) -> Result<RequestHead, Reason> {
        let mut head = RequestHead::default();
        parse(bytes, Ends::Strict, LIMITS, &mut head).map(|length| {
            assert_eq!(length, Some(bytes.len()));
            head
        })
    }

    #[test]
    fn a_head_is_read_as_spans_of_its_own_text() {
        let head = read(b"PURGE /a?b HTTP/1.0\r\nHost:\ta.example \r\nX-A:\r\n\r\n").unwrap();
        assert_eq!((head.method, head.method_text()), (Method::Other, &b"PURGE"[..]));
        assert_eq!(head.target(), b"/a?b");
        assert_eq!(head.version, Version::Http10);
        assert_eq!(head.fields.get(Name::Host), Some(&b"a.example"[..]));
        assert_eq!(head.fields.find(b"x-a"), Some(&b""[..]));
    }

    #[test]
    fn a_head_is_incomplete_until_its_last_byte_and_what_follows_is_left() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for length in 0..bytes.len() {
            let read = parse(&bytes[..length], Ends::Strict, LIMITS, &mut RequestHead::default());
            assert_eq!(read, Ok((length >= 27).then_some(27)), "{length}");
        }
        let bare = b"CONNECT /_goRPC_ HTTP/1.0\n\n";
        let read = |ends| parse(bare, ends, LIMITS, &mut RequestHead::default());
        assert_eq!(read(Ends::Bare), Ok(Some(bare.len())));
        assert_eq!(read(Ends::Strict), Err(Reason::BadRequestLine));
    }

    #[test]
    fn what_breaks_the_grammar_is_refused_with_its_reason() {
        for (bytes, reason) in [
            (&b"GET  / HTTP/1.1\r\n\r\n"[..], Reason::BadRequestLine),
            (b"GET /  HTTP/1.1\r\n\r\n", Reason::BadRequestLine),
            (b"G(T / HTTP/1.1\r\n\r\n", Reason::BadRequestLine),
            (b"GET / HTTP/1.1 \r\n\r\n", Reason::BadRequestLine),
            (b"GET / HTTP/1.1 HTTP/1.1\r\n\r\n", Reason::BadRequestLine),
            (b"GET / HTTP/2.0\r\n\r\n", Reason::VersionNotSupported),
            (b"GET / HTTQ/1.1\r\n\r\n", Reason::BadRequestLine),
            (b"GET / http/1.1\r\n\r\n", Reason::BadRequestLine),
            (b"GET /a\tb HTTP/1.1\r\n\r\n", Reason::BadRequestLine),
            (b"G\tT / HTTP/1.1\r\n\r\n", Reason::BadRequestLine),
            (b"GET /\r\n\r\n", Reason::BadRequestLine),
            (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Reason::BadRequestField),
            (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Reason::BadRequestField),
            (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", Reason::BadRequestField),
            (b"GET / HTTP/1.1\r\nHost\r\n\r\n", Reason::BadRequestField),
            (b"GET / HTTP/1.1\r\n: a\r\n\r\n", Reason::BadRequestField),
            (b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n", Reason::BadRequestField),
            (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", Reason::BadRequestField),
            (b"GET / HTTP/1.1\r\nA: b\x0bc\r\n\r\n", Reason::BadRequestField),
            (b"GET / HTTP/1.1\r\nA: b\x7f\r\n\r\n", Reason::BadRequestField),
            (b"GET / HTTP/1.1\r\nA\xa0: b\r\n\r\n", Reason::BadRequestField),
        ] {
            assert_eq!(read(bytes).err(), Some(reason), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_beginning_that_can_not_become_a_head_is_refused_at_once() {
        for (bytes, reason) in [
            (&b"\x16\x03\x01\x02"[..], Reason::BadRequestLine),
            (b" GET", Reason::BadRequestLine),
            (b"\rG", Reason::BadRequestLine),
            (b"GET /\r", Reason::BadRequestLine),
            (b"GET /\r\n", Reason::BadRequestLine),
            (b"GET / HTTP/1.1 x\r\nHost:", Reason::BadRequestLine),
            (b"PRI * HTTP/2.0\r\n", Reason::VersionNotSupported),
        ] {
            assert_eq!(early(bytes), Some(reason), "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in [&b""[..], b"\r", b"G", b"GET / HTTP/1.", b"GET / HTTP/1.1\r", b"GET / HTTP/1.0\r\nHo"] {
            assert_eq!(early(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_refused_head_still_says_method_target_and_version_when_it_can() {
        let sketched = |bytes: &[u8]| {
            let mut head = RequestHead::default();
            sketch(bytes, &mut head);
            (head.method, String::from_utf8_lossy(head.target()).into_owned(), head.version)
        };
        let known = (Method::Head, "/a?b".to_owned(), Version::Http10);
        assert_eq!(sketched(b"HEAD /a?b HTTP/1.0\r\nHost : a\r\n\r\n"), known);
        assert_eq!(sketched(b"HEAD /a?b HTTP/1.0\nHost: a"), known);
        let long = [b"HEAD /", &[b'a'; 20_000][..]].concat();
        assert_eq!(sketched(&long), (Method::Head, format!("/{}", "a".repeat(255)), Version::Http11));
        let nothing = (Method::Get, String::new(), Version::Http11);
        for bytes in [&b""[..], b"\x16\x03\x01", b"HEAD", b"HEAD /\x01 HTTP/1.1\r\n", b"H(AD / HTTP/1.1"] {
            assert_eq!(sketched(bytes), nothing, "{bytes:?}");
        }
    }

    #[test]
    fn limits_on_line_and_fields_hold() {
        let long = [b"GET /", "a".repeat(MAX_REQUEST_LINE).as_bytes(), b" HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(read(&long).err(), Some(Reason::TargetTooLong));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101));
        assert_eq!(read(many.as_bytes()).err(), Some(Reason::HeaderTooLarge));
        let enough = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
        assert!(read(enough.as_bytes()).is_ok());
    }
}
