//! What a demo service answers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Interval, interval};

/// Events of one stream, and the time between them.
const EVENTS: u32 = 10;
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// Bounds on what a request may ask for.
const MAX_ECHO: usize = 1 << 20;
const MAX_BIG: u64 = 1 << 30;
const MAX_SLOW_MS: u64 = 60_000;

/// One piece of a large answer.
const CHUNK: &[u8] = &[b'.'; 16 << 10];

/// A service as its requests see it.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) service: &'static str,
    pub(super) instance: String,
    pub(super) is_well: AtomicBool,
}

impl Site {
    /// Answers a request; the service never fails but when it was asked to.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
        let (head, body) = request.into_parts();
        let response = match (&head.method, head.uri.path()) {
            (_, "/echo") => self.echo(&head, body).await,
            (&Method::POST, "/fail") => self.turn(false),
            (&Method::POST, "/recover") => self.turn(true),
            (_, "/fail" | "/recover") => refuse(StatusCode::METHOD_NOT_ALLOWED, "use POST"),
            (_, "/healthz") => self.health(),
            (_, "/events") => self.events(),
            (_, "/slow") => self.slow(&head).await,
            (_, "/big") => big(number(&head, "bytes").unwrap_or(1 << 20).min(MAX_BIG)),
            _ => self.hello(&head),
        };
        Ok(response)
    }

    fn hello(&self, head: &Parts) -> Response<Answer> {
        json_answer(StatusCode::OK, &self.about(head))
    }

    fn about(&self, head: &Parts) -> Value {
        json!({
            "service": self.service,
            "instance": self.instance,
            "path": head.uri.path_and_query().map_or("/", |path| path.as_str()),
            "request_id": head.headers.get("x-request-id").and_then(|value| value.to_str().ok()),
        })
    }

    async fn echo(&self, head: &Parts, body: Incoming) -> Response<Answer> {
        let Ok(body) = Limited::new(body, MAX_ECHO).collect().await else {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 1 MiB or broke off");
        };
        let mut echo = self.about(head);
        echo["method"] = json!(head.method.as_str());
        echo["headers"] = json!(fields(&head.headers));
        echo["body"] = json!(String::from_utf8_lossy(&body.to_bytes()));
        json_answer(StatusCode::OK, &echo)
    }

    fn turn(&self, is_well: bool) -> Response<Answer> {
        self.is_well.store(is_well, Ordering::Relaxed);
        self.health_with(StatusCode::OK)
    }

    fn health(&self) -> Response<Answer> {
        match self.is_well.load(Ordering::Relaxed) {
            true => self.health_with(StatusCode::OK),
            false => self.health_with(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    fn health_with(&self, status: StatusCode) -> Response<Answer> {
        let health = if self.is_well.load(Ordering::Relaxed) { "ok" } else { "failing" };
        json_answer(status, &json!({ "instance": self.instance, "health": health }))
    }

    async fn slow(&self, head: &Parts) -> Response<Answer> {
        let ms = number(head, "ms").unwrap_or(1000).min(MAX_SLOW_MS);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        self.hello(head)
    }

    fn events(&self) -> Response<Answer> {
        let events = Events { instance: self.instance.clone(), sent: 0, ticks: interval(EVENT_INTERVAL) };
        let mut response = Response::new(Answer::Events(events));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn json_answer(status: StatusCode, value: &Value) -> Response<Answer> {
    let mut response = Response::new(Answer::Whole(Some(format!("{value}\n").into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refuse(status: StatusCode, why: &str) -> Response<Answer> {
    json_answer(status, &json!({ "error": why }))
}

fn big(bytes: u64) -> Response<Answer> {
    Response::new(Answer::Big { left: bytes })
}

/// The number of a query parameter.
fn number(head: &Parts, name: &str) -> Option<u64> {
    let parameters = head.uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    parameters.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse().ok())
}

/// The fields by name; the values of a repeated one are joined.
fn fields(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut fields: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let field = fields.entry(name.as_str()).or_default();
        if !field.is_empty() {
            field.push_str(", ");
        }
        field.push_str(&value);
    }
    fields
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// All at once.
    Whole(Option<Bytes>),
    /// That many bytes, never all of them in memory.
    Big { left: u64 },
    /// One event after the other.
    Events(Events),
}

#[derive(Debug)]
pub(super) struct Events {
    instance: String,
    sent: u32,
    ticks: Interval,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut *self {
            Answer::Whole(body) => body.take(),
            Answer::Big { left: 0 } => None,
            Answer::Big { left } => {
                let chunk = usize::try_from(*left).map_or(CHUNK, |left| CHUNK.get(..left).unwrap_or(CHUNK));
                *left -= chunk.len() as u64;
                Some(Bytes::from_static(chunk))
            }
            Answer::Events(events) => ready!(events.poll_next(context)),
        };
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Answer::Big { left } => SizeHint::with_exact(*left),
            Answer::Events(_) => SizeHint::default(),
        }
    }
}

impl Events {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.sent == EVENTS {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(context));
        self.sent += 1;
        let event = format!("id: {0}\ndata: event {0} of {EVENTS} from {1}\n\n", self.sent, self.instance);
        Poll::Ready(Some(event.into()))
    }
}
