//! Go's net/rpc over HTTP: `rpc.DialHTTP` in front, `rpc.HandleHTTP` behind, a tunnel between.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::services::{self, Process, fixtures};
use crate::harness::{ALL, Client, Origin, Proxy, free_address, pass, upstream_named, wait_until};

/// A route for the default path, to the upstream `fleet`; keys can be added.
const ROUTE: &str =
    "[[route]]\nname = \"rpc\"\npath = \"/_goRPC_\"\nmethods = [\"CONNECT\"]\nto = \"fleet\"\n";

/// What Go's client sends: bare line feeds, HTTP/1.0, no field at all.
const DIAL: &str = "CONNECT /_goRPC_ HTTP/1.0\n\n";
const CONNECTED: &str = "HTTP/1.0 200 Connected to Go RPC\n\n";

/// An `rpc-server` that runs.
struct Server {
    address: SocketAddr,
    _process: Process,
}

impl Server {
    fn start(name: &str, more: &[&str]) -> Option<Server> {
        let address = free_address();
        Some(Server { address, _process: services::service("rpc-server", name, address, more)? })
    }
}

fn three() -> Option<[Server; 3]> {
    Some([Server::start("a", &[])?, Server::start("b", &[])?, Server::start("c", &[])?])
}

/// The upstream `fleet`, in turn, retries without a limit on their rate. It is the last table.
fn fleet(addresses: &[SocketAddr]) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "[upstream.fleet]\nendpoints = [{}]\nbalance = \"round_robin\"\nbudget = {{ min_per_second = 1000 }}\n",
        endpoints.join(", ")
    )
}

/// A proxy whose endpoints are these servers.
fn proxy_of(servers: &[Server]) -> Proxy {
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    Proxy::start(&format!("{ROUTE}{}", fleet(&addresses)))
}

fn client(address: SocketAddr, more: &[&str]) -> Command {
    let mut command = Command::new(fixtures().expect("the servers run").join("rpc-client"));
    command.args(["-address", &address.to_string()]).args(more).stderr(Stdio::inherit());
    command
}

/// Runs the client to its end.
fn call(address: SocketAddr, more: &[&str]) -> Value {
    let Output { status, stdout, .. } = client(address, more).output().expect("the client can be started");
    assert!(status.success(), "rpc-client ended with {status}");
    serde_json::from_slice(&stdout).expect("the report is JSON")
}

/// A client that holds its connections and calls when told to.
struct Caller {
    _process: Process,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Caller {
    fn open(address: SocketAddr, more: &[&str]) -> Caller {
        let mut child = client(address, more)
            .arg("-step")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client can be started");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut caller = Caller { _process: Process(child), input, output };
        assert_eq!(caller.line(), "open");
        caller
    }

    fn line(&mut self) -> String {
        self.output.next().expect("the client says something").expect("it is text")
    }

    fn round(&mut self) -> Value {
        self.input.write_all(b"\n").expect("the client reads");
        serde_json::from_str(&self.line()).expect("the report is JSON")
    }
}

/// The text of the only kind of error in a report.
#[track_caller]
fn error(report: &Value) -> String {
    let errors = report["errors"].as_object().expect("a table");
    assert_eq!(errors.len(), 1, "{report}");
    errors.keys().next().cloned().unwrap_or_default()
}

/// The counts of a table, smallest first.
fn counts(table: &Value) -> Vec<u64> {
    let table = table.as_object().expect("a table");
    let mut counts: Vec<_> = table.values().filter_map(Value::as_u64).collect();
    counts.sort_unstable();
    counts
}

/// Tunnels that the status page counts at the endpoints of `fleet`.
fn in_flight(proxy: &Proxy) -> u64 {
    let status = proxy.status();
    let upstreams = status["upstreams"].as_array().expect("a list");
    let fleet = upstreams.iter().find(|one| one["name"] == "fleet").expect("the upstream is there");
    let endpoints = fleet["endpoints"].as_array().expect("a list");
    endpoints.iter().filter_map(|endpoint| endpoint["in_flight"].as_u64()).sum()
}

/// Opens a tunnel by hand; the client is answered in its own form, to the byte.
#[track_caller]
fn dial(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(DIAL);
    assert_eq!(client.bytes(CONNECTED.len()), CONNECTED.as_bytes());
    client
}

/// An endpoint that opens the tunnel and sends back what it gets.
fn echo() -> Origin {
    Origin::scripted(|conversation| {
        conversation.request_head()?;
        conversation.send(CONNECTED)?;
        loop {
            let byte = conversation.bytes(1)?;
            conversation.send(byte)?;
        }
    })
}

#[test]
fn a_thousand_calls_over_a_hundred_connections_are_spread_evenly() {
    let Some(servers) = three() else { return };
    let proxy = proxy_of(&servers);
    let report = call(proxy.web, &["-connections", "100", "-calls", "1000", "-concurrency", "10"]);
    assert_eq!((report["opened"].as_u64(), report["calls"].as_u64()), (Some(100), Some(1000)), "{report}");
    assert_eq!(counts(&report["connections"]), [33, 33, 34], "{report}");
    assert_eq!(counts(&report["servers"]), [330, 330, 340], "{report}");
}

#[test]
fn a_dead_endpoint_is_passed_over_before_the_tunnel_opens() {
    let Some(servers) = three() else { return };
    let proxy = Proxy::start(&format!(
        "{ROUTE}{}outlier = \"off\"\n",
        fleet(&[servers[0].address, free_address(), servers[1].address])
    ));
    let report = call(proxy.web, &["-connections", "30", "-calls", "30"]);
    assert_eq!((report["calls"].as_u64(), report["failures"].as_u64()), (Some(30), Some(0)), "{report}");
    assert_eq!(counts(&report["connections"]).len(), 2, "{report}");
    wait_until("an attempt is told", || {
        proxy.access_lines().iter().any(|line| line.contains("connect_refused"))
    });
}

#[test]
fn an_endpoint_that_accepts_and_closes_is_passed_over_as_well() {
    let Some(servers) = three() else { return };
    let closing = Origin::scripted(|_| Ok(()));
    let proxy = Proxy::start(&format!(
        "{ROUTE}{}outlier = \"off\"\n",
        fleet(&[closing.address, servers[0].address, servers[1].address])
    ));
    let report = call(proxy.web, &["-connections", "30", "-calls", "30"]);
    assert_eq!((report["calls"].as_u64(), report["failures"].as_u64()), (Some(30), Some(0)), "{report}");
    assert!(closing.connections() > 0, "it was never asked");
}

#[test]
fn the_status_text_reaches_the_client_and_the_request_the_endpoint() {
    let origin = echo();
    let proxy = Proxy::start(&format!("{ROUTE}{}", upstream_named("fleet", &[&origin])));
    let mut client = dial(&proxy);
    client.send("ping");
    assert_eq!(client.bytes(4), b"ping");
    let request = origin.request();
    assert_eq!((request.method(), request.target()), ("CONNECT", "/_goRPC_"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    let Some(server) = Server::start("real", &[]) else { return };
    let proxy = proxy_of(std::slice::from_ref(&server));
    dial(&proxy);
    let mut strict = proxy.client();
    strict.send("CONNECT /_goRPC_ HTTP/1.1\r\nHost: rpc.test\r\n\r\n");
    let head = strict.head();
    assert_eq!(head.lines().next(), Some("HTTP/1.1 200 Connected to Go RPC"));
    assert!(
        !head.to_lowercase().contains("content-length") && !head.to_lowercase().contains("transfer-encoding")
    );
}

#[test]
fn nothing_is_passed_on_before_the_endpoint_has_agreed() {
    let origin = Origin::scripted(|conversation| {
        conversation.request_head()?;
        assert!(!conversation.ends_within(Duration::from_millis(500))?);
        conversation.send(CONNECTED)?;
        let early = conversation.bytes(5)?;
        conversation.send(early)
    });
    let proxy = Proxy::start(&format!("{ROUTE}{}", upstream_named("fleet", &[&origin])));
    let mut client = proxy.client();
    client.send(format!("{DIAL}early"));
    assert_eq!(client.bytes(CONNECTED.len()), CONNECTED.as_bytes());
    // `ends_within` has swallowed what came too early, so that the echo would be another one.
    assert_eq!(client.bytes(5), b"early");
}

#[test]
fn the_answer_of_an_endpoint_that_refuses_is_passed_on() {
    let Some(elsewhere) = Server::start("elsewhere", &["-path", "/other"]) else { return };
    let report = call(proxy_of(&[elsewhere]).web, &[]);
    assert!(error(&report).ends_with(": unexpected HTTP response: 404 Not Found"), "{report}");
    let refusing =
        Origin::saying(b"HTTP/1.1 405 Method Not Allowed\r\nX-Own: yes\r\nContent-Length: 5\r\n\r\nno rp");
    let proxy = Proxy::start(&format!("{ROUTE}{}", upstream_named("fleet", &[&refusing])));
    let report = call(proxy.web, &[]);
    assert!(error(&report).ends_with(": unexpected HTTP response: 405 Method Not Allowed"), "{report}");
    let mut client = proxy.client();
    client.send(DIAL);
    let answer = client.response();
    assert_eq!((answer.field("x-own"), answer.text().as_str()), (Some("yes"), "no rp"));
}

#[test]
fn connect_is_refused_unless_a_route_lists_it() {
    let origin = Origin::named("never");
    let all = Proxy::start(&format!("{ALL}{}", upstream_named("origin", &[&origin])));
    let named = Proxy::start(&format!(
        "{ROUTE}[[route]]\npath = \"/*\"\nto = \"fleet\"\n{}",
        upstream_named("fleet", &[&origin])
    ));
    for (proxy, target) in [(&all, "/_goRPC_"), (&named, "/other")] {
        let mut client = proxy.client();
        client.send(format!("CONNECT {target} HTTP/1.0\n\n"));
        let answer = client.response();
        assert_eq!((answer.status, answer.reason()), (405, "connect_not_allowed"), "{target}");
    }
    assert!(origin.requests().is_empty());
    if fixtures().is_some() {
        let report = call(all.web, &[]);
        assert!(error(&report).ends_with(": unexpected HTTP response: 405 Method Not Allowed"), "{report}");
    }
}

#[test]
fn a_connect_to_an_authority_is_refused_even_there() {
    let origin = Origin::named("never");
    let proxy = Proxy::start(&format!(
        "[[route]]\nmethods = [\"CONNECT\"]\nto = \"fleet\"\n{}",
        upstream_named("fleet", &[&origin])
    ));
    for target in ["example.test:443", "127.0.0.1:22", "http://example.test/_goRPC_", "*"] {
        let answer = proxy.exchange(format!("CONNECT {target} HTTP/1.1\r\nHost: example.test:443\r\n\r\n"));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            answer.starts_with("HTTP/1.1 405 ") || answer.starts_with("HTTP/1.1 400 "),
            "{target}: {answer}"
        );
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn services_at_other_paths_have_routes_of_their_own() {
    let Some(first) = Server::start("first", &["-path", "/rpc/first"]) else { return };
    let Some(second) = Server::start("second", &["-path", "/rpc/second"]) else { return };
    let route =
        |name| format!("[[route]]\npath = \"/rpc/{name}\"\nmethods = [\"CONNECT\"]\nto = \"{name}\"\n");
    let proxy = Proxy::start(&format!(
        "{}{}[upstream]\nfirst = {{ endpoints = [\"{}\"] }}\nsecond = {{ endpoints = [\"{}\"] }}\n",
        route("first"),
        route("second"),
        first.address,
        second.address
    ));
    for name in ["first", "second"] {
        let report = call(proxy.web, &["-path", &format!("/rpc/{name}"), "-calls", "3"]);
        assert_eq!(report["servers"][name].as_u64(), Some(3), "{report}");
    }
}

#[test]
fn an_upstream_of_http_2_says_that_it_has_no_tunnels() {
    let Some(server) = Server::start("a", &[]) else { return };
    let proxy = Proxy::start(&format!("{ROUTE}{}protocol = \"h2\"\n", fleet(&[server.address])));
    let report = call(proxy.web, &[]);
    assert!(error(&report).ends_with(": unexpected HTTP response: 502 Bad Gateway"), "{report}");
    assert!(proxy.access_line(0).contains("tunnel_impossible"), "{}", proxy.access_line(0));
}

#[test]
fn tunnels_are_in_flight_as_long_as_they_are_open() {
    let Some(servers) = three() else { return };
    let proxy = proxy_of(&servers);
    let mut caller = Caller::open(proxy.web, &["-connections", "6", "-calls", "6"]);
    assert_eq!(caller.round()["calls"].as_u64(), Some(6));
    assert_eq!(in_flight(&proxy), 6);
    assert!(proxy.metric("proxy_requests_in_flight") >= 6.0);
    drop(caller);
    wait_until("the tunnels have ended", || in_flight(&proxy) == 0);
    wait_until("each has a line", || proxy.access_lines().len() >= 6);
}

#[test]
fn a_tunnel_without_a_byte_ends_after_the_idle_timeout_and_a_busy_one_does_not() {
    let origin = echo();
    let proxy = Proxy::start(&format!(
        "{ROUTE}timeouts = {{ idle = \"400ms\" }}\n{}",
        upstream_named("fleet", &[&origin])
    ));
    let (mut busy, mut silent) = (dial(&proxy), dial(&proxy));
    let begun = Instant::now();
    let ended = std::thread::spawn(move || {
        assert!(silent.is_closed_within(Duration::from_secs(5)), "an idle tunnel stays");
        begun.elapsed()
    });
    while begun.elapsed() < Duration::from_millis(1200) {
        busy.send("x");
        assert_eq!(busy.bytes(1), b"x");
        pass(Duration::from_millis(100));
    }
    let ended = ended.join().expect("it was closed");
    assert!((350..1200).contains(&ended.as_millis()), "{ended:?}");
    assert!(busy.is_closed_within(Duration::from_secs(5)));
}

#[test]
fn a_tunnel_survives_reloads_and_new_ones_go_where_the_file_says() {
    let Some([old, new, _]) = three() else { return };
    let proxy = Proxy::start(&format!("{ROUTE}{}", fleet(&[old.address])));
    let mut caller = Caller::open(proxy.web, &["-calls", "5"]);
    assert_eq!(caller.round()["servers"]["a"].as_u64(), Some(5));
    proxy.reload_with(&format!("{ROUTE}{}", fleet(&[new.address])));
    assert_eq!(call(proxy.web, &[])["servers"]["b"].as_u64(), Some(1));
    assert_eq!(caller.round()["servers"]["a"].as_u64(), Some(5));
    proxy.reload_with("[[route]]\nrespond = {}\n");
    assert_eq!(caller.round()["servers"]["a"].as_u64(), Some(5));
}

#[test]
fn a_drain_lets_a_running_call_finish_and_ends_the_tunnel_by_drain_timeout() {
    let (arrived, has_arrived) = sync_channel(1);
    let arrived = Mutex::new(arrived);
    let origin = Origin::scripted(move |conversation| {
        conversation.request_head()?;
        conversation.send(CONNECTED)?;
        conversation.bytes(4)?;
        arrived.lock().expect("no panic holds it").send(()).expect("the test waits");
        pass(Duration::from_millis(500));
        conversation.send("done")?;
        conversation.wait_for_end()
    });
    let mut proxy = Proxy::start(&format!(
        "{ROUTE}{}[server]\nworkers = 2\ndrain_timeout = \"1500ms\"\n",
        upstream_named("fleet", &[&origin])
    ));
    let mut client = dial(&proxy);
    client.send("call");
    has_arrived.recv_timeout(Duration::from_secs(5)).expect("the call arrives");
    let begun = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(client.bytes(4), b"done", "the running call is finished");
    assert_eq!(client.rest(), b"");
    let ended = begun.elapsed();
    assert!((1200..4000).contains(&ended.as_millis()), "the tunnel ended after {ended:?}");
    proxy.wait_for_end();
}

#[test]
fn the_access_line_of_a_tunnel_counts_its_bytes() {
    let origin = echo();
    let proxy = Proxy::start(&format!("{ROUTE}{}", upstream_named("fleet", &[&origin])));
    let mut client = dial(&proxy);
    client.send("12345");
    assert_eq!(client.bytes(5), b"12345");
    drop(client);
    let line: Value = serde_json::from_str(&proxy.access_line(0)).expect("JSON");
    for (key, value) in
        [("method", "CONNECT"), ("path", "/_goRPC_"), ("route", "rpc"), ("version", "HTTP/1.0")]
    {
        assert_eq!(line[key], value, "{key} in {line}");
    }
    assert_eq!(line["endpoint"], origin.address.to_string());
    assert_eq!(
        (&line["status"], &line["received_bytes"], &line["sent_bytes"]),
        (&200.into(), &5.into(), &5.into()),
        "{line}"
    );
}

#[test]
fn large_calls_pass_unharmed() {
    let Some(servers) = three() else { return };
    let proxy = proxy_of(&servers);
    let report =
        call(proxy.web, &["-connections", "3", "-calls", "9", "-concurrency", "3", "-echo", "1000000"]);
    assert_eq!((report["calls"].as_u64(), report["failures"].as_u64()), (Some(9), Some(0)), "{report}");
}

#[test]
fn it_works_over_a_tls_listener() {
    let Some(servers) = three() else { return };
    let directory = tempfile::TempDir::new().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a name");
    let certificate = directory.path().join("own.pem");
    std::fs::write(&certificate, made.cert.pem()).expect("the directory is ours");
    std::fs::write(directory.path().join("own.key"), made.signing_key.serialize_pem()).expect("ours");
    let addresses: Vec<_> = servers.iter().map(|server| server.address).collect();
    let proxy = Proxy::start_in(
        directory,
        &format!(
            "{ROUTE}{}[listener.web]\n[listener.web.tls]\ncertificates = [{{ cert = \"own.pem\", key = \"own.key\" }}]\n",
            fleet(&addresses)
        ),
    );
    let authority = certificate.to_string_lossy();
    let report = call(proxy.web, &["-ca", &authority, "-connections", "6", "-calls", "60", "-echo", "1000"]);
    assert_eq!(counts(&report["servers"]), [20, 20, 20], "{report}");
}
