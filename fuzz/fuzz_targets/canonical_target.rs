//! The canonical path: it is canonical, has no dot segment in any decoding, and is what a slow
//! reader of RFC 3986 §5.2.4 makes of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::http::path::{Canonical, EncodedSlashes, canonical};

fuzz_target!(|data: &[u8]| {
    for slashes in [EncodedSlashes::Keep, EncodedSlashes::Refuse] {
        judge(data, slashes);
    }
});

fn judge(path: &[u8], slashes: EncodedSlashes) {
    let mut out = b"kept".to_vec();
    let Ok(how) = canonical(path, slashes, &mut out) else {
        assert_eq!(out, b"kept", "an error writes nothing");
        return;
    };
    let found = match how {
        Canonical::Unchanged => path,
        Canonical::Rewritten => &out[b"kept".len()..],
    };
    assert!(found.starts_with(b"/") && found.iter().all(u8::is_ascii_graphic));
    assert!(!found.iter().any(|byte| b"?#\\".contains(byte)));
    assert_eq!(found, slow(path), "{}", String::from_utf8_lossy(path));
    let mut again = Vec::new();
    assert_eq!(canonical(found, slashes, &mut again), Ok(Canonical::Unchanged), "it is canonical");
    let decoded = decoded(found);
    assert!(!decoded.contains(&0));
    for segment in decoded.split(|byte| matches!(byte, b'/' | b'\\')) {
        assert!(segment != b"." && segment != b"..", "{}", String::from_utf8_lossy(path));
    }
    if slashes == EncodedSlashes::Refuse {
        let separators = |bytes: &[u8]| bytes.iter().filter(|byte| matches!(byte, b'/' | b'\\')).count();
        assert_eq!(separators(&decoded), separators(found), "an encoded slash is in it");
    }
}

/// Every escape decoded once.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        (rest, out) = match (byte, after) {
            (b'%', [high, low, behind @ ..]) => {
                let digit =
                    |byte: &u8| (*byte as char).to_digit(16).expect("an accepted escape is whole") as u8;
                out.push(digit(high) << 4 | digit(low));
                (behind, out)
            }
            _ => {
                out.push(byte);
                (after, out)
            }
        };
    }
    out
}

/// Dot segments removed, segment by segment, without any haste.
fn slow(path: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(path).expect("an accepted path is ASCII");
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = text.split('/').skip(1).collect();
    for (at, segment) in segments.iter().enumerate() {
        let is_last = at + 1 == segments.len();
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." if is_last => kept.push(""),
            "." => {}
            ".." => {
                kept.pop();
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/")).into_bytes()
}
