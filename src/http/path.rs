//! The canonical path: one spelling for routing, middlewares and endpoints alike (RFC 3986 §6.2.2).
//!
//! Dot segments are resolved, also when their dots are written `%2e`. Everything else stays as it
//! was written: the case of escapes, duplicate slashes, `%2F` and `%5C`, which are plain text here
//! and never separators. Since some endpoint may decode those two, a path in which decoding them
//! would bring a dot segment to light is refused.

use memchr::memchr;
use serde::Deserialize;

/// What becomes of `%2F` and `%5C` in a path; those that hide a dot segment are always refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncodedSlashes {
    /// They pass as plain text (the default).
    #[default]
    Keep,
    /// A path that has one is refused.
    Refuse,
}

/// How a canonical path was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canonical {
    /// The path is canonical as it stands; nothing was written.
    Unchanged,
    /// The canonical path was appended to the output.
    Rewritten,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is not empty and does not start with a slash.
    #[error("the path does not start with a slash")]
    NotAbsolute,
    /// A control, a space, a byte over 0x7e, a backslash, `#` or `?`.
    #[error("the path has a byte that may not stand there")]
    ForbiddenByte,
    /// `%` without two hexadecimal digits.
    #[error("the path has an incomplete percent escape")]
    BadEscape,
    /// `%00`
    #[error("the path has an encoded NUL")]
    EncodedNul,
    /// `%2F` or `%5C` where the listener refuses them.
    #[error("the path has an encoded slash or backslash")]
    EncodedSlash,
    /// Decoding `%2F` or `%5C` would bring a dot segment to light.
    #[error("the path hides a dot segment behind an encoded slash")]
    HiddenDotSegment,
}

/// Finds the canonical form of a path; an empty one (of an absolute-form target) becomes `/`.
///
/// Canonical paths come out `Unchanged`, so the function is idempotent. Nothing is allocated
/// beyond the growth of `out`, and nothing is written there on an error.
///
/// # Errors
/// [`PathError`] when no endpoint may see such a path.
pub fn canonical(path: &[u8], slashes: EncodedSlashes, out: &mut Vec<u8>) -> Result<Canonical, PathError> {
    if path.is_empty() {
        out.push(b'/');
        return Ok(Canonical::Rewritten);
    }
    if !is_suspicious(path)? {
        return Ok(Canonical::Unchanged);
    }
    if memchr(b'%', path).is_some() {
        check_escapes(path, slashes)?;
    }
    if !segments(path).any(is_dot_segment) {
        return Ok(Canonical::Unchanged);
    }
    resolve(path, out);
    Ok(Canonical::Rewritten)
}

/// Whether a path needs a closer look: it has an escape or a segment that starts with a dot.
fn is_suspicious(path: &[u8]) -> Result<bool, PathError> {
    if path.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let (mut suspicious, mut forbidden, mut before) = (false, false, b'/');
    // Without branches: a path is short, and a mispredicted one costs more than its other bytes.
    for &byte in path {
        forbidden |= !is_path_byte(byte);
        suspicious |= byte == b'%' || (byte == b'.' && before == b'/');
        before = byte;
    }
    if forbidden { Err(PathError::ForbiddenByte) } else { Ok(suspicious) }
}

/// Visible ASCII without the three delimiters of other parts. RFC 3986 is stricter, but browsers
/// send `|`, `[` and `"` as they are and every endpoint reads them alike.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#' | b'?')
}

fn check_escapes(path: &[u8], slashes: EncodedSlashes) -> Result<(), PathError> {
    let mut has_slash = false;
    let mut rest = path;
    while let Some(at) = memchr(b'%', rest) {
        let escape = rest.get(at..).unwrap_or_default();
        let Some((&[_, high, low], after)) = escape.split_first_chunk() else {
            return Err(PathError::BadEscape);
        };
        if !high.is_ascii_hexdigit() || !low.is_ascii_hexdigit() {
            return Err(PathError::BadEscape);
        }
        if (high, low) == (b'0', b'0') {
            return Err(PathError::EncodedNul);
        }
        has_slash |= is_encoded_slash(&[b'%', high, low]);
        rest = after;
    }
    if !has_slash {
        return Ok(());
    }
    if slashes == EncodedSlashes::Refuse {
        return Err(PathError::EncodedSlash);
    }
    if segments(path).any(hides_dot_segment) { Err(PathError::HiddenDotSegment) } else { Ok(()) }
}

/// The text between slashes; the path starts with one.
fn segments(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').skip(1)
}

fn is_encoded_slash(escape: &[u8]) -> bool {
    escape.eq_ignore_ascii_case(b"%2f") || escape.eq_ignore_ascii_case(b"%5c")
}

/// Whether an encoded slash stands next to a text of one or two dots.
fn hides_dot_segment(segment: &[u8]) -> bool {
    let (mut piece, mut rest) = (segment, segment);
    let mut is_split = false;
    while let [_, after @ ..] = rest {
        let Some((_, behind)) = rest.split_first_chunk::<3>().filter(|(escape, _)| is_encoded_slash(*escape))
        else {
            rest = after;
            continue;
        };
        let before = piece.len() - rest.len();
        if piece.get(..before).is_some_and(is_dot_segment) {
            return true;
        }
        is_split = true;
        (piece, rest) = (behind, behind);
    }
    is_split && is_dot_segment(piece)
}

fn is_dot_segment(segment: &[u8]) -> bool {
    matches!(dots(segment), Some(1 | 2))
}

/// How many dots, plain or encoded, a text of nothing else is made of; up to two are counted.
fn dots(mut text: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !text.is_empty() {
        text = match text {
            [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] if count < 2 => rest,
            _ => return None,
        };
        count += 1;
    }
    Some(count)
}

/// Removes dot segments (RFC 3986 §5.2.4); `..` at the root stays at the root.
fn resolve(path: &[u8], out: &mut Vec<u8>) {
    let root = out.len();
    let mut segments = segments(path).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match dots(segment) {
            Some(count @ (1 | 2)) => {
                if count == 2 {
                    let parent = out[root..].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    out.truncate(root + parent);
                }
                if is_last {
                    out.push(b'/');
                }
            }
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical_of(path: &str) -> Result<String, PathError> {
        let mut out = Vec::new();
        let how = canonical(path.as_bytes(), EncodedSlashes::Keep, &mut out)?;
        assert_eq!(how == Canonical::Unchanged, out.is_empty(), "only a rewritten path is written");
        let text = if how == Canonical::Unchanged { path.as_bytes() } else { &out };
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    #[test]
    fn dot_segments_are_resolved_and_never_above_the_root() {
        for (path, expected) in [
            ("", "/"),
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/%2e/a", "/a"),
            ("/..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/a//../b", "/a/b"),
            ("/a/b/../../../../c/", "/c/"),
        ] {
            assert_eq!(canonical_of(path).as_deref(), Ok(expected), "{path}");
        }
    }

    #[test]
    fn everything_else_stays_as_it_was_written() {
        for path in [
            "/a//b///",
            "/.well-known/x",
            "/...",
            "/a%2eb",
            "/%2e%2e%2e",
            "/%e2%82%AC",
            "/a%2Fb%5cc",
            "/a%2f.b",
            "/%252e%252e/x",
            "/a%252f..%252fb",
            "/..;/a",
            "/a;v=1,2/@x:y|z[0]\"",
        ] {
            assert_eq!(canonical_of(path).as_deref(), Ok(path), "{path}");
        }
    }

    #[test]
    fn encoded_slashes_may_not_hide_a_dot_segment() {
        for path in ["/a/..%2fb", "/a%2F..", "/a%5c..%5Cb", "/%2f.", "/a/%2e%2e%2fb", "/.%2Fb", "/x%2f%2e%2f"]
        {
            assert_eq!(canonical_of(path), Err(PathError::HiddenDotSegment), "{path}");
        }
    }

    #[test]
    fn a_listener_may_refuse_every_encoded_slash() {
        for path in ["/a%2Fb", "/a%2fb", "/a%5cb"] {
            let found = canonical(path.as_bytes(), EncodedSlashes::Refuse, &mut Vec::new());
            assert_eq!(found, Err(PathError::EncodedSlash), "{path}");
        }
        let plain = canonical(b"/a%20b", EncodedSlashes::Refuse, &mut Vec::new());
        assert_eq!(plain, Ok(Canonical::Unchanged));
    }

    #[test]
    fn what_no_endpoint_may_see_is_refused() {
        for (path, error) in [
            ("a/b", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("/a b", PathError::ForbiddenByte),
            ("/a\\b", PathError::ForbiddenByte),
            ("/a\r\nb", PathError::ForbiddenByte),
            ("/ü", PathError::ForbiddenByte),
            ("/a\x7f", PathError::ForbiddenByte),
            ("/a#b", PathError::ForbiddenByte),
            ("/a?b", PathError::ForbiddenByte),
            ("/a%", PathError::BadEscape),
            ("/a%2", PathError::BadEscape),
            ("/a%g0", PathError::BadEscape),
            ("/a%2/b", PathError::BadEscape),
            ("/a%00", PathError::EncodedNul),
        ] {
            assert_eq!(canonical_of(path), Err(error), "{path:?}");
        }
    }

    #[test]
    fn an_error_leaves_the_output_alone() {
        let mut out = b"kept".to_vec();
        assert!(canonical(b"/a/../b%zz", EncodedSlashes::Keep, &mut out).is_err());
        assert_eq!(out, b"kept");
    }

    /// Paths dense in what matters here.
    fn paths() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/", "//", ".", "..", "/.", "/..", "%2e", "%2E", "%2f", "%5C", "%25", "2e", "a", "b%20", "~",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_canonical(path in paths()) {
            if let Ok(once) = canonical_of(&path) {
                prop_assert_eq!(canonical_of(&once), Ok(once));
            }
        }

        #[test]
        fn a_path_that_is_left_alone_is_what_the_resolver_makes_of_it(path in paths()) {
            let how = canonical(path.as_bytes(), EncodedSlashes::Keep, &mut Vec::new());
            let mut resolved = Vec::new();
            resolve(path.as_bytes(), &mut resolved);
            if let Ok(how) = how {
                prop_assert_eq!(how == Canonical::Unchanged, resolved == path.as_bytes());
            }
        }

        #[test]
        fn no_decoding_of_a_canonical_path_climbs(path in paths()) {
            if let Ok(path) = canonical_of(&path) {
                let decoded = path.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%5C", "/");
                prop_assert!(decoded.split('/').all(|segment| segment != "." && segment != ".."), "{}", decoded);
            }
        }

        #[test]
        fn any_bytes_are_answered_without_a_panic(path in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = canonical(&path, EncodedSlashes::Keep, &mut Vec::new());
        }
    }
}
