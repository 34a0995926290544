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
        ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "bad_response.framing"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", "bad_response.framing"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", "bad_response.framing"),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok", "bad_response.framing"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\nok", "bad_response.framing"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "bad_response.framing"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", "bad_response.framing"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok", "bad_response.framing"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\nok", "bad_response.framing"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad_response.framing"),
        ("HTTP/1.1 204 X\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "bad_response.framing"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", "bad_response.framing"),
        ("HTTP/1.1 20 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 2000 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1  200 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 +20 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 2x0 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 099 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 600 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 O\x01K\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 O\rK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1\r\n\r\n", "bad_response.head"),
        ("http/1.1 200 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.2 200 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/2 200 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/2.0 200 OK\r\n\r\n", "bad_response.head"),
        (" HTTP/1.1 200 OK\r\n\r\n", "bad_response.head"),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", "bad_response.head"),
        ("\nHTTP/1.1 200 OK\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\nX: a\r\n\tfolded\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\n X: a\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\n: a\r\n\r\n", "bad_response.head"),
        ("HTTP/1.1 200 OK\r\nX(): a\r\n\r\n", "bad_response.head"),
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

/// Bodies after `Transfer-Encoding: chunked` that are 502 when nothing has gone to the client.
const BAD_CHUNKS: &[&str] = &[
    "zz\r\n",
    "0x2\r\nok\r\n0\r\n\r\n",
    "+2\r\nok\r\n0\r\n\r\n",
    "2 \r\nok\r\n0\r\n\r\n",
    "\r\nok\r\n0\r\n\r\n",
    "2\nok\r\n0\r\n\r\n",
    "2;a\rb\r\nok\r\n0\r\n\r\n",
    "2;\x01\r\nok\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nok",
    "0\r\nX : y\r\n\r\n",
    "0\r\nno colon\r\n\r\n",
    "0\r\nX: \0\r\n\r\n",
    "0\n\r\n",
];

#[test]
fn an_answer_with_an_invalid_chunk_is_502_with_its_reason() {
    let origin = Origin::answering(|request| {
        let number: usize = request.target()[1..].parse().expect("a number");
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", BAD_CHUNKS[number]).into_bytes()
    });
    let proxy = through(&origin);
    for (number, bytes) in BAD_CHUNKS.iter().enumerate() {
        let answer = proxy.get(&format!("/{number}"));
        assert_eq!((answer.status, answer.reason()), (502, "bad_response.chunk"), "{bytes:?}");
    }
}

#[test]
fn a_head_at_the_limits_passes_and_one_over_them_is_502() {
    let head = |fields: usize, length: usize| {
        let mut head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n".to_owned();
        head.push_str(&"X: y\r\n".repeat(fields - 2));
        let used = head.len() + "X: \r\n\r\n".len();
        head.push_str(&format!("X: {}\r\n\r\n", "y".repeat(length.saturating_sub(used))));
        head.into_bytes()
    };
    let most = 64 * 1024;
    let origin = Origin::answering(move |request| match request.target() {
        "/fields" => head(256, 0),
        "/fields-over" => head(257, 0),
        "/bytes" => head(3, most),
        _ => head(3, most + 1),
    });
    let proxy = through(&origin);
    for path in ["/fields", "/bytes"] {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(client.head().starts_with("HTTP/1.1 200 "), "{path}");
    }
    for path in ["/fields-over", "/bytes-over"] {
        let answer = proxy.get(path);
        assert_eq!((answer.status, answer.reason()), (502, "bad_response.header_too_large"), "{path}");
    }
}

#[test]
fn an_answer_without_a_body_tells_no_false_length_and_its_connection_is_not_used_again() {
    for (status, tells) in [("204 No Content", false), ("304 Not Modified", true), ("200 OK", true)] {
        let origin = Origin::answering(move |_| {
            format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nEVIL").into_bytes()
        });
        let proxy = Proxy::start(&format!("{ALL}{}[server]\nworkers = 1\n", upstream(&[&origin])));
        let mut client = proxy.client();
        for _ in 0..2 {
            client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
            let answer = client.response_to_head();
            assert_eq!(answer.field("content-length"), tells.then_some("4"), "{status}");
        }
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(!String::from_utf8_lossy(&client.rest()).contains("EVIL"), "{status}");
        assert_eq!(origin.connections(), 3, "{status}: a connection with extra bytes was used again");
    }
}

#[test]
fn an_interim_answer_tells_no_length() {
    let origin = Origin::saying(
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    );
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let hints = client.head();
    assert!(hints.contains("103") && !hints.to_lowercase().contains("content-length"), "{hints}");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_status_line_without_a_phrase_passes() {
    for line in ["HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.1 200 \u{e9}\t!"] {
        let origin =
            Origin::answering(move |_| format!("{line}\r\nContent-Length: 2\r\n\r\nok").into_bytes());
        assert_eq!(through(&origin).get("/").text(), "ok", "{line}");
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
