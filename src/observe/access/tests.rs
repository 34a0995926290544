//! Whole lines of each format.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde_json::Value;

use super::*;
use crate::observe::writer::{CAPACITY, Flushed, Output, Target, Writer};

fn line() -> Line<'static> {
    Line {
        at: UNIX_EPOCH + Duration::from_millis(1_709_210_096_123),
        client: IpAddr::from([192, 0, 2, 7]),
        method: b"GET",
        path: b"/users/7",
        query: Some(b"token=secret&page=2"),
        version: "HTTP/1.1",
        host: b"api.example",
        status: 200,
        received: 11,
        sent: 5120,
        duration: Duration::from_micros(12_345),
        first_byte: Some(Duration::from_micros(9_001)),
        listener: "web",
        route: Some("users"),
        upstream: Some("api"),
        endpoint: Some("10.0.0.1:80"),
        reason: None,
        request_id: b"0190-id",
        user_agent: b"probe/1.0",
        referer: b"https://a.example/?code=secret",
        tls: Some("1.3"),
        tls_client: None,
    }
}

fn format(format: Format, line: &Line<'_>, attempts: &[Attempt<'_>]) -> String {
    let mut out = Vec::new();
    Formatter::default().line(format, line, attempts.iter().copied(), &mut out);
    String::from_utf8(out).unwrap()
}

fn json(line: &Line<'_>, attempts: &[Attempt<'_>]) -> Value {
    serde_json::from_str(&format(Format::Json, line, attempts)).unwrap()
}

#[test]
fn a_json_line_has_every_fact() {
    let expected = concat!(
        r#"{"time":"2024-02-29T12:34:56.123Z","client":"192.0.2.7","method":"GET","host":"api.example","#,
        r#""path":"/users/7","query":"token=*&page=*","version":"HTTP/1.1","tls":"1.3","status":200,"#,
        r#""received_bytes":11,"sent_bytes":5120,"duration_ms":12.345,"first_byte_ms":9.001,"listener":"web","#,
        r#""route":"users","upstream":"api","endpoint":"10.0.0.1:80","request_id":"0190-id","#,
        r#""user_agent":"probe/1.0","referer":"https://a.example/?code=*"}"#,
        "\n"
    );
    assert_eq!(format(Format::Json, &line(), &[]), expected);
}

#[test]
fn what_is_not_known_is_left_out_of_a_json_line() {
    let bare = Line {
        query: None,
        first_byte: None,
        route: None,
        upstream: None,
        endpoint: None,
        reason: Some("no_route"),
        user_agent: b"",
        referer: b"",
        tls: None,
        tls_client: None,
        ..line()
    };
    let value = json(&bare, &[]);
    let absent = [
        "query",
        "tls",
        "first_byte_ms",
        "route",
        "upstream",
        "endpoint",
        "attempts",
        "user_agent",
        "referer",
    ];
    assert!(absent.iter().all(|name| value.get(name).is_none()), "{value}");
    assert_eq!(value["reason"], "no_route");
}

#[test]
fn failed_attempts_are_listed_in_their_order() {
    let attempts = [
        Attempt { endpoint: "10.0.0.2:80", reason: "connect_refused", took: Duration::from_micros(400) },
        Attempt { endpoint: "10.0.0.3:80", reason: "connect_timeout", took: Duration::from_secs(1) },
    ];
    let value = json(&line(), &attempts);
    let expected = serde_json::json!([
        { "endpoint": "10.0.0.2:80", "reason": "connect_refused", "ms": 0.4 },
        { "endpoint": "10.0.0.3:80", "reason": "connect_timeout", "ms": 1000.0 },
    ]);
    assert_eq!(value["attempts"], expected);
}

#[test]
fn a_common_line_is_what_log_readers_expect() {
    let expected =
        "192.0.2.7 - - [29/Feb/2024:12:34:56 +0000] \"GET /users/7?token=*&page=* HTTP/1.1\" 200 5120\n";
    assert_eq!(format(Format::Common, &line(), &[]), expected);
}

#[test]
fn a_combined_line_adds_referer_and_user_agent() {
    let expected = concat!(
        "192.0.2.7 - - [29/Feb/2024:12:34:56 +0000] \"GET /users/7?token=*&page=* HTTP/1.1\" 200 5120 ",
        "\"https://a.example/?code=*\" \"probe/1.0\"\n"
    );
    assert_eq!(format(Format::Combined, &line(), &[]), expected);
}

#[test]
fn nothing_is_a_hyphen_in_a_combined_line() {
    let bare = Line { sent: 0, query: None, referer: b"", user_agent: b"", ..line() };
    assert!(format(Format::Combined, &bare, &[]).ends_with("\"GET /users/7 HTTP/1.1\" 200 - \"-\" \"-\"\n"));
}

#[test]
fn a_client_can_not_forge_a_line_or_a_field() {
    let hostile = Line {
        path: b"/\n1.2.3.4 - -\"",
        host: b"a\",\"status\":500,\"x\":\"\xff\x1b[31m",
        user_agent: b"\r\nx\\\"",
        ..line()
    };
    for shape in [Format::Json, Format::Common, Format::Combined] {
        let text = format(shape, &hostile, &[]);
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        assert!(!text.trim_end().chars().any(char::is_control), "{text}");
    }
    let value = json(&hostile, &[]);
    assert_eq!(value["status"], 200);
    assert_eq!(value["path"], "/\n1.2.3.4 - -\"");
    assert_eq!(value["host"], "a\",\"status\":500,\"x\":\"\u{fffd}\u{1b}[31m");
}

#[test]
fn no_secret_of_query_or_referer_is_in_any_format() {
    for shape in [Format::Json, Format::Common, Format::Combined] {
        assert!(!format(shape, &line(), &[]).contains("secret"));
    }
}

#[test]
fn a_line_is_bounded_whatever_the_client_sends() {
    let endless = vec![1; 100_000];
    let large = Line {
        method: &endless,
        path: &endless,
        query: Some(&endless),
        host: &endless,
        user_agent: &endless,
        referer: &endless,
        request_id: &endless,
        ..line()
    };
    let failed = Attempt { endpoint: "10.0.0.2:80", reason: "connect_refused", took: Duration::ZERO };
    for shape in [Format::Json, Format::Common, Format::Combined] {
        let length = format(shape, &large, &vec![failed; 1000]).len();
        assert!(length < 50_000, "{length}");
    }
}

#[test]
fn lines_are_appended_to_what_is_there() {
    let mut formatter = Formatter::default();
    let mut out = Vec::new();
    for _ in 0..3 {
        formatter.line(Format::Combined, &line(), [], &mut out);
    }
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert!(text.lines().all(|line| line == text.lines().next().unwrap()));
}

#[test]
fn a_batch_is_handed_over_when_it_is_full_or_flushed_or_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let output = Output::open(Target::File(path.clone())).unwrap();
    let writer = Arc::new(Writer::start(output, CAPACITY).unwrap());
    let written = || {
        assert_eq!(writer.flush(Duration::from_secs(20)), Flushed::Complete);
        std::fs::read_to_string(&path).unwrap().lines().count()
    };
    let mut batch = Batch::new(writer.clone());
    assert!(batch.is_on());
    batch.line(Format::Json, &line(), []);
    assert_eq!(written(), 0);
    batch.flush();
    assert_eq!(written(), 1);
    for _ in 0..100 {
        batch.line(Format::Json, &line(), []);
    }
    let many = written();
    assert!((2..101).contains(&many), "{many}");
    drop(batch);
    assert_eq!(written(), 101);
    assert_eq!(writer.dropped(), 0);
}
