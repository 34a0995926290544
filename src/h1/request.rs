//! Reads a request head.

use std::mem::MaybeUninit;

use crate::http::fields::Span;
use crate::http::validate::MAX_REQUEST_LINE;
use crate::http::{Method, Reason, RequestHead, Version};

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

/// Reads the complete head in `bytes` (up to and including its empty line) into `head`: method,
/// target, version and fields, all strictly by RFC 9112. Judging them is `http::validate`'s part.
pub fn parse(bytes: &[u8], limits: HeadLimits, head: &mut RequestHead) -> Result<(), Reason> {
    head.clear();
    let mut slots = [const { MaybeUninit::<httparse::Header<'_>>::uninit() }; MAX_FIELDS];
    let slots = &mut slots[..limits.fields.min(MAX_FIELDS)];
    let mut request = httparse::Request::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut request, bytes, slots);
    match parsed {
        Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
        Ok(_) => return Err(Reason::BadRequestLine),
        Err(error) => return Err(reason_of(error, bytes)),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Reason::BadRequestLine);
    };
    if method.len() + target.len() + b"  HTTP/1.1".len() > MAX_REQUEST_LINE {
        return Err(Reason::TargetTooLong);
    }
    head.fields.append(bytes);
    head.method = Method::of(method.as_bytes());
    head.method_text = span_in(bytes, method.as_bytes());
    head.target = span_in(bytes, target.as_bytes());
    head.version = if version == 0 { Version::Http10 } else { Version::Http11 };
    for field in request.headers.iter() {
        let value = field.value.trim_ascii_end();
        head.fields.push_span(span_in(bytes, field.name.as_bytes()), span_in(bytes, value));
    }
    Ok(())
}

/// Where `part`, a slice of `whole`, lies in it.
pub(super) fn span_in(whole: &[u8], part: &[u8]) -> Span {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    debug_assert!(part.is_empty() || start + part.len() <= whole.len());
    let start = start.min(whole.len());
    Span::new(start, (start + part.len()).min(whole.len()))
}

fn reason_of(error: httparse::Error, bytes: &[u8]) -> Reason {
    match error {
        httparse::Error::NewLine if !ends_in_version(first_line(bytes)) => Reason::BadRequestLine,
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            Reason::BadRequestField
        }
        httparse::Error::TooManyHeaders => Reason::HeaderTooLarge,
        httparse::Error::Version if has_other_version(bytes) => Reason::VersionNotSupported,
        httparse::Error::Version | httparse::Error::Token | httparse::Error::Status => Reason::BadRequestLine,
    }
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'\r').next().unwrap_or_default()
}

fn ends_in_version(line: &[u8]) -> bool {
    line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")
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
        parse(bytes, LIMITS, &mut head).map(|()| head)
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
    fn what_breaks_the_grammar_is_refused_with_its_reason() {
        for (bytes, reason) in [
            (&b"GET  / HTTP/1.1\r\n\r\n"[..], Reason::BadRequestLine),
            (b"GET /  HTTP/1.1\r\n\r\n", Reason::BadRequestLine),
            (b"G(T / HTTP/1.1\r\n\r\n", Reason::BadRequestLine),
            (b"GET / HTTP/1.1 \r\n\r\n", Reason::BadRequestLine),
            (b"GET / HTTP/2.0\r\n\r\n", Reason::VersionNotSupported),
            (b"GET / HTTQ/1.1\r\n\r\n", Reason::BadRequestLine),
            (b"GET / http/1.1\r\n\r\n", Reason::BadRequestLine),
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
    fn limits_on_line_and_fields_hold() {
        let long = [b"GET /", "a".repeat(MAX_REQUEST_LINE).as_bytes(), b" HTTP/1.1\r\n\r\n"].concat();
        assert_eq!(read(&long).err(), Some(Reason::TargetTooLong));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(101));
        assert_eq!(read(many.as_bytes()).err(), Some(Reason::HeaderTooLarge));
        let enough = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
        assert!(read(enough.as_bytes()).is_ok());
    }
}
