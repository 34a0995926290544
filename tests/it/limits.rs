//! What a client may not send too much of.

use crate::harness::{ALL, Origin, Proxy, upstream};

fn limited(keys: &str, origin: &Origin) -> Proxy {
    Proxy::start(&format!("{ALL}{}[listener.web.limits]\n{keys}\n", upstream(&[origin])))
}

#[test]
fn a_body_that_is_announced_too_long_is_413_at_once() {
    let origin = Origin::named("ok");
    let proxy = limited("max_body_bytes = 10", &origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status, answer.reason()), (413, "body_too_large"));
    assert_eq!(origin.connections(), 0);
    assert_eq!(proxy.post("/", "0123456789").status, 200, "the limit itself is allowed");
}

#[test]
fn a_chunked_body_that_grows_too_long_is_413() {
    let origin = Origin::named("ok");
    let proxy = limited("max_body_bytes = 10", &origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n01234567\r\n");
    client.send("8\r\n01234567\r\n0\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status, answer.reason()), (413, "body_too_large"));
    assert_eq!(client.rest(), b"");
    assert_eq!(origin.requests().len(), 0, "a cut body became a request");
}

#[test]
fn what_follows_a_refused_head_is_read_so_that_the_answer_is_not_lost_to_a_reset() {
    let proxy = limited("max_body_bytes = 10", &Origin::named("ok"));
    for (fields, status) in [
        ("Host: a\r\nContent-Length: 40000", 413),
        ("Host: a\r\nHost: b\r\nContent-Length: 40000", 400),
        ("Host: a\r\nContent-Length: 40000\r\nExpect: more", 417),
        ("Host: a\r\nTransfer-Encoding: gzip", 501),
    ] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\n{fields}\r\n\r\n"));
        assert_eq!(client.response().status, status, "{fields}");
        assert_eq!(client.rest(), b"", "the proxy has ended its side");
        client.send(vec![b'x'; 40_000]);
        // Fails on a connection that was reset.
        client.end_sending();
    }
}

#[test]
fn a_head_over_the_limits_is_431() {
    let origin = Origin::named("ok");
    let proxy = limited("max_header_bytes = \"2KiB\"\nmax_headers = 20", &origin);
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", "c".repeat(3000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(25));
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}", "c".repeat(3000));
    for bytes in [long, many, endless] {
        let mut client = proxy.client();
        client.send(bytes);
        let answer = client.response();
        assert_eq!((answer.status, answer.reason()), (431, "header_too_large"));
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn the_largest_limits_of_a_head_are_kept() {
    let origin = Origin::named("ok");
    let proxy = limited("max_header_bytes = \"255KiB\"\nmax_headers = 256", &origin);
    let head = |bytes: usize, fields: usize| {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}Cookie: ", "X: y\r\n".repeat(fields - 2));
        format!("{head}{}\r\n\r\n", "c".repeat(bytes - head.len() - 4))
    };
    const MOST: usize = 255 * 1024;
    for (bytes, fields, status) in [(MOST, 256, 200), (MOST + 1, 2, 431), (MOST - 1, 257, 431)] {
        let mut client = proxy.client();
        client.send(head(bytes, fields));
        assert_eq!(client.response().status, status, "{bytes} bytes, {fields} fields");
    }
}

#[test]
fn a_target_over_16_kib_is_414() {
    let origin = Origin::named("ok");
    let proxy = limited("", &origin);
    let mut client = proxy.client();
    client.send(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(17 * 1024)));
    let answer = client.response();
    assert_eq!((answer.status, answer.reason()), (414, "target_too_long"));
    let fits = proxy.get(&format!("/{}", "x".repeat(15 * 1024)));
    assert_eq!(fits.status, 200);
}

#[test]
fn a_connection_ends_after_its_number_of_requests() {
    let origin = Origin::named("ok");
    let proxy = limited("max_requests_per_connection = 2", &origin);
    let mut client = proxy.client();
    assert_eq!(client.get("/").field("connection"), None);
    assert_eq!(client.get("/").field("connection").map(str::to_lowercase).as_deref(), Some("close"));
    assert_eq!(client.rest(), b"");
}
