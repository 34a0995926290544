//! Every wait for a peer ends.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::harness::{ALL, Origin, Proxy, ok, pass, upstream};

/// An endpoint that reads a request and says `first`, then nothing.
fn hanging(first: &'static str) -> Origin {
    Origin::scripted(move |conversation| {
        conversation.request()?;
        conversation.send(first)?;
        conversation.wait_for_end()
    })
}

fn with_timeouts(keys: &str, origin: &Origin) -> Proxy {
    Proxy::start(&format!("{ALL}retry = \"off\"\n[route.timeouts]\n{keys}\n{}", upstream(&[origin])))
}

#[test]
fn an_endpoint_that_does_not_answer_in_time_is_504() {
    let origin = hanging("");
    let proxy = with_timeouts("response = \"300ms\"", &origin);
    let begun = Instant::now();
    let answer = proxy.get("/");
    assert_eq!((answer.status, answer.reason()), (504, "response_timeout"));
    assert!((300..2000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    origin.wait_for_ends();
}

#[test]
fn what_a_client_sent_is_counted_though_no_answer_came() {
    let origin = hanging("");
    let proxy = with_timeouts("response = \"300ms\"", &origin);
    assert_eq!(proxy.post("/", "0123456").status, 504);
    assert!(proxy.access_line(0).contains("\"received_bytes\":7"), "{}", proxy.access_line(0));
}

#[test]
fn half_a_head_is_no_answer_in_time() {
    let answer = with_timeouts("response = \"300ms\"", &hanging("HTTP/1.1 200 OK\r\nX: ")).get("/");
    assert_eq!((answer.status, answer.reason()), (504, "response_timeout"));
}

#[test]
fn an_exchange_that_takes_too_long_as_a_whole_is_504() {
    let answer = with_timeouts("request = \"300ms\"", &hanging("")).get("/");
    assert_eq!((answer.status, answer.reason()), (504, "request_deadline"));
}

#[test]
fn an_answer_that_stops_in_its_middle_is_cut_off() {
    let origin = hanging("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    let proxy = with_timeouts("idle = \"300ms\"", &origin);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    assert_eq!(client.rest(), b"half");
    assert!(proxy.access_line(0).contains("\"reason\":\"idle_timeout\""), "{}", proxy.access_line(0));
}

#[test]
fn the_wait_for_an_answer_is_no_silence_in_its_middle() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        pass(Duration::from_millis(900));
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")?;
        pass(Duration::from_millis(50));
        conversation.send("late")
    });
    let proxy = with_timeouts("idle = \"500ms\"\nresponse = \"5s\"", &origin);
    assert_eq!(proxy.get("/").text(), "late");
}

#[test]
fn a_slow_answer_that_goes_on_is_not_cut_off() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")?;
        for _ in 0..6 {
            pass(Duration::from_millis(100));
            conversation.send("x")?;
        }
        Ok(())
    });
    let proxy = with_timeouts("idle = \"400ms\"\nresponse = \"400ms\"", &origin);
    assert_eq!(proxy.get("/").text(), "xxxxxx");
}

/// A listener that never accepts, its queue filled up.
struct Deaf {
    address: SocketAddr,
    _listener: Socket,
    _queued: Vec<io::Result<TcpStream>>,
}

impl Deaf {
    fn start() -> Deaf {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        listener.listen(0).expect("it is bound");
        let address = listener.local_addr().ok().and_then(|address| address.as_socket()).expect("an address");
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(50));
        let queued: Vec<_> = (0..4).map(connect).collect();
        assert!(queued.iter().any(Result::is_err), "the queue is not full");
        Deaf { address, _listener: listener, _queued: queued }
    }

    fn upstream(&self) -> String {
        format!("[upstream.origin]\nendpoints = [\"{}\"]\n", self.address)
    }
}

#[test]
fn the_time_for_the_whole_exchange_bounds_connecting_as_well() {
    let deaf = Deaf::start();
    let proxy = Proxy::start(&format!(
        "{ALL}timeouts = {{ request = \"200ms\" }}\n{}[upstream.origin.connections]\nconnect_timeout = \"8s\"\n",
        deaf.upstream()
    ));
    for more in ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"] {
        let mut client = proxy.client();
        let begun = Instant::now();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{more}\r\n"));
        let answer = client.response();
        assert_eq!((answer.status, answer.reason()), (504, "request_deadline"), "{more}");
        assert!((200..4000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_connection_that_nobody_accepts_is_502_in_time() {
    let deaf = Deaf::start();
    let proxy = Proxy::start(&format!(
        "{ALL}{}[upstream.origin.connections]\nconnect_timeout = \"200ms\"\n",
        deaf.upstream()
    ));
    let begun = Instant::now();
    let answer = proxy.get("/");
    assert_eq!((answer.status, answer.reason()), (502, "connect_timeout"));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_head_that_comes_too_slowly_is_408_and_closed() {
    let proxy = Proxy::start("[[route]]\nrespond = {}\n[listener.web.limits]\nheader_timeout = \"300ms\"\n");
    let mut client = proxy.client();
    let begun = Instant::now();
    for byte in "GET / HTTP/1.1\r\nX: ".chars() {
        client.send(byte.to_string());
        pass(Duration::from_millis(5));
    }
    let answer = client.response();
    assert_eq!((answer.status, answer.reason()), (408, "request_timeout"));
    assert!(begun.elapsed() < Duration::from_secs(2), "bytes do not prolong it: {:?}", begun.elapsed());
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_connection_without_a_request_is_closed_silently() {
    let proxy = Proxy::start(
        "[[route]]\nrespond = {}\n[listener.web.limits]\nheader_timeout = \"300ms\"\nidle_timeout = \"300ms\"\n",
    );
    assert_eq!(proxy.exchange(""), b"");
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.rest(), b"");
}

/// Longer than a connection waits in the task that serves it.
const REST: Duration = Duration::from_millis(300);

#[test]
fn a_connection_that_has_rested_is_served_on_and_has_no_more_idle_time() {
    let proxy = Proxy::start("[[route]]\nrespond = {}\n[listener.web.limits]\nidle_timeout = \"2s\"\n");
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
        pass(REST);
    }
    let begun = Instant::now();
    assert_eq!(client.get("/").status, 200);
    pass(REST * 4);
    client.send("\r\n"); // may stand before a request once, and is none
    assert_eq!(client.rest(), b"");
    // Not 2 s from those bytes on.
    assert!((1900..2900).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[test]
fn a_head_that_begins_after_a_rest_is_waited_for() {
    let proxy = Proxy::start("[[route]]\nrespond = {}\n[listener.web.limits]\nidle_timeout = \"1s\"\n");
    let mut client = proxy.client();
    assert_eq!(client.get("/").status, 200);
    pass(REST);
    client.send("GET / HTTP/1.1\r\nHost:");
    pass(Duration::from_millis(1200));
    client.send(" a\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn a_body_that_stops_coming_is_408() {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&format!(
        "{ALL}{}[listener.web.limits]\nbody_timeout = \"300ms\"\n",
        upstream(&[&origin])
    ));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    let answer = client.response();
    assert_eq!((answer.status, answer.reason()), (408, "request_timeout"));
    assert_eq!(client.rest(), b"");
    assert_eq!(origin.requests().len(), 0, "half a body became a request");
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let origin = Origin::answering(|_| ok(vec![b'x'; 32 << 20]));
    let proxy = Proxy::start(&format!(
        "{ALL}{}[listener.web.limits]\nwrite_timeout = \"300ms\"\n",
        upstream(&[&origin])
    ));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(proxy.access_line(0).contains("\"reason\":\"client_stalled\""), "{}", proxy.access_line(0));
    assert!(client.rest().len() < 32 << 20);
}
