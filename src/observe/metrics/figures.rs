//! What is not counted in shards: read from its owner at the moment of a scrape.

use std::time::{Duration, SystemTime};

/// The state of the process and of its upstreams at one moment.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The number of the current configuration.
    pub generation: u64,
    /// Since it became current.
    pub configuration_age: Duration,
    /// Reloads that made a new configuration current.
    pub reloads_succeeded: u64,
    /// Reloads that kept the old one.
    pub reloads_failed: u64,
    /// When the first certificate expires; `None` without certificates.
    pub certificate_expiry: Option<SystemTime>,
    /// TLS handshakes of the listeners that have TLS.
    pub handshakes: Vec<HandshakeFigures>,
    /// Lines of the access log that were lost.
    pub access_lines_dropped: u64,
    /// Lines of the proxy's own log that were lost.
    pub log_lines_dropped: u64,
    /// All upstreams of the current configuration.
    pub upstreams: Vec<UpstreamFigures>,
}

/// The TLS handshakes of one listener.
#[derive(Clone, Debug, Default)]
pub struct HandshakeFigures {
    /// The name of the listener.
    pub listener: String,
    /// Those that run.
    pub running: u64,
    /// Those that wait for their turn.
    pub waiting: u64,
}

/// One upstream.
#[derive(Clone, Debug, Default)]
pub struct UpstreamFigures {
    /// Its name in the configuration.
    pub name: String,
    /// Whether health is ignored because too few endpoints are fit.
    pub panic: bool,
    /// Attempts after the first one of a request.
    pub retries: u64,
    /// Retries that the budget refused.
    pub retries_refused: u64,
    /// Its endpoints. Those of one name are added up.
    pub endpoints: Vec<EndpointFigures>,
    /// Where they are found; `None` when all of them are written in the configuration.
    pub discovery: Option<DiscoveryFigures>,
}

/// A source of endpoints.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryFigures {
    /// Whether it does not answer.
    pub is_failing: bool,
    /// Time since the last good answer; `None` before the first.
    pub age: Option<Duration>,
    /// Endpoints of the last good set.
    pub endpoints: u64,
    /// Entries of the last answer that are no endpoints.
    pub unusable: u64,
    /// Answers that changed the set.
    pub updates: u64,
    /// Failures by their reason.
    pub failures: Vec<(&'static str, u64)>,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct EndpointFigures {
    /// Its name in logs.
    pub name: String,
    /// Whether it may take traffic.
    pub health: Health,
    /// Attempts that are running.
    pub in_flight: u64,
    /// Attempts so far.
    pub attempts: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Times that it was kept out because of what its traffic showed.
    pub ejections: u64,
}

/// Whether an endpoint may take traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Passed its checks.
    Healthy,
    /// Not checked; takes traffic.
    #[default]
    Unknown,
    /// Failed its checks.
    Unhealthy,
    /// Kept out because of what its traffic showed.
    Ejected,
    /// Takes no new requests because somebody asked for that.
    Draining,
}

impl Health {
    /// All of them.
    pub const ALL: [Health; 5] =
        [Health::Healthy, Health::Unknown, Health::Unhealthy, Health::Ejected, Health::Draining];

    /// The value of the label `state`.
    pub fn name(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Unknown => "unknown",
            Health::Unhealthy => "unhealthy",
            Health::Ejected => "ejected",
            Health::Draining => "draining",
        }
    }
}
