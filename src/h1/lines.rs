//! Reads the field lines of a head or of trailers, strictly (RFC 9112 §5).

use super::find;
use crate::http::fields::Span;
use crate::http::{Fields, Name};

/// Why field lines were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A line breaks the grammar, or the empty line that ends them is missing or not the end.
    Malformed,
    /// There are more than allowed.
    TooMany,
}

/// Reads the lines of `bytes` from `at` to the empty line that must end them, at most `most`, into
/// `fields`, whose text begins with `bytes`.
///
/// A line may end with a bare line feed here: where that is not allowed, the search for the end of
/// the head has refused it already.
pub(super) fn read(bytes: &[u8], mut at: usize, most: usize, fields: &mut Fields) -> Result<(), Fault> {
    let mut count = 0;
    loop {
        if let Some(end) = line_end(bytes, at) {
            return if end == bytes.len() { Ok(()) } else { Err(Fault::Malformed) };
        }
        count += 1;
        if count > most {
            return Err(Fault::TooMany);
        }
        at = read_line(bytes, at, fields).ok_or(Fault::Malformed)?;
    }
}

/// Reads one line and returns where the next one begins.
fn read_line(bytes: &[u8], at: usize, fields: &mut Fields) -> Option<usize> {
    let colon = find::byte(bytes, at, b':')?;
    let name = &bytes[at..colon];
    let known = Name::of(name);
    if known == Name::Other && !is_token(name) {
        return None;
    }
    let mut start = colon + 1;
    while matches!(bytes.get(start), Some(b' ' | b'\t')) {
        start += 1;
    }
    let stop = find::value_end(bytes, start)?;
    let next = line_end(bytes, stop)?;
    let mut end = stop;
    while end > start && matches!(bytes[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    fields.push_known(known, Span::new(at, colon), Span::new(start, end));
    Some(next)
}

/// Where the line goes on behind its end at `at`, if it ends there.
pub(super) fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..)? {
        [b'\r', b'\n', ..] => Some(at + 2),
        [b'\n', ..] => Some(at + 1),
        _ => None,
    }
}

/// Whether bytes make a token (RFC 9110 §5.6.2).
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether a byte may stand in a token (RFC 9110 §5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
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
        read(bytes, 0, 64, &mut fields)?;
        Ok(fields.iter().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect())
    }

    /// Another parser of the same grammar. It does not trim the end of a value.
    fn theirs(bytes: &[u8]) -> Result<Lines, Fault> {
        let mut slots = [httparse::EMPTY_HEADER; 64];
        match httparse::parse_headers(bytes, &mut slots) {
            Ok(httparse::Status::Complete((length, fields))) if length == bytes.len() => Ok(fields
                .iter()
                .map(|field| (field.name.as_bytes().to_vec(), field.value.trim_ascii_end().to_vec()))
                .collect()),
            Err(httparse::Error::TooManyHeaders) => Err(Fault::TooMany),
            _ => Err(Fault::Malformed),
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
            &b""[..],
            b"A: b",
            b"A: b\r\n",
            b"A b\r\n\r\n",
            b": b\r\n\r\n",
            b"A : b\r\n\r\n",
            b"A: b\rc\r\n\r\n",
            b"A: b\0\r\n\r\n",
            b"A: b\r\n c\r\n\r\n",
            b"\x80: b\r\n\r\n",
            b"A: b\r\n\r\nrest",
        ] {
            assert_eq!(ours(bytes), Err(Fault::Malformed), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(ours(&[&b"A: b\r\n".repeat(65)[..], b"\r\n"].concat()), Err(Fault::TooMany));
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
            let bytes = [&pieces.concat()[..], b"\r\n"].concat();
            prop_assert_eq!(ours(&bytes), theirs(&bytes));
        }
    }
}
