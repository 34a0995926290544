//! Connections of a listener in tcp mode: their server name is read when a route asks for it, then
//! they are passed on untouched.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use super::h1;
use super::visit::Visit;
use crate::http::Reason;
use crate::net::client_hello::{self, HelloError};
use crate::net::{Buffer, Stream};
use crate::proxy::passthrough::{self, Arrival};

/// Serves a connection until it ends.
pub(super) async fn serve(visit: Visit, mut client: Stream) {
    let Visit { worker, listener, peer, guard } = &visit;
    let mut read = Buffer::default();
    let mut name = None;
    if listener.names.asks_for_names() {
        match server_name(&visit, &mut client, &mut read).await {
            Ok(shown) => name = shown,
            // Nothing was asked for: a probe, or a connection that a browser keeps in reserve.
            Err(Reason::ClientClosed) if read.is_empty() => return,
            Err(reason) => return passthrough::refuse(worker, listener, peer, reason),
        }
    }
    let arrival = Arrival { client, read, name };
    if let Err(reason) = Box::pin(passthrough::pass(worker, listener, peer, arrival)).await {
        tracing::debug!(listener = &*listener.name, reason = reason.name(), "a connection was not passed on");
    }
    let _counted_until_here = guard;
}

/// The name that the client asks for; `None` when it does not speak TLS or names nobody, so that
/// only a route without names can take it.
async fn server_name(
    visit: &Visit,
    client: &mut Stream,
    read: &mut Buffer,
) -> Result<Option<Box<str>>, Reason> {
    let timer = visit.worker.timers.slot();
    let mut due = timer.clock().now().after(Some(visit.listener.settings.limits.header_timeout.get()));
    let mut draining = false;
    let mut hello = pin!(client_hello::read(client, read));
    poll_fn(|context| {
        if let Poll::Ready(hello) = hello.as_mut().poll(context) {
            return Poll::Ready(match hello {
                Ok(accepted) => Ok(accepted.client_hello().server_name().map(Into::into)),
                Err(HelloError::ClearText | HelloError::Malformed { .. } | HelloError::TooLarge) => Ok(None),
                Err(HelloError::Gone(_)) => Err(Reason::ClientClosed),
            });
        }
        if visit.worker.is_draining() && !draining {
            draining = true;
            due = due.min(timer.clock().now().after(Some(h1::DRAIN_TIME)));
        }
        timer.poll(context, due).map(|()| Err(Reason::RequestTimeout))
    })
    .await
}
