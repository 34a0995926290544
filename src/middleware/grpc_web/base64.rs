//! Base64 (RFC 4648 §4) of a stream: groups that come and go in pieces.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Text that is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// Encodes what comes; up to two bytes wait for the rest of their group.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    held: Vec<u8>,
}

impl Encoder {
    /// Appends the text of all whole groups.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        if !self.held.is_empty() {
            let (front, rest) = bytes.split_at(bytes.len().min(3 - self.held.len()));
            self.held.extend_from_slice(front);
            bytes = rest;
            if self.held.len() < 3 {
                return;
            }
            self.pad(out);
        }
        let (groups, rest) = bytes.as_chunks::<3>();
        groups.iter().for_each(|group| encode(group, out));
        self.held.extend_from_slice(rest);
    }

    /// Appends the text of what was held back, padded.
    pub(super) fn pad(&mut self, out: &mut Vec<u8>) {
        encode(&self.held, out);
        self.held.clear();
    }
}

/// One group of one to three bytes; none for no byte.
fn encode(group: &[u8], out: &mut Vec<u8>) {
    let byte = |at: usize| group.get(at).map_or(0, |byte| u32::from(*byte));
    let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
    let digits = [18, 12, 6, 0].map(|shift| ALPHABET[(bits >> shift & 63) as usize]);
    match group.len() {
        0 => {}
        1 => out.extend_from_slice(&[digits[0], digits[1], b'=', b'=']),
        2 => out.extend_from_slice(&[digits[0], digits[1], digits[2], b'=']),
        _ => out.extend_from_slice(&digits),
    }
}

/// Decodes what comes; up to three digits wait for the rest of their group. Padding may end any
/// group: each piece may have been encoded by itself.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    held: Vec<u8>,
}

impl Decoder {
    /// Appends the bytes of all whole groups.
    pub(super) fn feed(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
        if !self.held.is_empty() {
            let (front, rest) = text.split_at(text.len().min(4 - self.held.len()));
            self.held.extend_from_slice(front);
            text = rest;
            let Ok(group) = <&[u8; 4]>::try_from(self.held.as_slice()) else { return Ok(()) };
            decode(group, out)?;
            self.held.clear();
        }
        let (groups, rest) = text.as_chunks::<4>();
        groups.iter().try_for_each(|group| decode(group, out))?;
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// Whether no group has begun.
    pub(super) fn is_whole(&self) -> bool {
        self.held.is_empty()
    }
}

fn decode(group: &[u8; 4], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let length = match group {
        [_, _, b'=', b'='] => 1,
        [_, _, _, b'='] => 2,
        _ => 3,
    };
    let mut bits = 0;
    for (at, digit) in group.iter().enumerate() {
        let value = if at > length { 0 } else { value(*digit)? };
        bits = bits << 6 | value;
    }
    let [_, bytes @ ..] = bits.to_be_bytes();
    let (used, unused) = bytes.split_at(length);
    // RFC 4648 §3.5: bits that no byte holds are zero.
    if unused.iter().any(|byte| *byte != 0) {
        return Err(Invalid);
    }
    out.extend_from_slice(used);
    Ok(())
}

fn value(digit: u8) -> Result<u32, Invalid> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return Err(Invalid),
    };
    Ok(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(bytes: &[u8], size: usize) -> String {
        let (mut encoder, mut out) = (Encoder::default(), Vec::new());
        bytes.chunks(size).for_each(|piece| encoder.feed(piece, &mut out));
        encoder.pad(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn decoded(text: &str, size: usize) -> Result<Vec<u8>, Invalid> {
        let (mut decoder, mut out) = (Decoder::default(), Vec::new());
        text.as_bytes().chunks(size).try_for_each(|piece| decoder.feed(piece, &mut out))?;
        if decoder.is_whole() { Ok(out) } else { Err(Invalid) }
    }

    #[test]
    fn the_examples_of_the_rfc_pass_both_ways_in_pieces_of_any_size() {
        // RFC 4648 §10.
        for (plain, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            for size in 1..8 {
                assert_eq!(encoded(plain.as_bytes(), size), text);
                assert_eq!(decoded(text, size).unwrap(), plain.as_bytes());
            }
        }
    }

    #[test]
    fn all_bytes_survive() {
        let all: Vec<u8> = (0..=255).collect();
        for size in [1, 2, 3, 5, 64] {
            assert_eq!(decoded(&encoded(&all, size), size).unwrap(), all);
        }
    }

    #[test]
    fn padding_may_stand_between_pieces() {
        assert_eq!(decoded("Zg==Zm8=Zm9v", 3).unwrap(), b"ffofoo");
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["Zg", "Zg=", "Z===", "====", "Zm9v\n", "Zm=v", "Zm-_", "Zh==", "Zm9="] {
            assert!(decoded(text, 4).is_err(), "{text}");
        }
    }
}
