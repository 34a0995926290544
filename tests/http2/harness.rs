//! A proxy on a thread of its own, endpoints that do what a test tells them, and clients.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tidegate::config;
use tidegate::http::Reason;
use tidegate::net::inherit::Inherited;
use tidegate::net::listen;
use tidegate::observe::access::Batch;
use tidegate::observe::metrics::{Figures, Registry};
use tidegate::observe::writer::{Output, Target, Writer};
use tidegate::proxy::Worker;
use tidegate::server::{Command, Gate, Team, thread};
use tidegate::snapshot::{Live, Means, build};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longest time that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// The value of a future that comes in time.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes in time")
}

/// A proxy with one worker; it stops when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    team: Team,
    registry: Arc<Registry>,
}

impl Proxy {
    /// Starts a proxy whose listener `web` has these settings and whose only route leads to an
    /// upstream with these settings.
    pub fn start(listener: &str, upstream: &str, endpoints: &[SocketAddr]) -> Proxy {
        Proxy::start_as(listener, "", upstream, endpoints)
    }

    /// The same with further keys of the route, and tables after it.
    pub fn start_with(route: &str, upstream: &str, endpoints: &[SocketAddr]) -> Proxy {
        Proxy::start_as("", route, upstream, endpoints)
    }

    fn start_as(listener: &str, route: &str, upstream: &str, endpoints: &[SocketAddr]) -> Proxy {
        let endpoints: Vec<_> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
        let text = format!(
            "[listener.web]\nbind = \"127.0.0.1:1\"\n{listener}\n\
             [[route]]\npath = \"/*\"\nto = \"up\"\n{route}\n\
             [upstream.up]\nendpoints = [{}]\n{upstream}\n",
            endpoints.join(", ")
        );
        let config = config::parse(&text, Path::new("proxy.toml"), &|_| None);
        let config = config.unwrap_or_else(|report| panic!("{report}"));
        let registry = Arc::new(Registry::new(1, Reason::ALL.iter().map(|reason| reason.name())));
        let means = Means {
            registry: &registry,
            acceptor: &|_, _| Err(vec![(0..0, "no TLS here".to_owned())]),
            connector: &|_, _| Ok(None),
        };
        let snapshot = build(config, None, &means).unwrap_or_else(|report| panic!("{report}"));
        let live = Arc::new(Live::new(snapshot));
        let (team, mut mailboxes) = Team::new(1);
        let make = {
            let (live, shard) = (live.clone(), registry.shard(0));
            let writer = Writer::start(Output::open(Target::Off).unwrap(), 1024).unwrap();
            move || Worker::new(live, shard, Batch::new(Arc::new(writer)))
        };
        thread::start(0, team.clone(), mailboxes.remove(0), make).unwrap();
        let bound =
            listen::bind(&"127.0.0.1:0".parse().unwrap(), 1, Inherited::of_process()).unwrap().remove(0);
        let listen::Address::Tcp(address) = bound.local else { panic!("an address of TCP") };
        let listener = live.load().listeners().next().unwrap().number;
        for socket in bound.sockets {
            team.hand_over(0, Command::Listen(Gate { listener, address: 0 }, socket)).unwrap();
        }
        Proxy { address, team, registry }
    }

    /// The value of a series, given as its line shows it; 0 when it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.registry.encode(Figures::default());
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Begins to drain.
    pub fn drain(&self) {
        self.team.hand_over(0, Command::Drain).unwrap();
    }

    /// An HTTP/2 client of the proxy.
    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.team.hand_over(0, Command::Stop);
    }
}

/// One HTTP/2 connection of a client.
pub struct Client {
    pub sender: SendRequest<Bytes>,
    /// Ends with the connection.
    pub driver: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = client::handshake(stream).await.unwrap();
        Client { sender, driver: tokio::spawn(connection) }
    }

    /// Sends a whole request without trailers and waits for the head of its answer.
    pub async fn ask(
        &mut self,
        request: Request<()>,
        body: &'static [u8],
    ) -> Result<Response<RecvStream>, h2::Error> {
        let (response, mut stream) = self.sender.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(Bytes::from_static(body), true)?;
        }
        soon(response).await
    }
}

/// A request for `path` with a method.
pub fn request(method: &str, path: &str) -> Request<()> {
    let uri = format!("http://a.example{path}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

/// Everything of a body, with its trailers.
pub async fn read(mut body: RecvStream) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
    let mut all = Vec::new();
    while let Some(piece) = soon(body.data()).await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    Ok((all, soon(body.trailers()).await?.unwrap_or_default()))
}

/// Sends `size` bytes as the windows allow; `sent` follows. Ends the stream.
pub async fn send_bytes(
    stream: &mut SendStream<Bytes>,
    size: usize,
    sent: &AtomicUsize,
) -> Result<(), h2::Error> {
    let piece = Bytes::from(vec![b'x'; 16 * 1024]);
    let mut left = size;
    while left > 0 {
        stream.reserve_capacity(left.min(piece.len()));
        let Some(room) = std::future::poll_fn(|context| stream.poll_capacity(context)).await else {
            return Err(h2::Reason::CANCEL.into());
        };
        let count = room?.min(left).min(piece.len());
        stream.send_data(piece.slice(..count), false)?;
        sent.fetch_add(count, Relaxed);
        left -= count;
    }
    stream.send_data(Bytes::new(), true)
}

/// An endpoint that gives each request to `answer`, in a task of its own.
pub struct Endpoint {
    pub address: SocketAddr,
    /// Connections that it has accepted.
    pub connections: Arc<AtomicUsize>,
}

impl Endpoint {
    pub async fn start<F, A>(answer: F) -> Endpoint
    where
        F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> A + Clone + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Relaxed);
                tokio::spawn(serve(stream, answer.clone()));
            }
        });
        Endpoint { address, connections }
    }
}

/// Serves one connection.
pub async fn serve<F, A>(stream: TcpStream, answer: F)
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> A,
    A: Future<Output = ()> + Send + 'static,
{
    // Otherwise window updates wait for the other side's delayed acknowledgements.
    stream.set_nodelay(true).unwrap();
    let Ok(mut connection) = server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond));
    }
}

/// Answers 200 with a body.
pub fn reply(mut respond: SendResponse<Bytes>, body: &'static str) {
    let mut stream = respond.send_response(Response::new(()), false).unwrap();
    stream.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
}
