//! Clients that send what brings them nothing: each is told to be calm and is disconnected, and
//! others do not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use h2::server::SendResponse;
use tokio::io::AsyncWriteExt;

use crate::H2;
use crate::harness::{Endpoint, Proxy, reply, request as polite_request, soon};
use crate::raw::*;

/// More than a thousand useless frames are never needed.
const MANY: u32 = 1_000;

/// An endpoint that answers `/` and keeps everything else waiting; it counts what waits.
async fn patient_endpoint() -> (Endpoint, Arc<AtomicUsize>) {
    struct Waiting(Arc<AtomicUsize>);
    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.fetch_sub(1, SeqCst);
        }
    }
    let waiting = Arc::new(AtomicUsize::new(0));
    let count = waiting.clone();
    let endpoint = Endpoint::start(move |request, mut respond: SendResponse<bytes::Bytes>| {
        let count = count.clone();
        async move {
            if request.uri().path() == "/" {
                return reply(respond, "ok");
            }
            count.fetch_add(1, SeqCst);
            let _waiting = Waiting(count);
            let _ = std::future::poll_fn(|context| respond.poll_reset(context)).await;
        }
    })
    .await;
    (endpoint, waiting)
}

async fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let waited = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waited).await.unwrap_or_else(|_| panic!("{what}"));
}

/// Sends a flood of so many pieces and returns the code of the GOAWAY.
async fn flood(proxy: &Proxy, pieces: impl Iterator<Item = Vec<u8>>) -> Option<u32> {
    let Raw { mut reader, mut writer } = Raw::connect(proxy).await;
    let all: Vec<u8> = pieces.flatten().collect();
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&all).await;
        writer
    });
    let code = reader.goaway().await;
    drop(writing.await);
    code
}

#[tokio::test]
async fn a_thousand_useless_frames_of_any_type_end_in_a_goaway_while_others_are_served() {
    let (endpoint, _) = patient_endpoint().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let floods: [(&str, &str, Vec<u8>); 9] = [
        ("PING", "ping", frame(PING, 0, 0, &[0; 8])),
        ("answers to no PING", "ping", frame(PING, ACK, 0, &[0; 8])),
        ("SETTINGS", "settings", frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("PRIORITY", "priority", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])),
        ("PRIORITY_UPDATE", "priority", frame(16, 0, 0, &[0, 0, 0, 1, b'u'])),
        ("WINDOW_UPDATE", "window_update", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("an unknown type", "other", frame(0xbe, 0, 0, &[0; 64])),
        ("empty DATA", "empty_data", frame(DATA, 0, 1, &[])),
        ("CONTINUATION", "headers", frame(CONTINUATION, 0, 1, &[])),
    ];
    let mut client = proxy.client().await;
    for (name, kind, useless) in floods {
        let head = match kind {
            "empty_data" => {
                frame(HEADERS, END_HEADERS, 1, &block(&[&GET[..3], &[(":path", "/wait")]].concat()))
            }
            "headers" => frame(HEADERS, END_STREAM, 1, &block(&GET)),
            _ => Vec::new(),
        };
        let before = proxy.metric(&format!("proxy_h2_floods_total{{kind=\"{kind}\"}}"));
        let pieces = std::iter::once(head).chain((0..MANY).map(|_| useless.clone()));
        let (code, served) = tokio::join!(flood(&proxy, pieces), client.ask(polite_request("GET", "/"), b""));
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name}");
        assert_eq!(served.unwrap().status(), 200, "{name}");
        let counted = || proxy.metric(&format!("proxy_h2_floods_total{{kind=\"{kind}\"}}")) == before + 1.0;
        until(name, counted).await;
    }
    assert!(proxy.metric("proxy_replies_total{reason=\"h2_flood\"}") >= 9.0);
}

#[tokio::test]
async fn rapid_resets_end_in_a_goaway_and_leave_nothing_at_the_endpoint() {
    let (endpoint, waiting) = patient_endpoint().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let pair = |number: u32| {
        let stream = number * 2 + 1;
        [
            request(stream, &[&GET[..3], &[(":path", "/wait")]].concat()),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]),
        ]
        .concat()
    };
    assert_eq!(flood(&proxy, (0..MANY).map(pair)).await, Some(ENHANCE_YOUR_CALM), "all at once");
    let mut raw = Raw::connect(&proxy).await;
    for number in 0..200 {
        // Each request has arrived before it is given up: the library alone would let this go on.
        raw.send(&request(number * 2 + 1, &[&GET[..3], &[(":path", "/wait")]].concat())).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        raw.send(&frame(RST_STREAM, 0, number * 2 + 1, &[0, 0, 0, 8])).await;
        assert!(waiting.load(SeqCst) < 150, "no more is in flight than there are streams");
    }
    assert_eq!(raw.reader.goaway().await, Some(ENHANCE_YOUR_CALM), "one by one");
    drop(raw);
    until("the endpoint is rid of all of them", || waiting.load(SeqCst) == 0).await;
    until("it is counted", || proxy.metric("proxy_h2_floods_total{kind=\"reset\"}") >= 1.0).await;
}

#[tokio::test]
async fn a_client_that_makes_us_reset_its_streams_cancels_them_at_the_endpoint_and_is_ended() {
    let (endpoint, waiting) = patient_endpoint().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut raw = Raw::connect(&proxy).await;
    let overflow = [0x7f, 0xff, 0xff, 0xff];
    let mut rounds = 0;
    let code = loop {
        let stream = rounds * 2 + 1;
        raw.send(&request(stream, &[&GET[..3], &[(":path", "/wait")]].concat())).await;
        raw.send(&frame(WINDOW_UPDATE, 0, stream, &overflow)).await;
        let Some(answer) = raw.reader.next().await else { break None };
        match answer.kind {
            RST_STREAM => rounds += 1,
            GOAWAY => break Some(answer.code()),
            _ => {}
        }
        assert!(waiting.load(SeqCst) < 20, "what is reset does not go on");
    };
    assert_eq!(code, Some(ENHANCE_YOUR_CALM));
    assert!((100..=200).contains(&rounds), "{rounds}");
    until("the endpoint is rid of all of them", || waiting.load(SeqCst) == 0).await;
    drop(raw);
    until("it is counted", || proxy.metric("proxy_h2_floods_total{kind=\"made_reset\"}") == 1.0).await;
}

#[tokio::test]
async fn requests_that_are_refused_for_their_form_are_not_taken_without_end() {
    let (endpoint, waiting) = patient_endpoint().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let malformed = |number: u32| request(number * 2 + 1, &GET[..3]);
    assert_eq!(
        flood(&proxy, (0..MANY).map(malformed)).await,
        Some(ENHANCE_YOUR_CALM),
        "reset by the library"
    );
    let bad_host = [GET[0], GET[1], (":authority", "a/b"), GET[3]];
    let refused = |number: u32| request(number * 2 + 1, &bad_host);
    assert_eq!(flood(&proxy, (0..MANY).map(refused)).await, Some(ENHANCE_YOUR_CALM), "answered with 400");
    assert_eq!(waiting.load(SeqCst), 0);
}

#[tokio::test]
async fn a_head_that_unpacks_to_a_hundred_times_its_size_is_refused() {
    let (endpoint, _) = patient_endpoint().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    // One field of 3 KiB goes into the table, then each byte calls it up again.
    let large = "x".repeat(3 * 1024);
    let mut bomb = block(&GET);
    bomb.push(0x40);
    for text in ["x-a", large.as_str()] {
        integer(&mut bomb, 0, 7, text.len());
        bomb.extend_from_slice(text.as_bytes());
    }
    bomb.extend(std::iter::repeat_n(0x80 | 62, 8 * 1024));
    let mut raw = Raw::connect(&proxy).await;
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
    assert_eq!(raw.reader.goaway().await, Some(ENHANCE_YOUR_CALM));
    // A smaller one is one bad request, answered with 431, and its connection lives.
    let mut raw = Raw::connect(&proxy).await;
    bomb.truncate(bomb.len() - 8 * 1024 + 12);
    raw.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
    assert_eq!(raw.next_of(HEADERS).await.stream, 1);
    raw.assert_alive().await;
    until("it is counted", || proxy.metric("proxy_replies_total{reason=\"header_too_large\"}") == 1.0).await;
}

#[tokio::test]
async fn a_client_that_floods_without_reading_is_cut_off() {
    let (endpoint, _) = patient_endpoint().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut raw = Raw::connect(&proxy).await;
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(1000);
    // It never reads: sooner or later nothing is taken any more, and then the connection is gone.
    let ended = async {
        while raw.writer.write_all(&pings).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(ended).await;
}

#[tokio::test]
async fn honest_clients_may_do_a_lot_on_one_connection() {
    let (endpoint, waiting) = patient_endpoint().await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    // A thousand requests, each second one given up after its answer has begun.
    for number in 0..1_000 {
        let response = client.ask(polite_request("GET", "/"), b"").await.unwrap();
        assert_eq!(response.status(), 200);
        if number % 2 == 0 {
            crate::harness::read(response.into_body()).await.unwrap();
        }
    }
    // A hundred that hang are given up together.
    let hanging: Vec<_> =
        (0..100).map(|_| client.sender.send_request(polite_request("GET", "/wait"), true).unwrap()).collect();
    until("they have arrived", || waiting.load(SeqCst) == 100).await;
    drop(hanging);
    until("they are cancelled", || waiting.load(SeqCst) == 0).await;
    assert_eq!(client.ask(polite_request("GET", "/"), b"").await.unwrap().status(), 200);
}
