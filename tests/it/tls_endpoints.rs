//! TLS to endpoints that are not ours: Go's `net/http`, and OpenSSL under Python's `http.server`.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::harness::services;
use crate::harness::{Authority, Client, Proxy, curl, free_address, replace, wait_until};

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _may_have_ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A directory with `ca.pem` and a certificate of it for `localhost`, `site.pem` and `site.key`.
fn directory() -> TempDir {
    let (directory, authority) = (TempDir::new().expect("a directory"), Authority::new("authority"));
    replace(&directory.path().join("ca.pem"), &authority.pem());
    authority.sign(&["localhost", "127.0.0.1"]).write(directory.path(), "site");
    directory
}

fn to(address: SocketAddr, protocol: &str) -> String {
    format!(
        "[[route]]\nname = \"all\"\nto = \"origin\"\n[upstream.origin]\nendpoints = [\"{address}\"]\n\
         protocol = \"{protocol}\"\nconnections = {{ connect_timeout = \"5s\" }}\n\
         health = {{ interval = \"50ms\", timeout = \"5s\" }}\n[upstream.origin.tls]\nca = \"ca.pem\"\n"
    )
}

/// The values of `X-Connection` in the answers to requests on one connection of a client.
fn connections(client: &mut Client, path: &str) -> BTreeSet<String> {
    let answers = (0..10).map(|_| client.get(path));
    let said = answers.map(|answer| {
        assert_eq!(answer.status, 200, "{}", answer.reason());
        answer.field("x-connection").expect("the endpoint says it").to_owned()
    });
    said.collect()
}

#[test]
fn go_is_spoken_to_in_each_protocol_and_its_connections_are_kept() {
    let (directory, address) = (directory(), free_address());
    let path = |name: &str| directory.path().join(name).display().to_string();
    let files = ["-tls-cert", &path("site.pem"), "-tls-key", &path("site.key")];
    let Some(_running) = services::service("hello", "hello-1", address, &files) else { return };
    let proxy = Proxy::start_in(directory, &to(address, "h1"));
    for protocol in ["h1", "h2", "auto"] {
        proxy.reload_with(&to(address, protocol));
        wait_until("it is healthy", || proxy.states("origin") == ["healthy"]);
        assert_eq!(connections(&mut proxy.client(), "/x").len(), 1, "{protocol}");
        let url = format!("http://{}/events?count=3&every_ms=5", proxy.web);
        assert_eq!(curl(&[&url]).expect("an answer").body.matches("data:").count(), 3);
    }
}

const PYTHON: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.send_header("X-Connection", "%s:%d" % self.client_address)
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.num_tickets = 4
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("listening", server.server_address[1], flush=True)
server.serve_forever()
"#;

/// An endpoint of OpenSSL that sends four session tickets after each handshake.
fn python(directory: &TempDir) -> Option<(Running, SocketAddr)> {
    let child = Command::new("python3")
        .args(["-c", PYTHON])
        .args(["site.pem", "site.key"].map(|name| directory.path().join(name)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        let is_required =
            std::env::var_os("TIDEGATE_REQUIRE_REAL").is_some_and(|value| value != "0" && !value.is_empty());
        assert!(!is_required, "no python3");
        let line = b"SKIPPED: no python3\n";
        std::io::Write::write_all(&mut std::io::stderr(), line).expect("standard error is writable");
        return None;
    };
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("it says where it listens");
    let port = line.trim().strip_prefix("listening ").and_then(|port| port.parse().ok());
    Some((Running(child), SocketAddr::from(([127, 0, 0, 1], port.expect("a port")))))
}

#[test]
fn openssl_is_spoken_to_and_its_connections_are_kept() {
    let directory = directory();
    let Some((_running, address)) = python(&directory) else { return };
    let proxy = Proxy::start_in(directory, &to(address, "h1"));
    for protocol in ["h1", "auto"] {
        proxy.reload_with(&to(address, protocol));
        wait_until("it is healthy", || proxy.states("origin") == ["healthy"]);
        assert_eq!(connections(&mut proxy.client(), "/").len(), 1, "{protocol}");
    }
    proxy.reload_with(&to(address, "h2"));
    let answer = proxy.get("/");
    assert_eq!((answer.status, answer.reason()), (502, "tls_handshake_failed"));
}
