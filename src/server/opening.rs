//! Which version of HTTP a connection speaks: by ALPN with TLS, by its first bytes without.

use std::future::poll_fn;
use std::task::Poll;

use tokio::task::spawn_local;

use super::h1::Opening;
use super::visit::Visit;
use super::{h1, h2};
use crate::config::listener::Protocol;
use crate::http::Reason;
use crate::net::{Prefixed, Stream, Wire};
use crate::proxy::Worker;
use crate::snapshot::Listener;

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What client and listener have agreed on before the first byte of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed {
    /// Nothing: the first bytes show it.
    Nothing,
    /// A version, by ALPN (RFC 7301).
    On(Protocol),
}

impl Agreed {
    /// What a TLS handshake has settled. A client that did not offer ALPN speaks HTTP/1.1
    /// (RFC 9113 §3.2 lets none speak HTTP/2 over TLS without).
    pub fn by_alpn(protocol: Option<&[u8]>) -> Agreed {
        Agreed::On(if protocol == Some(b"h2") { Protocol::H2 } else { Protocol::H1 })
    }
}

/// Goes on in a task for what the connection speaks: a task keeps room for all of its phases as long
/// as it lives, and most connections are to be small. Where HTTP/1.1 is possible its task looks at the
/// first bytes itself, since most clients speak it.
pub(super) fn begin(visit: Visit, stream: Stream, agreed: Agreed) {
    begin_with(visit, Wire::new(stream), agreed);
}

/// The same for a connection whose first bytes were read already.
pub(super) fn begin_with(visit: Visit, wire: Wire, agreed: Agreed) {
    let offers = |protocol| visit.listener.settings.protocols.contains(&protocol);
    match agreed {
        Agreed::On(protocol) => speak(visit, wire, protocol),
        Agreed::Nothing if !offers(Protocol::H2) => speak(visit, wire, Protocol::H1),
        Agreed::Nothing if offers(Protocol::H1) => drop(spawn_local(h1::serve(visit, wire, Opening::Open))),
        Agreed::Nothing => drop(spawn_local(sniff(visit, wire))),
    }
}

async fn sniff(visit: Visit, mut wire: Wire) {
    if let Some(protocol) = first_bytes(&visit.worker, &visit.listener, &mut wire).await {
        speak(visit, wire, protocol);
    }
}

/// Goes on in this version, or tells the client that it is not offered.
pub(super) fn speak(visit: Visit, wire: Wire, protocol: Protocol) {
    let is_offered = visit.listener.settings.protocols.contains(&protocol);
    match protocol {
        Protocol::H1 if is_offered => spawn_local(h1::serve(visit, wire, Opening::Agreed)),
        Protocol::H1 => spawn_local(h1::turn_away(visit, wire, Reason::VersionNotSupported)),
        Protocol::H2 => spawn_local(async move {
            let (stream, read) = wire.into_parts();
            h2::serve(&visit.worker, visit.listener, visit.peer, Prefixed::new(stream, read)).await;
            drop(visit.guard);
        }),
    };
}

/// Reads until the connection shows what it speaks; what was read stays in the wire. `None` when
/// the client ends or stays silent.
async fn first_bytes(worker: &Worker, listener: &Listener, wire: &mut Wire) -> Option<Protocol> {
    let timer = worker.timers.slot();
    let mut due = timer.clock().now().after(Some(listener.settings.limits.header_timeout.get()));
    let mut draining = false;
    poll_fn(|context| {
        loop {
            if let Some(protocol) = recognise(wire.input.filled()) {
                return Poll::Ready(Some(protocol));
            }
            match wire.poll_fill(context) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        wire.input.release();
        if worker.is_draining() && !draining {
            // A request may be on its way already.
            draining = true;
            due = due.min(timer.clock().now().after(Some(h1::DRAIN_TIME)));
        }
        timer.poll(context, due).map(|()| None)
    })
    .await
}

/// What the first bytes show, as soon as they do.
pub(super) fn recognise(bytes: &[u8]) -> Option<Protocol> {
    let seen = bytes.len().min(PREFACE.len());
    if bytes[..seen] != PREFACE[..seen] {
        return Some(Protocol::H1);
    }
    (seen == PREFACE.len()).then_some(Protocol::H2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preface_is_recognised_at_its_last_byte_and_anything_else_at_the_first_other_one() {
        for length in 0..PREFACE.len() {
            assert_eq!(recognise(&PREFACE[..length]), None);
        }
        assert_eq!(recognise(&[PREFACE, b"\0\0"].concat()), Some(Protocol::H2));
        assert_eq!(recognise(b"P"), None);
        assert_eq!(recognise(b"PUT / HTTP/1.1"), Some(Protocol::H1));
        assert_eq!(recognise(b"GET"), Some(Protocol::H1));
    }

    #[test]
    fn alpn_decides_with_tls() {
        assert_eq!(Agreed::by_alpn(Some(b"h2")), Agreed::On(Protocol::H2));
        assert_eq!(Agreed::by_alpn(Some(b"http/1.1")), Agreed::On(Protocol::H1));
        assert_eq!(Agreed::by_alpn(None), Agreed::On(Protocol::H1));
    }
}
