//! From a listening socket to a connection that speaks HTTP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::{AbortHandle, spawn_local};

use super::opening::{Agreed, begin, begin_with};
use super::proxied;
use super::team::{Command, Handed, Presence, Team};
use super::visit::Visit;
use super::{h1, tcp};
use crate::config::listener::{ClearText, Mode};
use crate::http::{Client as Peer, Reason, Scheme};
use crate::net::certs::{IdentityError, identity};
use crate::net::defer::defer_accept;
use crate::net::tls::{Acceptor, Greeting, Handshake, HandshakeError, Version};
use crate::net::turn::Turn;
use crate::net::{Stream, Wire, listen};
use crate::observe::metrics;
use crate::proxy::Worker;
use crate::units::Generation;

/// How long an accept loop rests when the process is out of descriptors or memory.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// Where connections enter a worker.
pub(super) struct Door {
    pub number: usize,
    pub team: Team,
    pub worker: Rc<Worker>,
    pub turn: Rc<Turn>,
}

impl Door {
    /// Begins to accept on a socket; the handle ends it.
    pub(super) fn open(self: Rc<Self>, listener: u32, socket: listen::Listener) -> io::Result<AbortHandle> {
        let task = match socket {
            listen::Listener::Tcp(socket) => {
                let socket = TcpListener::from_std(socket)?;
                spawn_local(async move { self.accept_tcp(listener, socket).await })
            }
            listen::Listener::Unix(socket) => {
                let socket = UnixListener::from_std(socket)?;
                spawn_local(async move { self.accept_unix(listener, socket).await })
            }
        };
        Ok(task.abort_handle())
    }

    async fn accept_tcp(&self, listener: u32, socket: TcpListener) {
        // Where a socket has one address, its connections need not be asked for theirs.
        let bound = socket.local_addr().ok().filter(|bound| !bound.ip().is_unspecified());
        let mut known = None;
        loop {
            self.defer(listener, &socket, &mut known);
            match socket.accept().await {
                Ok((stream, peer)) => match bound.map_or_else(|| stream.local_addr(), Ok) {
                    Ok(local) => self.place(listener, stream, peer, local),
                    // The connection has gone already.
                    Err(error) => tracing::debug!(%error, "a connection was lost"),
                },
                Err(error) => self.rest(&error).await,
            }
        }
    }

    /// Sets whether connections come with their first bytes: at the beginning and after a reload.
    fn defer(&self, listener: u32, socket: &TcpListener, known: &mut Option<Generation>) {
        let view = self.worker.view();
        if known.replace(view.snapshot.generation) == Some(view.snapshot.generation) {
            return;
        }
        let Some(listener) = view.snapshot.listener(listener) else { return };
        // What is passed through may be a protocol in which the server speaks first.
        let defers = listener.settings.defer_accept && listener.settings.mode == Mode::Http;
        if let Err(error) = defer_accept(socket, defers) {
            tracing::debug!(%error, "connections are accepted before their first bytes");
        }
    }

    async fn accept_unix(&self, listener: u32, socket: UnixListener) {
        loop {
            match socket.accept().await {
                Ok((stream, _)) => {
                    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                    self.serve(listener, Stream::Unix(stream), nobody, nobody, self.team.enter(self.number));
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
    fn place(&self, listener: u32, stream: TcpStream, peer: SocketAddr, local: SocketAddr) {
        let Some(other) = self.team.less_loaded(self.number).filter(|other| *other != self.number) else {
            // TCP_NODELAY comes from the listener.
            let presence = self.team.enter(self.number);
            return self.serve(listener, Stream::Tcp(stream), peer, local, presence);
        };
        let Ok(stream) = stream.into_std() else { return };
        // Counted before it is handed over, so that a drain waits for it.
        let handed = Command::Adopt(Handed { listener, stream, peer, local }, self.team.enter(other));
        if let Err(Command::Adopt(handed, _)) = self.team.hand_over(other, handed) {
            self.adopt(handed, self.team.enter(self.number));
        }
    }

    /// Takes a connection over from another worker.
    pub(super) fn adopt(&self, handed: Handed, presence: Presence) {
        let Handed { listener, stream, peer, local } = handed;
        match TcpStream::from_std(stream) {
            Ok(stream) => self.serve(listener, Stream::Tcp(stream), peer, local, presence),
            Err(error) => tracing::debug!(%error, "a handed-over connection was lost"),
        }
    }

    fn serve(
        &self,
        listener: u32,
        stream: Stream,
        address: SocketAddr,
        local: SocketAddr,
        presence: Presence,
    ) {
        let worker = self.worker.clone();
        let Some(listener) = worker.view().snapshot.listener(listener) else { return };
        if self.team.is_over() {
            worker.shard.reason(Reason::Overloaded as usize);
            return;
        }
        let guard = (presence, worker.shard.connection_opened(listener.counted));
        let scheme = if listener.tls.is_some() { Scheme::Https } else { Scheme::Http };
        let mut peer = Peer { address, local, scheme, listener: listener.number, ..Peer::default() };
        listener.judge(&mut peer);
        let visit = Visit { worker, listener, peer, guard };
        if proxied::is_announced(&visit, &stream) {
            drop(spawn_local(proxied::introduce(visit, stream, self.turn.clone())));
        } else {
            converse(visit, stream, &self.turn);
        }
    }
}

/// Goes on with what the client itself sends.
pub(super) fn converse(visit: Visit, stream: Stream, turn: &Rc<Turn>) {
    if visit.listener.settings.mode == Mode::Tcp {
        return drop(spawn_local(tcp::serve(visit, stream)));
    }
    match (visit.listener.tls.clone(), stream) {
        (Some(acceptor), Stream::Tcp(stream)) => {
            drop(spawn_local(greet_tls(visit, acceptor, stream, turn.clone())));
        }
        // A socket of the service manager may be a UNIX one, which carries no TLS.
        (Some(acceptor), Stream::Unix(_)) if acceptor.demands_certificates() => {
            tracing::debug!(listener = &*visit.listener.name, "no client certificate over a UNIX socket");
        }
        (_, stream) => begin(visit, stream, Agreed::Nothing),
    }
}

/// Makes the TLS handshake, then begins to speak HTTP.
async fn greet_tls(mut visit: Visit, acceptor: Arc<Acceptor>, stream: TcpStream, turn: Rc<Turn>) {
    let greeting = match acceptor.accept(stream, &turn).await {
        Ok(greeting) => greeting,
        Err(error) => return failed(&visit, &error),
    };
    let stream = match greeting {
        Greeting::Tls(stream) => stream,
        Greeting::ClearText(stream, read) => {
            return greet_clear_text(visit, Wire::with_input(Stream::Tcp(stream), read)).await;
        }
    };
    let handshake = Handshake::of(stream.get_ref().1);
    visit.worker.shard.handshake(visit.listener.counted, counted(&handshake));
    visit.peer.tls = Some(handshake.version);
    if let Err(error) = introduce(&mut visit, stream.get_ref().1.peer_certificates()) {
        tracing::debug!(listener = &*visit.listener.name, %error, "client refused");
        return;
    }
    let agreed = Agreed::by_alpn(stream.get_ref().1.alpn_protocol());
    begin(visit, Stream::Tls(stream), agreed);
}

/// Keeps what the client's certificate says for all of its requests.
fn introduce(visit: &mut Visit, shown: Option<&[CertificateDer<'static>]>) -> Result<(), IdentityError> {
    if let Some(certificate) = shown.and_then(|chain| chain.first()) {
        visit.peer.identity = Some(Arc::new(identity(certificate, &visit.listener.identity)?));
    }
    Ok(())
}

/// A client that does not speak TLS on a port that does.
async fn greet_clear_text(mut visit: Visit, wire: Wire) {
    visit.peer.scheme = Scheme::Http;
    let settings = visit.listener.settings.tls.as_ref();
    match settings.map_or(ClearText::Refuse, |tls| tls.get_ref().clear_text) {
        ClearText::Refuse => h1::turn_away(visit, wire, Reason::ClearTextOnTlsPort).await,
        ClearText::Redirect | ClearText::Serve => begin_with(visit, wire, Agreed::Nothing),
    }
}

fn failed(visit: &Visit, error: &HandshakeError) {
    let outcome = match error {
        HandshakeError::Timeout => metrics::Handshake::TimedOut,
        _ => metrics::Handshake::Failed,
    };
    visit.worker.shard.handshake(visit.listener.counted, outcome);
    let cause = std::error::Error::source(error).map(tracing::field::display);
    tracing::debug!(listener = &*visit.listener.name, %error, cause, "handshake failed");
}

/// A handshake as the metrics name it.
fn counted(handshake: &Handshake) -> metrics::Handshake {
    let version = match handshake.version {
        Version::Tls12 => metrics::TlsVersion::Tls12,
        Version::Tls13 => metrics::TlsVersion::Tls13,
    };
    let resumed = if handshake.resumed { metrics::Resumption::Resumed } else { metrics::Resumption::Full };
    metrics::Handshake::Done(version, resumed)
}
