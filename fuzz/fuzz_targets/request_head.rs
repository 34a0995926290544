//! Request heads: what is accepted is what a second, slower reader of RFC 9112 accepts, and what
//! is written to the endpoint reads again as the same request.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::h1::Ends;
use tidegate::h1::request::{HeadLimits, parse, sketch};
use tidegate::h1::scan::Scan;
use tidegate::h1::write;
use tidegate::http::path::EncodedSlashes;
use tidegate::http::{Exchange, Framing, Method, Name, RequestHead, validate};

const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, fields: 100 };

fuzz_target!(|data: &[u8]| {
    sketch(data, &mut RequestHead::default());
    let mut scan = Scan::default();
    let end = scan.end_of_head(data);
    if let Ok(Some(read)) = parse(data, Ends::Strict, LIMITS, &mut RequestHead::default()) {
        assert_eq!(end, Ok(Some(read)), "reading finds the same end as the search");
    }
    let Ok(Some(length)) = end else { return };
    let mut exchange = Exchange::default();
    let Ok(version) = read(&data[..length], &mut exchange) else { return };
    assert!(is_strict(&data[..length]), "{}", String::from_utf8_lossy(&data[..length]));
    // A tunnel has no message to write again; one framing is all that the rest can have.
    if exchange.request.method != Method::Connect {
        again(&exchange);
    }
    assert!(version <= 1);
});

/// Reads and judges; the minor version.
fn read(bytes: &[u8], exchange: &mut Exchange) -> Result<u8, ()> {
    let length = parse(bytes, Ends::Strict, LIMITS, &mut exchange.request).map_err(drop)?;
    assert_eq!(length, Some(bytes.len()), "a head that was searched for its end is whole");
    validate::request(&mut exchange.request, EncodedSlashes::Keep).map_err(drop)?;
    Ok(u8::from(exchange.request.version == tidegate::http::Version::Http11))
}

/// Writes the request as an endpoint gets it and reads that.
fn again(exchange: &Exchange) {
    let first = &exchange.request;
    let host: &[u8] = if first.authority().is_empty() { b"endpoint:1" } else { first.authority() };
    let mut bytes = Vec::new();
    write::request(exchange, host, &mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(is_strict(&bytes), "{text}");
    assert_eq!(Scan::default().end_of_head(&bytes), Ok(Some(bytes.len())), "{text}");
    let mut second = Exchange::default();
    if parse(&bytes, Ends::Strict, HeadLimits { fields: 256, ..LIMITS }, &mut second.request).is_err() {
        // The proxy's own fields may take it over a limit, nothing else.
        assert!(first.fields.list().len() > 90 || bytes.len() > 8 * 1024, "{text}");
        return;
    }
    validate::request(&mut second.request, EncodedSlashes::Keep).expect("what is forwarded is valid");
    let second = second.request;
    assert_eq!(first.method_text(), second.method_text(), "{text}");
    assert_eq!(first.path(), second.path(), "{text}");
    assert_eq!(first.query(), second.query(), "{text}");
    assert_eq!(second.authority(), host, "{text}");
    assert_eq!(first.framing, second.framing, "{text}");
    let lengths = second.fields.all(Name::ContentLength).count();
    let codings = second.fields.all(Name::TransferEncoding).count();
    assert!(lengths + codings <= 1, "{text}");
    assert_eq!(codings == 1, second.framing == Framing::Chunked, "{text}");
    assert_eq!(second.fields.all(Name::Host).count(), 1, "{text}");
    assert_eq!(second.fields.get(Name::Http2Settings), None, "{text}");
}

/// A reader of its own: only what RFC 9112 allows byte by byte, nothing about meaning.
fn is_strict(head: &[u8]) -> bool {
    let Some(body) = head.strip_suffix(b"\r\n\r\n") else { return false };
    let mut lines = split(body);
    let Some(line) = lines.next() else { return false };
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words[..] else { return false };
    !method.is_empty()
        && method.iter().all(|byte| is_token(*byte))
        && !target.is_empty()
        && target.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#')
        && matches!(version, b"HTTP/1.1" | b"HTTP/1.0")
        && lines.all(is_field)
}

fn split(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(body);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = bytes.windows(2).position(|pair| pair == b"\r\n");
        rest = end.map(|end| &bytes[end + 2..]);
        Some(&bytes[..end.unwrap_or(bytes.len())])
    })
}

fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    !name.is_empty()
        && name.iter().all(|byte| is_token(*byte))
        && value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

fn is_token(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
        || byte.is_ascii_alphanumeric()
}
