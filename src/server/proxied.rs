//! Connections that begin with a PROXY protocol header.
//!
//! Only `trusted_proxies` are asked for one, and peers on a UNIX socket: the mode of its file says
//! who may connect there, and without a header nothing is known of the client.

use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::Poll;

use super::accept::converse;
use super::h1::DRAIN_TIME;
use super::visit::Visit;
use crate::config::listener::ProxyProtocol;
use crate::http::Reason;
use crate::net::Stream;
use crate::net::proxy_protocol::{Header, ReceiveError, Told, receive};

/// Whether the connection must begin with a header.
pub(super) fn is_announced(visit: &Visit, stream: &Stream) -> bool {
    match visit.listener.settings.proxy_protocol {
        ProxyProtocol::Off => false,
        ProxyProtocol::Accept => visit.peer.trusted || matches!(stream, Stream::Unix(_)),
    }
}

/// Reads the header, takes over what it tells, and goes on with what follows it.
pub(super) async fn introduce(mut visit: Visit, stream: Stream) {
    let Some(header) = header(&visit, &stream).await else { return };
    let peer = &mut visit.peer;
    match header.told {
        Told::Addresses(told) => {
            (peer.address, peer.local) = (canonical(told.source), canonical(told.destination));
        }
        Told::Nameless => {
            let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            (peer.address, peer.local) = (nobody, nobody);
        }
        // The load balancer speaks for itself.
        Told::Nothing => {}
    }
    visit.listener.judge(peer);
    converse(visit, stream);
}

/// An IPv4 address that was told as IPv6 is IPv4, as it would be on a socket of ours.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The header; `None` when there is none in time, so that the connection is to be closed.
async fn header(visit: &Visit, stream: &Stream) -> Option<Header> {
    let Visit { worker, listener, peer, .. } = visit;
    let timer = worker.timers.slot();
    let mut due = timer.clock().now().after(Some(listener.settings.limits.header_timeout.get()));
    let mut draining = false;
    let mut receiving = pin!(receive(stream));
    let received = poll_fn(|context| {
        if let Poll::Ready(received) = receiving.as_mut().poll(context) {
            return Poll::Ready(Some(received));
        }
        if worker.is_draining() && !draining {
            // A header may be on its way already.
            draining = true;
            due = due.min(timer.clock().now().after(Some(DRAIN_TIME)));
        }
        timer.poll(context, due).map(|()| None)
    });
    match received.await {
        Some(Ok(header)) => return Some(header),
        Some(Err(ReceiveError::Silent)) => return None,
        Some(Err(error)) => {
            tracing::debug!(listener = &*listener.name, peer = %peer.address, %error, "no PROXY protocol header");
        }
        None => {
            tracing::debug!(listener = &*listener.name, peer = %peer.address, "PROXY protocol header timed out");
        }
    }
    worker.shard.reason(Reason::BadProxyHeader as usize);
    None
}
