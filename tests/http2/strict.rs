//! RFC 9113 §8 to the letter, frame by frame: nothing wrong reaches an endpoint, and where the RFC
//! says stream error the connection lives on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use crate::H2;
use crate::harness::{Endpoint, Proxy, read, reply};
use crate::raw::*;

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// A head of an answer, by its first byte in HPACK: 200 and 400 stand in the static table.
    Answer(u8),
    Reset(u32),
    /// The library can not tell such a field from broken HPACK: a connection error, as RFC 9113
    /// §5.4.1 allows.
    Goaway(u32),
}

const OK: Fate = Fate::Answer(0x88);
const BAD: Fate = Fate::Answer(0x8c);
const RESET: Fate = Fate::Reset(PROTOCOL_ERROR);
const GONE: Fate = Fate::Goaway(PROTOCOL_ERROR);

/// An endpoint that counts the requests which reach it whole.
async fn counting() -> (Endpoint, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let endpoint = Endpoint::start(move |request, respond| {
        let count = count.clone();
        async move {
            if read(request.into_body()).await.is_ok() {
                count.fetch_add(1, SeqCst);
                reply(respond, "ok");
            }
        }
    })
    .await;
    (endpoint, seen)
}

/// What becomes of the request on a stream.
async fn fate(raw: &mut Raw, stream: u32) -> Fate {
    loop {
        let frame = raw.reader.next().await.expect("the connection lives");
        match frame.kind {
            HEADERS if frame.stream == stream => return Fate::Answer(frame.payload[0]),
            RST_STREAM if frame.stream == stream => return Fate::Reset(frame.code()),
            GOAWAY => return Fate::Goaway(frame.code()),
            _ => {}
        }
    }
}

/// The four pseudo-fields with one changed, or left out when its value is empty.
fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let fields = GET.iter().map(|field| if field.0 == name { (name, value) } else { *field });
    fields.filter(|field| field.1 != "-").collect()
}

fn and(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&GET[..], more].concat()
}

type Fields = Vec<(&'static str, &'static str)>;

fn malformed() -> Vec<(&'static str, Fields, Fate)> {
    vec![
        ("upper-case name", and(&[("X-A", "1")]), GONE),
        ("empty name", and(&[("", "1")]), GONE),
        ("space in a name", and(&[("x a", "1")]), GONE),
        ("colon in a name", and(&[("x:a", "1")]), GONE),
        ("NUL in a value", and(&[("x-a", "a\0b")]), GONE),
        ("CR in a value", and(&[("x-a", "a\rb")]), GONE),
        ("LF in a value", and(&[("x-a", "a\nb")]), GONE),
        ("space before a value", and(&[("x-a", " b")]), BAD),
        ("tab after a value", and(&[("x-a", "b\t")]), BAD),
        ("connection", and(&[("connection", "close")]), RESET),
        ("keep-alive", and(&[("keep-alive", "timeout=5")]), RESET),
        ("proxy-connection", and(&[("proxy-connection", "close")]), RESET),
        ("transfer-encoding", and(&[("transfer-encoding", "chunked")]), RESET),
        ("upgrade", and(&[("upgrade", "websocket")]), RESET),
        ("te that is not trailers", and(&[("te", "gzip")]), RESET),
        ("pseudo after regular", vec![GET[0], GET[1], GET[2], ("x-a", "1"), GET[3]], RESET),
        ("method twice", and(&[(":method", "GET")]), RESET),
        ("path twice", and(&[(":path", "/b")]), RESET),
        ("scheme twice", and(&[(":scheme", "https")]), RESET),
        ("authority twice", and(&[(":authority", "b")]), RESET),
        ("status in a request", and(&[(":status", "200")]), RESET),
        ("unknown pseudo-field", and(&[(":unknown", "1")]), GONE),
        ("no method", with(":method", "-"), RESET),
        ("no scheme", with(":scheme", "-"), RESET),
        ("no path", with(":path", "-"), RESET),
        ("empty path", with(":path", ""), RESET),
        ("path without a slash", with(":path", "a"), RESET),
        ("absolute path form", with(":path", "http://b/"), RESET),
        ("asterisk for GET", with(":path", "*"), BAD),
        ("space in a path", with(":path", "/a b"), RESET),
        ("bad method", with(":method", "G T"), GONE),
        ("empty method", with(":method", ""), GONE),
        ("scheme that is none", with(":scheme", "ftp"), BAD),
        ("no authority and no host", with(":authority", "-"), BAD),
        ("empty authority", with(":authority", ""), RESET),
        ("authority and host differ", and(&[("host", "b.example")]), BAD),
        ("two hosts", and(&[("host", "a.example"), ("host", "a.example")]), BAD),
        ("userinfo", with(":authority", "u:p@a.example"), BAD),
        ("authority with a path", with(":authority", "a.example/x"), RESET),
        ("length that is no number", and(&[("content-length", "+1")]), RESET),
        ("two lengths", and(&[("content-length", "0"), ("content-length", "1")]), RESET),
        ("length without a body", and(&[("content-length", "5")]), RESET),
    ]
}

#[tokio::test]
async fn every_malformed_head_is_refused_and_counted_and_its_connection_lives_on() {
    let (endpoint, seen) = counting().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut wrong = Vec::new();
    let all = malformed();
    for (name, fields, expected) in &all {
        let mut raw = Raw::connect(&proxy).await;
        raw.send(&request(1, fields)).await;
        let fate = fate(&mut raw, 1).await;
        if fate != *expected {
            wrong.push(format!("{name}: {fate:x?} instead of {expected:x?}"));
        }
        if !matches!(fate, Fate::Goaway(_)) {
            raw.assert_alive().await;
            raw.send(&request(3, &GET)).await;
            assert_eq!(self::fate(&mut raw, 3).await, OK, "{name}");
            assert_eq!(seen.swap(0, SeqCst), 1, "{name}: nothing of it has reached the endpoint");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(seen.load(SeqCst), 0);
    let counted = || {
        let names = ["pseudo_field", "host", "target", "field", "framing", "h2"];
        let series = names.map(|name| format!("proxy_replies_total{{reason=\"bad_request.{name}\"}}"));
        series.iter().map(|series| proxy.metric(series)).sum::<f64>()
    };
    becomes(counted, all.len() as f64).await;
}

/// Waits until a number is as it should be.
async fn becomes(number: impl Fn() -> f64, expected: f64) {
    let waited = async {
        while number() < expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), waited).await;
    assert_eq!(number(), expected);
}

#[tokio::test]
async fn what_is_odd_but_allowed_passes() {
    let (endpoint, seen) = counting().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut raw = Raw::connect(&proxy).await;
    let allowed = [
        and(&[("te", "trailers")]),
        and(&[("host", "A.EXAMPLE")]),
        and(&[("content-length", "0")]),
        and(&[("x-empty", "")]),
        [with(":authority", "-"), vec![("host", "a.example")]].concat(),
        vec![("\u{3a}method", "OPTIONS"), GET[1], GET[2], (":path", "*")],
        and(&[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]),
        with(":scheme", "https"),
        // The library cuts a fragment off, so that routes and endpoints see the same path.
        with(":path", "/a#b"),
    ];
    for (number, fields) in allowed.iter().enumerate() {
        let stream = number as u32 * 2 + 1;
        raw.send(&request(stream, fields)).await;
        assert_eq!(fate(&mut raw, stream).await, OK, "{fields:?}");
    }
    assert_eq!(seen.load(SeqCst), allowed.len());
}

#[tokio::test]
async fn a_body_that_breaks_a_rule_is_a_stream_error_and_never_whole_at_the_endpoint() {
    let post =
        |more: &[(&'static str, &'static str)]| block(&[&[(":method", "POST")], &GET[1..], more].concat());
    let (endpoint, seen) = counting().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut raw = Raw::connect(&proxy).await;
    let bodies = [
        (
            "longer than its length",
            post(&[("content-length", "3")]),
            vec![frame(DATA, END_STREAM, 0, b"four")],
        ),
        (
            "shorter than its length",
            post(&[("content-length", "5")]),
            vec![frame(DATA, END_STREAM, 0, b"four")],
        ),
        (
            "trailers before the length is reached",
            post(&[("content-length", "5")]),
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 0, &block(&[("x-a", "1")]))],
        ),
        (
            "trailers that do not end the stream",
            post(&[]),
            vec![frame(HEADERS, END_HEADERS, 0, &block(&[("x-a", "1")]))],
        ),
        (
            "connection fields in trailers",
            post(&[]),
            vec![frame(HEADERS, END_HEADERS | END_STREAM, 0, &block(&[("connection", "close")]))],
        ),
    ];
    let mut stream = 1u32;
    for (name, head, body) in bodies {
        raw.send(&frame(HEADERS, END_HEADERS, stream, &head)).await;
        for mut piece in body {
            piece[5..9].copy_from_slice(&stream.to_be_bytes());
            raw.send(&piece).await;
        }
        assert_eq!(fate(&mut raw, stream).await, RESET, "{name}");
        stream += 2;
    }
    raw.assert_alive().await;
    assert_eq!(seen.load(SeqCst), 0);
}

#[tokio::test]
async fn pseudo_fields_in_trailers_do_not_reach_the_endpoint() {
    let endpoint = Endpoint::start(|request, respond| async {
        let (_, trailers) = read(request.into_body()).await.unwrap();
        assert!(trailers.keys().all(|name| name == "x-a"), "{trailers:?}");
        reply(respond, "ok");
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut raw = Raw::connect(&proxy).await;
    let head = block(&[&[(":method", "POST")], &GET[1..]].concat());
    raw.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
    let trailers = block(&[(":path", "/admin"), ("x-a", "1")]);
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers)).await;
    assert!(matches!(fate(&mut raw, 1).await, OK | RESET | BAD));
    raw.assert_alive().await;
}

#[tokio::test]
async fn a_broken_connection_ends_with_a_goaway_and_is_counted() {
    let (endpoint, seen) = counting().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let broken: [(&str, Vec<u8>); 8] = [
        ("a head that is no HPACK", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 20])),
        ("an even stream", frame(HEADERS, END_HEADERS | END_STREAM, 2, &block(&GET))),
        ("DATA on an idle stream", frame(DATA, END_STREAM, 1, b"x")),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("a PING of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("CONTINUATION without HEADERS", frame(CONTINUATION, END_HEADERS, 1, &[])),
        ("PUSH_PROMISE of a client", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
    ];
    let all = broken.len() as f64;
    for (name, bytes) in broken {
        let mut raw = Raw::connect(&proxy).await;
        raw.send(&bytes).await;
        let code = raw.reader.goaway().await;
        assert!(code.is_some_and(|code| code != 0), "{name}: {code:?}");
    }
    let counted = || proxy.metric("proxy_replies_total{reason=\"bad_request.h2\"}");
    becomes(counted, all).await;
    assert_eq!(seen.load(SeqCst), 0);
}
