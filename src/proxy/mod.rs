//! The hot path: from a request head to the last byte of its answer.
//!
//! Both front ends call [`handle`]; both kinds of endpoint connection stand behind
//! [`link::Link`]. There is one loop of attempts and one way to stream.

use std::time::Instant;

pub mod attempt;
pub mod body;
pub mod client;
mod forward;
pub mod h2;
pub mod journal;
pub mod link;
pub mod pool;
pub mod pump;
mod replay;
pub mod reply;
pub mod worker;

pub use attempt::Patience;
pub use client::{Client, Gone};
pub use worker::{Fleet, Room, View, Worker};

use crate::clock::Timer;
use crate::http::{Exchange, Reason, Scheme};
use crate::middleware::Step;
use crate::route::{Captures, Match, Subject};
use crate::snapshot::{Action, Listener, Route};
use attempt::Call;

/// How an exchange ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a complete answer.
    Complete,
    /// With an answer that was broken off, or with none.
    Broken,
}

/// What happens to a request.
enum Plan {
    Forward(usize),
    /// The answer is in the exchange already.
    Reply,
    /// The proxy refuses it.
    Refuse(Reason),
}

/// Answers one request, whose validated head is in `room.exchange.request`.
pub async fn handle<C: Client>(
    worker: &Worker,
    listener: &Listener,
    client: &mut C,
    room: &mut Room,
    timer: &Timer,
) -> Ended {
    let view = worker.view();
    let started = Instant::now();
    room.journal.begin(started);
    room.exchange.identify(worker.identity());
    let patience = Patience::of(listener);
    let ended = match find(&view, listener, &room.exchange) {
        Ok(found) => {
            let route = &view.snapshot.routes[found.route as usize];
            room.journal.route = Some(found.route);
            match plan(worker, route, &found.captures, room) {
                Plan::Forward(number) => {
                    room.journal.upstream = Some(number);
                    let fleet = &view.fleets[number];
                    let until =
                        worker.timers.at(started).after(route.timeouts.request.get().map(|span| span.get()));
                    let mut call =
                        Call { worker, view: &view, client, room, timer, route, fleet, until, patience };
                    forward::run(&mut call).await
                }
                plan @ (Plan::Reply | Plan::Refuse(_)) => {
                    if let Plan::Refuse(reason) = plan {
                        room.journal.reason = Some(reason);
                        reply::fill(&mut room.exchange, reason);
                    }
                    reply::outbound(route, room);
                    reply::send(worker, client, room, timer, patience).await
                }
            }
        }
        Err(reason) => {
            room.journal.reason = Some(reason);
            reply::fill(&mut room.exchange, reason);
            reply::send(worker, client, room, timer, patience).await
        }
    };
    journal::close(worker, &view, listener, room);
    ended
}

/// Answers a request that broke a rule before it could be handled.
pub async fn refuse<C: Client>(
    worker: &Worker,
    listener: &Listener,
    client: &mut C,
    room: &mut Room,
    timer: &Timer,
    reason: Reason,
) -> Ended {
    let view = worker.view();
    room.journal.begin(Instant::now());
    room.journal.reason = Some(reason);
    room.exchange.identify(worker.identity());
    reply::fill(&mut room.exchange, reason);
    let ended = reply::send(worker, client, room, timer, Patience::of(listener)).await;
    journal::close(worker, &view, listener, room);
    ended
}

/// The route that takes the request.
fn find(view: &View, listener: &Listener, exchange: &Exchange) -> Result<Match, Reason> {
    let request = &exchange.request;
    let subject = Subject { request, listener: listener.number, client: exchange.client.address.ip() };
    let found = view.snapshot.table.find(&subject);
    found.ok_or_else(|| listener.unknown(view.snapshot.table.knows_host(request.host())))
}

/// Runs the middlewares and settles what is done with the request.
fn plan(worker: &Worker, route: &Route, captures: &Captures, room: &mut Room) -> Plan {
    for middleware in &route.middlewares {
        room.journal.middlewares += 1;
        match middleware.on_request(&mut room.exchange) {
            Step::Next => {}
            Step::Reply => {
                reply::seal(&mut room.exchange);
                return Plan::Reply;
            }
        }
    }
    let number = match &route.action {
        Action::Forward(number) => *number,
        Action::Split(split, numbers) => numbers[split.choose(worker.random())],
        Action::Redirect(redirect, status) => {
            let mut location = Vec::new();
            redirect.render(&room.exchange, captures, &mut location);
            room.exchange.response.clear();
            room.exchange.response.status = *status;
            room.exchange.response.fields.push(b"location", &location);
            reply::seal(&mut room.exchange);
            return Plan::Reply;
        }
        Action::Respond(fixed) => {
            fixed.fill(&mut room.exchange);
            reply::seal(&mut room.exchange);
            return Plan::Reply;
        }
    };
    if !route.rewrite.is_identity() {
        let mut path = Vec::new();
        if route.rewrite.render(room.exchange.request.path(), captures, &mut path).is_err() {
            return Plan::Refuse(Reason::BadRequestTarget);
        }
        room.exchange.request.path = room.exchange.request.fields.append(&path);
    }
    Plan::Forward(number)
}

/// The answer of a listener with `redirect_https`: the same URL with the other scheme.
fn redirect_to_https(exchange: &mut Exchange) {
    let request = &exchange.request;
    let mut location = [Scheme::Https.name().as_bytes(), b"://", request.host(), request.path()].concat();
    if let Some(query) = request.query() {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    exchange.response.clear();
    exchange.response.status = 308;
    exchange.response.fields.push(b"location", &location);
    reply::seal(exchange);
}
