//! The admin listener through real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::{Answer, AskError, ask};
use super::server::Limits;
use super::*;
use crate::net::inherit::Inherited;
use crate::net::listen::{self, Address};

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);
const PATIENT: Limits = Limits { header: LONG, write: LONG };

/// A process whose answers a test chooses.
struct Fake {
    readiness: Readiness,
    reload: Result<Generation, String>,
    metrics: String,
    reloads: AtomicU64,
    upstream: Option<Arc<Upstream>>,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake {
            readiness: Readiness::Serving,
            reload: Ok(Generation(8)),
            metrics: "# EOF\n".to_owned(),
            reloads: AtomicU64::new(0),
            upstream: None,
        }
    }
}

impl View for Fake {
    fn readiness(&self) -> Readiness {
        self.readiness
    }

    fn metrics(&self) -> String {
        self.metrics.clone()
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({ "generation": 7 })
    }

    fn reload(&self) -> BoxFuture<'_, Result<Generation, String>> {
        self.reloads.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { self.reload.clone() })
    }

    fn upstream(&self, name: &str) -> Result<Arc<Upstream>, String> {
        let known = self.upstream.iter().find(|upstream| upstream.name() == name);
        known.cloned().ok_or_else(|| format!("no upstream has the name `{name}`"))
    }
}

/// A running admin listener, ended with the test.
struct Running {
    address: Address,
    view: Arc<Fake>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn start_at(address: &Address, fake: Fake, limits: Limits) -> Running {
    let bound = listen::bind(address, 1, &Inherited::default()).unwrap().remove(0);
    let server = Server::new(bound.sockets.into_iter().next().unwrap()).unwrap().with_limits(limits);
    let view = Arc::new(fake);
    let seen = view.clone();
    let task = tokio::spawn(async move {
        server.run(seen, std::future::pending()).await;
    });
    Running { address: bound.local, view, task }
}

fn start(fake: Fake) -> Running {
    start_at(&"127.0.0.1:0".parse().unwrap(), fake, PATIENT)
}

impl Running {
    async fn ask(&self, method: Method, path: &str) -> Answer {
        ask(&self.address, method, path, "", LONG).await.unwrap()
    }

    /// Sends bytes and returns all that comes back.
    async fn raw(&self, request: &str) -> String {
        let Address::Tcp(at) = self.address else { unreachable!("started on TCP") };
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }
}

#[tokio::test]
async fn every_page_has_its_text_and_type() {
    let running = start(Fake::default());
    for (path, media_type, text) in [
        ("/metrics", "application/openmetrics-text; version=1.0.0; charset=utf-8", "# EOF\n"),
        ("/healthz", "text/plain; charset=utf-8", "ok\n"),
        ("/readyz", "text/plain; charset=utf-8", "serving\n"),
        ("/status", "application/json", "{\n  \"generation\": 7\n}\n"),
    ] {
        let answer = running.raw(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(&format!("content-type: {media_type}\r\n")), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{text}")), "{answer}");
    }
    let index = running.ask(Method::GET, "/").await;
    assert!(
        ["/metrics", "/healthz", "/readyz", "/status", "/reload"].iter().all(|at| index.text.contains(at))
    );
}

#[tokio::test]
async fn a_process_that_does_not_serve_is_not_ready_but_alive() {
    for (readiness, text) in [(Readiness::Starting, "starting\n"), (Readiness::Draining, "draining\n")] {
        let running = start(Fake { readiness, ..Fake::default() });
        let expected = Answer { status: 503, text: text.to_owned() };
        assert_eq!(running.ask(Method::GET, "/readyz").await, expected);
        assert_eq!(running.ask(Method::GET, "/healthz").await.status, 200);
    }
}

#[tokio::test]
async fn a_reload_tells_the_generation_or_why_not() {
    let running = start(Fake::default());
    let expected = Answer { status: 200, text: "{\"generation\":8}\n".to_owned() };
    assert_eq!(running.ask(Method::POST, "/reload").await, expected);

    let report = "proxy.toml:3:1: unknown key `lisen`; did you mean `listen`?\n".to_owned();
    let running = start(Fake { reload: Err(report.clone()), ..Fake::default() });
    assert_eq!(running.ask(Method::POST, "/reload").await, Answer { status: 400, text: report });
}

#[tokio::test]
async fn only_a_post_reloads_and_only_a_get_reads() {
    let running = start(Fake::default());
    assert_eq!(running.ask(Method::GET, "/reload").await.status, 405);
    assert_eq!(running.ask(Method::POST, "/status").await.status, 405);
    assert_eq!(running.ask(Method::OPTIONS, "/metrics").await.status, 405);
    assert_eq!(running.ask(Method::GET, "/other").await.status, 404);
    assert_eq!(running.view.reloads.load(Ordering::Relaxed), 0);
    let refused = running.raw("GET /reload HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(refused.contains("allow: POST\r\n"), "{refused}");
}

#[tokio::test]
async fn a_web_page_can_neither_read_nor_reload() {
    let running = start(Fake::default());
    for (request, status) in [
        ("GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        ("POST /reload HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n", 403),
        ("POST /reload HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://evil.example\r\n\r\n", 403),
        ("GET /status HTTP/1.1\r\n\r\n", 400),
        ("GET /status HTTP/1.0\r\n\r\n", 200),
    ] {
        let answer = running.raw(request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status.to_string().as_str()), "{request}: {answer}");
    }
    assert_eq!(running.view.reloads.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_head_is_answered_without_a_body() {
    let running = start(Fake::default());
    let answer = running.raw("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_large_body_is_refused_and_reloads_nothing() {
    let running = start(Fake::default());
    let chunk = "x".repeat(5000);
    let head = "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n";
    let answer = running.raw(&format!("{head}{chunk}")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(running.view.reloads.load(Ordering::Relaxed), 0);
}

/// More connections than are served at a time, each of which asks so and reads nothing.
async fn crowd(path: &std::path::Path, request: &str) -> Vec<UnixStream> {
    let mut streams = Vec::new();
    for _ in 0..64 {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn silent_clients_do_not_lock_others_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let limits = Limits { header: SHORT, write: LONG };
    let running = start_at(&Address::Unix(path.clone()), Fake::default(), limits);
    for start_of_request in ["", "GET /healthz HTTP/1.1\r\nHost: local"] {
        let streams = crowd(&path, start_of_request).await;
        assert_eq!(running.ask(Method::GET, "/healthz").await.status, 200);
        drop(streams);
    }
}

#[tokio::test]
async fn clients_that_do_not_read_their_answer_do_not_lock_others_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let fake = Fake { metrics: "#".repeat(1 << 20), ..Fake::default() };
    let running = start_at(&Address::Unix(path.clone()), fake, Limits { header: LONG, write: SHORT });
    let streams = crowd(&path, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(running.ask(Method::GET, "/healthz").await.status, 200);
    drop(streams);
}

#[tokio::test]
async fn an_answer_larger_than_all_buffers_comes_whole() {
    let metrics = "0123456789abcdef".repeat(1 << 18);
    let running = start(Fake { metrics: metrics.clone(), ..Fake::default() });
    assert_eq!(running.ask(Method::GET, "/metrics").await.text, metrics);
}

#[tokio::test]
async fn asking_where_nobody_listens_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    drop(listener);
    let error = ask(&address, Method::GET, "/status", "", LONG).await.unwrap_err();
    assert!(matches!(error, AskError::Connect { .. }), "{error:?}");
    assert!(error.to_string().starts_with(&format!("cannot connect to {address}; ")), "{error}");

    let directory = tempfile::tempdir().unwrap();
    let absent = Address::Unix(directory.path().join("absent.sock"));
    let error = ask(&absent, Method::GET, "/status", "", LONG).await.unwrap_err();
    assert!(matches!(error, AskError::Connect { .. }), "{error:?}");
}

#[tokio::test]
async fn asking_somebody_who_is_silent_or_strange_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::Tcp(listener.local_addr().unwrap());
    let error = ask(&address, Method::GET, "/status", "", SHORT).await.unwrap_err();
    assert!(matches!(error, AskError::Late { .. }), "{error:?}");

    let strange = async {
        // The first connection is that of the silent case.
        listener.accept().await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"220 mail.example ready\r\n").await.unwrap();
        stream
    };
    let (error, _stream) = tokio::join!(ask(&address, Method::GET, "/status", "", LONG), strange);
    assert!(matches!(error, Err(AskError::Answer { .. })), "{error:?}");
}
