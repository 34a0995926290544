//! What hostile HTTP/2 clients cost the process in memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::{ALL, Origin, Proxy, curl, upstream, wait_until};

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// For how long memory does not change when nothing more moves.
const STILL: Duration = Duration::from_millis(600);

/// One frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// GET https://a/ from the static table of HPACK, with a literal authority.
fn get(stream: u32) -> Vec<u8> {
    frame(1, 5, stream, &[0x82, 0x84, 0x86, 0x01, 1, b'a'])
}

/// A connection whose streams have this window.
fn connect(proxy: &Proxy, window: u32) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.web).expect("the proxy listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a duration above zero");
    let settings = [&4u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
    // The window of the connection is opened to its largest.
    let update = frame(8, 0, 0, &(0x7fff_ffff - 65_535_u32).to_be_bytes());
    stream.write_all(&[PREFACE, &frame(4, 0, 0, &settings), &update].concat()).expect("it reads");
    stream
}

/// An origin of answers that are larger than any buffer.
fn big() -> Origin {
    Origin::scripted(|conversation| {
        while conversation.request()?.is_some() {
            conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n")?;
            conversation.send(vec![b'x'; 8 * 1024 * 1024])?;
        }
        Ok(())
    })
}

fn is_served(proxy: &Proxy) {
    let url = format!("http://{}/status", proxy.web);
    let got = curl(&["--http2-prior-knowledge", "--max-time", "10", "--range", "0-1", "--head", &url]);
    assert_eq!(got.expect("an answer").status, 200);
}

/// Memory in KiB once nothing more moves.
fn settled(proxy: &Proxy) -> u64 {
    let (mut seen, mut since) = (0, Instant::now());
    wait_until("the memory stays as it is", || {
        let now = proxy.memory();
        if now.abs_diff(seen) >= 64 {
            (seen, since) = (now, Instant::now());
        }
        since.elapsed() >= STILL
    });
    seen
}

#[test]
fn streams_whose_windows_stay_shut_cost_little_and_end() {
    let origin = big();
    let text = format!("{ALL}{}[listener.web.limits]\nwrite_timeout = \"3s\"\n", upstream(&[&origin]));
    let proxy = Proxy::start(&text);
    is_served(&proxy);
    for (window, most) in [(0, 16), (65_535, 16), (0x7fff_ffff, 16)] {
        let base = settled(&proxy);
        let mut stalled = connect(&proxy, window);
        let requests: Vec<u8> = (0..128).flat_map(|number| get(number * 2 + 1)).collect();
        stalled.write_all(&requests).expect("it reads");
        let series = "proxy_requests_in_flight";
        wait_until("all of them are in flight", || proxy.metric(series) >= 128.0);
        let grown = settled(&proxy).saturating_sub(base) / 1024;
        eprintln!("window {window}: {grown} MiB more");
        assert!(grown <= most, "128 streams of window {window} cost {grown} MiB");
        is_served(&proxy);
        wait_until("write_timeout ends them", || proxy.metric(series) == 0.0);
        drop(stalled);
    }
}

#[test]
fn a_flood_leaves_no_memory_behind() {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let got = curl(&["--http2-prior-knowledge", &format!("http://{}/", proxy.web)]);
    assert_eq!(got.expect("an answer").status, 200);
    let base = settled(&proxy);
    for piece in [
        frame(6, 0, 0, &[0; 8]),
        frame(4, 0, 0, &[]),
        frame(2, 0, 1, &[0, 0, 0, 0, 9]),
        frame(8, 0, 0, &[0, 0, 0, 1]),
        frame(0xbe, 0, 0, &[0; 1000]),
        [frame(1, 0, 1, &[0x82]), frame(9, 0, 1, &[0x84])].concat(),
        [get(1), frame(3, 0, 1, &[0, 0, 0, 8])].concat(),
    ] {
        for _ in 0..4 {
            let mut flooding = connect(&proxy, 65_535);
            let _ = flooding.write_all(&piece.repeat(5_000));
            let _ = flooding.read_to_end(&mut Vec::new());
        }
    }
    let grown = settled(&proxy).saturating_sub(base) / 1024;
    assert!(grown <= 10, "floods cost {grown} MiB");
    let got = curl(&["--http2-prior-knowledge", &format!("http://{}/", proxy.web)]);
    assert_eq!(got.expect("an answer").status, 200);
}
