//! From a listening socket to a connection that speaks HTTP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::AbortHandle;

use super::opening::{Agreed, speak};
use super::team::{Command, Team};
use crate::http::{Client as Peer, Scheme};
use crate::net::{Stream, listen};
use crate::proxy::Worker;
use crate::snapshot::Listener;

/// How long an accept loop rests when the process is out of descriptors or memory.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Where connections enter a worker.
pub(super) struct Door {
    pub number: usize,
    pub team: Team,
    pub worker: Rc<Worker>,
}

impl Door {
    /// Begins to accept on a socket; the handle ends it.
    pub(super) fn open(self: Rc<Self>, listener: u32, socket: listen::Listener) -> io::Result<AbortHandle> {
        let task = match socket {
            listen::Listener::Tcp(socket) => {
                let socket = TcpListener::from_std(socket)?;
                tokio::task::spawn_local(async move { self.accept_tcp(listener, socket).await })
            }
            listen::Listener::Unix(socket) => {
                let socket = UnixListener::from_std(socket)?;
                tokio::task::spawn_local(async move { self.accept_unix(listener, socket).await })
            }
        };
        Ok(task.abort_handle())
    }

    async fn accept_tcp(&self, listener: u32, socket: TcpListener) {
        loop {
            match socket.accept().await {
                Ok((stream, peer)) => self.place(listener, stream, peer),
                Err(error) => self.rest(&error).await,
            }
        }
    }

    async fn accept_unix(&self, listener: u32, socket: UnixListener) {
        loop {
            match socket.accept().await {
                Ok((stream, _)) => {
                    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                    self.serve(listener, Stream::Unix(stream), nobody, nobody);
                }
                Err(error) => self.rest(&error).await,
            }
        }
    }

    /// A connection that was reset before we took it says nothing; everything else passes by
    /// waiting, and trying at once would only burn the processor.
    async fn rest(&self, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        tracing::warn!(%error, "can not accept connections now");
        tokio::time::sleep(EXHAUSTED).await;
    }

    /// Serves a connection here, or hands it to a worker that has clearly fewer.
    fn place(&self, listener: u32, stream: TcpStream, peer: SocketAddr) {
        let Some(other) = self.team.less_loaded(self.number).filter(|other| *other != self.number) else {
            return self.greet(listener, stream, peer);
        };
        let Ok(stream) = stream.into_std() else { return };
        if let Err(Command::Adopt(listener, stream, peer)) =
            self.team.hand_over(other, Command::Adopt(listener, stream, peer))
        {
            self.adopt(listener, stream, peer);
        }
    }

    /// Takes a connection over from another worker.
    pub(super) fn adopt(&self, listener: u32, stream: std::net::TcpStream, peer: SocketAddr) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.greet(listener, stream, peer),
            Err(error) => tracing::debug!(%error, "a handed-over connection was lost"),
        }
    }

    fn greet(&self, listener: u32, stream: TcpStream, peer: SocketAddr) {
        // Both fail only when the connection has gone already.
        let (Ok(local), Ok(())) = (stream.local_addr(), stream.set_nodelay(true)) else { return };
        self.serve(listener, Stream::Tcp(stream), peer, local);
    }

    fn serve(&self, listener: u32, stream: Stream, peer: SocketAddr, local: SocketAddr) {
        let view = self.worker.view();
        let Some(listener) = view.snapshot.listener(listener) else { return };
        let presence = self.team.enter(self.number);
        let worker = self.worker.clone();
        tokio::task::spawn_local(async move {
            converse(&worker, listener, stream, peer, local).await;
            drop(presence);
        });
    }
}

/// Speaks to a client until the connection ends.
fn converse(
    worker: &Rc<Worker>,
    listener: Arc<Listener>,
    stream: Stream,
    address: SocketAddr,
    local: SocketAddr,
) -> impl Future<Output = ()> {
    let scheme = if listener.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let trusted = listener.trusts(address.ip());
    let peer = Peer { address, local, scheme, listener: listener.number, trusted };
    speak(worker, listener, peer, stream, Agreed::Nothing)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::net::UnixStream;

    use super::*;
    use crate::snapshot::{Live, build};

    /// What an open connection may cost beside its buffers, which it gives back when idle.
    const CEILING: usize = 1296;

    #[tokio::test]
    async fn an_idle_connection_stays_small() {
        let text = "[listener.web]\nbind = \"127.0.0.1:1\"\n[[route]]\nto = \"up\"\n[upstream.up]\nendpoints = [\"127.0.0.1:9\"]";
        let config = crate::config::parse(text, Path::new("proxy.toml"), &|_| None).unwrap();
        let live = Live::new(build(config, None, &mut |_, _| Ok(None)).unwrap());
        let listener = live.load().listeners().next().cloned().unwrap();
        let worker = Rc::new(Worker::new(Arc::new(live), Default::default()));
        let (stream, _client) = UnixStream::pair().unwrap();
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let talk = converse(&worker, listener, Stream::Unix(stream), nobody, nobody);
        let size = size_of_val(&talk);
        assert!(size <= CEILING, "{size} bytes");
    }
}
