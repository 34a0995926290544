//! What is answered to which request.

use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::endpoints::{self, Target};
use super::{Readiness, View, guard};
use crate::observe::metrics;

/// Largest body of a request where none means anything.
const MAX_BODY: usize = 4096;
/// Largest list of endpoints.
const MAX_LIST: usize = 1 << 20;
/// How long that body may take.
const BODY_LIMIT: Duration = Duration::from_secs(5);
/// How long a reload may take before the client is told to look later.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

const INDEX: &str = "\
GET  /metrics  metrics in the OpenMetrics format
GET  /healthz  200 while the process lives
GET  /readyz   200 while it serves, else 503
GET  /status   listeners, routes and upstreams as JSON
POST /reload   reads the configuration again

/upstreams/NAME/endpoints        GET lists, POST {\"endpoints\": [\"10.0.0.1:8080\"]} adds, DELETE removes
/upstreams/NAME/endpoints/drain  POST: they take no new requests until they are added again
";

/// A page, or what a request asks to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    Index,
    Metrics,
    Health,
    Readiness,
    Status,
    Reload,
}

impl Resource {
    fn of(path: &str) -> Option<Resource> {
        match path {
            "/" => Some(Resource::Index),
            "/metrics" => Some(Resource::Metrics),
            "/healthz" => Some(Resource::Health),
            "/readyz" => Some(Resource::Readiness),
            "/status" => Some(Resource::Status),
            "/reload" => Some(Resource::Reload),
            _ => None,
        }
    }

    fn allowed(self) -> &'static str {
        match self {
            Resource::Reload => "POST",
            Resource::Index
            | Resource::Metrics
            | Resource::Health
            | Resource::Readiness
            | Resource::Status => "GET, HEAD",
        }
    }
}

/// What a path names.
#[derive(Debug)]
enum Asked {
    Resource(Resource),
    Endpoints(Target),
}

impl Asked {
    fn of(path: &str) -> Option<Asked> {
        let resource = Resource::of(path).map(Asked::Resource);
        resource.or_else(|| Target::of(path).map(Asked::Endpoints))
    }

    fn allowed(&self) -> &'static str {
        match self {
            Asked::Resource(resource) => resource.allowed(),
            Asked::Endpoints(target) => target.allowed(),
        }
    }
}

/// Answers a request.
pub(super) async fn answer<B>(request: Request<B>, view: &dyn View) -> Response<Full<Bytes>>
where
    B: Body<Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    if let Err(refusal) = guard::check(&request) {
        return page(refusal.status, TEXT, format!("{}\n", refusal.text));
    }
    let (head, body) = request.into_parts();
    let Some(asked) = Asked::of(head.uri.path()) else {
        return page(StatusCode::NOT_FOUND, TEXT, format!("not found; there is:\n\n{INDEX}"));
    };
    if !asked.allowed().split(", ").any(|method| method == head.method.as_str()) {
        let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "method not allowed\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static(asked.allowed()));
        return refused;
    }
    let mut content = Bytes::new();
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let (most, refusal) = match asked {
            Asked::Endpoints(_) => (MAX_LIST, "the body is too large, or came too late\n"),
            Asked::Resource(_) => (MAX_BODY, "send no body\n"),
        };
        let body = std::pin::pin!(Limited::new(body, most).collect());
        match timeout(BODY_LIMIT, body).await {
            Ok(Ok(body)) => content = body.to_bytes(),
            _ => return page(StatusCode::PAYLOAD_TOO_LARGE, TEXT, refusal),
        }
    }
    match asked {
        Asked::Endpoints(target) => endpoints::answer(target, &head.method, &content, view).await,
        Asked::Resource(resource) => show(resource, view).await,
    }
}

async fn show(resource: Resource, view: &dyn View) -> Response<Full<Bytes>> {
    match resource {
        Resource::Index => page(StatusCode::OK, TEXT, INDEX),
        Resource::Metrics => page(StatusCode::OK, metrics::CONTENT_TYPE, view.metrics()),
        Resource::Health => page(StatusCode::OK, TEXT, "ok\n"),
        Resource::Readiness => {
            let readiness = view.readiness();
            let status = match readiness {
                Readiness::Serving => StatusCode::OK,
                Readiness::Starting | Readiness::Draining => StatusCode::SERVICE_UNAVAILABLE,
            };
            page(status, TEXT, format!("{}\n", readiness.name()))
        }
        Resource::Status => page(StatusCode::OK, JSON, format!("{:#}\n", view.status())),
        Resource::Reload => reload(view).await,
    }
}

async fn reload(view: &dyn View) -> Response<Full<Bytes>> {
    match timeout(RELOAD_LIMIT, view.reload()).await {
        Ok(Ok(generation)) => {
            page(StatusCode::OK, JSON, format!("{}\n", json!({ "generation": generation.0 })))
        }
        Ok(Err(report)) => page(StatusCode::BAD_REQUEST, TEXT, report),
        Err(_) => page(
            StatusCode::GATEWAY_TIMEOUT,
            TEXT,
            "the reload has not ended within 60 s; see /status for the generation\n",
        ),
    }
}

pub(super) fn page(
    status: StatusCode,
    media_type: &'static str,
    text: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
