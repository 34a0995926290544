//! Response heads: what is accepted has one framing, no control byte, and is written to a client
//! as the same answer.
//!
//! The first byte chooses the method that asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::h1::response::parse;
use tidegate::h1::scan::Scan;
use tidegate::h1::write::{self, Persistence};
use tidegate::http::{Framing, Method, Name, ResponseHead, Version};

const METHODS: [Method; 3] = [Method::Get, Method::Head, Method::Other];

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else { return };
    let method = METHODS[usize::from(*choice) % METHODS.len()];
    let Ok(Some(length)) = Scan::default().end_of_head(bytes) else { return };
    let mut head = ResponseHead::default();
    if parse(&bytes[..length], method, &mut head).is_err() {
        return;
    }
    assert!((100..=599).contains(&head.status));
    assert!(bytes.starts_with(b"HTTP/1.1 ") || bytes.starts_with(b"HTTP/1.0 "));
    let is_text = |text: &[u8]| text.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
    assert!(is_text(head.fields.text(head.reason)));
    assert!(head.fields.iter().all(|(_, name, value)| !name.is_empty() && is_text(name) && is_text(value)));
    for version in [Version::Http10, Version::Http11] {
        again(&head, method, version);
    }
});

/// Writes the answer as a client gets it and reads that.
fn again(head: &ResponseHead, method: Method, version: Version) {
    let framing = write::framing_for(version, method, head.status, head.framing);
    let length = head.fields.get(Name::ContentLength);
    let mut bytes = Vec::new();
    write::response(head, framing, length, Persistence::Close, &mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert_eq!(Scan::default().end_of_head(&bytes), Ok(Some(bytes.len())), "{text}");
    let mut second = ResponseHead::default();
    if let Err(reason) = parse(&bytes, method, &mut second) {
        assert!(head.fields.list().len() > 250, "{reason:?} {text}");
        return;
    }
    assert_eq!(second.status, head.status);
    // 1xx is never written as a final answer; for the rest the reader finds what the writer meant.
    if head.status >= 200 {
        assert_eq!(second.framing, framing, "{text}");
    }
    if head.status == 204 {
        assert_eq!(second.fields.get(Name::ContentLength), None, "{text}");
    }
    if version == Version::Http10 {
        assert_ne!(second.framing, Framing::Chunked, "{text}");
    }
}
