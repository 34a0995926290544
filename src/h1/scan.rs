//! Finds the end of a head, once over every byte however slowly they come.

use crate::http::find;

/// Where the search for the empty line stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// Bytes looked at; heads are bounded far below 4 GiB.
    seen: u32,
    /// Where the current line starts.
    line: u32,
    /// An empty line before the head was skipped.
    skipped: bool,
}

/// A line feed without a carriage return before it (RFC 9112 §2.2 lets a server refuse it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BareLineFeed;

impl Scan {
    /// Whether the two bytes at the front are an empty line before the head, of which one is
    /// skipped (RFC 9112 §2.2). The caller takes them away.
    pub fn skips_empty_line(&mut self, bytes: &[u8]) -> bool {
        let skips = !self.skipped && self.line == 0 && bytes.starts_with(b"\r\n");
        if skips {
            *self = Scan { skipped: true, ..Scan::default() };
        }
        skips
    }

    /// Whether nothing was looked at yet.
    pub fn is_fresh(&self) -> bool {
        self.seen == 0
    }

    /// Whether no line has come to its end yet.
    pub fn is_in_first_line(&self) -> bool {
        self.line == 0
    }

    /// The length of the head including its empty line, when it is complete. `bytes` is the same
    /// buffer as at the last call with more at its end.
    pub fn end_of_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, BareLineFeed> {
        while let Some(feed) = self.next_feed(bytes) {
            if feed == 0 || bytes[feed - 1] != b'\r' {
                return Err(BareLineFeed);
            }
            let is_empty = feed - 1 == self.line as usize;
            self.begin_line(feed + 1);
            if is_empty {
                return Ok(Some(feed + 1));
            }
        }
        self.seen = bytes.len() as u32;
        Ok(None)
    }

    /// The same for lines that may end with a bare line feed.
    pub fn end_of_bare_head(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(feed) = self.next_feed(bytes) {
            let line = bytes.get(self.line as usize..feed).unwrap_or_default();
            self.begin_line(feed + 1);
            if matches!(line, b"" | b"\r") {
                return Some(feed + 1);
            }
        }
        self.seen = bytes.len() as u32;
        None
    }

    /// Where the next line feed is.
    fn next_feed(&self, bytes: &[u8]) -> Option<usize> {
        find::byte(bytes, self.seen as usize, b'\n')
    }

    fn begin_line(&mut self, at: usize) {
        (self.seen, self.line) = (at as u32, at as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_line_ends_the_head_whatever_the_pieces() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
        for step in 1..bytes.len() {
            let mut scan = Scan::default();
            let mut found = None;
            for end in (step..=bytes.len()).step_by(step).chain([bytes.len()]) {
                found = scan.end_of_head(&bytes[..end]).unwrap();
                if found.is_some() {
                    break;
                }
            }
            assert_eq!(found, Some(27), "step {step}");
        }
    }

    #[test]
    fn a_bare_line_feed_ends_a_line_where_that_is_allowed() {
        for bytes in [&b"HTTP/1.0 200 Connected\n\nrest"[..], b"HTTP/1.0 200 Connected\r\n\r\nrest"] {
            let mut scan = Scan::default();
            assert_eq!(scan.end_of_bare_head(&bytes[..5]), None);
            assert_eq!(scan.end_of_bare_head(bytes), Some(bytes.len() - 4));
        }
    }

    #[test]
    fn one_empty_line_before_the_head_is_skipped_whatever_the_pieces() {
        for pieces in [&["\r\n"][..], &["", "\r\n"], &["\r", "\r\n"]] {
            let mut scan = Scan::default();
            for piece in &pieces[..pieces.len() - 1] {
                assert!(!scan.skips_empty_line(piece.as_bytes()));
                assert_eq!(scan.end_of_head(piece.as_bytes()), Ok(None));
            }
            assert!(scan.skips_empty_line(b"\r\n"), "{pieces:?}");
            assert_eq!(scan.end_of_head(b""), Ok(None));
            assert!(!scan.skips_empty_line(b"\r\n"), "a second one is not");
            assert_eq!(scan.end_of_head(b"\r\n"), Ok(Some(2)));
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused_at_once() {
        assert_eq!(Scan::default().end_of_head(b"GET / HTTP/1.1\nHost"), Err(BareLineFeed));
        assert_eq!(Scan::default().end_of_head(b"\n"), Err(BareLineFeed));
    }
}
