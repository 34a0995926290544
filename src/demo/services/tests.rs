//! The services of the demo.

use std::time::Instant;

use hyper::Method;

use super::*;
use crate::demo::fetch::{Call, FetchError, Reply};

const FREE: Ports = Ports { hello: 0, users: 0, auth: 0 };

fn call(service: &Service, path: &str) -> Call {
    Call::get(service.address, path)
}

async fn get(service: &Service, path: &str) -> Reply {
    call(service, path).send().await.unwrap()
}

async fn post(service: &Service, path: &str) -> u16 {
    Call { method: Method::POST, ..call(service, path) }.send().await.unwrap().status
}

#[tokio::test]
async fn each_service_says_who_it_is() {
    let services = services(FREE).unwrap();
    for service in services.all() {
        let answer = get(service, "/some/where?x=1").await.json();
        assert_eq!(answer["service"], service.name);
        assert_eq!(answer["instance"], format!("{}-1", service.name));
        assert_eq!(answer["path"], "/some/where?x=1");
        assert!(answer["request_id"].is_null());
    }
    assert_eq!(services.all().len(), 3);
}

#[tokio::test]
async fn an_echo_shows_the_request() {
    let services = services(FREE).unwrap();
    let echo = get(services.find("hello").unwrap(), "/echo").await.json();
    assert_eq!(echo["method"], "GET");
    assert_eq!(echo["body"], "");
    assert!(echo["headers"]["user-agent"].as_str().unwrap().starts_with("tidegate/"), "{echo}");
}

#[tokio::test]
async fn a_service_that_was_told_to_fail_is_not_healthy_until_it_recovers() {
    let services = services(FREE).unwrap();
    let users = services.find("users").unwrap();
    for (path, status) in [("/fail", 503), ("/recover", 200)] {
        assert_eq!(post(users, path).await, 200);
        assert_eq!(get(users, "/healthz").await.status, status, "after {path}");
        assert_eq!(get(services.find("auth").unwrap(), "/healthz").await.status, 200);
    }
    assert_eq!(get(users, "/fail").await.status, 405);
}

#[tokio::test]
async fn the_first_event_comes_at_once() {
    let services = services(FREE).unwrap();
    let reply = Call { enough: 1, ..call(services.find("auth").unwrap(), "/events") }.send().await.unwrap();
    assert_eq!(reply.headers["content-type"], "text/event-stream");
    assert_eq!(reply.text(), "id: 1\ndata: event 1 of 10 from auth-1\n\n");
}

#[tokio::test]
async fn a_large_answer_has_as_many_bytes_as_asked_for() {
    let services = services(FREE).unwrap();
    for bytes in [0, 1, 16 << 10, 40_000] {
        let reply = get(services.find("hello").unwrap(), &format!("/big?bytes={bytes}")).await;
        assert_eq!(reply.headers["content-length"], bytes.to_string());
        assert_eq!(reply.body.len(), bytes);
    }
}

#[tokio::test]
async fn a_slow_answer_takes_its_time() {
    let services = services(FREE).unwrap();
    let begin = Instant::now();
    assert_eq!(get(services.find("hello").unwrap(), "/slow?ms=30").await.status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(30));
}

#[tokio::test]
async fn one_service_stops_alone_and_cuts_what_runs() {
    let services = services(FREE).unwrap();
    let users = services.find("users").unwrap();
    let running = call(users, "/slow?ms=60000");
    let cut = async { running.send().await };
    let stop = async {
        // An answer shows that the service has accepted what came before.
        get(users, "/").await;
        users.stop();
    };
    let (cut, ()) = tokio::join!(cut, stop);
    assert!(matches!(cut, Err(FetchError::H1(_))), "{cut:?}");
    assert!(matches!(call(users, "/").send().await, Err(FetchError::Connect { .. })));
    assert_eq!(get(services.find("hello").unwrap(), "/").await.status, 200);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = services(Ports { users: port, ..FREE }).unwrap_err();
    assert_eq!((error.port, error.name), (port, "users"));
    assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
}
