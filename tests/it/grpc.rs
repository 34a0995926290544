//! gRPC with the interop client and server of grpc-go and with grpcio, which scripts/provision gets.
//!
//! Without them the tests say so and pass; with `TIDEGATE_REQUIRE_REAL` they fail.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{PATIENCE, Proxy, comes_true, free_address, wait_until};

/// The cases that need no account of a cloud.
const CASES: [&str; 14] = [
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
];

/// Longest time that a case may take.
const CASE: Duration = Duration::from_secs(30);

/// The directory with the programs; `None`, said loudly, when it is not there.
fn interop() -> Option<PathBuf> {
    provisioned("interop/server").and_then(|server| server.parent().map(Path::to_owned))
}

/// A file that scripts/provision has made.
pub fn provisioned(file: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("TIDEGATE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("tidegate")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/tidegate")));
    if let Some(found) = cache.map(|cache| cache.join(file)).filter(|file| file.exists()) {
        return Some(found);
    }
    let must =
        std::env::var_os("TIDEGATE_REQUIRE_REAL").is_some_and(|value| value != "0" && !value.is_empty());
    assert!(!must, "there is no {file}; run scripts/provision");
    // Past the capture of the harness: a test that did not run shall be seen.
    let line = format!("SKIPPED: there is no {file}; run scripts/provision\n");
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("standard error is writable");
    None
}

/// A real gRPC server; it is killed when dropped.
struct Server {
    child: Child,
    address: std::net::SocketAddr,
}

impl Server {
    fn start(directory: &Path) -> Server {
        let address = free_address();
        let child = Command::new(directory.join("server"))
            .args(["-port", &address.port().to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server was built");
        wait_until("the gRPC server accepts", || std::net::TcpStream::connect(address).is_ok());
        Server { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _may_have_ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A proxy before these servers, in clear text and with TLS, which has the second address.
fn start(servers: &[Server], rest: &str) -> (Proxy, std::net::SocketAddr) {
    let directory = TempDir::new().expect("a directory");
    let made = rcgen::generate_simple_self_signed(["grpc.test".to_owned()]).expect("a name");
    std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).expect("the directory is ours");
    std::fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).expect("ours");
    let secure = free_address();
    let endpoints: Vec<_> = servers.iter().map(|server| format!("\"{}\"", server.address)).collect();
    let text = format!(
        "[listener.secure]\nbind = \"{secure}\"\n\
         tls = {{ certificates = [{{ cert = \"cert.pem\", key = \"key.pem\" }}] }}\n\
         [[route]]\nto = \"grpc\"\n{rest}\n\
         [upstream.grpc]\nendpoints = [{}]\nprotocol = \"h2\"\nbalance = \"round_robin\"\n",
        endpoints.join(", ")
    );
    (Proxy::start_in(directory, &text), secure)
}

/// Runs one case, `Err` with what the client said when it fails.
fn run(directory: &Path, case: &str, flags: &[&str]) -> Result<(), String> {
    let mut child = Command::new(directory.join("client"))
        .args(["-server_host", "127.0.0.1", "-test_case", case])
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the client was built");
    let in_time = comes_true(CASE, || child.try_wait().expect("our own child").is_some());
    if !in_time {
        child.kill().expect("our own child");
    }
    let Output { status, stderr, .. } = child.wait_with_output().expect("our own child");
    let said = String::from_utf8_lossy(&stderr);
    if in_time && status.success() { Ok(()) } else { Err(format!("{case}: {status}: {said}")) }
}

/// Runs all cases, then looks whether every call has ended and both servers had their share.
#[track_caller]
fn run_all(directory: &Path, proxy: &Proxy, flags: &[&str]) {
    let failed: Vec<_> = CASES.iter().filter_map(|case| run(directory, case, flags).err()).collect();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), CASES.len(), failed.join("\n"));
    let ended = comes_true(PATIENCE, || counts(proxy, "in_flight").iter().all(|count| *count == 0));
    assert!(ended, "calls that the client cancelled still run at the endpoints");
    let requests = counts(proxy, "requests");
    let (least, most) = (requests.iter().min().unwrap_or(&0), requests.iter().max().unwrap_or(&0));
    assert!(*least >= 7 && most - least <= 1, "calls are balanced one by one: {requests:?}");
}

/// A number of each endpoint.
fn counts(proxy: &Proxy, name: &str) -> Vec<u64> {
    let status = proxy.status();
    let endpoints = status["upstreams"][0]["endpoints"].as_array().expect("a list");
    endpoints.iter().map(|one| one[name].as_u64().expect("a number")).collect()
}

#[test]
fn all_cases_of_grpc_go_pass_over_clear_text() {
    let Some(directory) = interop() else { return };
    let servers = [Server::start(&directory), Server::start(&directory)];
    let (proxy, _) = start(&servers, "");
    let port = proxy.web.port().to_string();
    run_all(&directory, &proxy, &["-use_tls=false", "-server_port", &port]);
}

#[test]
fn all_cases_of_grpc_go_pass_over_tls() {
    let Some(directory) = interop() else { return };
    let servers = [Server::start(&directory), Server::start(&directory)];
    let (proxy, secure) = start(&servers, "");
    let (port, cert) = (secure.port().to_string(), proxy.directory().join("cert.pem"));
    let flags = [
        "-use_tls=true",
        "-use_test_ca=true",
        "-server_host_override=grpc.test",
        "-ca_file",
        &cert.to_string_lossy(),
        "-server_port",
        &port,
    ];
    run_all(&directory, &proxy, &flags);
}

#[test]
fn a_real_client_sees_the_status_of_an_answer_that_the_proxy_makes() {
    let Some(directory) = interop() else { return };
    let server = Server::start(&directory);
    let servers = [server];
    let (proxy, _) = start(&servers, "");
    let port = proxy.web.port().to_string();
    drop(servers);
    let said =
        run(&directory, "empty_unary", &["-use_tls=false", "-server_port", &port]).expect_err("it is gone");
    assert!(said.contains("code = Unavailable") && said.contains("connect_refused"), "{said}");
}

#[test]
fn the_health_of_an_endpoint_without_a_health_service_says_so() {
    let Some(directory) = interop() else { return };
    let servers = [Server::start(&directory)];
    let (proxy, _) = start(&servers, "");
    let text = std::fs::read_to_string(proxy.config()).expect("ours");
    let health = "health = { check = \"grpc\", interval = \"50ms\", unhealthy = 1 }\nprotocol";
    proxy.reload_with(&text.replace("protocol", health));
    wait_until("the endpoint is unhealthy", || proxy.states("grpc") == ["unhealthy"]);
    let why = proxy.status()["upstreams"][0]["endpoints"][0]["why"].to_string();
    assert!(why.contains("grpc-status 12: unknown service grpc.health.v1.Health"), "{why}");
}

/// A health service of which the file `state` is the answer for the service `users`.
const HEALTH: &str = r#"
import grpc, sys
from concurrent import futures

class Service(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(self.check)
    def check(self, request, context):
        if request == b"\x0a\x05users":
            return open("state", "rb").read()
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")

server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Service(),))
server.add_insecure_port("127.0.0.1:" + sys.argv[1])
server.start()
server.wait_for_termination()
"#;

#[test]
fn the_health_that_grpcio_tells_decides_whether_an_endpoint_takes_calls() {
    let Some(python) = provisioned("venv/bin/python") else { return };
    let directory = TempDir::new().expect("a directory");
    let state = |answer: &[u8]| {
        std::fs::write(directory.path().join("new"), answer).expect("the directory is ours");
        std::fs::rename(directory.path().join("new"), directory.path().join("state")).expect("ours");
    };
    state(b"\x08\x02");
    let address = free_address();
    let child = Command::new(python)
        .args(["-c", HEALTH, &address.port().to_string()])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .spawn()
        .expect("the environment has a Python");
    let _server = Server { child, address };
    wait_until("the server accepts", || std::net::TcpStream::connect(address).is_ok());
    let proxy = Proxy::start(&format!(
        "[[route]]\nto = \"grpc\"\n[upstream.grpc]\nendpoints = [\"{address}\"]\nprotocol = \"h2\"\n\
         health = {{ check = \"grpc\", service = \"users\", interval = \"50ms\", unhealthy = 1, healthy = 1 }}\n"
    ));
    wait_until("the endpoint is unhealthy", || proxy.states("grpc") == ["unhealthy"]);
    let why = proxy.status()["upstreams"][0]["endpoints"][0]["why"].to_string();
    assert!(why.contains("the service is NOT_SERVING"), "{why}");
    state(b"\x08\x01");
    wait_until("the endpoint is healthy", || proxy.states("grpc") == ["healthy"]);
}

/// Frames of gRPC-Web: flag, length, content.
fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = body {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        frames.push((*flag, rest[..length].to_vec()));
        body = &rest[length..];
    }
    assert!(body.is_empty(), "the body ends inside a frame");
    frames
}

const WEB: &str = "use = [\"web\"]\n[middleware.web.grpc_web]";

fn call(proxy: &Proxy, method: &str, content_type: &str, body: &[u8]) -> crate::harness::Response {
    let mut client = proxy.client();
    let head = format!(
        "POST /grpc.testing.TestService/{method} HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n\
         X-Grpc-Web: 1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    client.send([head.as_bytes(), body].concat());
    client.response()
}

#[test]
fn a_browser_calls_a_real_server_in_binary_and_in_text() {
    let Some(directory) = interop() else { return };
    let servers = [Server::start(&directory)];
    let (proxy, _) = start(&servers, WEB);
    let answer = call(&proxy, "EmptyCall", "application/grpc-web+proto", b"\0\0\0\0\0");
    assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/grpc-web+proto")));
    let got = frames(&answer.body());
    assert_eq!(got.len(), 2);
    assert_eq!(got[0], (0, Vec::new()));
    assert_eq!(got[1].0, 0x80);
    assert!(got[1].1.starts_with(b"grpc-status: 0\r\n"), "{:?}", got[1]);
    // The same in base64, and a method that is not there: a head that is all of the answer.
    let answer = call(&proxy, "EmptyCall", "application/grpc-web-text+proto", b"AAAAAAA=");
    assert_eq!(answer.field("content-type"), Some("application/grpc-web-text+proto"));
    assert!(answer.text().starts_with("AAAAAAA=g"), "{}", answer.text());
    let answer = call(&proxy, "Nothing", "application/grpc-web", b"\0\0\0\0\0");
    let got = frames(&answer.body());
    assert_eq!((answer.status, got.len(), got[0].0), (200, 1, 0x80));
    assert!(got[0].1.starts_with(b"grpc-status: 12\r\n"), "{:?}", got[0]);
}

#[test]
fn a_browser_gets_each_message_of_a_stream_when_it_comes() {
    let Some(directory) = interop() else { return };
    let servers = [Server::start(&directory)];
    let (proxy, _) = start(&servers, WEB);
    // StreamingOutputCall: two responses of one byte, the second 700 ms after the first.
    let frame = b"\0\0\0\0\x0c\x12\x02\x08\x01\x12\x06\x08\x01\x10\xe0\xdc\x2a";
    let started = Instant::now();
    let mut client = proxy.client();
    let head = format!(
        "POST /grpc.testing.TestService/StreamingOutputCall HTTP/1.1\r\nHost: a\r\n\
         Content-Type: application/grpc-web+proto\r\nContent-Length: {}\r\n\r\n",
        frame.len()
    );
    client.send([head.as_bytes(), frame].concat());
    client.head();
    client.bytes(b"a\r\n".len());
    client.bytes(10);
    let first = started.elapsed();
    client.bytes(b"\r\n".len());
    client.bytes(b"a\r\n".len());
    let second = started.elapsed();
    assert!(
        second - first > Duration::from_millis(500),
        "the first came at {first:?}, the second at {second:?}"
    );
}
