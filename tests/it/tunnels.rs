//! WebSocket and other upgrades, and CONNECT with a path: what turns a connection into a tunnel.

use std::io;
use std::time::Duration;

use crate::harness::{ALL, Client, Origin, Proxy, ok, pass, upstream, wait_until};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n";

/// Go's `rpc.DialHTTP`, and what `rpc.HandleHTTP` answers.
const RPC: &str = "CONNECT /_goRPC_ HTTP/1.0\n\n";
const CONNECTED: &str = "HTTP/1.0 200 Connected to Go RPC\n\n";
const RPC_ROUTE: &str = "[[route]]\nname = \"rpc\"\nmethods = [\"CONNECT\"]\nto = \"origin\"\n";

/// An endpoint that agrees to every tunnel with these bytes and sends back what it gets.
fn echo(agree: &'static str) -> Origin {
    Origin::scripted(move |conversation| {
        conversation.request_head()?;
        conversation.send(agree)?;
        loop {
            let byte = conversation.bytes(1)?;
            conversation.send(byte)?;
        }
    })
}

fn through(origin: &Origin) -> Proxy {
    Proxy::start(&format!("{ALL}{}", upstream(&[origin])))
}

fn open(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.response().status, 101);
    client
}

#[test]
fn a_websocket_is_opened_with_its_fields_and_carries_bytes_both_ways() {
    let origin = echo(AGREE);
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send(ASK);
    let answer = client.response();
    assert_eq!((answer.status, answer.field("upgrade")), (101, Some("websocket")));
    assert_eq!(
        (answer.field("connection"), answer.field("sec-websocket-accept")),
        (Some("upgrade"), Some("y"))
    );
    assert_eq!((answer.field("content-length"), answer.field("transfer-encoding")), (None, None));
    let asked = origin.request();
    assert_eq!((asked.field("connection"), asked.field("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(asked.field("sec-websocket-key"), Some("x"));
    client.send(b"\x81\x05hello\0\r\n\r\n");
    assert_eq!(client.bytes(12), b"\x81\x05hello\0\r\n\r\n");
    drop(client);
    let line = proxy.access_line(0);
    for part in ["\"status\":101", "\"received_bytes\":12", "\"sent_bytes\":12"] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    origin.wait_for_ends();
}

#[test]
fn an_upgrade_may_stand_beside_other_names_in_connection() {
    let origin = echo(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: X-Hop, Upgrade\r\nUpgrade: websocket\r\nX-Hop: 1\r\n\r\n",
    );
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send(
        "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\n\r\n",
    );
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.field("upgrade"), answer.field("x-hop")),
        (101, Some("websocket"), None)
    );
    let asked = origin.request();
    assert_eq!((asked.field("upgrade"), asked.field("x-hop")), (Some("websocket"), None));
    client.send("x");
    assert_eq!(client.bytes(1), b"x");
}

#[test]
fn nothing_after_the_head_is_forwarded_before_the_endpoint_agreed() {
    let origin = Origin::scripted(|conversation| {
        conversation.request_head()?;
        assert!(!conversation.ends_within(Duration::from_millis(300))?);
        conversation.send(AGREE)?;
        let early = conversation.bytes(5)?;
        conversation.send(early)
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send(format!("{ASK}early"));
    assert_eq!(client.response().status, 101);
    assert_eq!(client.bytes(5), b"early");
}

#[test]
fn early_bytes_of_a_refused_upgrade_are_a_request_of_their_own_and_judged_as_one() {
    let origin = Origin::answering(|_| ok("no"));
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send(format!(
        "{ASK}GET /hidden HTTP/1.1\r\nHost: test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"
    ));
    assert_eq!(client.response().text(), "no");
    assert_eq!(client.response().status, 400);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer_and_both_connections_live_on() {
    let origin = Origin::answering(|_| ok("no"));
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.response().text(), "no");
    assert_eq!(client.get("/").text(), "no");
    assert_eq!(client.get("/").text(), "no");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_unasked_or_another_protocol_is_502() {
    for (agree, ask) in [
        (AGREE, "GET / HTTP/1.1\r\nHost: test\r\n\r\n"),
        (AGREE, "GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\r\n"),
        (AGREE, "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"),
        (
            AGREE,
            "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        ),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", ASK),
    ] {
        let origin = echo(agree);
        let proxy = through(&origin);
        let mut client = proxy.client();
        client.send(ask);
        let answer = client.response();
        assert_eq!((answer.status, answer.reason()), (502, "bad_response.unexpected_upgrade"), "{ask}");
    }
}

#[test]
fn a_route_may_ignore_upgrades() {
    let origin = Origin::named("plain");
    let proxy = Proxy::start(&format!("{ALL}upgrade = false\n{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.response().text(), "plain");
    let asked = origin.request();
    assert_eq!((asked.field("upgrade"), asked.field("connection")), (None, None));
}

#[test]
fn each_side_may_end_before_the_other() {
    let origin = Origin::scripted(|conversation| {
        conversation.request_head()?;
        conversation.send(AGREE)?;
        conversation.wait_for_end()?;
        conversation.send("all of it")
    });
    let proxy = through(&origin);
    let mut client = open(&proxy);
    client.send("question");
    client.end_sending();
    assert_eq!(client.rest(), b"all of it");

    let speaker = Origin::scripted(|conversation| {
        conversation.request_head()?;
        conversation.send([AGREE, "bye"].concat())
    });
    let proxy = through(&speaker);
    let mut client = open(&proxy);
    assert_eq!(client.bytes(3), b"bye");
    assert!(client.is_closed_within(Duration::from_secs(5)));
    drop(client);
    assert!(proxy.access_line(0).contains("\"status\":101"));
}

#[test]
fn a_silent_tunnel_is_ended_by_the_idle_timeout_of_its_route() {
    let origin = echo(AGREE);
    let idle = "timeouts = { idle = \"500ms\", request = \"100ms\" }\n";
    let proxy = Proxy::start(&format!("{ALL}{idle}{}", upstream(&[&origin])));
    let mut client = open(&proxy);
    for _ in 0..4 {
        pass(Duration::from_millis(200));
        client.send("x");
        assert_eq!(client.bytes(1), b"x", "what moves is not idle, and the request is over");
    }
    assert!(client.is_closed_within(Duration::from_secs(5)));
    origin.wait_for_ends();
    assert!(proxy.access_line(0).contains("\"reason\":\"idle_timeout\""));
}

#[test]
fn a_tunnel_survives_reloads_and_counts_as_in_flight() {
    let origin = echo(AGREE);
    let config = format!("{ALL}{}", upstream(&[&origin]));
    let proxy = Proxy::start(&config);
    let mut client = open(&proxy);
    let in_flight = || proxy.status()["upstreams"][0]["endpoints"][0]["in_flight"].as_u64();
    assert_eq!(in_flight(), Some(1));
    for number in 0..3 {
        proxy.reload_with(&format!(
            "{config}# {number}\n[[route]]\nname = \"n{number}\"\npath = \"/n\"\nto = \"origin\"\n"
        ));
        client.send("still");
        assert_eq!(client.bytes(5), b"still");
    }
    drop(client);
    wait_until("the tunnel is counted no more", || in_flight() == Some(0));
}

#[test]
fn a_drain_ends_tunnels_at_its_timeout_and_not_before() {
    let origin = echo(AGREE);
    let server = "[server]\nworkers = 2\ndrain_timeout = \"1s\"\n";
    let mut proxy = Proxy::start(&format!("{ALL}{}{server}", upstream(&[&origin])));
    let mut client = open(&proxy);
    proxy.signal(rustix::process::Signal::TERM);
    client.send("last words");
    assert_eq!(client.bytes(10), b"last words");
    assert!(client.is_closed_within(Duration::from_secs(5)));
    assert!(proxy.wait_for_end().success());
}

#[test]
fn an_endpoint_that_breaks_off_breaks_the_clients_side_off() {
    let origin = Origin::scripted(|conversation| {
        conversation.request_head()?;
        conversation.send(AGREE)?;
        conversation.bytes(1)?;
        conversation.reset()
    });
    let proxy = through(&origin);
    let mut client = open(&proxy);
    client.send("x");
    assert!(client.is_closed_within(Duration::from_secs(5)));
    assert!(proxy.access_line(0).contains("\"reason\":\"upstream_truncated\""));
}

#[test]
fn an_upgrade_may_have_a_body_that_goes_first() {
    let origin = Origin::scripted(|conversation| {
        let asked = conversation.request()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        conversation.send("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")?;
        conversation.send(asked.body())?;
        let more = conversation.bytes(3)?;
        conversation.send(more)
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("POST /exec HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 4\r\n\r\nbodyraw");
    let answer = client.head();
    assert!(answer.starts_with("HTTP/1.1 101 UPGRADED\r\n"), "{answer}");
    assert_eq!(client.bytes(7), b"bodyraw");
}

#[test]
fn gos_net_rpc_gets_its_tunnel_with_the_very_bytes_of_its_server() {
    let origin = echo(CONNECTED);
    let proxy = Proxy::start(&format!("{RPC_ROUTE}{}", upstream(&[&origin])));
    for pieces in [&[RPC][..], &["CONNECT /_go", "RPC_ HTTP/1.0\n", "\n"]] {
        let mut client = proxy.client();
        for piece in pieces {
            client.send(piece);
            pass(Duration::from_millis(20));
        }
        assert_eq!(client.bytes(CONNECTED.len()), CONNECTED.as_bytes());
        client.send("gob");
        assert_eq!(client.bytes(3), b"gob");
    }
    let asked = origin.requests().remove(0);
    assert_eq!((asked.method(), asked.target()), ("CONNECT", "/_goRPC_"));
    assert_eq!(asked.field("x-forwarded-for"), Some("127.0.0.1"));
}

#[test]
fn connect_with_lines_of_http_gets_lines_of_http() {
    let origin = echo(CONNECTED);
    let proxy = Proxy::start(&format!("{RPC_ROUTE}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("CONNECT /_goRPC_ HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 Connected to Go RPC"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    client.send("gob");
    assert_eq!(client.bytes(3), b"gob");
}

#[test]
fn connect_is_refused_unless_a_route_lists_it_and_always_for_an_authority() {
    let origin = echo(CONNECTED);
    let proxy = through(&origin);
    for ask in [
        RPC,
        "CONNECT /_goRPC_ HTTP/1.1\r\nHost: test\r\n\r\n",
        "CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(ask);
        let answer = client.response();
        assert_eq!((answer.status, answer.reason()), (405, "connect_not_allowed"), "{ask}");
    }
    let listed = Proxy::start(&format!("{RPC_ROUTE}{}", upstream(&[&origin])));
    let mut client = listed.client();
    client.send("CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n");
    assert_eq!(client.response().status, 405);
    for ask in [
        "CONNECT /_goRPC_ HTTP/1.0\nHost: a\n\n",
        "GET /_goRPC_ HTTP/1.0\n\n",
        "CONNECT /_goRPC_ HTTP/1.1\n\n",
    ] {
        let mut client = listed.client();
        client.send(ask);
        assert_eq!(client.response().status, 400, "{ask}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_tunnel_fails_over_before_it_opens_whatever_its_method() {
    let closing = Origin::scripted(|conversation| conversation.request_head().map(drop));
    let good = echo(CONNECTED);
    let dead = crate::harness::free_address();
    let config = format!(
        "{RPC_ROUTE}[upstream.origin]\nendpoints = [\"{dead}\", \"{}\", \"{}\"]\nbalance = \"first\"\n",
        closing.address, good.address
    );
    let proxy = Proxy::start(&config);
    let mut client = proxy.client();
    client.send(RPC);
    assert_eq!(client.bytes(CONNECTED.len()), CONNECTED.as_bytes());
    drop(client);
    let line = proxy.access_line(0);
    assert!(line.contains("connect_refused") && line.contains("upstream_reset_before_headers"), "{line}");
}

#[test]
fn an_answer_that_opens_no_tunnel_is_passed_on() {
    let origin = Origin::saying(b"HTTP/1.0 404 Not Found\r\nContent-Length: 4\r\n\r\nnone");
    let proxy = Proxy::start(&format!("{RPC_ROUTE}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send(RPC);
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (404, "none"));
    assert!(client.is_closed_within(Duration::from_secs(2)));
}

#[test]
fn an_upstream_of_http_2_takes_no_tunnel_and_says_so() {
    let origin = Origin::named("unused");
    let proxy = Proxy::start(&format!("{ALL}{}protocol = \"h2\"\n", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send(ASK);
    let answer = client.response();
    assert_eq!((answer.status, answer.reason()), (502, "tunnel_impossible"));
}
