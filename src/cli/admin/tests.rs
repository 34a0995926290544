//! The admin listener as the command line asks it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::*;
use crate::demo;
use crate::terminal::Paint;

/// Answers one request and returns the first line of it.
fn answering(status: &str, body: &str) -> (Address, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned()
    });
    (address, server)
}

fn running(config: &str) -> (Running, demo::Copy) {
    let copy = demo::Copy::of(&format!(
        "{config}\n[[route]]\nrespond = {{}}\n[listener.web]\nbind = \"127.0.0.1:1\"\n"
    ));
    let copy = copy.unwrap();
    (Running { config: Some(copy.path()), admin: None }, copy)
}

fn words(failure: Failure) -> String {
    failure.text(Paint::Plain)
}

#[test]
fn a_reload_is_asked_for_and_its_generation_told() {
    let (address, server) = answering("200 OK", "{\"generation\":4}");
    assert_eq!(reload(&address).unwrap(), "reloaded, generation 4");
    assert_eq!(server.join().unwrap(), "POST /reload HTTP/1.1");
}

#[test]
fn a_refused_reload_shows_the_report_of_the_proxy() {
    let (address, _server) = answering("400 Bad Request", "proxy.toml:3:1: unknown key\n  |\u{1b}[2J\n");
    let text = words(reload(&address).unwrap_err());
    assert_eq!(
        text,
        "proxy.toml:3:1: unknown key\n  |[2J\nerror: the reload was refused, the old configuration stays in use"
    );
}

#[test]
fn the_status_is_what_the_proxy_answers() {
    let (address, server) = answering("200 OK", "{\"upstreams\":[]}");
    assert_eq!(status(&address).unwrap()["upstreams"], Value::Array(Vec::new()));
    assert_eq!(server.join().unwrap(), "GET /status HTTP/1.1");
}

#[test]
fn an_answer_of_another_server_is_told_apart() {
    let (address, _server) = answering("200 OK", "hello");
    assert!(words(status(&address).unwrap_err()).contains("answers 200: hello\nhint: is this the admin"));
    let (address, _server) = answering("404 Not Found", "no\nway");
    assert!(words(reload(&address).unwrap_err()).contains("answers 404: no\nhint"));
}

#[test]
fn a_proxy_that_does_not_run_is_asked_about() {
    let address = Address::Tcp(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let text = words(status(&address).unwrap_err());
    assert!(text.contains("cannot connect to 127.0.0.1:") && text.contains("is tidegate running"), "{text}");
}

#[test]
fn the_address_comes_from_the_configuration() {
    let (given, _copy) = running("[admin]\nbind = \"unix:/run/tidegate/admin.sock\"");
    assert_eq!(address(given).unwrap().to_string(), "unix:/run/tidegate/admin.sock");
    let (given, _copy) = running("");
    let text = words(address(given).unwrap_err());
    assert!(text.contains("is off") && text.contains("kill -HUP"), "{text}");
}

#[test]
fn the_address_is_found_though_the_file_has_mistakes_elsewhere() {
    let (given, _copy) = running("[admin]\nbind = \"127.0.0.1:9901\"\n[upstream.users]\nendpoint = []");
    assert_eq!(address(given).unwrap().to_string(), "127.0.0.1:9901");
    let (given, _copy) = running("[admin]\nbind = \"9901\"");
    let text = words(address(given).unwrap_err());
    assert!(text.contains("`9901` has no address") && text.contains("--admin ADDRESS"), "{text}");
}

#[test]
fn the_address_of_the_option_needs_no_configuration() {
    let option = |admin: &str| address(Running { config: None, admin: Some(admin.to_owned()) });
    assert_eq!(option("127.0.0.1:9901").unwrap(), Address::Tcp(([127, 0, 0, 1], 9901).into()));
    assert!(words(option("9901").unwrap_err()).contains("ip:port"));
}
