//! Which fields reach the endpoint and the client.

use crate::harness::{ALL, Origin, Proxy, upstream};

/// Sends one request with these field lines; the request as the endpoint saw it.
fn seen(fields: &str, settings: &str) -> crate::harness::Request {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&format!("{ALL}{}{settings}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send(format!("GET /x HTTP/1.1\r\nHost: shop.test\r\n{fields}\r\n"));
    assert_eq!(client.response().status, 200);
    origin.request()
}

#[test]
fn hop_by_hop_fields_end_at_the_proxy() {
    let request = seen(
        "Connection: close, X-Hop, host, authorization\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nProxy: http://evil\r\n\
         Proxy-Connection: keep-alive\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\
         Authorization: Bearer t\r\nX-Kept: 1\r\n",
        "",
    );
    for name in ["x-hop", "keep-alive", "proxy", "proxy-connection", "upgrade", "http2-settings"] {
        assert_eq!(request.field(name), None, "{name} was forwarded:\n{}", request.head);
    }
    assert_eq!((request.field("te"), request.field("connection")), (Some("trailers"), Some("TE")));
    assert_eq!(request.field("host"), Some("shop.test"));
    assert_eq!(request.field("authorization"), Some("Bearer t"), "Connection can not remove it");
    assert_eq!(request.field("x-kept"), Some("1"));
}

#[test]
fn what_a_stranger_says_about_forwarding_is_replaced() {
    let request = seen(
        "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
         Forwarded: for=1.2.3.4\r\nX-Request-Id: chosen\r\nX_Forwarded_For: 9.9.9.9\r\nContent_Length: 4\r\n",
        "",
    );
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("http"));
    assert_eq!(request.field("x-forwarded-host"), Some("shop.test"));
    let forwarded = request.field("forwarded").unwrap_or_default();
    assert!(!forwarded.contains("1.2.3.4"), "{forwarded}");
    assert_ne!(request.field("x-request-id"), Some("chosen"));
    assert_eq!(request.field("x-request-id").map(str::len), Some(36), "a UUID");
    assert_eq!((request.field("x_forwarded_for"), request.field("content_length")), (None, None));
}

#[test]
fn what_a_trusted_proxy_says_about_forwarding_is_continued() {
    let request = seen(
        "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer.test\r\nX-Request-Id: chosen\r\n",
        "[server]\nworkers = 1\ntrusted_proxies = [\"127.0.0.0/8\"]\n",
    );
    assert_eq!(request.field("x-forwarded-for"), Some("1.2.3.4, 127.0.0.1"));
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("x-forwarded-host"), Some("outer.test"));
    assert_eq!(request.field("x-request-id"), Some("chosen"));
}

#[test]
fn order_and_case_of_other_fields_are_kept() {
    let request = seen("X-One: 1\r\nx-TWO: 2\r\nX-Three: a, b\r\nX-Three: c\r\n", "");
    let lines: Vec<_> = request.head.lines().filter(|line| line.to_lowercase().starts_with("x-t")).collect();
    assert_eq!(lines, ["x-TWO: 2", "X-Three: a, b", "X-Three: c"]);
    assert!(request.head.contains("X-One: 1\r\nx-TWO: 2"), "{}", request.head);
}

#[test]
fn the_authority_of_an_absolute_target_wins_over_host() {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("GET http://real.test/x?y HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let request = origin.request();
    assert_eq!((request.target(), request.field("host")), ("/x?y", Some("real.test")));
}

#[test]
fn connection_fields_of_an_answer_end_at_the_proxy() {
    let origin = Origin::saying(
        b"HTTP/1.1 200 Fine\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: x\r\n\
          Upgrade: h2c\r\nX-Kept: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let answer = proxy.client().get("/");
    for name in ["x-hop", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(answer.field(name), None, "{name} was forwarded:\n{}", answer.head);
    }
    assert!(answer.head.starts_with("HTTP/1.1 200 Fine\r\n"), "the reason phrase passes: {}", answer.head);
    assert!(answer.head.contains("Set-Cookie: a=1\r\nSet-Cookie: b=2"), "{}", answer.head);
}

#[test]
fn behind_trusted_proxies_the_client_is_the_last_address_that_is_not_one_of_them() {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&format!(
        "[[route]]\nname = \"staff\"\nclient = [\"192.0.2.0/24\"]\nto = \"origin\"\n[[route]]\nrespond = {{ status = 403 }}\n\
         {}[server]\nworkers = 1\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n",
        upstream(&[&origin])
    ));
    let mut client = proxy.client();
    for (line, status, logged) in [
        ("X-Forwarded-For: 198.51.100.1, 192.0.2.7, 10.0.0.3", 200, "192.0.2.7"),
        ("X-Forwarded-For: 192.0.2.7, 198.51.100.1", 403, "198.51.100.1"),
        ("X-Forwarded-For: 192.0.2.7, junk, 10.0.0.3", 403, "10.0.0.3"),
        ("Forwarded: for=\"192.0.2.8:999\", for=10.0.0.3", 200, "192.0.2.8"),
        ("X-None: 1", 403, "127.0.0.1"),
    ] {
        let number = proxy.access_lines().len();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n"));
        assert_eq!(client.response().status, status, "{line}");
        let written = proxy.access_line(number);
        assert!(written.contains(&format!("\"client\":\"{logged}\"")), "{line}: {written}");
    }
}

#[test]
fn a_stranger_does_not_choose_its_address() {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&format!(
        "[[route]]\nclient = [\"192.0.2.0/24\"]\nto = \"origin\"\n[[route]]\nrespond = {{ status = 403 }}\n{}",
        upstream(&[&origin])
    ));
    let mut client = proxy.client();
    client
        .send("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\n\r\n");
    assert_eq!(client.response().status, 403);
    assert!(proxy.access_line(0).contains("\"client\":\"127.0.0.1\""), "{}", proxy.access_line(0));
}

#[test]
fn forwarded_is_continued_for_a_trusted_proxy_and_always_there_when_wanted() {
    let trusted = "[server]\nworkers = 1\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
    let request = seen("Forwarded: for=1.2.3.4;proto=https\r\n", trusted);
    let ours = "for=127.0.0.1;by=127.0.0.1;host=shop.test;proto=http";
    assert_eq!(request.field("forwarded"), Some(format!("for=1.2.3.4;proto=https, {ours}").as_str()));
    assert_eq!(seen("", trusted).field("forwarded"), None);
    let always = "[server]\nworkers = 1\nforwarded = \"always\"\n";
    assert_eq!(seen("Forwarded: for=1.2.3.4\r\n", always).field("forwarded"), Some(ours));
}
