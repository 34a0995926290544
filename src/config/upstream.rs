//! `[upstream.NAME]`: a named group of endpoints and how they are used.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::balance;
use crate::discovery;
use crate::endpoint::Location;
use crate::health::settings::{Check, Outlier};
use crate::net::proxy_protocol::Version;
use crate::tagged::{self, Switch};
use crate::units::{Duration, Limit, Ratio, Timeout, Weight};

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// Its endpoints; at least one, unless they are discovered.
    pub endpoints: Vec<Spanned<Endpoint>>,
    /// Where further endpoints come from. Default: off.
    #[serde(deserialize_with = "tagged::choice_or_off")]
    pub discover: Switch<discovery::Settings>,
    /// How an endpoint is chosen for a request. Default: p2c.
    #[serde(deserialize_with = "tagged::choice")]
    pub balance: balance::settings::Settings,
    /// The version of HTTP towards the endpoints. Default: h1.
    pub protocol: Protocol,
    /// The PROXY protocol header that connections to the endpoints begin with. Default: off.
    pub proxy_protocol: ProxyProtocol,
    /// With a smaller share of fit endpoints, health is ignored rather than all traffic sent to
    /// the rest. Default: 50%; 0 = never.
    pub panic_threshold: Limit<Ratio>,
    /// TLS to the endpoints. Default: off, on when the table is there.
    pub tls: Switch<Tls>,
    /// Active checks. Default: off, on when the table is there.
    pub health: Switch<Check>,
    /// Passive checks. Default: on.
    pub outlier: Switch<Outlier>,
    /// Connections to the endpoints.
    pub connections: Connections,
    /// The budget that retries share; "off" = retries are only bounded per request. Default: on.
    pub budget: Switch<Budget>,
}

impl Default for Upstream {
    fn default() -> Upstream {
        Upstream {
            endpoints: Vec::new(),
            discover: Switch::Off,
            balance: balance::settings::Settings::default(),
            protocol: Protocol::H1,
            proxy_protocol: ProxyProtocol::Off,
            panic_threshold: Limit::At(Ratio::percent(50)),
            tls: Switch::Off,
            health: Switch::Off,
            outlier: Switch::On(Outlier::default()),
            connections: Connections::default(),
            budget: Switch::On(Budget::default()),
        }
    }
}

/// The PROXY protocol header that a connection to an endpoint begins with. Connections are then
/// used for one client connection only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// None.
    #[default]
    Off,
    /// A line of text.
    V1,
    /// A block of bytes.
    V2,
}

impl ProxyProtocol {
    /// The version of the header, if there is one.
    pub fn version(self) -> Option<Version> {
        match self {
            ProxyProtocol::Off => None,
            ProxyProtocol::V1 => Some(Version::V1),
            ProxyProtocol::V2 => Some(Version::V2),
        }
    }
}

/// One endpoint: "10.0.0.1:8080" or `{ address = "10.0.0.1:8080", weight = 3, priority = 0 }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it is.
    pub address: Location,
    /// Its share of the traffic, relative to the others; 0 = none. Default: 1.
    pub weight: Weight,
    /// Lower ones are used first; higher ones only when no lower one is fit. Default: 0.
    pub priority: u32,
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Endpoint, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            address: Location,
            #[serde(default)]
            weight: Weight,
            #[serde(default)]
            priority: u32,
        }
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Endpoint;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as \"10.0.0.1:8080\", or a table with `address`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Endpoint, E> {
                let address = Location::deserialize(text.into_deserializer())?;
                Ok(Endpoint { address, weight: Weight::default(), priority: 0 })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Endpoint, A::Error> {
                let Table { address, weight, priority } =
                    Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Endpoint { address, weight, priority })
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The version of HTTP towards the endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    H1,
    /// HTTP/2: agreed by ALPN with TLS, by prior knowledge on clear text.
    H2,
    /// HTTP/2 where the endpoint agrees to it by ALPN, else HTTP/1.1. Needs TLS.
    Auto,
}

/// TLS to the endpoints, `[upstream.NAME.tls]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the authorities that may have signed the endpoints' certificates, and nobody
    /// else. Default: "" = those that the system trusts.
    pub ca: Spanned<PathBuf>,
    /// The name that is asked for (RFC 6066 §3) and that the certificates must be for. Default: "" =
    /// the host of the endpoint's address as it is written.
    pub server_name: Spanned<String>,
    /// PEM file with the certificate chain that is shown to endpoints which ask for one. Default:
    /// "" = none is shown.
    pub client_cert: Spanned<PathBuf>,
    /// PEM file with its private key. Default: "".
    pub client_key: Spanned<PathBuf>,
    /// Whether the endpoints' certificates are verified. Default: true; false = whoever answers is
    /// believed.
    pub verify: bool,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            ca: Spanned::new(0..0, PathBuf::new()),
            server_name: Spanned::new(0..0, String::new()),
            client_cert: Spanned::new(0..0, PathBuf::new()),
            client_key: Spanned::new(0..0, PathBuf::new()),
            verify: true,
        }
    }
}

/// Connections to the endpoints, `[upstream.NAME.connections]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connections {
    /// Longest time until a connection stands. Default: 500ms.
    pub connect_timeout: Timeout,
    /// The same where no other endpoint is left to try, if it is longer: one lost SYN, or a full
    /// accept queue, need not cost a request (RFC 6298: a SYN is sent again after 1 s).
    /// Default: 1500ms; 0 = as `connect_timeout`.
    pub last_connect_timeout: Limit<Duration>,
    /// Idle connections that are kept, per endpoint and worker. Default: 128; 0 = none.
    pub max_idle: u32,
    /// How long an idle one is kept, less when the endpoint shows so. Default: 60s.
    pub idle_timeout: Timeout,
    /// How old a connection gets, a tenth more or less, before it takes no more requests and closes
    /// after its last one; so new endpoints behind a name or a balancer of connections get their
    /// share. Default: 10m; 0 = no limit.
    pub max_age: Limit<Duration>,
    /// Streams on one HTTP/2 connection before another is opened. Default: 100.
    pub max_streams: NonZeroU32,
    /// How long an HTTP/2 connection with open streams may be silent before it is asked by PING;
    /// as long again without an answer and it is closed. grpc-go ends connections that ping more
    /// often than its own MinTime, five minutes unless set. Default: 0 = never.
    pub h2_ping_interval: Limit<Duration>,
}

impl Default for Connections {
    fn default() -> Connections {
        Connections {
            connect_timeout: Timeout::from_millis(500),
            last_connect_timeout: Limit::At(Duration::from_millis(1500)),
            max_idle: 128,
            idle_timeout: Timeout::from_secs(60),
            max_age: Limit::At(Duration::from_secs(600)),
            max_streams: NonZeroU32::MIN.saturating_add(99),
            h2_ping_interval: Limit::Off,
        }
    }
}

/// The budget that retries share, `[upstream.NAME.budget]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Retries as a share of the requests. Default: 20%; 0 = only `min_per_second`.
    pub retry: Ratio,
    /// Retries in a second that are always allowed. Default: 3; 0 = none.
    pub min_per_second: u32,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget { retry: Ratio::percent(20), min_per_second: 3 }
    }
}
