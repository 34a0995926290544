//! Old and odd clients, and unix sockets: what is rare but legal.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::harness::{ALL, Origin, PATIENCE, Proxy, Request, curl, ok, pass, upstream, wait_until};

fn through(origin: &Origin) -> Proxy {
    // One worker, so that the second request finds the connection of the first.
    Proxy::start(&format!("{ALL}{}[server]\nworkers = 1\n", upstream(&[origin])))
}

/// Says what it was asked.
fn echo() -> Origin {
    Origin::answering(|request| {
        let body = String::from_utf8_lossy(&request.body()).into_owned();
        ok(format!("{} {} {body}", request.method(), request.target()))
    })
}

#[test]
fn http_1_0_needs_no_host_and_its_body_needs_a_length() {
    let origin = echo();
    let proxy = through(&origin);
    let answer = |bytes: &str| String::from_utf8_lossy(&proxy.exchange(bytes)).into_owned();
    assert!(answer("GET /old HTTP/1.0\r\n\r\n").ends_with("GET /old "));
    assert!(answer("POST /old HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi").ends_with("POST /old hi"));
    let chunked = "POST /old HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    assert!(answer(chunked).starts_with("HTTP/1.1 400 "));
    assert_eq!(origin.requests().len(), 2);
    let endpoint = origin.address.to_string();
    assert_eq!(origin.requests()[0].field("host"), Some(endpoint.as_str()), "the endpoint needs a Host");
}

#[test]
fn http_1_0_keeps_its_connection_when_it_asks_and_the_length_is_known() {
    let origin = Origin::answering(|request| match request.target() {
        "/chunks" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_vec(),
        _ => ok("ok"),
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!(client.response().text(), "ok");
    }
    client.send("GET /chunks HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
    let last = client.response();
    assert_eq!((last.text().as_str(), last.field("content-length")), ("ok", None), "the end is the close");
}

#[test]
fn a_refused_request_in_a_pipeline_ends_it_after_the_earlier_answers() {
    let origin = echo();
    let proxy = through(&origin);
    let post = |number| format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nb{number}");
    let chunked = "PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let bad = "GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n";
    let mut client = proxy.client();
    client.send(post(1) + chunked + &post(2) + bad + &post(3));
    assert_eq!(client.response().text(), "POST /1 b1");
    assert_eq!(client.response().text(), "PUT /c x");
    assert_eq!(client.response().text(), "POST /2 b2");
    let refused = client.response();
    assert_eq!((refused.status, refused.reason()), (400, "bad_request.host"));
    assert_eq!(client.rest(), b"", "nothing follows a refusal");
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn a_hundred_pipelined_requests_are_answered_in_order() {
    let origin = echo();
    let proxy = through(&origin);
    let mut client = proxy.client();
    let request = |number| format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    client.send((0..100).map(request).collect::<String>());
    for number in 0..100 {
        assert_eq!(client.response().text(), format!("POST /{number} body"));
    }
}

#[test]
fn a_client_that_waits_for_100_is_served_whatever_the_endpoint_says() {
    let origin = Origin::scripted(|conversation| {
        let Some(request) = conversation.request_head()? else { return Ok(()) };
        match request.target() {
            "/silent" => {
                let body = conversation.bytes(5)?;
                conversation.send(ok(body))
            }
            _ => conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly"),
        }
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    let head = |target| {
        format!("PUT {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    };
    client.send(head("/silent"));
    origin.wait_for_requests(1);
    // It waits a while and then sends its body all the same, as RFC 9110 §10.1.1 wants.
    pass(Duration::from_millis(50));
    client.send("hello");
    assert_eq!(client.response().text(), "hello");
    client.send(head("/at-once"));
    assert_eq!(client.response().text(), "early");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n");
    assert_eq!(client.response().status, 417);
}

#[test]
fn head_gets_the_length_and_no_body_and_both_connections_live_on() {
    let origin = Origin::answering(|request| match request.method() {
        "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_vec(),
        _ => ok("body"),
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to_head().field("content-length"), Some("1234"));
        assert_eq!(client.get("/").text(), "body");
    }
    client.send("HEAD /none HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.response_to_head().status, 200, "HEAD with a body");
    assert_eq!(client.get("/").text(), "body");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn head_is_refused_without_a_body_too() {
    let proxy = Proxy::start("[[route]]\npath = \"/here\"\nrespond = { body = \"here\" }\n");
    let mut client = proxy.client();
    client.send("HEAD /elsewhere HTTP/1.1\r\nHost: a\r\n\r\n");
    let refused = client.response_to_head();
    assert_eq!((refused.status, refused.reason()), (404, "no_route"));
    assert_eq!(client.get("/here").text(), "here", "the connection is in step");
}

#[test]
fn asterisk_and_absolute_form_mean_what_rfc_9112_says() {
    let origin = echo();
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "OPTIONS * ");
    client.send("GET http://real.test:8080/x/../y?q HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(client.response().text(), "GET /y?q ");
    client.send("GET http://real.test HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(client.response().text(), "GET / ");
    client.send("OPTIONS http://real.test HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(client.response().text(), "OPTIONS * ", "RFC 9112 §3.2.4");
    let hosts: Vec<_> =
        origin.requests().iter().filter_map(|request| request.field("host").map(str::to_owned)).collect();
    assert_eq!(hosts, ["a", "real.test:8080", "real.test", "real.test"]);
    client.send("GET * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().status, 400);
}

/// Sends the request and the end of it in one segment, and reads all that comes.
fn ask_and_end(proxy: &Proxy, request: &str) -> String {
    let mut stream = TcpStream::connect(proxy.web).expect("the proxy accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a duration above zero");
    socket2::SockRef::from(&stream).set_tcp_cork(true).expect("the socket is open");
    stream.write_all(request.as_bytes()).expect("the proxy reads");
    stream.shutdown(Shutdown::Write).expect("the socket is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer ends");
    answer
}

#[test]
fn a_client_that_ends_its_side_with_its_request_gets_its_answer_however_slow() {
    let origin = Origin::answering(|request| {
        pass(Duration::from_millis(1500));
        ok(request.body())
    });
    let proxy = through(&origin);
    let answer = ask_and_end(&proxy, "GET / HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    let answer = ask_and_end(&proxy, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhi"), "{answer:?}");
}

#[test]
fn a_slow_answer_reaches_a_half_closed_client_to_its_end() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nslo")?;
        pass(Duration::from_millis(1500));
        conversation.send("wly")
    });
    let answer = ask_and_end(&through(&origin), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(answer.ends_with("\r\n\r\nslowly"), "{answer:?}");
}

#[test]
fn pipelined_requests_of_a_half_closed_client_are_all_answered() {
    let origin = echo();
    let request = |number| format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = ask_and_end(&through(&origin), &(0..5).map(request).collect::<String>());
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 5, "{answer}");
    assert!(answer.ends_with("GET /4 "), "{answer}");
}

#[test]
fn a_client_that_ends_its_side_while_it_waits_is_given_up_soon() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.wait_for_end()
    });
    let proxy = through(&origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    pass(Duration::from_millis(50));
    client.end_sending();
    origin.wait_for_ends();
    assert!(proxy.access_line(0).contains("\"reason\":\"client_closed\""), "{}", proxy.access_line(0));
}

#[test]
fn a_chunked_upload_may_have_extensions_and_trailers_and_come_in_pieces() {
    let origin = echo();
    let proxy = through(&origin);
    let mut client = proxy.client();
    let upload = "POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                  4;name=value;q=\"a;b\"\r\nfour\r\n1 ; x\r\n!\r\n00000\r\nX-Sum: 5\r\nContent-Length: 9\r\n\r\n";
    for piece in upload.as_bytes().chunks(11) {
        client.send(piece);
    }
    assert_eq!(client.response().text(), "POST / four!");
    let raw = String::from_utf8_lossy(&origin.request().raw_body).into_owned();
    assert!(raw.ends_with("0\r\nX-Sum: 5\r\n\r\n") && !raw.contains("name"), "{raw}");
    assert_eq!(client.get("/").text(), "GET / ", "the connection lives on");
}

/// Two proxies, one behind the other, joined by a unix socket: `outer` has the listener `web`.
fn joined(origin: &Origin, protocol: &str) -> (Proxy, Proxy) {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("inner.sock");
    let inner = Proxy::start_in(
        directory,
        &format!("{ALL}{}[listener.local]\nbind = \"unix:{}\"\n", upstream(&[origin]), path.display()),
    );
    wait_until("the socket accepts", || UnixStream::connect(&path).is_ok());
    let outer = Proxy::start(&format!(
        "{ALL}[upstream.origin]\nendpoints = [\"unix:{}\"]\nprotocol = \"{protocol}\"\nhealth = {{ path = \"/\" }}\n",
        path.display()
    ));
    (outer, inner)
}

#[test]
fn a_unix_socket_carries_h1_and_h2_to_an_endpoint() {
    for protocol in ["h1", "h2"] {
        let origin = echo();
        let (outer, inner) = joined(&origin, protocol);
        let mut client = outer.client();
        for number in 0..5 {
            client.send(format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
            assert_eq!(client.response().text(), format!("POST /{number} hi"), "{protocol}");
        }
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to_head().field("content-length"), Some("7"), "{protocol}");
        wait_until("the check passes", || outer.states("origin") == ["healthy"]);
        let version = if protocol == "h2" { "HTTP/2" } else { "HTTP/1.1" };
        assert!(inner.access_line(0).contains(version), "{}", inner.access_line(0));
    }
}

#[test]
fn a_unix_socket_listener_speaks_h1_and_h2_and_trailers_pass_both_ways() {
    let origin = Origin::answering(|request: &Request| {
        let sum = String::from_utf8_lossy(&request.raw_body).contains("X-Check: 9");
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: {sum}\r\n\r\n")
            .into_bytes()
    });
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("web.sock");
    let socket = path.display().to_string();
    let _proxy = Proxy::start_in(
        directory,
        &format!("{ALL}{}[listener.local]\nbind = \"unix:{socket}\"\n", upstream(&[&origin])),
    );
    for (how, version) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        let got = curl(&["--unix-socket", &socket, how, "http://any.test/"]).expect("curl gets an answer");
        assert_eq!((got.status, got.version.as_str(), got.body.as_str()), (200, version, "ok"));
    }
    let mut stream = UnixStream::connect(&path).expect("it listens");
    stream
        .write_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close, TE\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n\
              0\r\nX-Check: 9\r\n\r\n",
        )
        .expect("it reads");
    stream.shutdown(Shutdown::Write).expect("the socket is open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer ends");
    assert!(answer.ends_with("0\r\nX-Sum: true\r\n\r\n"), "{answer}");
}
