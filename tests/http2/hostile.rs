//! Endpoints that break HTTP/2 or go away: their connection is given up, what is safe is asked again,
//! and what is not is answered with a reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::StatusCode;
use tokio::net::{TcpListener, TcpStream};

use crate::H2;
use crate::harness::{Endpoint, Proxy, read, reply, request as ask, serve, soon};
use crate::raw::*;

/// An endpoint that does this with the first request of its first connections, and answers on all
/// that follow.
async fn first<F, A>(connections: usize, act: F) -> std::net::SocketAddr
where
    F: Fn(Raw, u32) -> A + Clone + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let act = act.clone();
            if count.fetch_add(1, SeqCst) < connections {
                tokio::spawn(async move {
                    let mut raw = Raw::accept(stream).await;
                    let stream = raw.next_of(HEADERS).await.stream;
                    act(raw, stream).await;
                });
            } else {
                tokio::spawn(serve(stream, |_, respond| async { reply(respond, "second") }));
            }
        }
    });
    address
}

/// Sends a piece often, then reads until the proxy closes.
async fn flood(mut raw: Raw, piece: Vec<u8>, stream: u32) {
    let mut all = piece.repeat(2_000);
    // Frames that were made for stream 1 go to the one that is open.
    if piece[5..9] == [0, 0, 0, 1] {
        all.chunks_mut(piece.len()).for_each(|frame| frame[5..9].copy_from_slice(&stream.to_be_bytes()));
    }
    raw.send(&all).await;
    raw.reader.goaway().await;
}

/// What an answer of the proxy says about its reason.
fn reason(response: &http::Response<h2::RecvStream>) -> String {
    let told = response.headers().get("proxy-status");
    told.map_or_else(String::new, |told| told.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_endpoint_that_floods_is_cut_off_and_a_safe_request_is_asked_elsewhere() {
    let floods: [(&str, Vec<u8>); 8] = [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("ALTSVC", frame(10, 0, 0, &[0, 1, b'a', b'b'])),
        ("ORIGIN", frame(12, 0, 0, &[0, 1, b'a'])),
        ("RST_STREAM on a closed stream", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        ("CONTINUATION", frame(CONTINUATION, 0, 1, &[])),
    ];
    for (name, piece) in floods {
        let address = first(1, move |mut raw: Raw, stream| {
            let piece = piece.clone();
            async move {
                if piece[3] == CONTINUATION {
                    raw.send(&frame(HEADERS, 0, stream, &[0x88])).await;
                }
                flood(raw, piece, stream).await;
            }
        })
        .await;
        let other = Endpoint::start(|_, respond| async { reply(respond, "other") }).await;
        let upstream = format!("{H2}\nbalance = \"first\"\noutlier = \"off\"");
        let proxy = Proxy::start("", &upstream, &[address, other.address]);
        let mut client = proxy.client().await;
        let response = client.ask(ask("GET", "/"), b"").await.unwrap();
        let told = reason(&response);
        assert_eq!((response.status(), told.as_str()), (StatusCode::OK, ""), "{name}");
        // The endpoint behaves on its next connection.
        assert_eq!(client.ask(ask("POST", "/"), b"x").await.unwrap().status(), 200, "{name}");
    }
}

#[tokio::test]
async fn a_request_that_is_not_safe_is_answered_with_the_reason() {
    let address = first(1, |raw, stream| flood(raw, frame(PING, 0, 0, &[0; 8]), stream)).await;
    let proxy = Proxy::start("", H2, &[address]);
    let response = proxy.client().await.ask(ask("POST", "/"), b"x").await.unwrap();
    assert_eq!(response.status(), 502);
    assert!(reason(&response).contains("bad_response.h2_flood"), "{}", reason(&response));
}

#[tokio::test]
async fn an_endpoint_that_breaks_a_rule_of_the_connection_is_a_bad_gateway() {
    let push = frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82, 0x84, 0x86]);
    let upper = block(&[(":status", "200"), ("X-A", "1")]);
    let broken: [(&str, Vec<u8>); 4] = [
        ("PUSH_PROMISE, which was switched off", push),
        ("an upper-case name", frame(HEADERS, END_HEADERS | END_STREAM, 1, &upper)),
        ("a window that overflows", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("DATA before its head", frame(DATA, END_STREAM, 1, b"x")),
    ];
    for (name, bytes) in broken {
        let address = first(1, move |mut raw: Raw, _| {
            let bytes = bytes.clone();
            async move {
                raw.send(&bytes).await;
                raw.reader.goaway().await;
            }
        })
        .await;
        let proxy = Proxy::start("", &format!("{H2}\noutlier = \"off\""), &[address]);
        let mut client = proxy.client().await;
        let response = client.ask(ask("GET", "/"), b"").await.unwrap();
        assert_eq!(response.status(), 502, "{name}");
        assert!(reason(&response).contains("bad_response.h2"), "{name}: {}", reason(&response));
        assert_eq!(client.ask(ask("GET", "/"), b"").await.unwrap().status(), 200, "{name}");
    }
}

#[tokio::test]
async fn answers_that_break_the_rules_are_bad_gateways_and_the_connection_lives() {
    let switch = block(&[(":status", "101")]);
    let large = "x".repeat(70 * 1024);
    let mut bomb = block(&[(":status", "200")]);
    bomb.push(0x40);
    for text in ["x-a", &large[..3 * 1024]] {
        integer(&mut bomb, 0, 7, text.len());
        bomb.extend_from_slice(text.as_bytes());
    }
    bomb.extend(std::iter::repeat_n(0x80 | 62, 25));
    let heads: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no status", block(&[("x-a", "1")]), "bad_response.h2"),
        ("connection fields", block(&[(":status", "200"), ("connection", "close")]), "bad_response.h2"),
        (
            "two lengths",
            block(&[(":status", "200"), ("content-length", "1"), ("content-length", "2")]),
            "bad_response.h2",
        ),
        ("101", switch, "bad_response.unexpected_upgrade"),
        ("a head of 80 KiB from 4", bomb, "bad_response.header_too_large"),
    ];
    for (name, head, expected) in heads {
        let answer = head.clone();
        let address = first(usize::MAX, move |mut raw: Raw, stream| {
            let answer = answer.clone();
            async move {
                raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &answer)).await;
                while let Some(next) = raw.reader.next().await {
                    if next.kind == HEADERS {
                        raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, next.stream, &[0x88])).await;
                    }
                }
            }
        })
        .await;
        let proxy = Proxy::start("", &format!("{H2}\noutlier = \"off\""), &[address]);
        let mut client = proxy.client().await;
        let response = client.ask(ask("GET", "/"), b"").await.unwrap();
        assert_eq!(response.status(), 502, "{name}");
        assert!(reason(&response).contains(expected), "{name}: {}", reason(&response));
        assert_eq!(client.ask(ask("GET", "/"), b"").await.unwrap().status(), 200, "{name}");
    }
}

#[tokio::test]
async fn a_goaway_hands_back_what_came_after_its_last_stream_and_the_rest_is_finished() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start("", H2, &[listener.local_addr().unwrap()]);
    tokio::spawn(async move {
        let mut raw = Raw::accept(listener.accept().await.unwrap().0).await;
        let (kept, handed_back) = (raw.next_of(HEADERS).await.stream, raw.next_of(HEADERS).await.stream);
        assert!(handed_back > kept);
        let payload = [kept.to_be_bytes(), [0; 4]].concat();
        raw.send(&frame(GOAWAY, 0, 0, &payload)).await;
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(stream, |_, respond| async { reply(respond, "second") }));
        // Only once the other was answered elsewhere.
        tokio::time::sleep(Duration::from_millis(100)).await;
        raw.send(&frame(HEADERS, END_HEADERS, kept, &[0x88])).await;
        raw.send(&frame(DATA, END_STREAM, kept, b"first")).await;
        while raw.reader.next().await.is_some() {}
    });
    let mut client = proxy.client().await;
    let (kept, _) = client.sender.send_request(ask("GET", "/"), true).unwrap();
    let (handed_back, mut body) = client.sender.send_request(ask("POST", "/"), false).unwrap();
    body.send_data("once".into(), true).unwrap();
    assert_eq!(read(soon(handed_back).await.unwrap().into_body()).await.unwrap().0, b"second");
    assert_eq!(read(soon(kept).await.unwrap().into_body()).await.unwrap().0, b"first");
}

#[tokio::test]
async fn an_http1_client_does_not_notice_that_a_post_was_refused_or_handed_back() {
    let goaway = frame(GOAWAY, 0, 0, &[0; 8]);
    let refused = |stream: u32| frame(RST_STREAM, 0, stream, &[0, 0, 0, 7]);
    for handed_back in [true, false] {
        let goaway = goaway.clone();
        let address = first(1, move |mut raw: Raw, stream| {
            let bytes = if handed_back { goaway.clone() } else { refused(stream) };
            async move {
                raw.send(&bytes).await;
                while raw.reader.next().await.is_some() {}
            }
        })
        .await;
        let other = Endpoint::start(|_, respond| async { reply(respond, "other") }).await;
        let upstream = format!("{H2}\nbalance = \"first\"\noutlier = \"off\"");
        let proxy = Proxy::start("", &upstream, &[address, other.address]);
        let text = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\nonce";
        let answer = crate::h1(&proxy, text).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_in_the_moment_of_a_goaway_is_never_lost() {
    // Each connection takes one request and says at once that it takes no more.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start("", H2, &[listener.local_addr().unwrap()]);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(one_each(stream));
        }
    });
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(proxy.client().await);
    }
    let work = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            for _ in 0..50 {
                let response = client.ask(ask("POST", "/"), b"once").await.unwrap();
                assert_eq!(response.status(), 200, "{}", reason(&response));
            }
        })
    });
    for client in work {
        client.await.unwrap();
    }
}

/// Answers one request, and hands everything else back.
async fn one_each(stream: TcpStream) {
    let mut raw = Raw::accept(stream).await;
    let Some(first) = next_head(&mut raw).await else { return };
    let last = [first.to_be_bytes(), [0; 4]].concat();
    raw.send(&frame(GOAWAY, 0, 0, &last)).await;
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, first, &[0x88])).await;
    while raw.reader.next().await.is_some() {}
}

async fn next_head(raw: &mut Raw) -> Option<u32> {
    loop {
        let frame = raw.reader.next().await?;
        if frame.kind == HEADERS {
            return Some(frame.stream);
        }
    }
}

#[tokio::test]
async fn a_connection_takes_no_more_requests_when_it_is_old_and_ends_with_its_last_one() {
    let gate = Arc::new(tokio::sync::Notify::new());
    let opened = gate.clone();
    let endpoint = Endpoint::start(move |request, respond| {
        let gate = opened.clone();
        async move {
            if request.uri().path() == "/long" {
                gate.notified().await;
            }
            reply(respond, "ok");
        }
    })
    .await;
    let upstream = format!("{H2}\nconnections = {{ max_age = \"100ms\" }}");
    let proxy = Proxy::start("", &upstream, &[endpoint.address]);
    let mut client = proxy.client().await;
    let (long, _) = client.sender.send_request(ask("GET", "/long"), true).unwrap();
    assert_eq!(client.ask(ask("GET", "/"), b"").await.unwrap().status(), 200);
    assert_eq!(endpoint.connections.load(SeqCst), 1);
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(client.ask(ask("GET", "/"), b"").await.unwrap().status(), 200);
    assert_eq!(endpoint.connections.load(SeqCst), 2, "the old one takes no more");
    gate.notify_one();
    assert_eq!(
        read(soon(long).await.unwrap().into_body()).await.unwrap().0,
        b"ok",
        "and finishes what it has"
    );
}

#[tokio::test]
async fn an_endpoint_that_is_silent_inside_a_stream_is_found_out_by_ping() {
    let address = first(1, |mut raw: Raw, stream| async move {
        raw.send(&frame(HEADERS, END_HEADERS, stream, &[0x88])).await;
        // It reads nothing more, so that no PING is answered.
        std::future::pending::<()>().await;
    })
    .await;
    let upstream = format!("{H2}\nconnections = {{ h2_ping_interval = \"100ms\" }}");
    let proxy = Proxy::start("", &upstream, &[address]);
    let mut client = proxy.client().await;
    let response = client.ask(ask("GET", "/"), b"").await.unwrap();
    let begun = std::time::Instant::now();
    assert!(read(response.into_body()).await.is_err(), "the answer is broken off");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(client.ask(ask("GET", "/"), b"").await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_endpoint_that_answers_ping_keeps_its_quiet_streams() {
    let endpoint = Endpoint::start(|_, mut respond| async move {
        let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        stream.send_data("late".into(), true).unwrap();
    })
    .await;
    let upstream = format!("{H2}\nconnections = {{ h2_ping_interval = \"50ms\" }}");
    let proxy = Proxy::start("", &upstream, &[endpoint.address]);
    let mut client = proxy.client().await;
    for _ in 0..2 {
        let response = client.ask(ask("GET", "/"), b"").await.unwrap();
        assert_eq!(read(response.into_body()).await.unwrap().0, b"late");
    }
    assert_eq!(endpoint.connections.load(SeqCst), 1);
}
