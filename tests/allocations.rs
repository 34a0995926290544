//! The HTTP/1.1 data path in its steady state allocates nothing.
//!
//! One worker serves one keep-alive client from one loopback origin. Client and origin use fixed
//! buffers, so every block that the process allocates between the first and the last counted
//! request is the worker's, or that of the log writer behind it. A test binary of its own: the
//! allocator counts all threads.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tidegate::config;
use tidegate::net::listen::Listener;
use tidegate::observe::access::Batch;
use tidegate::observe::metrics::Registry;
use tidegate::observe::writer::{CAPACITY, Output, Target, Writer};
use tidegate::proxy::Worker;
use tidegate::server::{Command, Gate, Team, thread as worker_thread};
use tidegate::snapshot::{Live, Means, build};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const WARM_UP: usize = 2_000;
const COUNTED: usize = 1_000;
/// Requests after which the log writer may catch up.
const TURN: usize = 50;
const PATIENCE: Duration = Duration::from_secs(10);

const REQUEST: &[u8] = b"GET /users/7?page=2 HTTP/1.1\r\nhost: api.example.com\r\nuser-agent: test\r\n\
    accept: */*\r\ncookie: session=0123456789abcdef\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 6\r\n\r\nhello\n";

#[test]
fn a_keep_alive_request_allocates_nothing_with_and_without_an_access_log() {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("access.log");
    for log in [Target::Off, Target::File(path.clone())] {
        let (mut client, writer) = client_of_a_worker(origin(), log.clone());
        exchange(&mut client, WARM_UP);
        lend_buffers(&writer);
        let profiler = dhat::Profiler::builder().testing().build();
        for _ in 0..COUNTED / TURN {
            exchange(&mut client, TURN);
            writer.flush(PATIENCE);
        }
        let stats = dhat::HeapStats::get();
        drop(profiler);
        // The whole process is counted. What a request allocates would be counted a thousand times;
        // the log's own thread allocates a handful of blocks now and then, about one run in four.
        let spared = if log == Target::Off { 0 } else { COUNTED as u64 / 100 };
        assert!(stats.total_blocks <= spared, "{} blocks, {log:?}", stats.total_blocks);
        writer.flush(PATIENCE);
    }
    let log = std::fs::read_to_string(path).expect("the access log");
    assert!(log.lines().count() >= WARM_UP, "there is a line for each request");
}

/// Sends requests on one connection, each after the whole response of the one before.
fn exchange(client: &mut TcpStream, count: usize) {
    for _ in 0..count {
        client.write_all(REQUEST).expect("the proxy reads");
        read_to(client, b"\r\n\r\nhello\n").expect("the whole response");
    }
}

/// Gives the log writer buffers to use again, more than can wait within a turn: how many it has of
/// its own depends on how often it was behind.
fn lend_buffers(writer: &Writer) {
    for _ in 0..8 {
        let mut buffer = Vec::with_capacity(64 << 10);
        buffer.extend_from_slice(b"\n");
        writer.submit(&mut buffer, 1);
    }
    writer.flush(PATIENCE);
}

/// Answers every request on every connection until the test ends.
fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.expect("a connection");
                stream.set_nodelay(true).expect("a socket option");
                while read_to(&mut stream, b"\r\n\r\n").is_some() {
                    stream.write_all(RESPONSE).expect("the proxy reads");
                }
            });
        }
    });
    address
}

/// Reads until the bytes end with these; `None` when the peer has closed instead.
fn read_to(stream: &mut TcpStream, end: &[u8]) -> Option<()> {
    let mut buffer = [0; 4096];
    let mut length = 0;
    while !buffer[..length].ends_with(end) {
        match stream.read(&mut buffer[length..]).expect("bytes in time") {
            0 => return None,
            count => length += count,
        }
    }
    Some(())
}

/// Starts a worker in front of the origin and connects to it; the writer has its access lines.
fn client_of_a_worker(origin: SocketAddr, log: Target) -> (TcpStream, Arc<Writer>) {
    let text = format!(
        "[listener.web]\nbind = \"127.0.0.1:1\"\n[[route]]\nhost = \"*.example.com\"\npath = \"/users/{{id}}\"\n\
         strip_prefix = \"/users\"\nrewrite = \"/v2{{path}}\"\nuse = [\"mark\"]\nto = \"users\"\n\
         [middleware.mark.headers]\nrequest = {{ set = {{ x-mark = \"1\" }}, remove = [\"cookie\"] }}\n\
         [upstream.users]\nendpoints = [\"{origin}\"]\n"
    );
    let config =
        config::parse(&text, Path::new("proxy.toml"), &|_| None).map_err(|report| report.to_string());
    let registry = Registry::new(1, []);
    let means = Means {
        registry: &registry,
        acceptor: &|_, _| Err(vec![(0..0, "there is no TLS here".to_owned())]),
        connector: &|_, _| Ok(None),
    };
    let snapshot = build(config.expect("a valid configuration"), None, &means);
    let live = Arc::new(Live::new(snapshot.map_err(|report| report.to_string()).expect("a snapshot")));
    let output = Output::open(log).expect("an output");
    let writer = Arc::new(Writer::start(output, CAPACITY).expect("a thread"));
    let shard = registry.shard(0);

    let (team, mailboxes) = Team::new(1);
    for commands in mailboxes {
        let (live, shard, batch) = (live.clone(), shard.clone(), Batch::new(writer.clone()));
        let make = move || Worker::new(live, shard, batch);
        worker_thread::start(0, team.clone(), commands, make).expect("a thread");
    }
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.set_nonblocking(true).expect("a socket option");
    let address = socket.local_addr().expect("an address");
    let listen = Command::Listen(Gate { listener: 0, address: 0 }, Listener::Tcp(socket));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    assert!(runtime.block_on(team.tell(0, listen)), "the worker runs");

    let client = TcpStream::connect(address).expect("the worker accepts");
    client.set_nodelay(true).expect("a socket option");
    client.set_read_timeout(Some(PATIENCE)).expect("a socket option");
    (client, writer)
}
