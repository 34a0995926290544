//! Nanoseconds that the HTTP/1.1 codec takes for heads and bodies, without sockets.
//!
//! `cargo bench --bench codec`. Each figure is the median of several rounds; compare rows of one run.

use std::hint::black_box;
use std::time::Instant;

use tidegate::h1::Ends;
use tidegate::h1::body::Decoder;
use tidegate::h1::request::{self, HeadLimits};
use tidegate::h1::response;
use tidegate::h1::scan::Scan;
use tidegate::h1::write;
use tidegate::http::path::EncodedSlashes;
use tidegate::http::{Exchange, Framing, Method, validate};

const ROUNDS: usize = 9;
const TURNS: u32 = 50_000;
const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, fields: 100 };

const CURL: &[u8] = b"GET /users/42?full=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n";

const BROWSER: &[u8] = b"GET /app/index.html HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n\
sec-ch-ua: \"Chromium\";v=\"126\", \"Not.A/Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\n\
Upgrade-Insecure-Requests: 1\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n\
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Site: none\r\n\
Sec-Fetch-Mode: navigate\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n\
Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200\r\nDate: Sat, 01 Nov 2025 10:00:00 GMT\r\n\
Cache-Control: no-store\r\nX-Instance: users-1\r\n\r\n";

fn main() {
    println!("{:<34} {:>10}", "codec", "ns");
    row("scan a request head of curl", || black_box(Scan::default().end_of_head(black_box(CURL))).is_ok());
    for (name, bytes) in [("curl", CURL), ("a browser", BROWSER)] {
        let mut exchange = Exchange::default();
        row(&format!("parse and judge a head of {name}"), || {
            let head = &mut exchange.request;
            request::parse(black_box(bytes), Ends::Strict, LIMITS, head).is_ok()
                && validate::request(head, EncodedSlashes::Keep).is_ok()
        });
        let mut out = Vec::with_capacity(4096);
        row(&format!("write the same head of {name}"), || {
            out.clear();
            write::request(&exchange, b"api.example.com", &mut out);
            !out.is_empty()
        });
    }
    let mut exchange = Exchange::default();
    row("parse an answer head", || {
        response::parse(black_box(ANSWER), Method::Get, &mut exchange.response).is_ok()
    });
    chunked();
}

/// A body of 16 KiB in chunks of 1 KiB, decoded in place.
fn chunked() {
    let mut body = Vec::new();
    for _ in 0..16 {
        write::chunk_line(1024, &mut body);
        body.extend_from_slice(&[b'x'; 1024]);
        body.extend_from_slice(b"\r\n");
    }
    let mut copy = body.clone();
    let mut trailers = None;
    row("copy 16 KiB (the floor)", || {
        copy.copy_from_slice(black_box(&body));
        !copy.is_empty()
    });
    row("copy and decode 16 chunks of 1 KiB", || {
        copy.copy_from_slice(black_box(&body));
        Decoder::new(Framing::Chunked).decode(&mut copy, &mut trailers).is_ok()
    });
}

/// Prints the median nanoseconds of a turn; a turn that fails is a broken benchmark.
fn row(name: &str, mut turn: impl FnMut() -> bool) {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let begun = Instant::now();
            let good = (0..TURNS).filter(|_| turn()).count();
            assert_eq!(good, TURNS as usize, "{name}: every turn succeeds");
            begun.elapsed().as_nanos() as f64 / f64::from(TURNS)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:<34} {:>10.0}", rounds[ROUNDS / 2]);
}
