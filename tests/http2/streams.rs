//! What crosses between both versions in each of the four pairs: interim answers, trailers, and both
//! directions at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::Response;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Endpoint, Proxy, read, reply, request, send_bytes, soon};

const H1: &str = "protocol = \"h1\"";
const H2: &str = crate::H2;

/// Between the interim answers and what follows.
const PAUSE: Duration = Duration::from_millis(30);

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaks {
    Http1,
    Http2,
}

const CLIENTS: [Speaks; 2] = [Speaks::Http1, Speaks::Http2];

/// A line-wise connection of HTTP/1.1.
type Wire = BufReader<TcpStream>;

/// An endpoint of HTTP/1.1 that does this on each of its connections, each of which carries one
/// request.
async fn h1_endpoint<F, A>(act: F) -> SocketAddr
where
    F: Fn(Wire) -> A + Clone + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            tokio::spawn(act.clone()(BufReader::new(stream)));
        }
    });
    address
}

/// Reads lines up to an empty one.
async fn lines(wire: &mut Wire) -> String {
    let mut text = String::new();
    loop {
        let before = text.len();
        if soon(wire.read_line(&mut text)).await.unwrap() == 0 || &text[before..] == "\r\n" {
            return text;
        }
    }
}

/// Reads one chunk; `None` at the last one.
async fn chunk(wire: &mut Wire) -> Option<String> {
    let mut size = String::new();
    soon(wire.read_line(&mut size)).await.unwrap();
    let size = usize::from_str_radix(size.trim(), 16).unwrap();
    if size == 0 {
        return None;
    }
    let mut data = vec![0; size + 2];
    soon(wire.read_exact(&mut data)).await.unwrap();
    data.truncate(size);
    Some(String::from_utf8(data).unwrap())
}

async fn send_chunk(wire: &mut Wire, text: &str) {
    wire.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await.unwrap();
}

async fn say(wire: &mut Wire, text: &str) {
    wire.write_all(text.as_bytes()).await.unwrap();
}

async fn connect(proxy: &Proxy) -> Wire {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    BufReader::new(stream)
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap()
}

/// The interim answers and the final status of a request.
async fn statuses(proxy: &Proxy, client: Speaks, expects: bool) -> (Vec<u16>, u16) {
    let mut interim = Vec::new();
    match client {
        Speaks::Http1 => {
            let mut wire = connect(proxy).await;
            let expect = if expects { "expect: 100-continue\r\n" } else { "" };
            say(&mut wire, &format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n{expect}\r\nhi"))
                .await;
            loop {
                match status(&lines(&mut wire).await) {
                    one @ 100..=199 => interim.push(one),
                    last => return (interim, last),
                }
            }
        }
        Speaks::Http2 => {
            let mut sender = proxy.client().await.sender;
            let mut head = request("POST", "/");
            if expects {
                head.headers_mut().insert("expect", "100-continue".parse().unwrap());
            }
            let (mut response, mut body) = sender.send_request(head, false).unwrap();
            body.send_data("hi".into(), true).unwrap();
            while let Some(one) = next_interim(&mut response).await {
                interim.push(one);
            }
            (interim, soon(response).await.unwrap().status().as_u16())
        }
    }
}

async fn next_interim(response: &mut ResponseFuture) -> Option<u16> {
    let interim = soon(std::future::poll_fn(|context| response.poll_informational(context))).await;
    interim.map(|interim| interim.unwrap().status().as_u16())
}

/// Endpoints of both versions that send four interim answers, then 200 or their end.
async fn interim_endpoints(then_die: bool) -> [(&'static str, SocketAddr); 2] {
    let h1 = h1_endpoint(move |mut wire| async move {
        lines(&mut wire).await;
        for interim in ["100 Continue", "102 Processing", "103 Early Hints", "103 Early Hints"] {
            say(&mut wire, &format!("HTTP/1.1 {interim}\r\nlink: </a>\r\n\r\n")).await;
        }
        // They reach the client before anything else comes.
        tokio::time::sleep(PAUSE).await;
        if then_die {
            // What has not been read would make it a reset.
            let _ = wire.fill_buf().await;
            return;
        }
        say(&mut wire, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
        let _ = wire.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let h2 = Endpoint::start(move |_, mut respond| async move {
        for interim in [100, 102, 103, 103] {
            let hints = Response::builder().status(interim).header("link", "</a>").body(()).unwrap();
            respond.send_informational(hints).unwrap();
        }
        tokio::time::sleep(PAUSE).await;
        if then_die {
            respond.send_reset(h2::Reason::INTERNAL_ERROR);
            return;
        }
        reply(respond, "ok");
    })
    .await;
    [(H1, h1), (H2, h2.address)]
}

#[tokio::test]
async fn interim_answers_cross_in_all_four_pairs_and_100_only_to_who_waits_for_it() {
    for (protocol, address) in interim_endpoints(false).await {
        let proxy = Proxy::start("", protocol, &[address]);
        for client in CLIENTS {
            let answers = statuses(&proxy, client, false).await;
            assert_eq!(answers, (vec![102, 103, 103], 200), "{client:?} to {protocol}");
            let answers = statuses(&proxy, client, true).await;
            assert_eq!(answers, (vec![100, 102, 103, 103], 200), "{client:?} to {protocol}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_dies_after_103_is_a_bad_gateway_in_all_four_pairs() {
    for (protocol, address) in interim_endpoints(true).await {
        let proxy = Proxy::start("", &format!("{protocol}\noutlier = \"off\""), &[address]);
        for client in CLIENTS {
            let answers = statuses(&proxy, client, false).await;
            assert_eq!(answers, (vec![102, 103, 103], 502), "{client:?} to {protocol}");
        }
    }
}

/// Sends a body with a trailer field and returns that of the answer.
async fn trailers(proxy: &Proxy, client: Speaks, announced: bool) -> String {
    match client {
        Speaks::Http1 => {
            let mut wire = connect(proxy).await;
            let announce = if announced { "trailer: x-up\r\n" } else { "" };
            let head = format!(
                "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n{announce}transfer-encoding: chunked\r\n\r\n"
            );
            say(&mut wire, &head).await;
            send_chunk(&mut wire, "ping").await;
            say(&mut wire, "0\r\nx-up: 1\r\n\r\n").await;
            assert_eq!(status(&lines(&mut wire).await), 200);
            while chunk(&mut wire).await.is_some() {}
            lines(&mut wire).await
        }
        Speaks::Http2 => {
            let mut sender = proxy.client().await.sender;
            let mut head = request("POST", "/");
            head.headers_mut().insert("te", "trailers".parse().unwrap());
            if announced {
                head.headers_mut().insert("trailer", "x-up".parse().unwrap());
            }
            let (response, mut body) = sender.send_request(head, false).unwrap();
            body.send_data("ping".into(), false).unwrap();
            body.send_trailers(crate::trailers("x-up", "1")).unwrap();
            let (_, got) = read(soon(response).await.unwrap().into_body()).await.unwrap();
            got.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect()
        }
    }
}

#[tokio::test]
async fn trailers_cross_both_ways_in_all_four_pairs_announced_or_not() {
    for announced in [true, false] {
        let h1 = h1_endpoint(move |mut wire| async move {
            lines(&mut wire).await;
            while chunk(&mut wire).await.is_some() {}
            assert_eq!(lines(&mut wire).await, "x-up: 1\r\n\r\n");
            let announce = if announced { "trailer: x-down\r\n" } else { "" };
            say(
                &mut wire,
                &format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\n{announce}transfer-encoding: chunked\r\n\r\n"
                ),
            )
            .await;
            send_chunk(&mut wire, "pong").await;
            say(&mut wire, "0\r\nx-down: 2\r\n\r\n").await;
            let _ = wire.read_to_end(&mut Vec::new()).await;
        })
        .await;
        let h2 = Endpoint::start(move |request, mut respond| async move {
            let (_, sent) = read(request.into_body()).await.unwrap();
            assert_eq!(sent["x-up"], "1");
            let mut head = Response::builder();
            if announced {
                head = head.header("trailer", "x-down");
            }
            let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
            stream.send_data("pong".into(), false).unwrap();
            stream.send_trailers(crate::trailers("x-down", "2")).unwrap();
        })
        .await;
        for (protocol, address) in [(H1, h1), (H2, h2.address)] {
            let proxy = Proxy::start("", protocol, &[address]);
            for client in CLIENTS {
                let got = trailers(&proxy, client, announced).await;
                assert!(got.starts_with("x-down: 2\r\n"), "{client:?} to {protocol}: {got}");
            }
        }
    }
}

/// Sends pieces and waits for the echo of each before the next.
async fn converse(proxy: &Proxy, client: Speaks, rounds: usize) {
    match client {
        Speaks::Http1 => {
            let mut wire = connect(proxy).await;
            say(&mut wire, "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
            assert_eq!(status(&lines(&mut wire).await), 200, "the answer begins before the request ends");
            for round in 0..rounds {
                send_chunk(&mut wire, &format!("round {round}")).await;
                assert_eq!(chunk(&mut wire).await.unwrap(), format!("round {round}"));
            }
            say(&mut wire, "0\r\n\r\n").await;
            assert_eq!(chunk(&mut wire).await, None);
        }
        Speaks::Http2 => {
            let mut sender = proxy.client().await.sender;
            let (response, mut body) = sender.send_request(request("POST", "/"), false).unwrap();
            let mut answer = soon(response).await.unwrap().into_body();
            for round in 0..rounds {
                let text = format!("round {round}");
                body.send_data(text.clone().into(), false).unwrap();
                assert_eq!(soon(answer.data()).await.unwrap().unwrap(), text);
            }
            body.send_data(Bytes::new(), true).unwrap();
            assert!(soon(answer.data()).await.is_none_or(|last| last.unwrap().is_empty()));
        }
    }
}

#[tokio::test]
async fn both_directions_stream_at_once_in_all_four_pairs() {
    let h1 = h1_endpoint(|mut wire| async move {
        lines(&mut wire).await;
        say(&mut wire, "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n").await;
        while let Some(piece) = chunk(&mut wire).await {
            send_chunk(&mut wire, &piece).await;
        }
        say(&mut wire, "0\r\n\r\n").await;
        let _ = wire.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let h2 = Endpoint::start(|request, mut respond| async move {
        let mut body = request.into_body();
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            stream.send_data(piece, false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
    })
    .await;
    for (protocol, address) in [(H1, h1), (H2, h2.address)] {
        let proxy = Proxy::start("", protocol, &[address]);
        for client in CLIENTS {
            converse(&proxy, client, 200).await;
        }
    }
}

#[tokio::test]
async fn streams_that_nobody_reads_hold_up_no_other_stream() {
    let endpoint = Endpoint::start(|request, mut respond| async move {
        if request.uri().path() == "/" {
            return reply(respond, "ok");
        }
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let _ = send_bytes(&mut stream, 16 * 1024 * 1024, &Default::default()).await;
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    // Large windows of the connection, small ones of its streams: only what is not read stalls.
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let handshake = Builder::new().initial_connection_window_size(16 << 20).handshake(stream);
    let (mut sender, connection): (SendRequest<Bytes>, _) = handshake.await.unwrap();
    tokio::spawn(connection);
    let mut stalled = Vec::new();
    for _ in 0..90 {
        let (response, _) = sender.send_request(request("GET", "/big"), true).unwrap();
        stalled.push(soon(response).await.unwrap());
    }
    for _ in 0..20 {
        let (response, _) = sender.send_request(request("GET", "/"), true).unwrap();
        assert_eq!(soon(response).await.unwrap().status(), 200, "on the same connection");
        let mut other = proxy.client().await;
        let response = other.ask(request("GET", "/"), b"").await.unwrap();
        assert_eq!(read(response.into_body()).await.unwrap().0, b"ok", "on another");
    }
    assert_eq!(endpoint.connections.load(SeqCst), 1, "all share one connection");
    let (body, _) = read(stalled.pop().unwrap().into_body()).await.unwrap();
    assert_eq!(body.len(), 16 * 1024 * 1024, "who reads late gets all");
}

#[tokio::test]
async fn what_waits_for_a_client_without_windows_is_bounded_by_the_windows_of_its_streams() {
    use crate::raw::{GET, Raw, request};
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let endpoint = Endpoint::start(move |_, mut respond| {
        let count = count.clone();
        async move {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let _ = send_bytes(&mut stream, 1024 * 1024, &count).await;
        }
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut raw = Raw::with(&proxy, &[(4, 0)]).await;
    for number in 0..128 {
        raw.send(&request(number * 2 + 1, &GET)).await;
    }
    let mut before = usize::MAX;
    while before != sent.load(SeqCst) || before == 0 {
        before = sent.load(SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let stream = before / 128;
    assert!((32 * 1024..=96 * 1024).contains(&stream), "{stream} bytes wait on each stream");
    raw.assert_alive().await;
}

#[tokio::test]
async fn a_client_that_opens_no_window_is_ended_by_the_write_timeout() {
    use crate::raw::{DATA, GET, RST_STREAM, Raw, request};
    let endpoint = Endpoint::start(|_, mut respond| async move {
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        let _ = send_bytes(&mut stream, 1024 * 1024, &Default::default()).await;
    })
    .await;
    let proxy = Proxy::start("limits = { write_timeout = \"200ms\" }", H2, &[endpoint.address]);
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    let mut raw = Raw::with(&proxy, &[(4, 0)]).await;
    for stream in [1, 3, 5] {
        raw.send(&request(stream, &GET)).await;
    }
    let mut ended = Vec::new();
    while ended.len() < 3 {
        let frame = raw.reader.next().await.unwrap();
        assert!(frame.kind != DATA || frame.payload.is_empty(), "no window, no payload");
        if frame.kind == RST_STREAM {
            ended.push(frame.stream);
        }
    }
    raw.assert_alive().await;
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_not_followed_by_a_reset_at_once() {
    use crate::raw::{DATA, END_HEADERS, END_STREAM, GET, HEADERS, PING, RST_STREAM, Raw, block, frame};
    let endpoint = Endpoint::start(|_, respond| async { reply(respond, "early") }).await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut raw = Raw::connect(&proxy).await;
    raw.send(&frame(HEADERS, END_HEADERS, 1, &block(&[&[(":method", "POST")], &GET[1..]].concat()))).await;
    while raw.next_of(DATA).await.flags & END_STREAM == 0 {}
    tokio::time::sleep(Duration::from_millis(100)).await;
    raw.send(&frame(DATA, END_STREAM, 1, b"late")).await;
    raw.send(&frame(PING, 0, 0, &[0; 8])).await;
    loop {
        let next = raw.reader.next().await.unwrap();
        assert_ne!(next.kind, RST_STREAM, "the client may finish what it has begun");
        if next.kind == PING {
            break;
        }
    }
}

#[tokio::test]
async fn a_connection_of_http1_to_an_endpoint_is_not_kept_when_it_is_old() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let address = h1_endpoint(move |mut wire| {
        count.fetch_add(1, SeqCst);
        async move {
            while !lines(&mut wire).await.is_empty() {
                say(&mut wire, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    for (age, expected) in [("200ms", 2), ("0", 1)] {
        connections.store(0, SeqCst);
        let proxy = Proxy::start("", &format!("{H1}\nconnections = {{ max_age = \"{age}\" }}"), &[address]);
        let mut client = proxy.client().await;
        // The second request is late: it still finds the connection, but does not leave it behind.
        for pause in [0, 300, 0] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            assert_eq!(client.ask(request("GET", "/"), b"").await.unwrap().status(), 200);
        }
        assert_eq!(connections.load(SeqCst), expected, "max_age = {age}");
    }
}
