//! How the health of endpoints is found out: active checks and outlier ejection.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::units::{self, Auto, Duration, Limit, Ratio, Timeout, UnitError};

/// Active checks of every endpoint, `[upstream.NAME.health]`; without the table there are none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// What is asked of the endpoint. Default: `http`.
    pub check: CheckKind,
    /// The path of an HTTP check, with its query. Default: `/healthz`.
    pub path: String,
    /// Statuses of an HTTP check that count as success. Default: `["200-399"]`.
    pub expect: Vec<StatusRange>,
    /// Text that the answer's body must contain. Default: empty, the body is not looked at.
    pub body: String,
    /// Time between two checks of an endpoint, with jitter. Default: 2s.
    pub interval: Timeout,
    /// Longest time that one check may take. Default: 1s.
    pub timeout: Timeout,
    /// Failed checks in a row that make an endpoint unhealthy. Default: 3.
    pub unhealthy: NonZeroU32,
    /// Passed checks in a row that make it healthy again. Default: 2.
    pub healthy: NonZeroU32,
    /// The port that is checked. Default: 0, the endpoint's own.
    pub port: Auto<u16>,
    /// The service that a gRPC check asks for. Default: empty, the endpoint as a whole.
    pub service: String,
}

impl Default for Check {
    fn default() -> Check {
        Check {
            check: CheckKind::Http,
            path: "/healthz".to_owned(),
            expect: vec![StatusRange { first: 200, last: 399 }],
            body: String::new(),
            interval: Timeout::from_secs(2),
            timeout: Timeout::from_secs(1),
            unhealthy: NonZeroU32::MIN.saturating_add(2),
            healthy: NonZeroU32::MIN.saturating_add(1),
            port: Auto::Auto,
            service: String::new(),
        }
    }
}

/// What an active check asks of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// A GET request that is answered with an expected status.
    #[default]
    Http,
    /// A connection that is accepted.
    Tcp,
    /// A call of `grpc.health.v1.Health/Check` that is answered with SERVING, over HTTP/2.
    Grpc,
}

/// Statuses from `first` to `last`, both included: "200-399" or "204".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// The lowest status.
    pub first: u16,
    /// The highest status.
    pub last: u16,
}

impl StatusRange {
    /// Whether the status is one of them.
    pub fn contains(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }
}

impl FromStr for StatusRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<StatusRange, UnitError> {
        let wrong = || {
            UnitError::new(format!(
                "`{text}` is not a status or a range of them, such as \"200\" or \"200-399\""
            ))
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let status = |part: &str| part.parse::<u16>().ok().filter(|status| (100..=599).contains(status));
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(StatusRange { first, last }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<StatusRange, D::Error> {
        units::text(deserializer, "statuses as a string, such as \"200-399\"")
    }
}

/// Passive checks, `[upstream.NAME.outlier]`: what the traffic itself shows. On by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outlier {
    /// Failures in a row that eject an endpoint: connect errors, resets, timeouts, 502, 503 and
    /// 504. Default: 5; 0 = off.
    pub consecutive_failures: Limit<u32>,
    /// Share of failures that ejects an endpoint, over at least [`Outlier::MIN_REQUESTS`] in
    /// [`Outlier::WINDOW`]. Default: 50%; 0 = off.
    pub error_ratio: Limit<Ratio>,
    /// Time of the first ejection; each further one lasts that much longer, up to
    /// [`Outlier::MAX_EJECTION`]. Default: 5s.
    pub base_ejection: Timeout,
    /// Largest share of the endpoints that is ejected at one time. Default: 50%.
    pub max_ejected: Ratio,
}

impl Outlier {
    /// Requests below which a ratio says nothing.
    pub const MIN_REQUESTS: u32 = 20;
    /// The time over which the ratio is taken.
    pub const WINDOW: Duration = Duration::from_secs(10);
    /// The longest ejection.
    pub const MAX_EJECTION: Duration = Duration::from_secs(60);
}

impl Default for Outlier {
    fn default() -> Outlier {
        Outlier {
            consecutive_failures: Limit::At(5),
            error_ratio: Limit::At(Ratio::percent(50)),
            base_ejection: Timeout::from_secs(5),
            max_ejected: Ratio::percent(50),
        }
    }
}
