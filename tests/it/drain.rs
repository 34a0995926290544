//! The end of the process.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{ALL, Origin, Proxy, comes_true, ok, pass, upstream, wait_until};

/// Answers after half a second.
fn slow() -> Origin {
    Origin::answering(|_| {
        pass(Duration::from_millis(500));
        ok("finished")
    })
}

#[test]
fn sigterm_finishes_running_requests_and_exits_with_0() {
    let origin = slow();
    let mut proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut clients: Vec<_> = (0..8).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    origin.wait_for_requests(8);
    proxy.signal(Signal::TERM);
    wait_until("nothing is accepted any more", || TcpStream::connect(proxy.web).is_err());
    for client in &mut clients {
        let answer = client.response();
        assert_eq!(answer.text(), "finished");
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(proxy.wait_for_end().code(), Some(0));
}

#[test]
fn an_idle_process_ends_at_once() {
    let mut proxy = Proxy::start("[[route]]\nrespond = {}\n");
    let mut idle = proxy.client();
    assert_eq!(idle.get("/").status, 200);
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(idle.rest(), b"");
    assert_eq!(proxy.wait_for_end().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn while_draining_it_is_not_ready_but_alive() {
    let proxy =
        Proxy::start("[[route]]\nrespond = { body = \"ok\" }\n[server]\nworkers = 1\ndrain_delay = \"2s\"\n");
    wait_until("it is ready", || proxy.page("/readyz").status == 200);
    proxy.signal(Signal::TERM);
    wait_until("it is not ready", || proxy.page("/readyz").status == 503);
    assert_eq!(proxy.page("/healthz").status, 200);
    let answer = proxy.get("/");
    assert_eq!(answer.text(), "ok", "it accepts during drain_delay");
}

#[test]
fn a_reload_that_is_asked_for_while_draining_is_refused_at_once() {
    let proxy = Proxy::start("[[route]]\nrespond = {}\n[server]\nworkers = 1\ndrain_delay = \"1h\"\n");
    proxy.signal(Signal::TERM);
    wait_until("it drains", || proxy.page("/readyz").status == 503);
    let answer = proxy.reload();
    assert_eq!((answer.status, answer.text().as_str()), (400, "the process is ending"));
}

#[test]
fn what_does_not_end_within_drain_timeout_is_cut() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.wait_for_end()
    });
    let mut proxy = Proxy::start(&format!(
        "{ALL}{}[server]\nworkers = 1\ndrain_timeout = \"500ms\"\n",
        upstream(&[&origin])
    ));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    proxy.wait_for_end();
    assert!((400..4000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[test]
fn a_second_sigterm_ends_it_now() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.wait_for_end()
    });
    let mut proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(1);
    proxy.signal(Signal::TERM);
    wait_until("it drains", || TcpStream::connect(proxy.web).is_err());
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    proxy.wait_for_end();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_request_on_a_kept_connection_is_answered_and_told_to_close_while_draining() {
    let origin = slow();
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut busy = proxy.client();
    let mut kept = proxy.client();
    assert_eq!(kept.get("/").text(), "finished");
    busy.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin.wait_for_requests(2);
    proxy.signal(Signal::TERM);
    assert!(comes_true(Duration::from_secs(2), || TcpStream::connect(proxy.web).is_err()));
    let answer = kept.get("/");
    assert_eq!(answer.text(), "finished");
    assert_eq!(answer.field("connection").map(str::to_lowercase).as_deref(), Some("close"));
    assert_eq!(busy.response().text(), "finished");
}
