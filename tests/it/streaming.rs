//! Large bodies, and peers that go away in the middle.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::{ALL, Origin, Proxy, comes_true, ok, pass, upstream};

const MIB: usize = 1 << 20;

#[test]
fn a_download_of_64_mib_streams_through_without_being_kept() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 64 * MIB))?;
        let piece = vec![b'x'; MIB];
        (0..64).try_for_each(|_| conversation.send(&piece))
    });
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    assert_eq!(proxy.page("/healthz").status, 200);
    let before = proxy.memory();
    let mut stream = TcpStream::connect(proxy.web).expect("it accepts");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut buffer = vec![0; MIB];
    let (mut total, mut most) = (0, before);
    loop {
        match stream.read(&mut buffer).expect("it goes on") {
            0 => break,
            count => total += count,
        }
        most = most.max(proxy.memory());
    }
    assert!(total > 64 * MIB, "only {total} bytes came");
    assert!(most - before < 20 * 1024, "memory grew by {} KiB", most - before);
}

#[test]
fn interim_answers_wait_at_the_endpoint_for_a_client_that_does_not_read() {
    const COUNT: usize = 250;
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        let interim = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(60_000));
        (0..COUNT).try_for_each(|_| conversation.send(&interim))?;
        conversation.send(ok("done"))
    });
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    assert_eq!(proxy.page("/healthz").status, 200);
    let before = proxy.memory();
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    let has_grown = comes_true(Duration::from_secs(1), || proxy.memory() > before + 4 * 1024);
    assert!(!has_grown, "memory grew by {} KiB", proxy.memory() - before);
    for _ in 0..COUNT {
        assert_eq!(client.response().status, 103);
    }
    assert_eq!(client.response().text(), "done");
}

#[test]
fn an_upload_of_64_mib_streams_through_without_being_kept() {
    let counted = Arc::new(AtomicUsize::new(0));
    let count = counted.clone();
    let origin = Origin::scripted(move |conversation| {
        conversation.request_head()?;
        for _ in 0..64 {
            count.fetch_add(conversation.bytes(MIB)?.len(), Ordering::SeqCst);
        }
        conversation.send(ok("taken"))
    });
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    assert_eq!(proxy.page("/healthz").status, 200);
    let before = proxy.memory();
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 64 * MIB));
    let piece = vec![b'x'; MIB];
    let mut most = before;
    for _ in 0..64 {
        client.send(&piece);
        most = most.max(proxy.memory());
    }
    assert_eq!(client.response().text(), "taken");
    assert_eq!(counted.load(Ordering::SeqCst), 64 * MIB);
    assert!(most - before < 20 * 1024, "memory grew by {} KiB", most - before);
}

#[test]
fn a_slow_reader_stops_the_endpoint_instead_of_filling_the_proxy() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let origin = Origin::scripted(move |conversation| {
        conversation.request()?;
        conversation.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 256 * MIB))?;
        let piece = vec![b'x'; MIB];
        for _ in 0..256 {
            conversation.send(&piece)?;
            count.fetch_add(MIB, Ordering::SeqCst);
        }
        Ok(())
    });
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    let mut last = 0;
    // The kernel's buffers fill up, then nothing moves any more.
    let stands = comes_true(Duration::from_secs(5), || {
        pass(Duration::from_millis(200));
        let now = sent.load(Ordering::SeqCst);
        std::mem::replace(&mut last, now) == now
    });
    assert!(stands && last < 64 * MIB, "the endpoint could send {} MiB", last / MIB);
}

/// Bytes of which no two places look alike.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32 / 4).flat_map(u32::to_be_bytes).collect()
}

#[test]
fn a_large_body_arrives_as_it_was_sent_and_what_follows_it_is_the_next_message() {
    let origin =
        Origin::answering(|request| ok(if request.method() == "GET" { pattern(MIB) } else { Vec::new() }));
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let body = pattern(MIB);
    let upload =
        [format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {MIB}\r\n\r\n").as_bytes(), &body].concat();
    let download = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut client = proxy.client();
    // All of it at once: only the lengths say where the next request begins.
    client.send([&upload[..], &upload, download, download].concat());
    for length in [0, 0, MIB, MIB] {
        let answer = client.response();
        assert_eq!((answer.status, answer.body().len()), (200, length));
        assert!(answer.body() == body[..length], "a download differs");
    }
    for request in origin.requests() {
        assert!(request.method() == "GET" || request.body() == body, "an upload differs");
    }
    assert_eq!(origin.requests().len(), 4);
}

#[test]
fn an_endpoint_that_goes_away_inside_a_large_body_leaves_the_client_a_cut_one() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 4 * MIB))?;
        conversation.send(pattern(2 * MIB))
    });
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    assert!(client.rest() == pattern(2 * MIB), "what came before the end is passed on");
    assert!(proxy.access_line(0).contains("\"reason\":\"upstream_truncated\""), "{}", proxy.access_line(0));
}

#[test]
fn more_large_bodies_than_a_worker_has_pipes_all_arrive() {
    const CLIENTS: usize = 50;
    let body = pattern(MIB);
    let answer = ok(&body);
    let origin = Origin::answering(move |_| answer.clone());
    let proxy = Proxy::start(&format!("[server]\nworkers = 1\n{ALL}{}", upstream(&[&origin])));
    // None of them reads until all have asked, so that each answer waits in the proxy.
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    origin.wait_for_requests(CLIENTS);
    for client in &mut clients {
        assert!(client.response().body() == body, "a body differs");
    }
}

/// Waits on each connection until it ends, and counts those that ended within 2 s.
fn hanging(ended: Arc<AtomicUsize>) -> Origin {
    Origin::scripted(move |conversation| {
        conversation.request()?;
        if conversation.ends_within(Duration::from_secs(2))? {
            ended.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    })
}

#[test]
fn a_client_that_goes_away_cancels_the_request_at_the_endpoint() {
    let ended = Arc::new(AtomicUsize::new(0));
    let origin = hanging(ended.clone());
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    // An end that comes together with the request would be that of a client which still reads.
    pass(Duration::from_millis(50));
    drop(client);
    origin.wait_for_ends();
    assert_eq!(ended.load(Ordering::SeqCst), 1, "the endpoint was still being waited for after 2 s");
    assert!(proxy.access_line(0).contains("\"status\":499"), "{}", proxy.access_line(0));
}

#[test]
fn a_client_that_goes_away_during_the_answer_cancels_it() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")?;
        loop {
            conversation.send([b'x'; 4096])?;
            pass(Duration::from_millis(5));
        }
    });
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    drop(client);
    origin.wait_for_ends();
}

#[test]
fn a_client_that_goes_away_during_its_upload_cancels_it() {
    let origin = Origin::scripted(|conversation| {
        conversation.request_head()?;
        conversation.wait_for_end()
    });
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    origin.wait_for_requests(1);
    drop(client);
    origin.wait_for_ends();
}

#[test]
fn a_client_that_has_ended_its_side_still_gets_its_answer() {
    let origin = Origin::answering(|request| {
        pass(Duration::from_millis(300));
        ok(request.body())
    });
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    client.end_sending();
    assert_eq!(client.response().text(), "hello");
    assert_eq!(client.rest(), b"");
}
