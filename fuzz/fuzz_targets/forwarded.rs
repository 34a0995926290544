//! What the endpoint is told about the client: no byte that ends a line, nothing of a stranger's
//! forwarding fields, one of each of ours.
//!
//! The first byte says whether the peer is trusted; the rest are field lines.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::h1::Ends;
use tidegate::h1::request::{HeadLimits, parse};
use tidegate::http::forwarded::request_fields;
use tidegate::http::path::EncodedSlashes;
use tidegate::http::{Client, Exchange, Method, Name, validate};

/// What a stranger writes into every forwarding field; it may not get through in any of them.
const MARK: &str = "spoofed";

fuzz_target!(|data: &[u8]| {
    let Some((choice, lines)) = data.split_first() else { return };
    let mut head = b"GET / HTTP/1.1\r\nHost: a.example\r\n".to_vec();
    for name in ["X-Forwarded-For", "x-forwarded-proto", "X-FORWARDED-HOST", "X-Forwarded-Port", "Forwarded"]
    {
        head.extend_from_slice(format!("{name}: {MARK}\r\n").as_bytes());
    }
    head.extend_from_slice(format!("X-Request-Id: {MARK}\r\nX_Forwarded_For: {MARK}\r\n").as_bytes());
    head.extend_from_slice(lines);
    head.extend_from_slice(b"\r\n\r\n");
    let mut exchange = Exchange::default();
    let address = "192.0.2.7:5000".parse().expect("an address");
    exchange.client = Client { address, trusted: choice & 1 == 1, ..Client::default() };
    let limits = HeadLimits { bytes: 64 * 1024, fields: 256 };
    if parse(&head, Ends::Strict, limits, &mut exchange.request).is_err()
        || validate::request(&mut exchange.request, EncodedSlashes::Keep).is_err()
        || exchange.request.method == Method::Connect
    {
        return;
    }
    exchange.identify([7; 16]);
    judge(&exchange);
});

fn judge(exchange: &Exchange) {
    let trusted = exchange.client.trusted;
    let mut counts = [0; 5];
    let mut last = Vec::new();
    request_fields(exchange, |name, value| {
        assert!(!name.is_empty());
        assert!([name, value].concat().iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()));
        let known = Name::of(name);
        assert!(!matches!(
            known,
            Name::Host | Name::ContentLength | Name::TransferEncoding | Name::Connection
        ));
        assert!(!(known == Name::Other && Name::is_alias(name)), "an alias is passed on");
        let of_ours = [
            Name::XForwardedFor,
            Name::XForwardedProto,
            Name::XForwardedHost,
            Name::XForwardedPort,
            Name::XRequestId,
        ];
        if let Some(at) = of_ours.iter().position(|name| *name == known) {
            counts[at] += 1;
            let text = String::from_utf8_lossy(value);
            assert!(trusted || !text.contains(MARK), "{known:?}: {text}");
            match known {
                Name::XForwardedFor => last = value.to_vec(),
                Name::XForwardedProto => assert!(trusted || value == b"http", "{text}"),
                _ => {}
            }
        }
        let is_theirs = known == Name::Forwarded && String::from_utf8_lossy(value).contains(MARK);
        assert!(trusted || !is_theirs, "a stranger's Forwarded is passed on");
    });
    assert_eq!(counts, [1; 5], "each of ours once");
    assert!(last.ends_with(b"192.0.2.7"), "the peer is the last in the chain");
    assert!(trusted || last == b"192.0.2.7", "a stranger's chain is passed on");
}
