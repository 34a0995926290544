//! What the admin page shows of an upstream.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;

use super::Upstream;
use super::roster::{Entry, Intake, Layer};
use crate::discovery;
use crate::endpoint::{CheckRecord, CheckState, Endpoint, Moment};

/// An upstream and its endpoints as they are now.
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Changes of the set since the upstream was built.
    pub version: u64,
    /// Whether health is ignored because too few endpoints are fit.
    pub panic: bool,
    /// All endpoints, in the order of the configuration, then those that are discovered.
    pub endpoints: Vec<EndpointStatus>,
    /// Names that have no address yet.
    pub unresolved: Vec<String>,
    /// How its source is doing; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<discovery::Status>,
}

/// One endpoint.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointStatus {
    /// Its address, and the host name that led to it.
    pub name: String,
    /// Where it comes from.
    pub from: Layer,
    /// Share of the traffic.
    pub weight: u32,
    /// Lower ones come first.
    pub priority: u32,
    /// Where it stands; empty when nobody says so.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// What else its source says about it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Whether it may take traffic.
    pub state: State,
    /// Why it does not; absent when it does.
    pub why: Option<String>,
    /// Attempts that are running.
    pub in_flight: u32,
    /// Attempts so far.
    pub requests: u64,
    /// Failures so far.
    pub failures: u64,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Time until an ejection ends; 0 when not ejected.
    pub ejected_for_ms: u64,
    /// Ejections so far.
    pub ejections: u64,
    /// Ejections in a row, which lengthen the next one.
    pub consecutive_ejections: u32,
    /// The last active checks, oldest first.
    pub checks: Vec<CheckStatus>,
}

/// Whether an endpoint may take traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Passed its checks.
    Healthy,
    /// Not checked; takes traffic.
    Unknown,
    /// Failed its checks.
    Unhealthy,
    /// Kept out because of what its traffic showed.
    Ejected,
    /// Takes no new requests because somebody asked for that.
    Draining,
}

/// One active check.
#[derive(Clone, Debug, Serialize)]
pub struct CheckStatus {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Why it failed; absent when it passed.
    pub failure: Option<String>,
}

impl Upstream {
    /// The upstream as it is now.
    pub fn status(&self) -> UpstreamStatus {
        let membership = self.membership();
        let now = Moment::now();
        let (endpoints, names) = {
            let roster = self.roster();
            let endpoints = roster.entries().iter().flat_map(|entry| {
                entry.endpoints.iter().map(move |endpoint| endpoint_status(entry, endpoint, now))
            });
            (endpoints.collect(), roster.names())
        };
        let unresolved = names.into_iter().filter(|(_, known)| *known == 0);
        UpstreamStatus {
            name: self.name().to_owned(),
            version: membership.version,
            panic: membership.panic,
            endpoints,
            unresolved: unresolved.map(|((host, port), _)| format!("{host}:{port}")).collect(),
            discovery: self.discovery(),
        }
    }
}

fn endpoint_status(entry: &Entry, endpoint: &Endpoint, now: Moment) -> EndpointStatus {
    let (said, standing) = (&entry.place, &endpoint.standing);
    let state = match standing.check() {
        _ if entry.intake == Intake::Drained => State::Draining,
        CheckState::Unhealthy => State::Unhealthy,
        _ if standing.is_ejected(now) => State::Ejected,
        CheckState::Healthy => State::Healthy,
        CheckState::Unknown => State::Unknown,
    };
    let why = match state {
        State::Unhealthy => {
            endpoint.checks.last_failure().or_else(|| Some("not healthy again yet".to_owned()))
        }
        State::Ejected => standing.ejection_cause().map(|cause| cause.name().to_owned()),
        State::Healthy | State::Unknown | State::Draining => None,
    };
    EndpointStatus {
        name: endpoint.name().to_owned(),
        from: entry.layer,
        weight: said.weight.0,
        priority: said.priority,
        zone: said.zone.clone(),
        metadata: said.metadata.clone(),
        state,
        why,
        in_flight: endpoint.in_flight(),
        requests: endpoint.requests(),
        failures: endpoint.failures(),
        consecutive_failures: endpoint.consecutive_failures(),
        ejected_for_ms: milliseconds(standing.ejected_until().since(now)),
        ejections: standing.ejections(),
        consecutive_ejections: standing.consecutive_ejections(),
        checks: endpoint.checks.to_vec().into_iter().map(CheckStatus::from).collect(),
    }
}

impl From<CheckRecord> for CheckStatus {
    fn from(record: CheckRecord) -> CheckStatus {
        let at = record.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        CheckStatus { at_ms: milliseconds(at), took_ms: milliseconds(record.took), failure: record.failure }
    }
}

fn milliseconds(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
