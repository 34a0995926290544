//! A registry that is asked over HTTP every few seconds.
//!
//! By itself it reads what a file may hold, so http_sd of Prometheus. With pointers into the JSON it
//! reads the answers of others: Eureka, Nacos, a service that was made at home.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use hyper::header::{ETAG, HeaderName, IF_NONE_MATCH};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use super::client::{Ask, Client, Tls, Token, Url};
use super::list::{self, Writer};
use super::{Draft, Failure, Pending, Reports, Source};
use crate::tagged;
use crate::units::{FieldName, FieldValue, Timeout};

mod pointers;

use pointers::Pointers;

/// A registry, `discover = { http = { … } }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is asked for; `{upstream}` in it is the name of the upstream. Required.
    pub url: Url,
    /// Time between two requests, with jitter. Default: 5s.
    #[serde(default = "five_seconds")]
    pub interval: Timeout,
    /// Longest time that one request may take. Default: 5s.
    #[serde(default = "five_seconds")]
    pub timeout: Timeout,
    /// Fields of the request. Default: none; `accept` is `application/json`.
    #[serde(default, deserialize_with = "tagged::distinct")]
    pub headers: BTreeMap<FieldName, FieldValue>,
    /// File with a token for `Authorization: Bearer`, read for every request. Default: "" = none.
    #[serde(default)]
    pub token_file: std::path::PathBuf,
    /// TLS, when the URL begins with https.
    #[serde(default)]
    pub tls: Tls,
    /// Where the list is, as a JSON pointer (RFC 6901). Default: "" = the whole answer, in the
    /// formats of a file unless `address` or `host` is set.
    #[serde(default)]
    pub items: String,
    /// Where "host:port", or a URL, is in an element. Default: "".
    #[serde(default)]
    pub address: String,
    /// Where the host is in an element, when it stands alone. Default: "".
    #[serde(default)]
    pub host: String,
    /// Where the port is. Default: "".
    #[serde(default)]
    pub port: String,
    /// Where the weight is; a fraction is rounded up. Default: "" = all alike.
    #[serde(default)]
    pub weight: String,
    /// Where the zone is. Default: "".
    #[serde(default)]
    pub zone: String,
    /// Elements count only when they have these values at these pointers, such as
    /// `{ "/status" = "UP" }`. Default: all count.
    #[serde(default)]
    pub only: BTreeMap<String, String>,
}

fn five_seconds() -> Timeout {
    Timeout::from_secs(5)
}

/// Asks a registry.
#[derive(Debug)]
pub(super) struct Http {
    settings: Settings,
    path: String,
    client: Client,
    pointers: Option<Pointers>,
}

impl Http {
    pub(super) fn new(upstream: &str, settings: Settings) -> Http {
        let token = Token::bearer(&settings.token_file);
        let client = Client::new(settings.url.base.clone(), settings.tls.clone(), token);
        let path = settings.url.path.replace("{upstream}", upstream);
        Http { path, client, pointers: Pointers::of(&settings), settings }
    }

    fn ask(&self, etag: Option<&str>) -> Ask {
        let mut ask = Ask::get(self.path.clone(), self.settings.timeout.get());
        for (name, value) in &self.settings.headers {
            if let Ok(name) = HeaderName::from_bytes(name.as_str().as_bytes()) {
                ask = ask.with(name, value.as_str());
            }
        }
        match etag {
            Some(etag) => ask.with(IF_NONE_MATCH, etag),
            None => ask,
        }
    }

    fn read(&self, document: &Value) -> Result<Draft, Failure> {
        match &self.pointers {
            Some(pointers) => pointers.read(document),
            None => list::read(list::at(document, &self.settings.items)?, Writer::Remote),
        }
    }
}

impl Source for Http {
    fn origin(&self) -> String {
        // A query may hold a key.
        let path = self.path.split('?').next().unwrap_or_default();
        format!("http {}{path}", self.client.base())
    }

    fn identity(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.path.hash(&mut hasher);
        format!("{} {:016x}", self.origin(), hasher.finish())
    }

    fn follow<'a>(&'a mut self, reports: &'a Reports) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut etag: Option<String> = None;
            loop {
                let next = Instant::now() + jittered(self.settings.interval.get());
                let ask = self.ask(etag.as_deref());
                let answer = self.client.ask(ask).await?.successful()?;
                if answer.status == 304 && etag.is_some() {
                    reports.unchanged();
                } else {
                    reports.found(self.read(&answer.json().await?)?.finish()?);
                    etag = answer.field(&ETAG).map(str::to_owned);
                }
                sleep_until(next).await;
            }
        })
    }
}

/// 90 to 110 %, so that many proxies spread out.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}
