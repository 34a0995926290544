//! A service of Consul, followed by blocking queries of its health API.
//!
//! The rules for them are Consul's own (developer.hashicorp.com/consul/api-docs/features/blocking):
//! an index that went backwards or is 0 begins anew, and an answer comes late by a sixteenth of the
//! wait.

use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderName;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use toml::Spanned;

use super::client::{Answer, Ask, Base, Client, Tls, Token};
use super::{Failure, Kind, Pending, Reports, Source};
use crate::tagged;
use crate::units::Timeout;

mod instances;

const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");
const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const FILTERED: HeaderName = HeaderName::from_static("x-consul-results-filtered-by-acls");

/// Least time between two queries, while a service changes again and again.
const AT_LEAST: Duration = Duration::from_millis(50);

/// A service of Consul, `discover = { consul = { … } }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The agent, or a server. Default: http://127.0.0.1:8500, the agent of this machine.
    #[serde(default = "local_agent")]
    pub address: Base,
    /// The name of the service. Required.
    #[serde(deserialize_with = "name")]
    pub service: String,
    /// Only instances with this tag, or with each of these. Default: "" = all.
    #[serde(default, deserialize_with = "tagged::one_or_many")]
    pub tag: Vec<Spanned<String>>,
    /// Where the service is. Default: "" = the datacenter of the agent.
    #[serde(default)]
    pub datacenter: String,
    /// File with an ACL token that may read the service and its nodes; read for every request.
    /// Default: "" = none.
    #[serde(default)]
    pub token_file: PathBuf,
    /// How long a query waits for a change; an agent that hangs is noticed that much later.
    /// Default: 10s; Consul waits 10m at most.
    #[serde(default = "ten_seconds")]
    pub wait: Timeout,
    /// Longest time for an answer, besides the wait. Default: 5s.
    #[serde(default = "five_seconds")]
    pub timeout: Timeout,
    /// TLS, when the address begins with https.
    #[serde(default)]
    pub tls: Tls,
}

fn local_agent() -> Base {
    Base::local(8500)
}

fn ten_seconds() -> Timeout {
    Timeout::from_secs(10)
}

fn five_seconds() -> Timeout {
    Timeout::from_secs(5)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.is_empty() { Err(D::Error::custom("`service` is the name of a service")) } else { Ok(name) }
}

/// Follows a service.
#[derive(Debug)]
pub(super) struct Consul {
    settings: Settings,
    /// Path and query without what changes from query to query.
    path: String,
    client: Client,
}

impl Consul {
    pub(super) fn new(settings: Settings) -> Consul {
        let token = Token::field(TOKEN, &settings.token_file);
        let client = Client::new(settings.address.clone(), settings.tls.clone(), token);
        let mut path = format!("/v1/health/service/{}?passing=1", escaped(&settings.service));
        for tag in settings.tag.iter().filter(|tag| !tag.get_ref().is_empty()) {
            path += &format!("&tag={}", escaped(tag.get_ref()));
        }
        path += &in_datacenter('&', &settings.datacenter);
        Consul { settings, path, client }
    }

    /// The state that is newer than `index`, or as it is after the wait; 0 = now.
    async fn query(&mut self, index: u64) -> Result<Answer, Failure> {
        let (wait, timeout) = (self.settings.wait.get(), self.settings.timeout.get());
        let ask = match index {
            0 => Ask::get(self.path.clone(), timeout),
            _ => {
                let path = format!("{}&index={index}&wait={}ms", self.path, wait.as_millis());
                Ask::get(path, wait + wait / 16 + timeout)
            }
        };
        let answer = self.client.ask(ask).await?.successful()?;
        // An agent that has just been started says 200 and "nothing" before it has found a server.
        match answer.field(&KNOWN_LEADER) {
            Some("true") => Ok(answer),
            Some(_) | None => Err(Failure::new(Kind::Refused, "the agent knows no leader of the servers")),
        }
    }

    /// Consul leaves out what a token may not read, and says 200: an empty answer may be a refusal.
    async fn refusal(&mut self, empty: &Answer) -> Option<Failure> {
        let name = &self.settings.service;
        let denied = Failure::new(Kind::Denied, format!("the token may not read the service `{name}`"));
        if empty.field(&FILTERED) == Some("true") {
            return Some(denied);
        }
        // Before Consul 1.11 there is no such field. Where this can not be asked, it is not known.
        let path = format!("/v1/internal/acl/authorize{}", in_datacenter('?', &self.settings.datacenter));
        let question = json!([{ "Resource": "service", "Access": "read", "Segment": name }]);
        let answer = self.client.ask(Ask::post(path, &question, self.settings.timeout.get())).await;
        let verdict = answer.ok()?.successful().ok()?.json().await.ok()?;
        (verdict.pointer("/0/Allow")?.as_bool() == Some(false)).then_some(denied)
    }
}

impl Source for Consul {
    fn origin(&self) -> String {
        let Settings { service, tag, datacenter, .. } = &self.settings;
        let mut origin = format!("consul {service} at {}", self.client.base());
        for tag in tag.iter().filter(|tag| !tag.get_ref().is_empty()) {
            origin += &format!(" tag {}", tag.get_ref());
        }
        if !datacenter.is_empty() {
            origin += &format!(" in {datacenter}");
        }
        origin
    }

    fn follow<'a>(&'a mut self, reports: &'a Reports) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut index = 0;
            loop {
                let next = Instant::now() + AT_LEAST;
                let answer = match self.query(index).await {
                    // What waits may lose its connection; whether Consul is there is seen at once.
                    Err(Failure { kind: Kind::Unreachable, .. }) if index != 0 => return Ok(()),
                    answer => answer?,
                };
                // Also when the index is the same: it knows nothing of the rights of a token.
                let set = instances::read(&answer.json().await?)?.finish()?;
                let refusal = if set.is_empty() { self.refusal(&answer).await } else { None };
                if let Some(failure) = refusal {
                    return Err(failure);
                }
                reports.found(set);
                let newer = answer.field(&INDEX).and_then(|index| index.parse().ok());
                index = following(index, newer.unwrap_or(0));
                sleep_until(next).await;
            }
        })
    }
}

/// The index of the next query. Without one Consul would answer at once, again and again; 1 is always
/// safe to wait with.
fn following(index: u64, newer: u64) -> u64 {
    if newer < index { 0 } else { newer.max(1) }
}

fn in_datacenter(before: char, datacenter: &str) -> String {
    if datacenter.is_empty() { String::new() } else { format!("{before}dc={}", escaped(datacenter)) }
}

/// As a part of a path or a query (RFC 3986 §2.3).
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consul(options: &str) -> Consul {
        Consul::new(toml::from_str(options).expect("the options are valid"))
    }

    #[test]
    fn a_query_names_service_tags_and_datacenter() {
        let path = |options| consul(options).path;
        assert_eq!(path("service = \"users\""), "/v1/health/service/users?passing=1");
        let all = "service = \"a/b\"\ntag = [\"x y\", \"v=1\"]\ndatacenter = \"dc2\"";
        assert_eq!(path(all), "/v1/health/service/a%2Fb?passing=1&tag=x%20y&tag=v%3D1&dc=dc2");
        assert_eq!(path("service = \"a\"\ntag = \"\""), "/v1/health/service/a?passing=1");
        assert!(toml::from_str::<Settings>("service = \"\"").is_err());
    }

    #[test]
    fn the_origin_tells_services_apart() {
        assert_eq!(consul("service = \"a\"").origin(), "consul a at http://127.0.0.1:8500");
        let other = consul("service = \"a\"\ntag = \"t\"\ndatacenter = \"d\"\ntoken_file = \"secret\"");
        assert_eq!(other.origin(), "consul a at http://127.0.0.1:8500 tag t in d");
    }

    #[test]
    fn an_index_that_goes_backwards_begins_anew_and_0_waits_with_1() {
        assert_eq!((following(0, 5), following(5, 7), following(7, 7)), (5, 7, 7));
        assert_eq!((following(7, 3), following(0, 0), following(1, 0)), (0, 1, 0));
    }
}
