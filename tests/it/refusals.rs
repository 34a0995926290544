//! Requests that are refused before anything reaches an endpoint: raw bytes in, raw bytes out.

use std::time::Duration;

use crate::harness::{ALL, Client, Origin, Proxy, pass, upstream};

/// Bytes, the status and the reason that they are refused with.
const REFUSED: &[(&str, u16, &str)] = &[
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "bad_request.framing",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        400,
        "bad_request.framing",
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        400,
        "bad_request.framing",
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400, "bad_request.framing"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400, "bad_request.framing"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 400, "bad_request.framing"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc", 400, "bad_request.framing"),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        400,
        "bad_request.framing",
    ),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400, "bad_request.framing"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 400, "bad_request.framing"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400, "bad_request.framing"),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "bad_request.framing"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "not_implemented"),
    ("GET / HTTP/1.1\nHost: a\r\n\r\n", 400, "bad_request.line"),
    ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400, ""),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n", 400, "bad_request.field"),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, ""),
    ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400, "bad_request.field"),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", 400, "bad_request.field"),
    ("GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n", 400, "bad_request.field"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(): y\r\n\r\n", 400, "bad_request.field"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400, "bad_request.field"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400, "bad_request.field"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", 400, "bad_request.field"),
    ("GET / HTTP/1.1\r\n\r\n", 400, "bad_request.host"),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "bad_request.host"),
    ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400, "bad_request.host"),
    ("GET / HTTP/1.1\r\nHost: user@a\r\n\r\n", 400, "bad_request.host"),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "bad_request.host"),
    ("GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400, "bad_request.host"),
    ("GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n", 400, "bad_request.host"),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request.line"),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request.line"),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request.line"),
    ("GET /\r\nHost: a\r\n\r\n", 400, "bad_request.line"),
    ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request.line"),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", 400, "bad_request.line"),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "version_not_supported"),
    ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request.target"),
    ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request.target"),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request.target"),
    ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request.target"),
    ("GET /a/..%2f..%2fb HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request.target"),
    ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 405, "connect_not_allowed"),
    ("POST / HTTP/1.1\r\nHost: a\r\nExpect: cake\r\nContent-Length: 1\r\n\r\n", 417, "expectation_failed"),
    ("\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, ""),
    ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03hello\n", 400, ""),
];

#[test]
fn a_request_that_breaks_a_rule_is_refused_by_name_and_its_connection_ends() {
    let origin = Origin::named("reached");
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut wrong = Vec::new();
    for (bytes, status, reason) in REFUSED {
        // What follows on the connection must not be taken for a second request.
        let mut client = proxy.client();
        client.send(format!("{bytes}GET /second HTTP/1.1\r\nHost: a\r\n\r\n"));
        let Ok(answer) = client.try_response() else {
            wrong.push(format!("{bytes:?} got no answer"));
            continue;
        };
        let is_expected = answer.status == *status && (reason.is_empty() || answer.reason() == *reason);
        if !is_expected {
            wrong.push(format!("{bytes:?} got {} {}, not {status} {reason}", answer.status, answer.reason()));
        }
        if !client.rest().is_empty() {
            wrong.push(format!("{bytes:?}: something followed the refusal"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(origin.requests().len(), 0, "a refused request reached the endpoint");
}

/// Chunked bodies that break a rule, after a head that breaks none.
const BAD_CHUNKS: &[&str] = &[
    "+3\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "3 \r\nabc\r\n0\r\n\r\n",
    "3junk\r\nabc\r\n0\r\n\r\n",
    "\r\nabc\r\n0\r\n\r\n",
    "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3;a\x01b\r\nabc\r\n0\r\n\r\n",
    "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\nX : y\r\n\r\n",
    "3\r\nabc\r\n0\r\nbad\r\n\r\n",
];

#[test]
fn a_bad_chunk_never_becomes_a_complete_request() {
    let origin = Origin::named("complete");
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    for body in BAD_CHUNKS {
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /second HTTP/1.1\r\nHost: a\r\n\r\n"
        ));
        let answer = client.response();
        assert_eq!((answer.status, answer.reason()), (400, "bad_request.chunk"), "{body:?}");
        assert_eq!(client.rest(), b"", "{body:?}: something followed the refusal");
    }
    assert_eq!(origin.requests().len(), 0, "an endpoint took a broken body for a complete request");
}

#[test]
fn one_empty_line_before_a_request_is_skipped() {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    // Before each request, and also when it comes in pieces.
    client.send("\r");
    pass(Duration::from_millis(20));
    client.send("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    client.send("\r\n");
    pass(Duration::from_millis(20));
    client.send("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 400);
}

#[test]
fn what_can_not_become_a_request_is_refused_without_waiting_for_its_end() {
    let proxy =
        Proxy::start("[[route]]\nrespond = {}\n[listener.web]\nlimits = { header_timeout = \"1h\" }\n");
    for bytes in ["GET /\r\n", "\x16\x03\x01\x02\0\x01", "GET / HTTP/1.1 x\r\n", "{"] {
        let mut client = proxy.client();
        client.send(bytes);
        let answer = client.response();
        assert_eq!((answer.status, answer.reason()), (400, "bad_request.line"), "{bytes:?}");
        assert_eq!(client.rest(), b"", "{bytes:?}");
    }
}

#[test]
fn a_refusal_is_json_for_those_who_ask_for_it_and_names_the_request() {
    let proxy = Proxy::start("[[route]]\npath = \"/x\"\nrespond = {}\n");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.field("content-type"), Some("application/json"));
    let body: serde_json::Value = serde_json::from_slice(&answer.body()).expect("it is JSON");
    assert_eq!((body["status"].as_u64(), body["reason"].as_str()), (Some(404), Some("no_route")));
    assert!(body["request_id"].as_str().is_some_and(|id| id.len() == 36), "{body}");
}

#[test]
fn a_refusal_has_the_form_that_its_client_likes_best() {
    let proxy = Proxy::start("[[route]]\npath = \"/x\"\nrespond = {}\n");
    for (accept, form) in [
        ("application/json;q=0.9, text/html;q=0.8", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/html, application/json;q=0.9", "text/plain; charset=utf-8"),
        ("application/json;q=0, */*", "text/plain; charset=utf-8"),
        ("*/*", "text/plain; charset=utf-8"),
    ] {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n"));
        assert_eq!(client.response().field("content-type"), Some(form), "{accept}");
    }
}

#[test]
fn a_method_that_is_not_allowed_is_told_which_are() {
    let proxy = Proxy::start("[[route]]\nrespond = {}\n");
    let mut client = proxy.client();
    client.send("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.status, 405);
    assert!(answer.field("allow").is_some_and(|methods| methods.contains("GET")), "{}", answer.head);
}

#[test]
fn a_refusal_of_head_has_no_body() {
    let proxy = Proxy::start("[[route]]\npath = \"/x\"\nrespond = {}\n");
    for request in [
        "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "HEAD / HTTP/1.1\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\nbad\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    ] {
        let answer = String::from_utf8_lossy(&proxy.exchange(request)).into_owned();
        assert!(answer.ends_with("\r\n\r\n") && answer.matches("\r\n\r\n").count() == 1, "{answer}");
    }
}

#[test]
fn a_connection_that_says_nothing_hurts_nobody_else() {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let silent: Vec<Client> = (0..50).map(|_| proxy.client()).collect();
    assert_eq!(proxy.get("/").status, 200);
    for mut client in silent {
        assert!(!client.is_closed_within(Duration::from_millis(1)), "it has its header_timeout left");
    }
}
