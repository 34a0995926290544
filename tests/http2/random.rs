//! Frames by chance, from both sides: the proxy ends what is wrong and serves everybody else.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::H2;
use crate::harness::{Endpoint, Proxy, read, reply, request as polite_request, soon};
use crate::raw::*;

/// One frame: mostly of a known type, mostly on a stream that is or was open.
fn any_frame(random: &mut fastrand::Rng, heads: &[Vec<u8>]) -> Vec<u8> {
    let kind = if random.u8(..10) == 0 { random.u8(..) } else { random.u8(..10) };
    let stream = match random.u8(..8) {
        0 => 0,
        1 => random.u32(..1 << 31),
        _ => random.u32(..12),
    };
    let payload = match kind {
        HEADERS | CONTINUATION if random.u8(..4) > 0 => heads[random.usize(..heads.len())].clone(),
        DATA => vec![b'd'; random.usize(..300)],
        PRIORITY => vec![0; 5],
        RST_STREAM | WINDOW_UPDATE => random.u32(..).to_be_bytes().to_vec(),
        SETTINGS => [&random.u16(..8).to_be_bytes()[..], &random.u32(..1 << 17).to_be_bytes()].concat(),
        PING | GOAWAY => vec![0; 8],
        _ => (0..random.usize(..40)).map(|_| random.u8(..)).collect(),
    };
    frame(kind, random.u8(..) & 0x2d, stream, &payload)
}

fn frames(seed: u64, heads: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..random.usize(1..60)).map(|_| any_frame(&mut random, heads)).collect()
}

#[tokio::test]
async fn frames_of_a_client_by_chance_end_in_peace_or_a_goaway() {
    let endpoint = Endpoint::start(|request, respond| async {
        if read(request.into_body()).await.is_ok() {
            reply(respond, "ok");
        }
    })
    .await;
    let proxy =
        Proxy::start("limits = { body_timeout = \"1s\", write_timeout = \"1s\" }", H2, &[endpoint.address]);
    let heads = [
        block(&GET),
        block(&GET[..3]),
        block(&[("x-a", "1")]),
        block(&[&GET[..], &[("content-length", "9")]].concat()),
    ];
    for seed in 0..300 {
        let mut raw = Raw::connect(&proxy).await;
        raw.send(&frames(seed, &heads).concat()).await;
        let _ = raw.writer.shutdown().await;
        let ended = async { while raw.reader.next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    let response = proxy.client().await.ask(polite_request("GET", "/"), b"").await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(proxy.metric("proxy_requests_in_flight"), 0.0);
}

#[tokio::test]
async fn frames_of_an_endpoint_by_chance_give_every_client_one_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("{H2}\noutlier = \"off\"\nbudget = \"off\"");
    let proxy = Proxy::start("", &upstream, &[listener.local_addr().unwrap()]);
    tokio::spawn(async move {
        let heads =
            [vec![0x88], block(&[(":status", "200")]), block(&[(":status", "103")]), block(&[("x-a", "1")])];
        let mut seed = 0;
        while let Ok((stream, _)) = listener.accept().await {
            let said = frames(seed, &heads).concat();
            seed += 1;
            tokio::spawn(async move {
                let mut raw = Raw::accept(stream).await;
                let _ = raw.next_of(HEADERS).await;
                raw.send(&said).await;
                // Then it is gone, in the middle of whatever that was.
            });
        }
    });
    let mut client = proxy.client().await;
    for number in 0..300 {
        let answered = soon(client.ask(polite_request("GET", "/"), b"")).await;
        let response = answered.unwrap_or_else(|error| panic!("request {number}: {error}"));
        assert!(matches!(response.status().as_u16(), 200 | 502 | 503), "{number}: {}", response.status());
        let _ = read(response.into_body()).await;
    }
}
