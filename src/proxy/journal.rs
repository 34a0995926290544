//! What is remembered of an exchange until its last byte: then it is counted and logged.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::worker::{Room, View, Worker};
use crate::endpoint::Endpoint;
use crate::http::{Name, Reason};
use crate::observe::access::{Attempt, Batch, Line};
use crate::observe::metrics::RouteId;
use crate::snapshot::{Listener, Route};

/// What will be counted and logged of one exchange.
#[derive(Debug)]
pub struct Journal {
    /// When the head had come.
    pub started: Instant,
    /// The route that took it.
    pub route: Option<u32>,
    /// The upstream that it went to.
    pub upstream: Option<usize>,
    /// How many middlewares saw the request.
    pub middlewares: usize,
    /// The endpoint that answered.
    pub endpoint: Option<Arc<Endpoint>>,
    /// The status that the client got; 0 for none.
    pub status: u16,
    /// Until the head of the answer had come.
    pub first_byte: Duration,
    /// Body bytes of the request.
    pub received: u64,
    /// Body bytes of the answer.
    pub sent: u64,
    /// Why the proxy answered itself or broke off.
    pub reason: Option<Reason>,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal {
            started: Instant::now(),
            route: None,
            upstream: None,
            middlewares: 0,
            endpoint: None,
            status: 0,
            first_byte: Duration::ZERO,
            received: 0,
            sent: 0,
            reason: None,
        }
    }
}

impl Journal {
    /// A request has come.
    pub fn begin(&mut self, started: Instant) {
        *self = Journal { started, ..Journal::default() };
    }

    /// What is logged: an answer that the client did not wait for has no status of its own.
    fn status(&self) -> u16 {
        match (self.status, self.reason) {
            (0, Some(reason)) => reason.status(),
            (status, _) => status,
        }
    }

    /// An endpoint has answered.
    pub fn answered(&mut self, endpoint: &Arc<Endpoint>, status: u16) {
        self.endpoint = Some(endpoint.clone());
        self.status = status;
        self.first_byte = self.started.elapsed();
    }
}

/// Counts and logs an exchange that is over.
pub(super) fn close(worker: &Worker, view: &View, listener: &Listener, room: &mut Room) {
    let journal = &room.journal;
    let duration = journal.started.elapsed();
    let route = journal.route.and_then(|number| view.snapshot.routes.get(number as usize));
    let status = journal.status();
    let number = route.map_or(RouteId::NONE, |route| route.number);
    worker.shard.request(number, status, duration, journal.sent, journal.received);
    if let Some(reason) = journal.reason {
        worker.shard.reason(reason as usize);
    }
    let mut access = worker.access.borrow_mut();
    if access.is_on() {
        write_line(&mut access, view, listener, room, route, duration);
    }
}

fn write_line(
    access: &mut Batch,
    view: &View,
    listener: &Listener,
    room: &Room,
    route: Option<&Route>,
    duration: Duration,
) {
    let (journal, request) = (&room.journal, &room.exchange.request);
    let upstream = journal.upstream.and_then(|number| view.snapshot.upstreams.get(number));
    let field = |name| request.fields.get(name).unwrap_or_default();
    // A request that was refused before it was judged has no path yet.
    let raw = request.target().split(|byte| *byte == b'?').next().unwrap_or_default();
    let line = Line {
        at: SystemTime::now(),
        client: room.exchange.client.address.ip(),
        method: request.method_text(),
        path: if request.path().is_empty() { raw } else { request.path() },
        query: request.query(),
        version: request.version.name(),
        host: request.authority(),
        status: journal.status(),
        received: journal.received,
        sent: journal.sent,
        duration,
        first_byte: journal.endpoint.as_ref().map(|_| journal.first_byte),
        listener: &listener.name,
        route: route.map(|route| &*route.name),
        upstream: upstream.map(|upstream| upstream.name()),
        endpoint: journal.endpoint.as_ref().map(|endpoint| endpoint.name()),
        reason: journal.reason.map(Reason::name),
        request_id: room.exchange.request_id(),
        user_agent: field(Name::UserAgent),
        referer: field(Name::Referer),
        tls: room.exchange.client.tls,
    };
    let attempts = room.failed.iter().map(|failed| Attempt {
        endpoint: failed.endpoint.name(),
        reason: failed.reason.name(),
        took: failed.took,
    });
    access.line(view.snapshot.config.log.access_format, &line, attempts);
}
