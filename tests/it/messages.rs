//! Messages that pass: connections, lengths, interim answers and trailers.

use std::time::Duration;

use crate::harness::{ALL, Origin, Proxy, ok, upstream, wait_until};

fn through(origin: &Origin) -> Proxy {
    // One worker, so that the second request finds the connection of the first.
    Proxy::start(&format!("{ALL}{}[server]\nworkers = 1\n", upstream(&[origin])))
}

#[test]
fn connections_are_kept_on_both_sides() {
    let origin = Origin::named("ok");
    let proxy = through(&origin);
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!((origin.requests().len(), origin.connections()), (5, 1));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::answering(|request| ok(request.target()));
    let proxy = through(&origin);
    let mut client = proxy.client();
    let request = |number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = "POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    client.send((0..5).map(request).collect::<String>() + post + &request(6));
    let answers: Vec<_> = (0..7).map(|_| client.response().text()).collect();
    assert_eq!(answers, ["/0", "/1", "/2", "/3", "/4", "/post", "/6"]);
}

#[test]
fn a_client_that_says_close_is_closed_after_its_answer() {
    let origin = Origin::named("ok");
    let proxy = through(&origin);
    let raw = proxy.exchange("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let raw = String::from_utf8_lossy(&raw).to_lowercase();
    assert!(raw.contains("connection: close") && raw.ends_with("\r\n\r\nok"), "{raw}");
}

#[test]
fn http_1_0_is_served_without_chunks_and_closed_unless_it_asks() {
    let origin = Origin::saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let proxy = through(&origin);
    let raw = String::from_utf8(proxy.exchange("GET / HTTP/1.0\r\n\r\n")).expect("text");
    assert!(!raw.to_lowercase().contains("transfer-encoding"), "{raw}");
    assert!(raw.ends_with("\r\n\r\nok"), "{raw}");

    let counted = Origin::named("ok");
    let proxy = through(&counted);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.response();
        assert_eq!(answer.field("connection").map(str::to_lowercase).as_deref(), Some("keep-alive"));
    }
}

#[test]
fn answers_without_a_body_have_none_and_keep_the_connection() {
    let origin = Origin::answering(|request| match request.target() {
        "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec(),
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n".to_vec(),
        _ => ok(""),
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("HEAD /head HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.response_to_head();
    assert_eq!((answer.status, answer.field("content-length")), (200, Some("1000")));
    client.send("GET /204 HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.response_to_head();
    assert_eq!((answer.status, answer.field("content-length")), (204, None));
    assert_eq!(answer.field("transfer-encoding"), None);
    client.send("GET /304 HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.response_to_head();
    assert_eq!((answer.status, answer.field("etag")), (304, Some("\"x\"")));
    assert_eq!(client.get("/empty").text(), "");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_body_passes_by_length_and_by_chunks_and_keeps_its_framing() {
    let origin = Origin::answering(|request| {
        let body = request.body();
        match request.target() {
            "/length" => ok(body),
            _ => [
                format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len())
                    .as_bytes(),
                &body,
                b"\r\n0\r\n\r\n",
            ]
            .concat(),
        }
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    let answer = client.response();
    assert_eq!((answer.field("content-length"), answer.text().as_str()), (Some("5"), "hello"));
    client.send("POST /chunks HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=1\r\nhe\r\n003\r\nllo\r\n0\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.field("transfer-encoding"), answer.text().as_str()), (Some("chunked"), "hello"));
    let requests = origin.requests();
    assert_eq!(requests[0].field("content-length"), Some("5"));
    assert_eq!(requests[1].field("transfer-encoding"), Some("chunked"));
    let raw = String::from_utf8_lossy(&requests[1].raw_body);
    assert!(!raw.contains("ext"), "chunk extensions end at the proxy: {raw}");
}

#[test]
fn trailers_pass_both_ways_but_not_those_that_frame_or_route() {
    let origin = Origin::saying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\n\
          X-Sum: 7\r\nX-Late: 1\r\nContent-Length: 5\r\n\r\n",
    );
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-Check: 9\r\nHost: evil\r\nTransfer-Encoding: x\r\n\r\n",
    );
    let answer = client.response();
    let answered = String::from_utf8_lossy(&answer.raw_body).into_owned();
    assert!(answered.ends_with("0\r\nX-Sum: 7\r\nX-Late: 1\r\n\r\n"), "{answered}");
    let request = origin.request();
    let sent = String::from_utf8_lossy(&request.raw_body).into_owned();
    assert!(sent.ends_with("0\r\nX-Check: 9\r\n\r\n"), "{sent}");
}

#[test]
fn a_client_that_expects_100_gets_it_from_the_endpoint_before_it_sends() {
    let origin = Origin::scripted(|conversation| {
        conversation.request_head()?;
        conversation.send("HTTP/1.1 100 Continue\r\n\r\n")?;
        let body = conversation.bytes(5)?;
        conversation.send(ok(body))
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.response().status, 100);
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn an_endpoint_may_refuse_instead_of_saying_100() {
    let origin = Origin::scripted(|conversation| {
        conversation.request_head()?;
        conversation.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")?;
        conversation.wait_for_end()
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(client.response().status, 401);
}

#[test]
fn a_client_that_does_not_expect_100_never_sees_it() {
    let origin =
        Origin::saying(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let proxy = through(&origin);
    assert_eq!(proxy.client().get("/").status, 200);
}

#[test]
fn early_hints_pass_before_the_answer_but_not_to_http_1_0() {
    let origin = Origin::saying(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = through(&origin);
    let mut client = proxy.client();
    let hints = client.get("/");
    assert_eq!((hints.status, hints.field("link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!(client.response().text(), "ok");
    let old = String::from_utf8_lossy(&proxy.exchange("GET / HTTP/1.0\r\n\r\n")).into_owned();
    assert!(!old.contains("103") && old.ends_with("ok"), "{old}");
}

#[test]
fn an_endpoint_that_dies_after_early_hints_is_502() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n")
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 103);
    assert_eq!(client.response().status, 502);
}

#[test]
fn an_endpoint_that_answers_early_ends_the_upload_politely() {
    let origin = Origin::scripted(|conversation| {
        conversation.request_head()?;
        conversation
            .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")?;
        conversation.wait_for_end()
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    client.send(vec![b'x'; 20_000]);
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
}

#[test]
fn the_first_bytes_of_an_answer_do_not_wait_for_the_rest() {
    let (go, gone) = std::sync::mpsc::sync_channel::<()>(1);
    let gone = std::sync::Mutex::new(gone);
    let origin = Origin::scripted(move |conversation| {
        conversation.request()?;
        conversation.send(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
        )?;
        conversation.send("6\r\ndata: \r\n")?;
        let _sender_waits = gone.lock().expect("one connection").recv_timeout(Duration::from_secs(5));
        conversation.send("0\r\n\r\n")
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.head().contains("200"));
    assert_eq!(client.bytes(11), b"6\r\ndata: \r\n");
    go.send(()).expect("the endpoint waits");
    assert_eq!(client.bytes(5), b"0\r\n\r\n");
}

#[test]
fn the_first_bytes_of_an_upload_do_not_wait_for_the_rest() {
    let origin = Origin::scripted(|conversation| {
        conversation.request_head()?;
        let first = conversation.bytes(3)?;
        conversation.send([b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", &first[..]].concat())?;
        let second = conversation.bytes(3)?;
        conversation.send(second)
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\none");
    assert!(client.head().contains("200"));
    assert_eq!(client.bytes(3), b"one");
    client.send("two");
    assert_eq!(client.bytes(3), b"two");
}

#[test]
fn options_asterisk_reaches_the_endpoint_as_it_is() {
    let origin = Origin::named("ok");
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.request().target(), "*");
}

#[test]
fn an_endpoint_that_says_close_but_stays_open_holds_nobody_up() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")?;
        conversation.wait_for_end()
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(origin.connections(), 2);
    origin.wait_for_ends();
}

#[test]
fn bytes_after_an_answer_are_dropped_with_their_connection() {
    let origin = Origin::saying(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    );
    let proxy = through(&origin);
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(origin.connections(), 2, "a connection with extra bytes was used again");
    wait_until("both connections are closed", || {
        origin.wait_for_ends();
        true
    });
}
