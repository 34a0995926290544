//! Answers that the proxy makes itself: refusals with their reason, redirects, fixed responses.

use std::future::poll_fn;
use std::io::Write as _;
use std::task::{Context, Poll};

use super::Ended;
use super::attempt::{Call, Patience};
use super::client::Client;
use super::pump::{Pump, Source};
use super::recoded::Recoded;
use super::worker::{Room, Worker};
use crate::clock::Timer;
use crate::h1::write::framing_for;
use crate::http::accept::{self, Form};
use crate::http::grpc::{self, Dialect};
use crate::http::{Exchange, Fields, Framing, Name, Reason, Version};
use crate::middleware::Step;
use crate::snapshot::Route;

/// Answers a request that could not be forwarded, unless the client is gone.
pub(super) async fn refuse<C: Client>(call: &mut Call<'_, C>, reason: Reason) -> Ended {
    // What is left of an answer that was given up half-way.
    let received = call.room.exchange.response.status;
    fill(&mut call.room.exchange, reason);
    if was_answered(reason) && received != 0 {
        tell_status(&mut call.room.exchange, received);
    }
    outbound(call.route, call.room);
    call.room.journal.reason = Some(reason);
    send(call.worker, call.client, call.room, call.timer, call.patience).await
}

/// Whether the head of an answer had come when the attempt failed.
fn was_answered(reason: Reason) -> bool {
    matches!(reason, Reason::UnwantedStatus | Reason::UpstreamTruncated | Reason::BadResponseChunk)
}

/// Adds the status of the endpoint to what Proxy-Status tells (RFC 9209 §2.1.4).
fn tell_status(exchange: &mut Exchange, received: u16) {
    let fields = &mut exchange.response.fields;
    if let Some(status) = fields.find(b"proxy-status") {
        let added = [status, b"; received-status=", received.to_string().as_bytes()].concat();
        fields.set(b"proxy-status", &added);
    }
}

/// Writes the answer for a reason into the exchange: a gRPC status for a call, JSON for clients
/// that ask for it, else text.
pub fn fill(exchange: &mut Exchange, reason: Reason) {
    exchange.response.clear();
    exchange.reply.clear();
    match grpc::dialect(exchange) {
        Some(Dialect::Native | Dialect::Web) => fill_status(exchange, reason),
        None => fill_page(exchange, reason),
    }
}

/// The answer to a gRPC call: a head that ends the stream ("Trailers-Only").
fn fill_status(exchange: &mut Exchange, reason: Reason) {
    let response = &mut exchange.response;
    response.status = 200;
    response.framing = Framing::Length(0);
    response.version = Version::Http2;
    response.fields.push(b"content-type", b"application/grpc");
    grpc::put_status(reason, &mut response.fields);
    put_proxy_status(&mut response.fields, reason);
    put_date(&mut response.fields);
}

fn fill_page(exchange: &mut Exchange, reason: Reason) {
    let meaning = reason.meaning();
    exchange.response.status = meaning.status;
    let id = String::from_utf8_lossy(exchange.request_id()).into_owned();
    let form = accept::form(&exchange.request.fields);
    let written = match form {
        Form::Json => {
            let body = serde_json::json!({
                "status": meaning.status, "reason": meaning.name, "message": meaning.text, "request_id": id,
            });
            writeln!(exchange.reply, "{body}")
        }
        Form::Text => writeln!(
            exchange.reply,
            "{} {}\n{}\nrequest id: {id}",
            meaning.status, meaning.name, meaning.text
        ),
    };
    debug_assert!(written.is_ok(), "writing to a Vec does not fail");
    let content_type: &[u8] = match form {
        Form::Json => b"application/json",
        Form::Text => b"text/plain; charset=utf-8",
    };
    let fields = &mut exchange.response.fields;
    fields.push(b"content-type", content_type);
    fields.push(b"cache-control", b"no-store");
    put_proxy_status(fields, reason);
    if meaning.status == 405 {
        // RFC 9110 §15.5.6 wants the list; every method but CONNECT may reach some route.
        fields.push(b"allow", b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE");
    }
    seal(exchange);
}

/// RFC 9209.
fn put_proxy_status(fields: &mut Fields, reason: Reason) {
    let status = format!("tidegate; error={}; details=\"{}\"", error_type(reason), reason.name());
    fields.push(b"proxy-status", status.as_bytes());
}

fn put_date(fields: &mut Fields) {
    if fields.get(Name::Date).is_none() {
        let date = httpdate::fmt_http_date(std::time::SystemTime::now());
        fields.push(b"date", date.as_bytes());
    }
}

/// Settles the length of an answer whose body is in `exchange.reply`.
pub fn seal(exchange: &mut Exchange) {
    let length = exchange.reply.len();
    exchange.response.framing = Framing::Length(length as u64);
    exchange.response.version = Version::Http11;
    exchange.response.fields.set(b"content-length", length.to_string().as_bytes());
    put_date(&mut exchange.response.fields);
}

/// The error type of RFC 9209 §2.3 that comes nearest.
fn error_type(reason: Reason) -> &'static str {
    match reason {
        Reason::NoHealthyEndpoint => "destination_unavailable",
        Reason::ConnectRefused => "connection_refused",
        Reason::ConnectTimeout => "connection_timeout",
        Reason::ConnectFailed => "destination_ip_unroutable",
        Reason::TlsNameMismatch | Reason::TlsUntrusted | Reason::TlsExpired => "tls_certificate_error",
        Reason::TlsClientCertificate => "tls_alert_received",
        Reason::TlsHandshakeFailed => "tls_protocol_error",
        Reason::UpstreamReset | Reason::RefusedStream => "connection_terminated",
        Reason::UpstreamTruncated => "http_response_incomplete",
        Reason::ResponseTimeout | Reason::IdleTimeout | Reason::RequestDeadline => "http_response_timeout",
        Reason::BadResponseHead
        | Reason::BadResponseFraming
        | Reason::UpstreamH2
        | Reason::TooManyInterim
        | Reason::UnwantedStatus => "http_protocol_error",
        Reason::BadResponseChunk => "http_response_transfer_coding",
        Reason::ResponseHeaderTooLarge => "http_response_header_section_size",
        Reason::UnexpectedUpgrade | Reason::TunnelImpossible => "http_upgrade_failed",
        Reason::Internal | Reason::Draining | Reason::Overloaded => "proxy_internal_error",
        _ => "http_request_error",
    }
}

/// Lets the middlewares that saw the request see the answer, in reverse.
pub(super) fn outbound(route: &Route, room: &mut Room) {
    // What an answer that was given up may have left.
    room.exchange.download = None;
    for middleware in route.middlewares[..room.journal.middlewares.min(route.middlewares.len())].iter().rev()
    {
        match middleware.on_response(&mut room.exchange) {
            Step::Next | Step::Reply => {}
        }
    }
}

/// Sends the answer that is in the exchange.
pub(super) async fn send<C: Client>(
    worker: &Worker,
    client: &mut C,
    room: &mut Room,
    timer: &Timer,
    patience: Patience<'_>,
) -> Ended {
    room.journal.status = room.exchange.response.status;
    if room.exchange.response.status == Reason::ClientClosed.status() {
        client.abort();
        return Ended::Broken;
    }
    client.respond(&room.exchange, &worker.timers);
    let due = worker.timers.now().after(Some(patience.write()));
    let Exchange { reply, download, .. } = &mut room.exchange;
    let mut bytes = Reply { bytes: reply, none: Fields::default() };
    let mut body = Recoded { source: &mut bytes, recoder: download.as_deref_mut() };
    let mut pump = Pump::starting_at(worker.timers.now());
    let sent = poll_fn(|context| match pump.poll(context, &mut body, client) {
        Poll::Ready(sent) => Poll::Ready(sent.is_ok()),
        Poll::Pending => timer.poll(context, due).map(|()| false),
    })
    .await;
    let Exchange { request, response, .. } = &room.exchange;
    // What follows no head, that of an answer to HEAD or of 204, is moved but goes nowhere.
    let framing = framing_for(request.version, request.method, response.status, response.framing);
    room.journal.sent = if framing.is_empty() { 0 } else { pump.moved() };
    if !sent {
        client.abort();
        return Ended::Broken;
    }
    Ended::Complete
}

/// The body of an answer of our own.
struct Reply<'a> {
    bytes: &'a [u8],
    none: Fields,
}

impl Source for Reply<'_> {
    fn poll_payload(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        Poll::Ready(Ok(()))
    }

    fn payload(&self) -> &[u8] {
        self.bytes
    }

    fn consume(&mut self, count: usize) {
        self.bytes = &self.bytes[count..];
    }

    fn trailers(&self) -> &Fields {
        &self.none
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9209 §2.3.
    const TYPES: &[&str] = &[
        "destination_unavailable",
        "destination_ip_unroutable",
        "connection_refused",
        "connection_terminated",
        "connection_timeout",
        "http_request_error",
        "http_response_incomplete",
        "http_response_header_section_size",
        "http_response_transfer_coding",
        "http_response_timeout",
        "http_upgrade_failed",
        "http_protocol_error",
        "proxy_internal_error",
        "tls_protocol_error",
        "tls_certificate_error",
        "tls_alert_received",
        "connection_limit_reached",
    ];

    #[test]
    fn proxy_status_is_a_list_of_one_token_with_registered_errors() {
        for reason in Reason::ALL {
            let mut exchange = Exchange::default();
            fill(&mut exchange, *reason);
            tell_status(&mut exchange, 503);
            let status = String::from_utf8(exchange.response.fields.find(b"proxy-status").unwrap().to_vec());
            let status = status.unwrap();
            let parameters: Vec<_> = status.split("; ").collect();
            let [name, error, details, received] = parameters[..] else { panic!("{status}") };
            assert_eq!((name, received), ("tidegate", "received-status=503"));
            let error = error.strip_prefix("error=").unwrap();
            assert!(TYPES.contains(&error), "{error}");
            assert_eq!(details, format!("details=\"{}\"", reason.name()));
        }
    }
}
