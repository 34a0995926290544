//! Which steps of the check are counted as failed.

use std::net::TcpListener;

use super::*;
use crate::demo::{Ports, services};

fn running() -> Services {
    services(Ports { hello: 0, users: 0, auth: 0 }).unwrap()
}

/// A service in the place of the proxy: good enough for what needs no rules.
fn tour(service: &Service) -> Tour {
    Tour { http: Some(service.address), ..Tour::default() }
}

#[tokio::test]
async fn an_answer_of_an_instance_is_a_greeting() {
    let services = running();
    let tour = tour(services.find("hello").unwrap());
    let outcome = greeting(tour.http("/"), "http").await.unwrap();
    assert!(outcome.starts_with("hello-1 answered"), "{outcome}");
    assert!(greeting(tour.https(Wire::H2Tls, "/"), "TLS").await.unwrap_err().contains("no TLS listener"));
}

#[tokio::test]
async fn the_first_event_is_waited_for_and_not_the_last() {
    let services = running();
    assert!(events(&tour(services.find("auth").unwrap())).await.is_ok());
}

#[tokio::test]
async fn one_instance_for_all_requests_is_no_balance() {
    let services = running();
    let outcome = balance(&tour(services.find("hello").unwrap()), &services).await;
    assert_eq!(outcome.unwrap_err(), "60 requests reached only hello-1");
}

#[tokio::test]
async fn a_path_that_leads_to_another_service_is_noticed() {
    let services = running();
    let outcome = routes(&tour(services.find("users").unwrap())).await;
    assert!(outcome.unwrap_err().starts_with("/hello/echo was answered by"));
}

#[tokio::test]
async fn a_request_that_fails_after_a_stop_is_noticed() {
    let services = running();
    let users = services.find("users").unwrap();
    let tour = tour(users);
    assert!(stopped(&tour, users).await.is_ok());
    users.stop();
    let wait = async { while ask(&clear(&tour, "/").unwrap()).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(5), wait).await.expect("it stops");
    assert!(stopped(&tour, users).await.unwrap_err().starts_with("request 1 after the stop: no connection"));
}

#[tokio::test]
async fn a_proxy_that_does_not_start_ends_the_list() {
    let services = running();
    let (ready, started) = oneshot::channel();
    drop(ready);
    let mut list = List::new(Paint::Plain);
    steps(&mut list, started, &Tour::default(), &services, Path::new("proxy.toml")).await;
    assert_eq!(list.verdict(), Verdict::Failed);
}

#[tokio::test]
async fn a_closed_port_fails_an_edit_at_once() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let tour = Tour { http: Some(closed), ..Tour::default() };
    let outcome = live_edit(&tour, Path::new("/nonexistent")).await;
    assert!(outcome.unwrap_err().starts_with("no connection"));
}

#[test]
fn one_cross_decides() {
    let mut list = List::new(Paint::Plain);
    list.add("a", Ok("worked".to_owned()));
    assert_eq!(list.verdict(), Verdict::Passed);
    list.add("b", Err("did not".to_owned()));
    list.add("c", Ok("worked".to_owned()));
    assert_eq!(list.verdict(), Verdict::Failed);
}
