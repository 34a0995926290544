//! Connections to the admin listener.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::View;
use super::answer::answer;
use crate::net::listen::{self, is_local};

/// Connections at a time; more wait in the accept queue, as each of these ends soon.
const MAX_CONNECTIONS: usize = 64;
/// From the connection to the end of the request's head.
const HEADER_LIMIT: Duration = Duration::from_secs(5);
/// From the answer being ready to its last byte.
const WRITE_LIMIT: Duration = Duration::from_secs(15);
/// Bytes of a request's head, and of the answer that wait for the client.
const MAX_BUFFER: usize = 16 << 10;
/// How long what was asked before the end may take.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Pause of accepting when the system has no descriptor left.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// The admin listener. A connection serves one request, so none can be held open.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
    limits: Limits,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) header: Duration,
    pub(super) write: Duration,
}

impl Server {
    /// A server on a bound socket; to be called in a runtime.
    ///
    /// # Errors
    ///
    /// When the runtime does not take the socket.
    pub fn new(socket: listen::Listener) -> io::Result<Server> {
        let address = socket.local()?;
        if !is_local(&address) {
            tracing::warn!(%address, "the admin listener can be reached from other machines, and whoever reaches it may reload and change endpoints");
        }
        let socket = match socket {
            listen::Listener::Tcp(socket) => Socket::Tcp(TcpListener::from_std(socket)?),
            listen::Listener::Unix(socket) => Socket::Unix(UnixListener::from_std(socket)?),
        };
        Ok(Server { socket, limits: Limits { header: HEADER_LIMIT, write: WRITE_LIMIT } })
    }

    #[cfg(test)]
    pub(super) fn with_limits(self, limits: Limits) -> Server {
        Server { limits, ..self }
    }

    /// Serves until `stop` is ready: then no more connections are accepted, and those that there are
    /// get their answers within two seconds. Dropping the future ends all of them at once.
    pub async fn run(self, view: Arc<dyn View>, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        tokio::select! {
            never = self.accept(view, &mut connections) => match never {},
            () = stop => {}
        }
        drop(self);
        let answered = async { while connections.join_next().await.is_some() {} };
        if timeout(LAST_ANSWERS, answered).await.is_err() {
            tracing::debug!("the admin listener ended with connections open");
        }
    }

    async fn accept(&self, view: Arc<dyn View>, connections: &mut JoinSet<()>) -> Infallible {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(permit) = room.clone().acquire_owned().await else { continue };
            let accepted = match &self.socket {
                Socket::Tcp(socket) => socket.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
                Socket::Unix(socket) => socket.accept().await.map(|(stream, _)| Stream::Unix(stream)),
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::debug!(%error, "can not accept admin connections now");
                    sleep(EXHAUSTED).await;
                    continue;
                }
            };
            let (view, limits) = (view.clone(), self.limits);
            connections.spawn(async move {
                match stream {
                    Stream::Tcp(stream) => serve(stream, view, limits).await,
                    Stream::Unix(stream) => serve(stream, view, limits).await,
                }
                drop(permit);
            });
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Serves one request. Its head, its work and its answer have a deadline each.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, view: Arc<dyn View>, limits: Limits) {
    let answered = Notify::new();
    let service = service_fn(async |request: Request<Incoming>| {
        let response: Response<_> = answer(request, &*view).await;
        answered.notify_one();
        Ok::<_, Infallible>(response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .keep_alive(false)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let overdue = async {
        answered.notified().await;
        sleep(limits.write).await;
    };
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "admin connection broke");
            }
        }
        () = overdue => tracing::debug!("admin client does not read its answer"),
    }
}
