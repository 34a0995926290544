//! HTTP/2 on both sides of the proxy, through real sockets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a failed test")]

mod floods;
mod harness;
mod hostile;
mod raw;
mod strict;
mod tunnels;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Barrier, mpsc};

use harness::{Endpoint, Proxy, read, reply, request, send_bytes, serve, soon};

const H2: &str = "protocol = \"h2\"";
const BIG: usize = 64 * 1024 * 1024;

/// An endpoint that is never asked.
fn nowhere() -> std::net::SocketAddr {
    ([127, 0, 0, 1], 9).into()
}

fn trailers(name: &'static str, value: &'static str) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(name, value.parse().unwrap());
    map
}

/// Sends the text of an HTTP/1.1 request and reads until the proxy closes.
async fn h1(proxy: &Proxy, text: &str) -> String {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn heads_bodies_and_trailers_cross_from_http2_to_http2() {
    let endpoint = Endpoint::start(|request, mut respond| async move {
        let (head, body) = request.into_parts();
        assert_eq!(head.uri.path(), "/a");
        assert_eq!(head.uri.authority().unwrap(), "a.example");
        assert_eq!(head.headers["cookie"], "a=1; b=2");
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.headers["x-forwarded-proto"], "http");
        let (body, sent) = read(body).await.unwrap();
        assert_eq!(sent["x-up"], "1");
        let response = Response::builder().status(201).header("x-a", "b").body(()).unwrap();
        let mut stream = respond.send_response(response, false).unwrap();
        stream.send_data(body.into(), false).unwrap();
        stream.send_trailers(trailers("x-down", "2")).unwrap();
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    let mut head = request("POST", "/x/../a");
    head.headers_mut().insert("te", "trailers".parse().unwrap());
    head.headers_mut().append("cookie", "a=1".parse().unwrap());
    head.headers_mut().append("cookie", "b=2".parse().unwrap());
    let (response, mut stream) = client.sender.send_request(head, false).unwrap();
    stream.send_data(Bytes::from_static(b"ping"), false).unwrap();
    stream.send_trailers(trailers("x-up", "1")).unwrap();
    let response = soon(response).await.unwrap();
    assert_eq!((response.status(), &response.headers()["x-a"]), (StatusCode::CREATED, &"b".parse().unwrap()));
    let (body, sent) = read(response.into_body()).await.unwrap();
    assert_eq!((body.as_slice(), &sent["x-down"]), (&b"ping"[..], &"2".parse().unwrap()));
}

#[tokio::test]
async fn an_http1_client_gets_the_answer_of_an_http2_endpoint_in_chunks_with_trailers() {
    let endpoint = Endpoint::start(|request, mut respond| async move {
        let (body, _) = read(request.into_body()).await.unwrap();
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(body.into(), false).unwrap();
        stream.send_trailers(trailers("x-down", "2")).unwrap();
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let answer = h1(
        &proxy,
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n4\r\nping\r\n0\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        answer.ends_with(
            "transfer-encoding: chunked\r\nconnection: close\r\n\r\n4\r\nping\r\n0\r\nx-down: 2\r\n\r\n"
        ),
        "{answer}"
    );
}

#[tokio::test]
async fn an_answer_to_head_ends_at_its_head_and_keeps_its_length() {
    let endpoint = Endpoint::start(|_, mut respond| async move {
        let response = Response::builder().header("content-length", "5").body(()).unwrap();
        respond.send_response(response, true).unwrap();
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let response = proxy.client().await.ask(request("HEAD", "/"), b"").await.unwrap();
    assert!(response.body().is_end_stream());
    assert_eq!(response.headers()["content-length"], "5");
    let answer = h1(&proxy, "HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("content-length: 5\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn an_interim_answer_crosses_before_the_final_one() {
    let endpoint = Endpoint::start(|_, mut respond| async move {
        let hints = Response::builder().status(103).header("link", "</a>").body(()).unwrap();
        respond.send_informational(hints).unwrap();
        reply(respond, "ok");
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    let (mut response, _) = client.sender.send_request(request("GET", "/"), true).unwrap();
    let interim = soon(std::future::poll_fn(|context| response.poll_informational(context))).await;
    assert_eq!(interim.unwrap().unwrap().status(), 103);
    assert_eq!(soon(response).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_large_body_passes_in_each_direction() {
    let endpoint = Endpoint::start(|request, mut respond| async move {
        let (body, _) = read(request.into_body()).await.unwrap();
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        send_bytes(&mut stream, body.len(), &AtomicUsize::new(0)).await.unwrap();
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    let (response, mut stream) = client.sender.send_request(request("POST", "/"), false).unwrap();
    soon(send_bytes(&mut stream, BIG, &AtomicUsize::new(0))).await.unwrap();
    let (body, _) = read(soon(response).await.unwrap().into_body()).await.unwrap();
    assert_eq!(body.len(), BIG);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_endpoint_back() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let endpoint = Endpoint::start(move |_, mut respond| {
        let count = count.clone();
        async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let _ = send_bytes(&mut stream, BIG, &count).await;
        }
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    let stalled = client.ask(request("GET", "/"), b"").await.unwrap();
    // It is held back when nothing more has left for a while.
    let mut before = usize::MAX;
    while before != sent.load(Relaxed) {
        before = sent.load(Relaxed);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!((64 * 1024..1024 * 1024).contains(&before), "{before} bytes lie in between");
    let (body, _) = read(stalled.into_body()).await.unwrap();
    assert_eq!(body.len(), BIG, "and nothing was lost");
}

#[tokio::test]
async fn a_client_that_resets_its_stream_cancels_it_at_the_endpoint() {
    let (told, mut cancelled) = mpsc::channel(2);
    let endpoint = Endpoint::start(move |_, mut respond| {
        let told = told.clone();
        async move {
            told.send(None).await.unwrap();
            let reason = std::future::poll_fn(|context| respond.poll_reset(context)).await.ok();
            told.send(reason).await.unwrap();
        }
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    let (response, mut stream) = client.sender.send_request(request("GET", "/"), true).unwrap();
    assert_eq!(soon(cancelled.recv()).await, Some(None), "the request has arrived");
    stream.send_reset(Reason::CANCEL);
    assert_eq!(soon(cancelled.recv()).await, Some(Some(Reason::CANCEL)));
    assert!(soon(response).await.is_err());
}

#[tokio::test]
async fn an_endpoint_that_resets_before_its_answer_gives_502_and_inside_it_a_reset() {
    let endpoint = Endpoint::start(|request, mut respond| async move {
        if request.uri().path() == "/before" {
            respond.send_reset(Reason::INTERNAL_ERROR);
            return;
        }
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        stream.send_data(Bytes::from_static(b"half"), false).unwrap();
        // The reset drops what is queued, so it waits until the piece has gone out.
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    let refused = client.ask(request("POST", "/before"), b"x").await.unwrap();
    assert_eq!(refused.status(), 502);
    let status = refused.headers()["proxy-status"].to_str().unwrap();
    assert!(status.contains("upstream_reset_before_headers"), "{status}");
    let broken = client.ask(request("GET", "/inside"), b"").await.unwrap();
    assert_eq!(broken.status(), 200);
    let error = read(broken.into_body()).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
}

/// Frames of RFC 9113 §6: length, type, flags, stream, payload.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
const SETTINGS_ACK: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";
/// Last stream 0, no error: nothing was processed.
const GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";
const HEADERS: u8 = 1;

/// Plays an endpoint that says GOAWAY instead of taking the first request.
async fn go_away(mut stream: TcpStream) {
    stream.write_all(&[SETTINGS, SETTINGS_ACK].concat()).await.unwrap();
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if head[3] == HEADERS {
            break;
        }
    }
    stream.write_all(GOAWAY).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn a_request_that_a_goaway_hands_back_is_sent_again_whatever_its_method() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start("", H2, &[listener.local_addr().unwrap()]);
    tokio::spawn(async move {
        go_away(listener.accept().await.unwrap().0).await;
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, |_, respond| async { reply(respond, "second") }).await;
    });
    let mut client = proxy.client().await;
    let response = client.ask(request("POST", "/"), b"once").await.unwrap();
    assert_eq!(read(response.into_body()).await.unwrap().0, b"second");
}

#[tokio::test]
async fn a_refused_stream_is_sent_to_another_endpoint_whatever_its_method() {
    let refusing = Endpoint::start(|_, mut respond| async move {
        respond.send_reset(Reason::REFUSED_STREAM);
    })
    .await;
    let good = Endpoint::start(|_, respond| async { reply(respond, "ok") }).await;
    let upstream = format!("{H2}\nbalance = \"round_robin\"\noutlier = \"off\"");
    let proxy = Proxy::start("", &upstream, &[refusing.address, good.address]);
    let mut client = proxy.client().await;
    for _ in 0..6 {
        assert_eq!(client.ask(request("POST", "/"), b"x").await.unwrap().status(), 200);
    }
    assert_eq!(refusing.connections.load(Relaxed), 1, "it was asked, and has kept its connection");
}

#[tokio::test]
async fn another_connection_is_opened_when_the_streams_of_the_first_are_in_use() {
    let all = Arc::new(Barrier::new(5));
    let endpoint = Endpoint::start(move |_, respond| {
        let all = all.clone();
        async move {
            all.wait().await;
            reply(respond, "ok");
        }
    })
    .await;
    let upstream = format!("{H2}\nconnections = {{ max_streams = 2 }}");
    let proxy = Proxy::start("", &upstream, &[endpoint.address]);
    let mut client = proxy.client().await;
    let answers: Vec<_> =
        (0..5).map(|_| client.sender.send_request(request("GET", "/"), true).unwrap().0).collect();
    for answer in answers {
        assert_eq!(soon(answer).await.unwrap().status(), 200);
    }
    assert_eq!(endpoint.connections.load(Relaxed), 3);
}

#[tokio::test]
async fn an_endpoint_that_does_not_speak_http2_is_a_bad_gateway() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start("", H2, &[listener.local_addr().unwrap()]);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let response = proxy.client().await.ask(request("GET", "/"), b"").await.unwrap();
    assert_eq!(response.status(), 502);
    assert!(response.headers()["proxy-status"].to_str().unwrap().contains("bad_response.h2"));
}

#[tokio::test]
async fn a_drain_says_goaway_and_finishes_the_streams_that_are_open() {
    let (arrived, mut arrivals) = mpsc::channel(1);
    let go = Arc::new(tokio::sync::Notify::new());
    let gate = go.clone();
    let endpoint = Endpoint::start(move |_, respond| {
        let (arrived, gate) = (arrived.clone(), gate.clone());
        async move {
            arrived.send(()).await.unwrap();
            gate.notified().await;
            reply(respond, "late");
        }
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    let (response, _) = client.sender.send_request(request("GET", "/"), true).unwrap();
    soon(arrivals.recv()).await.unwrap();
    proxy.drain();
    let told = async {
        while std::future::poll_fn(|context| client.sender.poll_ready(context)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(told).await;
    assert!(!client.driver.is_finished(), "the connection waits for its stream");
    go.notify_one();
    let (body, _) = read(soon(response).await.unwrap().into_body()).await.unwrap();
    assert_eq!(body, b"late");
    soon(client.driver).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_ends_politely_when_it_is_idle_and_after_its_last_request() {
    let endpoint = Endpoint::start(|_, respond| async { reply(respond, "ok") }).await;
    let idle = Proxy::start("limits = { idle_timeout = \"50ms\" }", H2, &[endpoint.address]);
    let client = idle.client().await;
    soon(client.driver).await.unwrap().unwrap();
    drop(client.sender);
    let counted = Proxy::start("limits = { max_requests_per_connection = 2 }", H2, &[endpoint.address]);
    let mut client = counted.client().await;
    for _ in 0..2 {
        let response = client.ask(request("GET", "/"), b"").await.unwrap();
        assert_eq!(read(response.into_body()).await.unwrap().0, b"ok");
    }
    soon(client.driver).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_preface_may_arrive_byte_by_byte() {
    let proxy = Proxy::start("", H2, &[nowhere()]);
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", SETTINGS].concat() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut head = [0; 9];
    soon(stream.read_exact(&mut head)).await.unwrap();
    assert_eq!(head[3], SETTINGS[3]);
}

#[tokio::test]
async fn each_listener_speaks_only_what_it_offers() {
    let h2_only = Proxy::start("protocols = [\"h2\"]", H2, &[nowhere()]);
    let answer = h1(&h2_only, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
    let h1_only = Proxy::start("protocols = [\"h1\"]", H2, &[nowhere()]);
    let answer = h1(&h1_only, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_not_as_long_as_its_length_says_never_looks_complete_to_the_endpoint() {
    let (told, mut bodies) = mpsc::channel(4);
    let endpoint = Endpoint::start(move |request, respond| {
        let told = told.clone();
        async move {
            told.send(read(request.into_body()).await.is_ok()).await.unwrap();
            reply(respond, "ok");
        }
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    for (length, body) in [("5", &b"four"[..]), ("3", b"four")] {
        let mut head = request("POST", "/");
        head.headers_mut().insert("content-length", length.parse().unwrap());
        let (response, mut stream) = client.sender.send_request(head, false).unwrap();
        // A first piece alone, so that the request has begun at the endpoint.
        stream.send_data(Bytes::from_static(&body[..2]), false).unwrap();
        stream.send_data(Bytes::from_static(&body[2..]), true).unwrap();
        let error = soon(response).await.err();
        assert_eq!(error.and_then(|error| error.reason()), Some(Reason::PROTOCOL_ERROR), "{length}");
        if let Ok(complete) = bodies.try_recv() {
            assert!(!complete, "{length}");
        }
    }
    assert_eq!(client.ask(request("POST", "/"), b"fine").await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_its_own_status() {
    let endpoint = Endpoint::start(|request, respond| async {
        let _ = read(request.into_body()).await;
        reply(respond, "ok");
    })
    .await;
    let limits = "limits = { max_body_bytes = \"1KiB\", max_headers = 10 }";
    let proxy = Proxy::start(limits, H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    let unannounced = client.ask(request("POST", "/"), &[b'x'; 2000]).await.unwrap();
    assert_eq!(unannounced.status(), 413);
    let mut head = request("POST", "/");
    head.headers_mut().insert("content-length", "2000".parse().unwrap());
    assert_eq!(client.ask(head, &[b'x'; 2000]).await.unwrap().status(), 413);
    let mut head = request("GET", "/");
    for number in 0..10 {
        head.headers_mut().append("x-many", number.into());
    }
    assert_eq!(client.ask(head, b"").await.unwrap().status(), 431);
    assert_eq!(client.ask(request("POST", "/"), b"fine").await.unwrap().status(), 200);
}
