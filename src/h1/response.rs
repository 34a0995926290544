//! Reads a response head.

use super::lines::{self, Ends, Fault, line_end};
use crate::http::fields::{Repeated, Span};
use crate::http::forwarded::drop_listed;
use crate::http::validate::content_length;
use crate::http::{Framing, Method, Name, Reason, ResponseHead, Version, find};

/// Longest response head that is read, in bytes.
pub const MAX_HEAD: usize = 64 * 1024;
/// Most field lines of a response head.
pub const MAX_FIELDS: usize = 256;

/// Reads the head at the front of `bytes` into `head`. An interim head (1xx) has no body; a final one
/// is framed for the `method` that asked (RFC 9112 §6.3). The length of the head with its empty line;
/// `None` when that has not come.
pub fn parse(bytes: &[u8], method: Method, head: &mut ResponseHead) -> Result<Option<usize>, Reason> {
    head.clear();
    // Go's net/rpc ends the lines of its answer with a bare line feed.
    let ends = if method == Method::Connect { Ends::Bare } else { Ends::Strict };
    let read = status_line(bytes, ends).and_then(|line| {
        let end = lines::read(bytes, line.end, ends, MAX_FIELDS, &mut head.fields)?;
        head.fields.append(&bytes[..end]);
        (head.version, head.status, head.reason) = (line.version, line.status, line.reason);
        Ok(end)
    });
    let end = match read {
        Ok(end) => end,
        Err(Fault::Incomplete) => return Ok(None),
        Err(Fault::Malformed) => return Err(Reason::BadResponseHead),
        Err(Fault::TooMany) => return Err(Reason::ResponseHeaderTooLarge),
    };
    head.framing = framing(head, method)?;
    drop_listed(&mut head.fields);
    Ok(Some(end))
}

/// A status line, taken apart.
struct StatusLine {
    version: Version,
    status: u16,
    reason: Span,
    /// Where the field lines begin.
    end: usize,
}

/// RFC 9112 §4; a phrase, and the space before it, may be missing.
fn status_line(bytes: &[u8], ends: Ends) -> Result<StatusLine, Fault> {
    let stop = find::line_stop(bytes, 0).ok_or(Fault::Incomplete)?;
    let end = line_end(bytes, stop, ends)?;
    let (version, rest) = bytes[..stop].split_first_chunk().ok_or(Fault::Malformed)?;
    let version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(Fault::Malformed),
    };
    let (status, start) = match rest {
        [hundreds @ b'1'..=b'5', tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => {
            let digits = [hundreds, tens, ones].map(|digit| u16::from(digit - b'0'));
            let start = match rest {
                [] => stop,
                [b' ', ..] => b"HTTP/1.1 200 ".len(),
                _ => return Err(Fault::Malformed),
            };
            (digits[0] * 100 + digits[1] * 10 + digits[2], start)
        }
        _ => return Err(Fault::Malformed),
    };
    Ok(StatusLine { version, status, reason: Span::new(start, stop), end })
}

/// How the body of an answer to `method` is delimited (RFC 9112 §6.3).
pub fn framing(head: &ResponseHead, method: Method) -> Result<Framing, Reason> {
    let single = |name| head.fields.single_value(name).map_err(|Repeated| Reason::BadResponseFraming);
    let (coding, length) = (single(Name::TransferEncoding)?, single(Name::ContentLength)?);
    if coding.is_some() && length.is_some() {
        return Err(Reason::BadResponseFraming);
    }
    let length = match length {
        Some(value) => Some(content_length(value).ok_or(Reason::BadResponseFraming)?),
        None => None,
    };
    // RFC 9110 §9.3.6: lengths in an answer that opens a tunnel say nothing.
    match head.status {
        101 => return Ok(Framing::Tunnel),
        200..=299 if method == Method::Connect => return Ok(Framing::Tunnel),
        100..=199 | 204 | 304 => return Ok(Framing::None),
        _ if method == Method::Head => return Ok(Framing::None),
        _ => {}
    }
    match (coding, length) {
        (Some(coding), _) if head.version == Version::Http11 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        (Some(_), _) => Err(Reason::BadResponseFraming),
        (None, Some(length)) => Ok(Framing::Length(length)),
        (None, None) => Ok(Framing::UntilClose),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str, method: Method) -> Result<ResponseHead, Reason> {
        let mut head = ResponseHead::default();
        parse(bytes.as_bytes(), method, &mut head).map(|length| {
            assert_eq!(length, Some(bytes.len()));
            head
        })
    }

    fn framed(fields: &str, method: Method) -> Result<Framing, Reason> {
        read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), method).map(|head| head.framing)
    }

    #[test]
    fn status_reason_and_fields_are_read() {
        let head =
            read("HTTP/1.1 404 Not  Here\r\nServer: x\r\nContent-Length: 3\r\n\r\n", Method::Get).unwrap();
        assert_eq!(head.status, 404);
        assert_eq!(head.fields.text(head.reason), b"Not  Here");
        assert_eq!(head.framing, Framing::Length(3));
    }

    #[test]
    fn the_body_is_framed_by_one_rule_only() {
        assert_eq!(framed("Transfer-Encoding: Chunked\r\n", Method::Get), Ok(Framing::Chunked));
        assert_eq!(framed("", Method::Get), Ok(Framing::UntilClose));
        for fields in [
            "Content-Length: 2\r\nContent-Length: 2\r\n",
            "Content-Length: -2\r\n",
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip\r\n",
        ] {
            assert_eq!(framed(fields, Method::Get), Err(Reason::BadResponseFraming), "{fields}");
        }
    }

    #[test]
    fn head_204_and_304_have_no_body_whatever_they_say() {
        assert_eq!(framed("Content-Length: 9\r\n", Method::Head), Ok(Framing::None));
        for status in [103, 204, 304] {
            let head = read(&format!("HTTP/1.1 {status} X\r\nContent-Length: 4\r\n\r\n"), Method::Get);
            assert_eq!(head.unwrap().framing, Framing::None);
        }
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for bytes in [
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 600 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\0\r\n\r\n",
            "<html>\r\n\r\n",
        ] {
            assert_eq!(read(bytes, Method::Get).err(), Some(Reason::BadResponseHead), "{bytes}");
        }
    }
}
