//! UNIX sockets on both sides.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use crate::harness::{ALL, Proxy, curl, wait_until};

/// Answers each connection once, by its own framing.
fn serve(listener: UnixListener) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = [0; 4096];
            let count = stream.read(&mut head).unwrap_or(0);
            let text = String::from_utf8_lossy(&head[..count]).into_owned();
            let host = text
                .lines()
                .find(|line| line.to_lowercase().starts_with("host: "))
                .unwrap_or("none")
                .to_owned();
            let _peer_may_be_gone = stream.write_all(
                format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{host}",
                    host.len()
                )
                .as_bytes(),
            );
        }
    });
}

#[test]
fn an_endpoint_may_be_a_unix_socket() {
    let directory = tempfile::TempDir::new().expect("a directory");
    serve(UnixListener::bind(directory.path().join("app.sock")).expect("a new name"));
    let endpoint = directory.path().join("app.sock").display().to_string();
    let proxy =
        Proxy::start_in(directory, &format!("{ALL}[upstream.origin]\nendpoints = [\"unix:{endpoint}\"]\n"));
    for _ in 0..3 {
        assert_eq!(proxy.get("/").text(), "host: test");
    }
}

#[test]
fn an_endpoint_whose_socket_is_missing_is_502() {
    let proxy =
        Proxy::start(&format!("{ALL}[upstream.origin]\nendpoints = [\"unix:/nonexistent/app.sock\"]\n"));
    assert_eq!(proxy.get("/").status, 502);
}

#[test]
fn a_listener_may_be_a_unix_socket_and_a_stale_file_is_replaced() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("web.sock");
    drop(UnixListener::bind(&path).expect("a new name"));
    let text = path.display().to_string();
    let proxy = Proxy::start_in(
        directory,
        &format!("[[route]]\nrespond = {{ body = \"ok\" }}\n[listener.local]\nbind = \"unix:{text}\"\n"),
    );
    wait_until("the socket accepts", || UnixStream::connect(&path).is_ok());
    for _ in 0..2 {
        let got = curl(&["--unix-socket", &text, "http://any.test/"]).expect("curl gets an answer");
        assert_eq!((got.status, got.body.as_str()), (200, "ok"));
    }
    assert_eq!(proxy.get("/").text(), "ok");
}
