//! Text of clients made harmless.

use std::io::Write;

/// Where a text is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// Inside a JSON string (RFC 8259 §7). Bytes that are not UTF-8 become U+FFFD.
    Json,
    /// Between quotation marks of a plain line. All but printable ASCII becomes `\xNN`.
    Plain,
}

impl Text {
    /// Appends the escaped text.
    pub(super) fn write(self, bytes: &[u8], out: &mut Vec<u8>) {
        // Nearly all texts are plain ASCII: they go in one piece. To look at every byte, without
        // an early end, is what the compiler turns into vector instructions.
        if bytes.iter().fold(true, |harmless, byte| harmless & is_harmless(*byte)) {
            return out.extend_from_slice(bytes);
        }
        match self {
            Text::Json => json(bytes, out),
            Text::Plain => plain(bytes, out),
        }
    }
}

fn is_harmless(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn json(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                // JSON allows the controls above ASCII; a terminal that shows the log obeys them.
                _ if character.is_control() => put_escape(out, character),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn put_escape(out: &mut Vec<u8>, character: char) {
    let _ = write!(out, "\\u{:04x}", u32::from(character));
}

fn plain(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        if is_harmless(*byte) {
            out.push(*byte);
        } else {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}

/// At most so many bytes, and no character cut in two.
pub(super) fn clip(bytes: &[u8], most: usize) -> &[u8] {
    let Some(mut clipped) = bytes.get(..most) else { return bytes };
    if clipped.len() == bytes.len() {
        return bytes;
    }
    // A character has three bytes after its first at most.
    for _ in 0..3 {
        match (bytes.get(clipped.len()), clipped.split_last()) {
            (Some(0x80..=0xbf), Some((_, shorter))) => clipped = shorter,
            _ => break,
        }
    }
    clipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(text: Text, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        text.write(bytes, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn any_bytes_become_a_valid_json_string_without_controls() {
        for first in 0..=255 {
            for second in [b'a', b'"', 0x80, 0xbf, 0xe2] {
                let escaped = write(Text::Json, &[first, second]);
                let value: String = serde_json::from_str(&format!("\"{escaped}\"")).unwrap();
                assert!(!escaped.chars().any(char::is_control));
                if let Ok(text) = std::str::from_utf8(&[first, second]) {
                    assert_eq!(value, text);
                }
            }
        }
    }

    #[test]
    fn a_plain_text_shows_other_bytes_as_hex() {
        assert_eq!(write(Text::Plain, b"a \"b\"\\\n\x7f\xc3\xa9"), "a \\x22b\\x22\\x5C\\x0A\\x7F\\xC3\\xA9");
    }

    #[test]
    fn clipping_leaves_whole_characters() {
        let text = "aé€𝄞".as_bytes();
        let lengths: Vec<_> = (0..=11).map(|most| clip(text, most).len()).collect();
        assert_eq!(lengths, [0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10]);
    }

    #[test]
    fn clipping_bytes_that_are_no_text_still_keeps_most_of_them() {
        assert_eq!(clip(&[0x80; 100], 50).len(), 47);
    }
}
