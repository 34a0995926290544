//! What is to be done with a request: the route, its middlewares, its action.

use super::reply;
use super::worker::{Room, View, Worker};
use crate::http::{Exchange, Method, Reason, Scheme, Version};
use crate::middleware::Step;
use crate::route::settings::Upgrade;
use crate::route::{Captures, Match, Subject};
use crate::snapshot::{Action, Listener, Route};

/// What happens to a request.
pub(super) enum Plan<'view> {
    /// An upstream, by its number, takes it.
    Forward(&'view Route, usize),
    /// The answer is in the exchange already; the route is the one that made it.
    Reply(Option<&'view Route>),
}

/// Finds the route of the request, lets its middlewares see it and settles what is done.
pub(super) fn plan<'view>(
    worker: &Worker,
    view: &'view View,
    listener: &Listener,
    room: &mut Room,
) -> Plan<'view> {
    if listener.settings.redirect_https && room.exchange.client.scheme == Scheme::Http {
        redirect_to_https(&mut room.exchange);
        return Plan::Reply(None);
    }
    if listener.redirects_clear_text() && room.exchange.client.scheme == Scheme::Http {
        redirect_to_tls_here(&mut room.exchange);
        return Plan::Reply(None);
    }
    let found = match find(view, listener, &room.exchange) {
        Ok(found) => found,
        Err(reason) => return refuse(room, None, reason),
    };
    let route = &view.snapshot.routes[found.route as usize];
    room.journal.route = Some(found.route);
    if inbound(route, room) == Step::Reply {
        reply::seal(&mut room.exchange);
        return Plan::Reply(Some(route));
    }
    act(worker, route, &found.captures, room)
}

/// Refuses the request; middlewares of the route still see the answer.
fn refuse<'view>(room: &mut Room, route: Option<&'view Route>, reason: Reason) -> Plan<'view> {
    room.journal.reason = Some(reason);
    reply::fill(&mut room.exchange, reason);
    Plan::Reply(route)
}

/// The route that takes the request.
fn find(view: &View, listener: &Listener, exchange: &Exchange) -> Result<Match, Reason> {
    let request = &exchange.request;
    let subject = Subject { request, listener: listener.number, client: exchange.client_address() };
    let found = view.snapshot.table.find(&subject);
    found.ok_or_else(|| match request.method {
        Method::Connect => Reason::ConnectNotAllowed,
        _ => listener.unknown(view.snapshot.table.knows_host(request.host())),
    })
}

/// Lets the middlewares see the request, in order, until one answers it.
fn inbound(route: &Route, room: &mut Room) -> Step {
    for middleware in &route.middlewares {
        room.journal.middlewares += 1;
        match middleware.on_request(&mut room.exchange) {
            Step::Next => {}
            Step::Reply => return Step::Reply,
        }
    }
    Step::Next
}

/// Carries out the action of the route, or finds the upstream that does.
fn act<'view>(worker: &Worker, route: &'view Route, captures: &Captures, room: &mut Room) -> Plan<'view> {
    let Room { exchange, draft, .. } = room;
    let upstream = match &route.action {
        Action::Forward(upstream) => *upstream,
        Action::Split(split, upstreams) => upstreams[split.choose(worker.random())],
        Action::Redirect(redirect, status) => {
            redirect.render(exchange, captures, draft);
            redirect_to(exchange, *status, draft);
            return Plan::Reply(Some(route));
        }
        Action::Respond(fixed) => {
            fixed.fill(exchange);
            reply::seal(exchange);
            return Plan::Reply(Some(route));
        }
    };
    if route.upgrade == Upgrade::Ignored && exchange.request.upgrade.take().is_some() {
        // Over HTTP/1.1 an Upgrade may be ignored; an extended CONNECT has no meaning without it.
        if exchange.request.version == Version::Http2 {
            return refuse(room, Some(route), Reason::ConnectNotAllowed);
        }
    }
    if !route.rewrite.is_identity() {
        if route.rewrite.render(exchange.request.path(), captures, draft).is_err() {
            return refuse(room, Some(route), Reason::BadRequestTarget);
        }
        exchange.request.path = exchange.request.fields.append(draft);
    }
    Plan::Forward(route, upstream)
}

/// The answer of a listener with `redirect_https`: the same URL with the other scheme.
fn redirect_to_https(exchange: &mut Exchange) {
    let request = &exchange.request;
    let mut location = [Scheme::Https.name().as_bytes(), b"://", request.host(), request.path()].concat();
    if let Some(query) = request.query() {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    redirect_to(exchange, 308, &location);
}

/// The answer to clear text on a TLS port: the same URL with the other scheme, on the same port.
fn redirect_to_tls_here(exchange: &mut Exchange) {
    let request = &exchange.request;
    let mut location = [Scheme::Https.name().as_bytes(), b"://", request.authority()].concat();
    let port = exchange.client.local.port();
    if request.port().is_none() && port != 443 {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    location.extend_from_slice(request.path());
    if let Some(query) = request.query() {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    redirect_to(exchange, 308, &location);
}

fn redirect_to(exchange: &mut Exchange, status: u16, location: &[u8]) {
    exchange.response.clear();
    exchange.response.status = status;
    exchange.response.fields.push(b"location", location);
    reply::seal(exchange);
}
