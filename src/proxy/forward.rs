//! Finds an endpoint that answers: the loop of attempts under one deadline and one budget.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use super::Ended;
use super::attempt::{Attempt, Call};
use super::client::Client;
use super::grpc;
use super::link::Link;
use super::pool::{Certainty, Pool};
use super::reply;
use super::worker::Failed;
use crate::clock::Millis;
use crate::endpoint::{Endpoint, InFlight};
use crate::health::Outcome;
use crate::http::reason::Side;
use crate::http::{Exchange, Framing, Reason, Version, upgrade};
use crate::net::wire::GATHER;
use crate::proxy::link::h1::announced_idle_timeout;
use crate::route::settings::{HostHeader, Retry, RetryMethods, RetryOn};

/// How often a request is repeated because its connection turned out to be stale: the next one is
/// fresh, so once would do, but an endpoint may close that before it answers as well.
const MAX_STALE: usize = 3;

/// What became of an attempt that did not answer the client.
struct Failure {
    reason: Reason,
    /// What another attempt would repeat.
    repeats: Repeats,
}

/// What sending a request again would repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeats {
    /// Nothing: no byte of it has left.
    Nothing,
    /// Nothing that counts: an idle connection was closed while the request was on its way.
    StaleConnection,
    /// What the endpoint may have done with it.
    Work,
}

/// Sends the request to endpoints of the upstream until one answers, and streams that answer.
pub(super) async fn run<C: Client>(call: &mut Call<'_, C>) -> Ended {
    if let Some(budget) = call.fleet.upstream.budget() {
        budget.deposit();
    }
    call.room.replay.keep(replay_limit(call));
    let mut last = Reason::NoHealthyEndpoint;
    let mut fresh = false;
    let mut begun = call.room.journal.started;
    loop {
        let Some(pool) = call.fleet.pick(call.worker, &call.room.tried) else {
            return Box::pin(reply::refuse(call, last)).await;
        };
        let failure = match attempt(call, &pool, fresh).await {
            Ok(ended) => return ended,
            Err(failure) => failure,
        };
        last = failure.reason;
        let endpoint = pool.endpoint().clone();
        fresh = failure.repeats == Repeats::StaleConnection;
        if !fresh {
            call.fleet.upstream.observe(&endpoint, outcome(last));
            call.room.tried.push(endpoint.clone());
        }
        let now = call.worker.timers.stamp();
        call.room.failed.push(Failed { endpoint, reason: last, took: now.since(begun) });
        begun = now;
        if !may_retry(call, &failure) {
            // Boxed as all that is rare: a future keeps room for what it may wait for.
            return Box::pin(reply::refuse(call, last)).await;
        }
    }
}

/// One attempt at one endpoint, up to the last byte of its answer.
async fn attempt<C: Client>(call: &mut Call<'_, C>, pool: &Rc<Pool>, fresh: bool) -> Result<Ended, Failure> {
    let endpoint: &Endpoint = pool.endpoint();
    let _in_flight = InFlight::begin(endpoint);
    let (mut link, begun) = connection(call, pool, fresh).await?;
    link.send_head(&call.room.exchange, host_header(call, pool.endpoint()));
    let mut attempt = Attempt::begin(begun, &call.room.exchange);
    let answered = poll_fn(|context| attempt.poll_answer(context, call, &mut link)).await;
    if let Err(failure) = judge(call, &attempt, &link, answered) {
        call.room.journal.received = attempt.moved().0;
        return Err(failure);
    }
    let status = call.room.exchange.response.status;
    let opens = call.room.exchange.response.framing == Framing::Tunnel;
    learn(call, pool.endpoint());
    let over_h2 = call.room.exchange.request.version == Version::Http2;
    // RFC 8441 §5: what is 101 to the endpoint is 200 to a client of HTTP/2.
    let told = if opens && over_h2 { 200 } else { status };
    let now = call.worker.timers.stamp();
    call.room.journal.answered(pool, told, now);
    attempt.answered(now.millis());
    reply::outbound(call.route, call.room);
    call.client.respond(&call.room.exchange, &call.worker.timers);
    let streamed = if opens {
        attempt.begin_tunnel(call);
        poll_fn(|context| attempt.poll_tunnel(context, call, &mut link)).await
    } else {
        poll_fn(|context| attempt.poll_stream(context, call, &mut link)).await
    };
    (call.room.journal.received, call.room.journal.sent) = attempt.moved();
    if let Err(reason) = streamed
        && reason.side() == Side::Upstream
        && call.client.take_back()
    {
        return Err(Failure { reason, repeats: Repeats::Work });
    }
    if let Err(reason) = streamed
        && Box::pin(grpc::end(call, reason)).await
    {
        blame(call, pool, reason);
        return Ok(Ended::Complete);
    }
    Ok(close(call, pool, link, &attempt, status, streamed))
}

/// Whether there is an answer that the client gets.
fn judge<C: Client>(
    call: &mut Call<'_, C>,
    attempt: &Attempt,
    link: &Link,
    answered: Result<(), Reason>,
) -> Result<(), Failure> {
    if let Err(reason) = answered {
        return Err(Failure { reason, repeats: what_repeats(call, link, reason) });
    }
    let response = &call.room.exchange.response;
    let opens = response.framing == Framing::Tunnel;
    if let Some(failure) = unwanted(call, response.status) {
        return Err(failure);
    }
    if opens && !agrees(call, attempt) {
        return Err(Failure { reason: Reason::UnexpectedUpgrade, repeats: Repeats::Work });
    }
    Ok(())
}

/// An idle connection, or a new one, and when it was there.
async fn connection<C: Client>(
    call: &Call<'_, C>,
    pool: &Rc<Pool>,
    fresh: bool,
) -> Result<(Link, Millis), Failure> {
    let client = &call.room.exchange.client;
    // Boxed: connecting is rare, and its future would make every idle connection larger.
    if call.room.exchange.request.asks_for_tunnel() {
        let resort = call.fleet.resort(&call.room.tried);
        return Box::pin(in_time(call, pool.connect_for_tunnel(pool.greeting(client), resort))).await;
    }
    let can_return = is_repeatable(call) && call.room.replay.holds(call.room.exchange.request.framing);
    let certainty = if can_return { Certainty::Usual } else { Certainty::Sure };
    let now = call.worker.timers.recent().millis();
    let idle = if fresh { None } else { pool.take(client, now, certainty) };
    if let Some(link) = idle {
        return Ok((link, now));
    }
    let resort = call.fleet.resort(&call.room.tried);
    Box::pin(in_time(call, pool.connect(pool.greeting(client), resort))).await
}

/// Waits for a new connection while the exchange may last, and says when it was there.
async fn in_time<C>(
    call: &Call<'_, C>,
    connecting: impl Future<Output = Result<Link, Reason>>,
) -> Result<(Link, Millis), Failure> {
    let mut connecting = pin!(connecting);
    let connected = poll_fn(|context| match connecting.as_mut().poll(context) {
        Poll::Ready(connected) => Poll::Ready(connected),
        Poll::Pending => call.timer.poll(context, call.until.0).map(|()| Err(call.until.1)),
    });
    match connected.await {
        Ok(link) => Ok((link, call.worker.timers.now())),
        Err(reason) => Err(Failure { reason, repeats: Repeats::Nothing }),
    }
}

/// Whether the endpoint may open a tunnel now: it was asked for this one, and has the whole request.
fn agrees<C>(call: &mut Call<'_, C>, attempt: &Attempt) -> bool {
    let Exchange { request, response, .. } = &mut call.room.exchange;
    attempt.is_sent() && upgrade::is_agreed(request, response)
}

/// Tells the upstream how it went and settles what becomes of both connections.
fn close<C: Client>(
    call: &mut Call<'_, C>,
    pool: &Pool,
    link: Link,
    attempt: &Attempt,
    status: u16,
    streamed: Result<(), Reason>,
) -> Ended {
    let upstream = &call.fleet.upstream;
    match streamed {
        Ok(()) => {
            upstream.observe(pool.endpoint(), Outcome::Answered(status));
            let now = call.worker.timers.stamp();
            call.room.journal.ended = Some(now);
            if attempt.is_sent() {
                pool.put(link, now.millis());
            }
            Ended::Complete
        }
        Err(reason) => {
            blame(call, pool, reason);
            call.client.abort();
            Ended::Broken
        }
    }
}

/// Remembers why an answer could not be finished, and tells the upstream.
fn blame<C: Client>(call: &mut Call<'_, C>, pool: &Pool, reason: Reason) {
    call.fleet.upstream.observe(pool.endpoint(), outcome(reason));
    call.room.journal.reason = Some(reason);
}

/// What the endpoint is told as Host.
fn host_header<'a, C>(call: &'a Call<'_, C>, endpoint: &'a Arc<Endpoint>) -> &'a [u8] {
    match &call.route.host_header {
        HostHeader::Preserve => {
            let authority = call.room.exchange.request.authority();
            if authority.is_empty() { endpoint.name().as_bytes() } else { authority }
        }
        HostHeader::Endpoint => endpoint.name().as_bytes(),
        HostHeader::Literal(text) => text.as_bytes(),
    }
}

fn learn<C>(call: &Call<'_, C>, endpoint: &Endpoint) {
    if let Some(timeout) = announced_idle_timeout(&call.room.exchange.response) {
        endpoint.idle_timeout.announced(timeout);
    }
}

fn what_repeats<C>(call: &Call<'_, C>, link: &Link, reason: Reason) -> Repeats {
    if reason == Reason::TlsClientCertificate && !link.is_answered() {
        // The endpoint has ended the handshake: what came after it was never read.
        return Repeats::Nothing;
    }
    let stale = link.is_reused() && !link.is_answered() && reason == Reason::UpstreamReset;
    match (link.is_unsent(), stale) {
        (true, true) => Repeats::StaleConnection,
        (true, false) => Repeats::Nothing,
        (false, true) if is_repeatable(call) => Repeats::StaleConnection,
        _ => Repeats::Work,
    }
}

/// Whether the route lets this request be made more than once.
fn is_repeatable<C>(call: &Call<'_, C>) -> bool {
    let retries = call.route.retry.0.on();
    let all = retries.is_some_and(|retry| retry.methods == RetryMethods::All);
    let request = &call.room.exchange.request;
    // Before its tunnel stands, an endpoint has nothing to work with.
    all || request.method.is_idempotent() || (request.asks_for_tunnel() && request.framing.is_empty())
}

/// How much of the body is kept. What can be sent only once is kept only until a byte has left,
/// and no more than the output gathers waits until then.
fn replay_limit<C>(call: &Call<'_, C>) -> usize {
    if call.room.exchange.request.framing == Framing::None {
        return 0;
    }
    let limit = call.route.retry.0.on().map_or(GATHER, |retry| retry.max_body_bytes.as_usize());
    if is_repeatable(call) { limit } else { limit.min(GATHER) }
}

/// An answer that the route wants to be tried again elsewhere.
fn unwanted<C: Client>(call: &Call<'_, C>, status: u16) -> Option<Failure> {
    let retry = call.route.retry.0.on()?;
    let listed = retry.on.iter().any(|on| match on {
        RetryOn::Status(wanted) => *wanted == status,
        RetryOn::ServerError => (500..=599).contains(&status),
        RetryOn::Connect | RetryOn::Reset | RetryOn::RefusedStream | RetryOn::Timeout => false,
    });
    // The last attempt's answer is passed on whatever it is.
    let failed = call.room.tried.len() + 1;
    let another =
        listed && has_attempts_left(failed, retry) && is_repeatable(call) && call.room.replay.is_whole();
    // Paid for here: an answer that was thrown away could not be passed on any more.
    let elsewhere = another
        && call.fleet.has_other(&call.room.tried)
        && call.worker.timers.now() < call.until.0
        && call.fleet.upstream.try_retry();
    elsewhere.then_some(Failure { reason: Reason::UnwantedStatus, repeats: Repeats::Work })
}

/// Whether another try is allowed after so many that failed. A stale connection is none of them.
fn has_attempts_left(failed: usize, retry: &Retry) -> bool {
    failed <= retry.attempts as usize
}

/// Whether another attempt may be made; if so, it is prepared and paid for.
fn may_retry<C: Client>(call: &mut Call<'_, C>, failure: &Failure) -> bool {
    let is_ours = failure.reason.side() != Side::Upstream;
    if is_ours || call.worker.timers.now() >= call.until.0 {
        return false;
    }
    // A stale connection is the pool's fault, not the endpoint's: its repeat is no retry, costs no
    // budget and can not be switched off.
    if failure.repeats == Repeats::StaleConnection {
        return call.room.failed.len() <= MAX_STALE && call.room.replay.rewind();
    }
    let Some(retry) = call.route.retry.0.on() else { return false };
    let allowed = match failure.repeats {
        Repeats::Nothing | Repeats::StaleConnection => true,
        Repeats::Work => is_listed(retry, failure.reason) && is_repeatable(call),
    };
    if !allowed || !has_attempts_left(call.room.tried.len(), retry) || !call.room.replay.rewind() {
        return false;
    }
    // An unwanted answer has been paid for when it was given up.
    failure.reason == Reason::UnwantedStatus || call.fleet.upstream.try_retry()
}

fn is_listed(retry: &Retry, reason: Reason) -> bool {
    let on = match reason {
        _ if is_connecting(reason) => RetryOn::Connect,
        Reason::UpstreamReset | Reason::UpstreamH2Flood => RetryOn::Reset,
        Reason::RefusedStream => RetryOn::RefusedStream,
        Reason::ResponseTimeout => RetryOn::Timeout,
        Reason::UnwantedStatus => return true,
        _ => return false,
    };
    retry.on.contains(&on)
}

/// Whether there never was a connection that could carry a request.
fn is_connecting(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ConnectRefused
            | Reason::ConnectTimeout
            | Reason::ConnectFailed
            | Reason::TlsNameMismatch
            | Reason::TlsUntrusted
            | Reason::TlsExpired
            | Reason::TlsClientCertificate
            | Reason::TlsHandshakeFailed
    )
}

/// What a failure says about the endpoint.
fn outcome(reason: Reason) -> Outcome {
    match reason {
        _ if is_connecting(reason) => Outcome::ConnectFailed,
        Reason::ResponseTimeout | Reason::IdleTimeout | Reason::RequestDeadline => Outcome::TimedOut,
        Reason::UnwantedStatus | Reason::RefusedStream => Outcome::Answered(503),
        _ if reason.side() == Side::Upstream => Outcome::Reset,
        _ => Outcome::Abandoned,
    }
}
