//! The hot path: from a request head to the last byte of its answer.
//!
//! Both front ends call [`handle`]; both kinds of endpoint connection stand behind
//! [`link::Link`]. There is one loop of attempts and one way to stream.

pub mod attempt;
pub mod body;
pub mod client;
mod dial;
mod forward;
mod grpc;
pub mod h2;
pub mod journal;
pub mod link;
pub mod passthrough;
mod plan;
pub mod pool;
pub mod pump;
mod recoded;
mod record;
mod replay;
pub mod reply;
pub mod worker;

pub use attempt::Patience;
pub use client::{Client, Gone};
pub use worker::{Fleet, Room, View, Worker};

use crate::clock::Timer;
use crate::http::{Exchange, Reason, forwarded};
use crate::snapshot::Listener;
use attempt::Call;
use plan::Plan;

/// How an exchange ended for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a complete answer.
    Complete,
    /// With an answer that was broken off, or with none.
    Broken,
}

/// Answers one request, whose validated head is in `room.exchange.request`.
///
/// Not an `async fn`: an open connection is to be small.
#[expect(clippy::manual_async_fn, reason = "an async fn keeps its arguments twice")]
pub fn handle<C: Client>(
    worker: &Worker,
    listener: &Listener,
    client: &mut C,
    room: &mut Room,
    timer: &Timer,
) -> impl Future<Output = Ended> {
    async move {
        let _running = worker.shard.exchange();
        let view = worker.view();
        let started = worker.timers.stamp();
        room.journal.begin(started);
        room.exchange.identify(worker.identity(room.journal.started));
        find_client(listener, &mut room.exchange);
        view.snapshot.reserved.settle(&mut room.exchange);
        if !view.snapshot.reserved.is_empty() {
            room.replay.hide(&view.snapshot.reserved);
        }
        let patience = Patience::of(listener);
        let ended = match plan::plan(worker, &view, listener, room) {
            Plan::Forward(route, upstream) => {
                room.journal.upstream = Some(upstream);
                let fleet = &view.fleets[upstream];
                let limit = route.timeouts.request.get().map(|span| span.get());
                let until = grpc::deadline(room, started, limit);
                forward::run(&mut Call { worker, client, room, timer, route, fleet, until, patience }).await
            }
            Plan::Reply(route) => {
                if let Some(route) = route {
                    reply::outbound(route, room);
                }
                reply::send(worker, client, room, timer, patience).await
            }
        };
        record::record(worker, &view, listener, room);
        ended
    }
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
    room.journal.begin(worker.timers.stamp());
    room.journal.reason = Some(reason);
    room.exchange.identify(worker.identity(room.journal.started));
    find_client(listener, &mut room.exchange);
    reply::fill(&mut room.exchange, reason);
    let ended = reply::send(worker, client, room, timer, Patience::of(listener)).await;
    record::record(worker, &view, listener, room);
    ended
}

/// Counts and logs a request that was refused without us, or a connection that was ended.
pub fn note(worker: &Worker, listener: &Listener, room: &mut Room, reason: Reason) {
    let view = worker.view();
    room.journal.begin(worker.timers.stamp());
    room.journal.reason = Some(reason);
    room.exchange.identify(worker.identity(room.journal.started));
    record::record(worker, &view, listener, room);
}

/// Finds out whom a trusted proxy speaks for.
fn find_client(listener: &Listener, exchange: &mut Exchange) {
    let peer = exchange.client.address.ip();
    let is_trusted = |address| listener.trusts(address);
    let find = || forwarded::client_of(&exchange.request.fields, peer, is_trusted);
    exchange.spoken_for = exchange.client.trusted.then(find);
}
