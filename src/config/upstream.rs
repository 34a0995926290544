//! `[upstream.NAME]`: a named group of endpoints and how they are used.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::balance;
use crate::health::settings::{Check, Outlier};
use crate::net::proxy_protocol::Version;
use crate::tagged::{self, Switch};
use crate::units::{self, Duration, Limit, Ratio, Timeout, UnitError, Weight};

/// One upstream.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Upstream {
    /// Its endpoints; at least one.
    pub endpoints: Vec<Spanned<Endpoint>>,
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
    pub address: Address,
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
            address: Address,
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
                let address = Address::deserialize(text.into_deserializer())?;
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

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// `10.0.0.1:8080` or `[fd00::1]:8080`.
    Ip(SocketAddr),
    /// "users.internal:8080": resolved, and resolved again later.
    Name(String, u16),
    /// "unix:/run/users.sock".
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Address, UnitError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Address::Unix(PathBuf::from(path)));
        }
        if let Some((_, rest)) = text.split_once("://") {
            let rest = rest.trim_end_matches('/');
            return Err(UnitError::new(format!("an endpoint is an address, not a URL; write \"{rest}\"")));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(UnitError::new(format!("`{text}`: an endpoint has no port 0"))),
                _ => Ok(Address::Ip(address)),
            };
        }
        let wrong = || {
            UnitError::new(format!(
                "`{text}` is not an endpoint; write \"10.0.0.1:8080\", \"[fd00::1]:8080\", \"host.name:8080\" or \"unix:/path\""
            ))
        };
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(UnitError::new(format!("`{text}` has no port; write \"{text}:8080\"")));
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err(UnitError::new(
                "an IPv6 address stands in brackets, its port behind them: \"[fd00::1]:8080\"",
            ));
        }
        let port = port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        // A last label of digits is a mistyped IPv4 address: no such top-level domain can exist.
        let name = host.strip_suffix('.').unwrap_or(host);
        let numeric =
            name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
        match name.len() <= 253 && !numeric && name.split('.').all(is_label) {
            true => Ok(Address::Name(host.to_ascii_lowercase(), port)),
            false => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Name(host, port) => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        units::text(deserializer, "an address such as \"10.0.0.1:8080\"")
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
