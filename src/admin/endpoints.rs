//! Endpoints that are listed, added, removed and drained over the admin listener.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::View;
use super::answer::{JSON, TEXT, page};
use crate::discovery::Kept;
use crate::endpoint::Location;
use crate::units::Weight;
use crate::upstream::{PushChange, PushError, Upstream};

/// What of an upstream's endpoints a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    upstream: String,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// `/upstreams/NAME/endpoints`.
    All,
    /// `/upstreams/NAME/endpoints/drain`.
    Drain,
    /// `/upstreams/NAME/endpoints/ADDRESS`.
    One(String),
}

impl Target {
    /// What the path names, if it is one of these.
    pub(super) fn of(path: &str) -> Option<Target> {
        let (upstream, rest) = path.strip_prefix("/upstreams/")?.split_once('/')?;
        let what = match rest.strip_prefix("endpoints")? {
            "" | "/" => What::All,
            "/drain" => What::Drain,
            one => What::One(plain(one.strip_prefix('/')?)),
        };
        (!upstream.is_empty()).then(|| Target { upstream: plain(upstream), what })
    }

    /// The methods that it takes.
    pub(super) fn allowed(&self) -> &'static str {
        match self.what {
            What::All => "GET, HEAD, POST, DELETE",
            What::Drain => "POST",
            What::One(_) => "DELETE",
        }
    }
}

/// A path without `%3A` and `%5B`, as programs write addresses in it; other escapes stay and name
/// nothing.
fn plain(text: &str) -> String {
    let text = text.replace("%3A", ":").replace("%3a", ":");
    text.replace("%5B", "[").replace("%5b", "[").replace("%5D", "]").replace("%5d", "]")
}

/// The body of a change.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    endpoints: Vec<String>,
    #[serde(default)]
    weight: Option<u32>,
}

/// Lists or changes; `method` is one of those that are allowed.
pub(super) async fn answer(
    target: Target,
    method: &Method,
    body: &[u8],
    view: &dyn View,
) -> Response<Full<Bytes>> {
    let upstream = match view.upstream(&target.upstream) {
        Ok(upstream) => upstream,
        Err(message) => return page(StatusCode::NOT_FOUND, TEXT, message + "\n"),
    };
    if matches!(*method, Method::GET | Method::HEAD) {
        return list(&upstream, None);
    }
    let change = match change(&target.what, method, body) {
        Ok(change) => change,
        Err(message) => return page(StatusCode::BAD_REQUEST, TEXT, message + "\n"),
    };
    if let Err(error) = upstream.push(&change) {
        let status = match error {
            PushError::Unknown { .. } => StatusCode::NOT_FOUND,
            PushError::Elsewhere { .. } | PushError::TooMany => StatusCode::CONFLICT,
        };
        return page(status, TEXT, format!("{error}\n"));
    }
    tracing::info!(upstream = upstream.name(), ?change, "endpoints changed by the admin listener");
    match upstream.keep().await {
        Ok(kept) => list(&upstream, Some(kept)),
        Err(error) => {
            let message = format!("the change is in force, but not stored: {error}\n");
            page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, message)
        }
    }
}

fn list(upstream: &Arc<Upstream>, kept: Option<Kept>) -> Response<Full<Bytes>> {
    let status = upstream.status();
    let mut document = json!({
        "upstream": status.name,
        "endpoints": status.endpoints,
        "unresolved": status.unresolved,
    });
    if let Some(kept) = kept {
        document["stored"] = json!(kept == Kept::Stored);
    }
    page(StatusCode::OK, JSON, format!("{document:#}\n"))
}

fn change(what: &What, method: &Method, body: &[u8]) -> Result<PushChange, String> {
    let Body { endpoints, weight } = match what {
        What::One(place) => Body { endpoints: vec![place.clone()], weight: None },
        What::All | What::Drain => serde_json::from_slice(body)
            .map_err(|error| format!("the body is not {{\"endpoints\": [\"10.0.0.1:8080\"]}}: {error}"))?,
    };
    if endpoints.is_empty() {
        return Err("no endpoint is named".to_owned());
    }
    let places: Vec<Location> = endpoints
        .iter()
        .map(|place| place.parse())
        .collect::<Result<_, _>>()
        .map_err(|error: crate::units::UnitError| error.to_string())?;
    let adds = *what == What::All && *method == Method::POST;
    match (adds, weight) {
        (true, weight) => Ok(PushChange::Add(places, weight.map(Weight))),
        (false, Some(_)) => Err("`weight` belongs to endpoints that are added".to_owned()),
        (false, None) if *what == What::Drain => Ok(PushChange::Drain(places)),
        (false, None) => Ok(PushChange::Remove(places)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Option<(String, What)> {
        Target::of(path).map(|target| (target.upstream, target.what))
    }

    #[test]
    fn a_path_names_an_upstream_and_what_of_it() {
        assert_eq!(of("/upstreams/users/endpoints"), Some(("users".into(), What::All)));
        assert_eq!(of("/upstreams/users/endpoints/drain"), Some(("users".into(), What::Drain)));
        let one = What::One("10.0.0.1:80".into());
        assert_eq!(of("/upstreams/users/endpoints/10.0.0.1:80"), Some(("users".into(), one.clone())));
        assert_eq!(of("/upstreams/users/endpoints/10.0.0.1%3A80"), Some(("users".into(), one)));
        for path in
            ["/upstreams/", "/upstreams/users", "/upstreams//endpoints", "/upstreams/users/other", "/"]
        {
            assert_eq!(of(path), None, "{path}");
        }
    }

    #[test]
    fn a_body_says_which_endpoints() {
        let read = |what: &What, method: Method, body: &str| change(what, &method, body.as_bytes());
        let place: Location = "10.0.0.1:80".parse().unwrap();
        let body = "{\"endpoints\": [\"10.0.0.1:80\"], \"weight\": 3}";
        let added = PushChange::Add(vec![place.clone()], Some(Weight(3)));
        assert_eq!(read(&What::All, Method::POST, body), Ok(added));
        let body = "{\"endpoints\": [\"10.0.0.1:80\"]}";
        assert_eq!(read(&What::All, Method::DELETE, body), Ok(PushChange::Remove(vec![place.clone()])));
        assert_eq!(read(&What::Drain, Method::POST, body), Ok(PushChange::Drain(vec![place])));
    }

    #[test]
    fn a_wrong_body_says_what_would_be_right() {
        let wrong = |body: &str| change(&What::All, &Method::POST, body.as_bytes()).unwrap_err();
        assert!(wrong("").contains("{\"endpoints\": [\"10.0.0.1:8080\"]}"));
        assert!(wrong("{\"endpoints\": []}").contains("no endpoint"));
        assert!(wrong("{\"endpoints\": [\"10.0.0.1\"]}").contains("has no port"));
        assert!(wrong("{\"endpoints\": [\"a:1\"], \"wieght\": 1}").contains("wieght"));
        let drain = change(&What::Drain, &Method::POST, b"{\"endpoints\": [\"a:1\"], \"weight\": 1}");
        assert!(drain.unwrap_err().contains("weight"));
    }
}
