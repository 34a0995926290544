//! Answers of endpoints that are no HTTP, or that break off.

use std::time::Duration;

use crate::harness::{ALL, Client, Origin, Proxy, pass, upstream};

fn through(origin: &Origin) -> Proxy {
    Proxy::start(&format!(
        "{ALL}retry = \"off\"\n{}[upstream.origin.outlier]\nconsecutive_failures = 0\nerror_ratio = 0\n",
        upstream(&[origin])
    ))
}

#[test]
fn an_answer_with_invalid_framing_is_502_with_its_reason() {
    const ANSWERS: &[(&str, &str)] = &[
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "bad_response.framing"),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "bad_response.framing",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad_response.framing"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "bad_response.framing"),
        ("HTTP/1.1 20 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\nX: a\x01\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "bad_response.head"),
        ("SSH-2.0-OpenSSH\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "bad_response.unexpected_upgrade"),
    ];
    let origin = Origin::answering(|request| {
        let number: usize = request.target()[1..].parse().expect("a number");
        ANSWERS[number].0.as_bytes().to_vec()
    });
    let proxy = through(&origin);
    for (number, (bytes, reason)) in ANSWERS.iter().enumerate() {
        let answer = proxy.get(&format!("/{number}"));
        assert_eq!((answer.status, answer.reason()), (502, *reason), "{bytes:?}");
    }
}

#[test]
fn an_endless_head_is_502() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\n")?;
        for _ in 0..100 {
            conversation.send(format!("X: {}\r\n", "a".repeat(1000)))?;
        }
        conversation.wait_for_end()
    });
    let answer = through(&origin).get("/");
    assert_eq!((answer.status, answer.reason()), (502, "bad_response.header_too_large"));
}

#[test]
fn endless_interim_answers_are_502() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        for _ in 0..1000 {
            conversation.send("HTTP/1.1 103 Early Hints\r\n\r\n")?;
        }
        conversation.wait_for_end()
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = (0..=300).map(|_| client.response()).find(|answer| answer.status != 103).expect("an end");
    assert_eq!((last.status, last.reason()), (502, "bad_response.too_many_interim"));
}

/// A client of an answer that comes up to `half`, and a moment later ends with `end`.
fn broken_off(half: &'static str, end: &'static str) -> (Origin, Proxy, Client, String) {
    let (seen, was_seen) = std::sync::mpsc::sync_channel(1);
    let was_seen = std::sync::Mutex::new(was_seen);
    let origin = Origin::scripted(move |conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\n")?;
        conversation.send(half)?;
        // The client has seen the beginning; what if it has not is another test.
        let seen = was_seen.lock().expect("one conversation").recv_timeout(Duration::from_secs(10));
        seen.expect("the client sees the head");
        conversation.send(end)
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head();
    seen.send(()).expect("the origin waits");
    (origin, proxy, client, head)
}

#[test]
fn half_a_body_by_length_never_becomes_a_complete_answer() {
    let (_origin, _proxy, mut client, head) = broken_off("Content-Length: 10\r\n\r\nhalf", "");
    assert!(head.to_lowercase().contains("content-length: 10"));
    assert_eq!(client.rest(), b"half", "the length told more than came");
}

#[test]
fn an_answer_whose_first_bytes_are_broken_is_502() {
    // Head and fault come in one piece, so nothing has gone to the client when the fault is seen.
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n")
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status, answer.reason()), (502, "bad_response.chunk"));
    let status =
        "tidegate; error=http_response_transfer_coding; details=\"bad_response.chunk\"; received-status=200";
    assert_eq!(answer.field("proxy-status"), Some(status));
    assert_eq!(client.rest(), b"");
}

#[test]
fn what_an_endpoint_says_in_proxy_status_passes_as_it_is() {
    let origin = Origin::saying(
        b"HTTP/1.1 503 Busy\r\nProxy-Status: inner; error=connection_refused\r\nContent-Length: 0\r\n\r\n",
    );
    let answer = through(&origin).get("/");
    assert_eq!(answer.field("proxy-status"), Some("inner; error=connection_refused"));
}

#[test]
fn half_a_body_by_chunks_never_becomes_a_complete_answer() {
    let (_origin, _proxy, mut client, _head) =
        broken_off("Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "5\r\nan");
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(!rest.contains("0\r\n\r\n"), "the last chunk was invented: {rest}");
}

#[test]
fn a_bad_chunk_of_an_answer_never_becomes_a_complete_answer() {
    let (_origin, _proxy, mut client, _head) =
        broken_off("Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "zz\r\n0\r\n\r\n");
    let rest = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(!rest.contains("0\r\n\r\n"), "the last chunk was invented: {rest}");
}

#[test]
fn an_http_1_0_client_sees_a_reset_when_an_answer_breaks_off() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")?;
        pass(Duration::from_millis(100));
        Ok(())
    });
    let proxy = through(&origin);
    let mut stream = std::net::TcpStream::connect(proxy.web).expect("it accepts");
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n").expect("it reads");
    // Until close is the only framing that such a client has: a clean end would be a lie.
    let ended = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    assert_eq!(ended.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
}
