//! The end of an exchange: it is counted and logged.

use std::time::{Duration, SystemTime};

use super::worker::{Room, View, Worker};
use crate::http::{Name, Reason, TlsVersion};
use crate::observe::access::{Attempt, Batch, Line};
use crate::observe::metrics::RouteId;
use crate::snapshot::{Listener, Route};

/// Counts and logs an exchange that is over.
pub(super) fn record(worker: &Worker, view: &View, listener: &Listener, room: &mut Room) {
    let journal = &room.journal;
    let ended = journal.ended.unwrap_or_else(|| worker.timers.stamp());
    let duration = ended.since(journal.started);
    let route = journal.route.and_then(|number| view.snapshot.routes.get(number as usize));
    let status = journal.status();
    let number = route.map_or(RouteId::NONE, |route| route.number);
    worker.shard.request(number, status, duration, journal.sent, journal.received);
    if let Some(reason) = journal.reason {
        worker.shard.reason(reason as usize);
    }
    let mut access = worker.access.borrow_mut();
    if access.is_on() {
        let version = room.exchange.request.version.name();
        write_line(&mut access, view, listener, room, route, duration, version);
    }
}

/// Counts and logs a connection that was passed through.
pub(super) fn connection(worker: &Worker, view: &View, listener: &Listener, room: &Room) {
    let journal = &room.journal;
    let duration = worker.timers.stamp().since(journal.started);
    let route = journal.route.and_then(|number| view.snapshot.routes.get(number as usize));
    let number = route.map_or(RouteId::NONE, |route| route.number);
    worker.shard.request(number, journal.status(), duration, journal.sent, journal.received);
    if let Some(reason) = journal.reason {
        worker.shard.reason(reason as usize);
    }
    let mut access = worker.access.borrow_mut();
    if access.is_on() {
        write_line(&mut access, view, listener, room, route, duration, "TCP");
    }
}

fn write_line(
    access: &mut Batch,
    view: &View,
    listener: &Listener,
    room: &Room,
    route: Option<&Route>,
    duration: Duration,
    version: &str,
) {
    let (journal, request) = (&room.journal, &room.exchange.request);
    let upstream = journal.upstream.and_then(|number| view.snapshot.upstreams.get(number));
    let field = |name| request.fields.get(name).unwrap_or_default();
    // A request that was refused before it was judged has no path yet. What may hold a password
    // in front of a host is not shown.
    let raw = request.target().split(|byte| *byte == b'?').next().unwrap_or_default();
    let raw = if raw.contains(&b'@') && !raw.starts_with(b"/") { &[] } else { raw };
    let line = Line {
        at: SystemTime::now(),
        client: room.exchange.client_address(),
        method: request.method_text(),
        path: if request.path().is_empty() { raw } else { request.path() },
        query: request.query(),
        version,
        host: request.authority(),
        status: journal.status(),
        received: journal.received,
        sent: journal.sent,
        duration,
        first_byte: journal.pool.as_ref().map(|_| journal.first_byte),
        listener: &listener.name,
        route: route.map(|route| &*route.name),
        upstream: upstream.map(|upstream| upstream.name()),
        endpoint: journal.pool.as_ref().map(|pool| pool.endpoint().name()),
        reason: journal.reason.map(Reason::name),
        request_id: room.exchange.request_id(),
        user_agent: field(Name::UserAgent),
        referer: field(Name::Referer),
        tls: room.exchange.client.tls.map(TlsVersion::as_str),
        tls_client: room.exchange.client.identity.as_ref().map(|identity| identity.subject.as_bytes()),
    };
    let attempts = room.failed.iter().map(|failed| Attempt {
        endpoint: failed.endpoint.name(),
        reason: failed.reason.name(),
        took: failed.took,
    });
    access.line(view.snapshot.config.log.access_format, &line, attempts);
}
