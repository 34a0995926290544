//! The access log: one line for each exchange.
//!
//! What a line never shows: values of the query (each is replaced by `*`, and so is a key without
//! a value), user information and fragment of the referer, cookies and credentials. Everything
//! that a client wrote is escaped and bounded, so a line is always one line, and at most
//! 50 KB long.

mod batch;
mod clock;
mod escape;
mod mask;
mod number;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

pub use batch::Batch;
use clock::Clock;
use escape::{Text, clip};
use number::{address, milliseconds, number};
use serde::Deserialize;

/// Longest path that is shown, in bytes; also the longest shown part of a query's keys.
const MAX_PATH: usize = 2048;
/// Longest other text of a client, in bytes.
const MAX_TEXT: usize = 512;
/// Attempts that are listed.
const MAX_ATTEMPTS: usize = 32;

/// How access lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object per line, with every field.
    #[default]
    Json,
    /// The Common Log Format.
    Common,
    /// The Common Log Format with referer and user agent.
    Combined,
}

/// What is told of an exchange. Texts of clients are bytes as they came.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When the request began.
    pub at: SystemTime,
    /// Who asked.
    pub client: IpAddr,
    /// The method.
    pub method: &'a [u8],
    /// The path, without the query.
    pub path: &'a [u8],
    /// The query, without the question mark; only its keys are shown.
    pub query: Option<&'a [u8]>,
    /// "HTTP/1.1" or the like.
    pub version: &'a str,
    /// The host that was asked for; may be empty.
    pub host: &'a [u8],
    /// The status that the client saw, or 499 when it left before.
    pub status: u16,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the answer's body.
    pub sent: u64,
    /// From the head of the request to the last byte of the answer.
    pub duration: Duration,
    /// From the head of the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Name of the listener.
    pub listener: &'a str,
    /// Name of the route that took the request.
    pub route: Option<&'a str>,
    /// Name of the upstream that was to answer.
    pub upstream: Option<&'a str>,
    /// The endpoint that answered.
    pub endpoint: Option<&'a str>,
    /// Why the proxy itself answered, or broke the answer off.
    pub reason: Option<&'a str>,
    /// The identity of the request.
    pub request_id: &'a [u8],
    /// The field User-Agent; may be empty.
    pub user_agent: &'a [u8],
    /// The field Referer; may be empty. Its query is masked as well.
    pub referer: &'a [u8],
    /// The version of TLS; `None` for clear text.
    pub tls: Option<&'a str>,
    /// The subject of the client's certificate, when it has shown one.
    pub tls_client: Option<&'a [u8]>,
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The endpoint.
    pub endpoint: &'a str,
    /// Why it failed.
    pub reason: &'a str,
    /// After how long.
    pub took: Duration,
}

/// Writes lines; one for each worker.
#[derive(Debug, Default)]
pub struct Formatter {
    clock: Clock,
}

impl Formatter {
    /// Appends a line with its line end. `attempts` are those that failed, in order; only the
    /// JSON format shows them. Allocates only where `out` grows.
    pub fn line<'a>(
        &mut self,
        format: Format,
        line: &Line<'_>,
        attempts: impl IntoIterator<Item = Attempt<'a>>,
        out: &mut Vec<u8>,
    ) {
        self.clock.set(line.at);
        match format {
            Format::Json => self.json(line, attempts, out),
            Format::Common => self.common(line, out),
            Format::Combined => {
                self.common(line, out);
                out.pop();
                out.push(b' ');
                quoted(out, |out| mask::url(Text::Plain, line.referer, MAX_TEXT, out), line.referer);
                out.push(b' ');
                let agent = clip(line.user_agent, MAX_TEXT);
                quoted(out, |out| Text::Plain.write(agent, out), line.user_agent);
                out.push(b'\n');
            }
        }
    }

    fn json<'a>(&self, line: &Line<'_>, attempts: impl IntoIterator<Item = Attempt<'a>>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        self.clock.rfc3339(out);
        out.extend_from_slice(b"\",\"client\":\"");
        address(out, line.client);
        out.push(b'"');
        text(out, "method", clip(line.method, MAX_TEXT));
        text(out, "host", clip(line.host, MAX_TEXT));
        text(out, "path", clip(line.path, MAX_PATH));
        if let Some(query) = line.query {
            out.extend_from_slice(b",\"query\":\"");
            mask::query(Text::Json, clip(query, MAX_PATH), out);
            out.push(b'"');
        }
        text(out, "version", line.version.as_bytes());
        optional(out, "tls", line.tls);
        if let Some(subject) = line.tls_client {
            text(out, "tls_client", clip(subject, MAX_TEXT));
        }
        out.extend_from_slice(b",\"status\":");
        number(out, u64::from(line.status));
        out.extend_from_slice(b",\"received_bytes\":");
        number(out, line.received);
        out.extend_from_slice(b",\"sent_bytes\":");
        number(out, line.sent);
        out.extend_from_slice(b",\"duration_ms\":");
        milliseconds(out, line.duration);
        if let Some(first_byte) = line.first_byte {
            out.extend_from_slice(b",\"first_byte_ms\":");
            milliseconds(out, first_byte);
        }
        text(out, "listener", line.listener.as_bytes());
        optional(out, "route", line.route);
        optional(out, "upstream", line.upstream);
        optional(out, "endpoint", line.endpoint);
        optional(out, "reason", line.reason);
        failed(out, attempts);
        text(out, "request_id", clip(line.request_id, MAX_TEXT));
        if !line.user_agent.is_empty() {
            text(out, "user_agent", clip(line.user_agent, MAX_TEXT));
        }
        if !line.referer.is_empty() {
            out.extend_from_slice(b",\"referer\":\"");
            mask::url(Text::Json, line.referer, MAX_TEXT, out);
            out.push(b'"');
        }
        out.extend_from_slice(b"}\n");
    }

    /// `host ident user [time] "request" status bytes`; neither ident nor user is known here.
    fn common(&self, line: &Line<'_>, out: &mut Vec<u8>) {
        address(out, line.client);
        out.extend_from_slice(b" - - [");
        self.clock.common(out);
        out.extend_from_slice(b"] \"");
        Text::Plain.write(clip(line.method, MAX_TEXT), out);
        out.push(b' ');
        Text::Plain.write(clip(line.path, MAX_PATH), out);
        if let Some(query) = line.query {
            out.push(b'?');
            mask::query(Text::Plain, clip(query, MAX_PATH), out);
        }
        out.push(b' ');
        out.extend_from_slice(line.version.as_bytes());
        out.extend_from_slice(b"\" ");
        number(out, u64::from(line.status));
        out.push(b' ');
        match line.sent {
            0 => out.push(b'-'),
            sent => number(out, sent),
        }
        out.push(b'\n');
    }
}

/// `"…"`, or `"-"` for nothing.
fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>), value: &[u8]) {
    out.push(b'"');
    match value {
        [] => out.push(b'-'),
        _ => write(out),
    }
    out.push(b'"');
}

/// `,"name":"value"`.
fn text(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    Text::Json.write(value, out);
    out.push(b'"');
}

fn optional(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        text(out, name, value.as_bytes());
    }
}

/// `,"attempts":[…]`, or nothing without attempts.
fn failed<'a>(out: &mut Vec<u8>, attempts: impl IntoIterator<Item = Attempt<'a>>) {
    let start = out.len();
    for attempt in attempts.into_iter().take(MAX_ATTEMPTS) {
        out.extend_from_slice(if out.len() == start {
            b",\"attempts\":[{\"endpoint\":\""
        } else {
            b",{\"endpoint\":\""
        });
        Text::Json.write(attempt.endpoint.as_bytes(), out);
        out.push(b'"');
        text(out, "reason", attempt.reason.as_bytes());
        out.extend_from_slice(b",\"ms\":");
        milliseconds(out, attempt.took);
        out.push(b'}');
    }
    if out.len() > start {
        out.push(b']');
    }
}
