//! Reads the field lines of a head or of trailers, strictly (RFC 9112 §5).

use crate::http::fields::{Field, Span};
use crate::http::{Fields, Name, find};

/// Why a head was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Its end has not come.
    Incomplete,
    /// It breaks the grammar.
    Malformed,
    /// It has more fields than allowed.
    TooMany,
}

/// How lines may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// With carriage return and line feed only.
    Strict,
    /// Also with a bare line feed, as Go's net/rpc writes them.
    Bare,
}

/// Reads the lines of `bytes` from `at` to the empty line that ends them, at most `most`, into
/// `fields`, whose text is to begin with `bytes`; returns where the empty line has ended.
pub(super) fn read(
    bytes: &[u8],
    mut at: usize,
    ends: Ends,
    most: usize,
    fields: &mut Fields,
) -> Result<usize, Fault> {
    let mut left = most;
    loop {
        if matches!(bytes.get(at), Some(b'\r' | b'\n')) {
            return line_end(bytes, at, ends);
        }
        left = left.checked_sub(1).ok_or(Fault::TooMany)?;
        let line = match usual_line(bytes, at) {
            Some(line) => line,
            None => unusual_line(bytes, at, ends)?,
        };
        fields.push_field(line.field);
        at = line.next;
    }
}

/// A line that was read.
struct Line {
    field: Field,
    /// Where the next one begins.
    next: usize,
}

/// Reads a line as nearly all are: `name: value` with one space, nothing else around the value, and a
/// whole line end; `None` for any other.
#[inline(always)]
fn usual_line(bytes: &[u8], at: usize) -> Option<Line> {
    let colon = find::byte(bytes, at, b':')?;
    let known = name(&bytes[at..colon]).ok()?;
    let start = colon + 2;
    let (before, first) = (*bytes.get(colon + 1)?, *bytes.get(start)?);
    if before != b' ' || first <= b' ' {
        return None;
    }
    let stop = find::line_stop(bytes, start)?;
    let [last, b'\r', b'\n'] = bytes.get(stop - 1..stop + 2)? else { return None };
    if *last <= b' ' {
        return None;
    }
    let (name, value) = (Span::new(at, colon), Span::new(start, stop));
    Some(Line { field: Field { known, is_plain: true, name, value }, next: stop + 2 })
}

/// Reads any line.
#[cold]
fn unusual_line(bytes: &[u8], at: usize, ends: Ends) -> Result<Line, Fault> {
    let Some(colon) = find::byte(bytes, at, b':') else {
        let has_ended = find::line_stop(bytes, at).is_some_and(|stop| stop + 1 < bytes.len());
        return Err(if has_ended { Fault::Malformed } else { Fault::Incomplete });
    };
    let known = name(&bytes[at..colon])?;
    let mut start = colon + 1;
    while matches!(bytes.get(start), Some(b' ' | b'\t')) {
        start += 1;
    }
    let stop = find::line_stop(bytes, start).ok_or(Fault::Incomplete)?;
    let next = line_end(bytes, stop, ends)?;
    let mut end = stop;
    while end > start && matches!(bytes[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    // One space in front of the value, none behind it, and a whole line end.
    let is_plain = start == colon + 2 && bytes[colon + 1] == b' ' && end == stop && next == stop + 2;
    let (name, value) = (Span::new(at, colon), Span::new(start, end));
    Ok(Line { field: Field { known, is_plain, name, value }, next })
}

#[inline(always)]
fn name(bytes: &[u8]) -> Result<Name, Fault> {
    let known = Name::of(bytes);
    if known == Name::Other && !is_token(bytes) { Err(Fault::Malformed) } else { Ok(known) }
}

/// Where the next line begins, if one ends at `at`.
pub(super) fn line_end(bytes: &[u8], at: usize, ends: Ends) -> Result<usize, Fault> {
    match bytes.get(at..).unwrap_or_default() {
        [b'\r', b'\n', ..] => Ok(at + 2),
        [b'\n', ..] if ends == Ends::Bare => Ok(at + 1),
        [] | [b'\r'] => Err(Fault::Incomplete),
        _ => Err(Fault::Malformed),
    }
}

/// Whether bytes make a token (RFC 9110 §5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
pub fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

const TOKEN: [bool; 256] = {
    let (mut table, mut byte) = ([false; 256], 0);
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let (others, mut at) = (b"!#$%&'*+-.^_`|~", 0);
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Lines = Vec<(Vec<u8>, Vec<u8>)>;

    fn ours(bytes: &[u8]) -> Result<Lines, Fault> {
        let mut fields = Fields::default();
        fields.append(bytes);
        read(bytes, 0, Ends::Bare, 64, &mut fields)?;
        Ok(fields.iter().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect())
    }

    /// Another parser of the same grammar. It does not trim the end of a value.
    fn theirs(bytes: &[u8]) -> Result<Lines, Fault> {
        let mut slots = [httparse::EMPTY_HEADER; 64];
        match httparse::parse_headers(bytes, &mut slots) {
            Ok(httparse::Status::Partial) => Err(Fault::Incomplete),
            Ok(httparse::Status::Complete((_, fields))) => Ok(fields
                .iter()
                .map(|field| (field.name.as_bytes().to_vec(), field.value.trim_ascii_end().to_vec()))
                .collect()),
            Err(httparse::Error::TooManyHeaders) => Err(Fault::TooMany),
            Err(_) => Err(Fault::Malformed),
        }
    }

    #[test]
    fn names_and_values_are_read_without_the_white_space_around_values() {
        let lines = ours(b"Host:  a \r\nX-A:\r\nx-b:c\t d\t\n\r\n").unwrap();
        let expected: [(&[u8], &[u8]); 3] = [(b"Host", b"a"), (b"X-A", b""), (b"x-b", b"c\t d")];
        assert_eq!(lines, expected.map(|(name, value)| (name.to_vec(), value.to_vec())));
    }

    #[test]
    fn what_breaks_the_grammar_is_refused() {
        for bytes in [
            &b"A b\r\n\r\n"[..],
            b": b\r\n\r\n",
            b"A : b\r\n\r\n",
            b"A: b\rc\r\n\r\n",
            b"A: b\0\r\n\r\n",
            b"A: b\r\n c\r\n\r\n",
            b"\x80: b\r\n\r\n",
            b"A: b\x1f\r\n\r\n",
            b"A\r\n\r",
        ] {
            assert_eq!(ours(bytes), Err(Fault::Malformed), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(ours(&[&b"A: b\r\n".repeat(65)[..], b"\r\n"].concat()), Err(Fault::TooMany));
    }

    #[test]
    fn a_line_that_stands_as_it_would_be_written_is_marked() {
        let mut fields = Fields::default();
        let bytes = b"A: b\r\nB:c\r\nC:  d\r\nD: e \r\nE:\tf\r\nF: g\nG:\r\nH: \r\n\r\n";
        read(bytes, 0, Ends::Bare, 64, &mut fields).unwrap();
        let plain: Vec<_> = fields.list().iter().filter(|field| field.is_plain).collect();
        assert_eq!(plain.iter().map(|field| bytes[field.name.start as usize]).collect::<Vec<_>>(), b"AH");
    }

    #[test]
    fn what_has_not_come_whole_is_incomplete_at_every_byte() {
        let bytes = b"Host: a\r\nX-A:\r\n\r\n";
        for length in 0..bytes.len() {
            assert_eq!(ours(&bytes[..length]), Err(Fault::Incomplete), "{length}");
        }
        assert!(ours(&[&bytes[..], b"rest: "].concat()).is_ok());
    }

    #[test]
    fn a_bare_line_feed_is_refused_where_it_is_not_allowed() {
        for bytes in [&b"A: b\n\r\n"[..], b"A: b\r\n\n", b"A: b\nC"] {
            let read = read(bytes, 0, Ends::Strict, 64, &mut Fields::default());
            assert_eq!(read, Err(Fault::Malformed), "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_another_parser(
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    &b"Host"[..], b"X-Long-Name-Of-A-Field", b":", b": ", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\0",
                    b"a", b"value of it", b"\x7f", b"\x80\xff", b"(", b"Content-Length: 5\r\n", b"x: y\r\n",
                ]),
                0..12,
            ),
        ) {
            let bytes = [&pieces.concat()[..], b"\r\n\r\n"].concat();
            prop_assert_eq!(ours(&bytes), theirs(&bytes));
        }
    }
}
