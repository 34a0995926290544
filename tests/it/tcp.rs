//! Listeners in tcp mode: connections are passed through, by the server name of TLS or whole.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use crate::harness::{Client, PATIENCE, Proxy, comes_true, curl, free_address, wait_until};
use crate::tls_ports::hello;

/// An endpoint that greets first, as a database does, then returns what it reads until the end.
struct Database {
    address: SocketAddr,
    /// What each connection has sent, when it has ended.
    seen: Receiver<Vec<u8>>,
    _thread: JoinHandle<()>,
}

impl Database {
    fn start(greeting: &'static str) -> Database {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (ended, seen) = sync_channel(64);
        let thread = spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let ended = ended.clone();
                spawn(move || {
                    let _the_client_may_be_gone = stream.write_all(greeting.as_bytes());
                    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
                    while let Ok(count @ 1..) = stream.read(&mut piece) {
                        all.extend_from_slice(&piece[..count]);
                        let _the_client_may_be_gone = stream.write_all(&piece[..count]);
                    }
                    let _the_client_may_be_gone = stream.write_all(b"bye");
                    let _the_test_may_be_over = ended.send(all);
                });
            }
        });
        Database { address, seen, _thread: thread }
    }

    /// What the next connection that has sent anything has sent.
    fn seen(&self) -> Vec<u8> {
        loop {
            let seen = self.seen.recv_timeout(PATIENCE).expect("a connection ends");
            if !seen.is_empty() {
                return seen;
            }
        }
    }
}

/// A proxy whose listener `web` is in tcp mode.
fn start(rest: &str) -> Proxy {
    Proxy::start(&format!("[listener.web]\nmode = \"tcp\"\n\n{rest}"))
}

/// The access line that has all of these parts, as soon as it is written. The harness has looked
/// whether the proxy accepts, which is a connection as well.
#[track_caller]
fn line_with(proxy: &Proxy, parts: &[&str]) {
    let has_all = |line: &String| parts.iter().all(|part| line.contains(part));
    let found = comes_true(PATIENCE, || proxy.access_lines().iter().any(has_all));
    assert!(found, "{parts:?} in one of {:#?}", proxy.access_lines());
}

fn everything(database: &Database, keys: &str) -> String {
    format!(
        "[[route]]\nname = \"db\"\nlisteners = [\"web\"]\nto = \"db\"\n{keys}\n[upstream.db]\nendpoints = [\"{}\"]\n",
        database.address
    )
}

/// A service with TLS of its own that answers with its name.
fn service(name: &str) -> Proxy {
    Proxy::start(&format!(
        "[[route]]\nrespond = {{ body = \"{name}\" }}\n[listener.web.tls]\nself_signed = [\"{name}\"]\n"
    ))
}

fn ask(proxy: &Proxy, name: &str) -> Result<String, String> {
    let port = proxy.web.port();
    let (url, resolve) = (format!("https://{name}:{port}/"), format!("{name}:{port}:127.0.0.1"));
    // Verbose, to see the certificate that comes out at this end.
    curl(&["--insecure", "--resolve", &resolve, &url]).map(|got| got.body)
}

#[test]
fn tls_goes_to_the_endpoint_of_its_server_name_untouched() {
    let (one, two) = (service("one.test"), service("two.example"));
    let proxy = start(&format!(
        "[[route]]\nname = \"one\"\nsni = \"one.test\"\nto = \"one\"\n\
         [[route]]\nname = \"two\"\nsni = \"*.example.com\"\nto = \"two\"\n\
         [upstream.one]\nendpoints = [\"{}\"]\n[upstream.two]\nendpoints = [\"{}\"]\n",
        one.web, two.web
    ));
    assert_eq!(ask(&proxy, "one.test").expect("an answer"), "one.test");
    assert_eq!(ask(&proxy, "a.example.com").expect("an answer"), "two.example");
    assert!(ask(&proxy, "other.test").is_err());
    let endpoint = format!("\"endpoint\":\"{}\"", one.web);
    let passed = ["\"host\":\"one.test\"", "\"version\":\"TCP\"", "\"status\":200", "\"route\":\"one\""];
    line_with(&proxy, &[&passed[..], &["\"upstream\":\"one\"", &endpoint]].concat());
    line_with(&proxy, &["\"reason\":\"no_route\"", "\"host\":\"other.test\""]);
    assert_eq!(proxy.metric("proxy_replies_total{reason=\"no_route\"}"), 1.0);
}

#[test]
fn a_name_that_nobody_has_gets_its_alert() {
    let one = service("one.test");
    let proxy = start(&format!(
        "[[route]]\nsni = \"one.test\"\nto = \"one\"\n[upstream.one]\nendpoints = [\"{}\"]\n",
        one.web
    ));
    let unrecognized_name = [21, 3, 3, 0, 2, 2, 112];
    assert_eq!(proxy.exchange(hello("other.test")), unrecognized_name);
    assert_eq!(proxy.exchange(hello("127.0.0.1")), unrecognized_name, "an address is no name");
    assert_eq!(proxy.exchange("GET / HTTP/1.1\r\n\r\n"), b"", "and text has none either");
}

#[test]
fn a_hello_in_pieces_is_waited_for_and_a_silent_client_is_not() {
    let one = service("one.test");
    let text = format!(
        "[[route]]\nsni = \"one.test\"\nto = \"one\"\n[upstream.one]\nendpoints = [\"{}\"]\n\
         [listener.web.limits]\nheader_timeout = \"1s\"\n",
        one.web
    );
    let proxy = start(&text);
    let mut client = proxy.client();
    let bytes = hello("one.test");
    for piece in bytes.chunks(bytes.len() / 7) {
        client.send(piece);
    }
    assert_eq!(client.bytes(1), [22], "the service answers with its ServerHello");
    let mut slow = proxy.client();
    slow.send(&bytes[..20]);
    assert!(slow.is_closed_within(Duration::from_secs(5)));
    drop(client);
    wait_until("it is logged", || {
        proxy.access_lines().iter().any(|line| line.contains("\"reason\":\"request_timeout\""))
    });
}

#[test]
fn what_has_no_name_goes_to_the_route_without_one() {
    let (one, database) = (service("one.test"), Database::start(""));
    let proxy = start(&format!(
        "[[route]]\nsni = \"one.test\"\nto = \"one\"\n{}\n[upstream.one]\nendpoints = [\"{}\"]\n",
        everything(&database, ""),
        one.web
    ));
    assert_eq!(ask(&proxy, "one.test").expect("an answer"), "one.test");
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &hello("other.test"), &[0, 1, 2, 3, 255]] {
        let mut client = proxy.client();
        client.send(bytes);
        assert_eq!(client.bytes(bytes.len()), bytes, "nothing that was looked at is lost");
        client.end_sending();
        assert_eq!(client.rest(), b"bye");
        assert_eq!(database.seen(), bytes);
    }
}

#[test]
fn an_endpoint_that_speaks_first_is_not_kept_waiting_and_half_a_close_is_passed_on() {
    let database = Database::start("greetings");
    let proxy = start(&everything(&database, ""));
    let mut client = proxy.client();
    assert_eq!(client.bytes(9), b"greetings");
    client.send("abc");
    assert_eq!(client.bytes(3), b"abc");
    client.end_sending();
    assert_eq!(client.rest(), b"bye", "what comes after the client's end still arrives");
    assert_eq!(database.seen(), b"abc");
    line_with(&proxy, &["\"received_bytes\":3,\"sent_bytes\":15"]);
}

#[test]
fn ten_megabytes_pass_intact_both_ways() {
    let database = Database::start("");
    let proxy = start(&everything(&database, ""));
    let sent: Vec<u8> =
        (0..10 * 1024 * 1024_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut stream = TcpStream::connect(proxy.web).expect("the proxy listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a duration above zero");
    let mut writer = stream.try_clone().expect("a descriptor");
    let bytes = sent.clone();
    let sending = spawn(move || {
        writer.write_all(&bytes).expect("the connection is open");
        writer.shutdown(Shutdown::Write).expect("the connection is open");
    });
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("the connection ends");
    sending.join().expect("it does not panic");
    assert!(got.ends_with(b"bye") && got[..got.len() - 3] == sent[..], "{} bytes came back", got.len());
}

#[test]
fn an_endpoint_that_does_not_take_the_connection_is_passed_over() {
    let database = Database::start("greetings");
    let dead = free_address();
    let proxy = start(&format!(
        "[[route]]\nlisteners = [\"web\"]\nto = \"db\"\n[upstream.db]\nbalance = \"first\"\nendpoints = [\"{dead}\", \"{}\"]\n",
        database.address
    ));
    let mut client = proxy.client();
    assert_eq!(client.bytes(9), b"greetings");
    client.end_sending();
    client.rest();
    line_with(
        &proxy,
        &[
            &format!("\"attempts\":[{{\"endpoint\":\"{dead}\",\"reason\":\"connect_refused\""),
            "\"status\":200",
        ],
    );
}

#[test]
fn without_an_endpoint_the_connection_is_closed_and_the_line_says_why() {
    let dead = free_address();
    let proxy = start(&format!(
        "[[route]]\nlisteners = [\"web\"]\nto = \"db\"\n[upstream.db]\nendpoints = [\"{dead}\"]\n"
    ));
    assert_eq!(proxy.exchange("abc"), b"");
    line_with(&proxy, &["\"status\":502", "\"reason\":\"connect_refused\""]);
}

#[test]
fn a_connection_in_use_is_counted_and_one_without_a_byte_is_closed() {
    let database = Database::start("greetings");
    let proxy = start(&everything(&database, "timeouts = { idle = \"1s\" }\n"));
    let mut client = proxy.client();
    assert_eq!(client.bytes(9), b"greetings");
    let endpoint = format!("upstream=\"db\",endpoint=\"{}\"", database.address);
    let running = || proxy.metric(&format!("proxy_attempts_in_flight{{{endpoint}}}"));
    wait_until("it is the only one", || running() == 1.0);
    assert!(client.is_closed_within(PATIENCE));
    line_with(&proxy, &["\"reason\":\"idle_timeout\"", "\"sent_bytes\":9"]);
    wait_until("none is left", || running() == 0.0);
}

#[test]
fn an_open_connection_survives_a_reload_and_new_ones_go_by_the_new_routes() {
    let (first, second) = (Database::start("first"), Database::start("other"));
    let proxy = start(&everything(&first, ""));
    let mut old = proxy.client();
    assert_eq!(old.bytes(5), b"first");
    proxy.reload_with(&format!("[listener.web]\nmode = \"tcp\"\n\n{}", everything(&second, "")));
    let mut new = proxy.client();
    assert_eq!(new.bytes(5), b"other");
    old.send("abc");
    assert_eq!(old.bytes(3), b"abc");
}

#[test]
fn a_listener_that_comes_to_pass_connections_through_keeps_none_waiting() {
    let database = Database::start("greetings");
    let proxy = Proxy::start("[[route]]\nrespond = {}\n");
    assert_eq!(proxy.get("/").status, 200);
    proxy.reload_with(&format!("[listener.web]\nmode = \"tcp\"\n\n{}", everything(&database, "")));
    // A worker learns of it with the first connection that it accepts.
    wait_until("a silent client is accepted at once", || {
        let begun = std::time::Instant::now();
        proxy.client().bytes(9) == b"greetings" && begun.elapsed() < Duration::from_millis(500)
    });
}

#[test]
fn a_route_for_requests_does_not_take_connections() {
    let database = Database::start("greetings");
    let plain = free_address();
    let proxy = start(&format!(
        "[listener.plain]\nbind = \"{plain}\"\n[[route]]\nrespond = {{ body = \"http\" }}\n{}",
        everything(&database, "")
    ));
    assert_eq!(Client::connect(plain).get("/").text(), "http");
    assert_eq!(proxy.client().bytes(9), b"greetings");
}

#[test]
fn an_endpoint_that_takes_no_connections_is_ejected() {
    let database = Database::start("greetings");
    let dead = free_address();
    let proxy = start(&format!(
        "[[route]]\nlisteners = [\"web\"]\nto = \"db\"\n[upstream.db]\nbalance = \"round_robin\"\nendpoints = [\"{dead}\", \"{}\"]\n",
        database.address
    ));
    wait_until("it is ejected", || {
        assert_eq!(proxy.client().bytes(9), b"greetings", "nobody notices");
        proxy.states("db") == ["ejected", "unknown"]
    });
}

#[test]
fn a_drain_waits_for_open_connections_and_ends_with_the_last() {
    let database = Database::start("greetings");
    let mut proxy = start(&everything(&database, ""));
    let mut client = proxy.client();
    assert_eq!(client.bytes(9), b"greetings");
    proxy.signal(rustix::process::Signal::TERM);
    wait_until("nobody else comes in", || TcpStream::connect(proxy.web).is_err());
    client.send("abc");
    assert_eq!(client.bytes(3), b"abc", "the connection goes on");
    client.end_sending();
    assert_eq!(client.rest(), b"bye");
    assert!(proxy.wait_for_end().success());
}
