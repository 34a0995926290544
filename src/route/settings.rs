//! Which requests a route takes and what happens to them, as written in `[[route]]`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::tagged::{self, Switch};
use crate::units::{
    self, Bytes, Duration, FieldName, FieldValue, Limit, Network, Timeout, UnitError, Weight,
};

mod host;
mod path;
mod pattern;
mod template;

pub use host::HostPattern;
pub use path::{PathPattern, Segment};
pub use pattern::{Condition, MethodName, Pattern};
pub use template::{Part, Template};

/// One `[[route]]`: conditions, exactly one action, and how the exchange is handled.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name in logs and metrics. Default: absent, which reads `route-N`, N counted from 1.
    pub name: Option<Spanned<String>>,
    /// Names of the listeners it serves. Default: empty = all.
    pub listeners: Vec<Spanned<String>>,
    /// Hosts. Default: empty = any.
    #[serde(deserialize_with = "tagged::one_or_many")]
    pub host: Vec<Spanned<HostPattern>>,
    /// Server names of TLS, for listeners in tcp mode only. Default: "" = any.
    #[serde(deserialize_with = "tagged::none_one_or_many")]
    pub sni: Vec<Spanned<HostPattern>>,
    /// Paths. Default: empty = any.
    #[serde(deserialize_with = "tagged::one_or_many")]
    pub path: Vec<Spanned<PathPattern>>,
    /// Methods. Default: empty = any but CONNECT.
    pub methods: Vec<Spanned<MethodName>>,
    /// Conditions on header fields, all of which must hold. Default: none.
    #[serde(deserialize_with = "tagged::distinct")]
    pub headers: BTreeMap<FieldName, Condition>,
    /// Conditions on query parameters, all of which must hold. Default: none.
    pub query: BTreeMap<String, Condition>,
    /// Networks of the client. Default: empty = any.
    pub client: Vec<Network>,
    /// Wins over every more specific match; larger first. Default: 0.
    pub priority: i32,

    /// Action: forward to this upstream.
    pub to: Option<Spanned<String>>,
    /// Action: forward to one of these upstreams, by weight.
    pub split: Option<Spanned<BTreeMap<Spanned<String>, Weight>>>,
    /// Action: send the client elsewhere.
    pub redirect: Option<Spanned<Redirect>>,
    /// Action: answer at once.
    pub respond: Option<Spanned<Respond>>,

    /// Names of middlewares, in the order in which a request passes them. Default: none.
    #[serde(rename = "use")]
    pub middlewares: Vec<Spanned<String>>,
    /// Path that is cut off the front before the request goes on. Default: empty = nothing.
    #[serde(deserialize_with = "tagged::unless_empty")]
    pub strip_prefix: Option<Spanned<Prefix>>,
    /// The new path, with variables; the query is never touched. Default: empty = as it came.
    #[serde(deserialize_with = "tagged::unless_empty")]
    pub rewrite: Option<Spanned<Template>>,
    /// The Host that the endpoint sees. Default: `preserve`.
    pub host_header: HostHeader,
    /// Whether clients may switch to another protocol (WebSocket and other Upgrades); with false such
    /// a request is passed on as a plain one. CONNECT is allowed by `methods`. Default: true.
    pub upgrade: Upgrade,
    /// Times that bound an exchange.
    pub timeouts: Timeouts,
    /// When a request is tried again; `"off"` = never. Default: on.
    pub retry: Retries,
}

/// What a route does with a request: exactly one of four.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Forward to this upstream.
    To(&'a Spanned<String>),
    /// Forward to one of these upstreams, by weight.
    Split(&'a BTreeMap<Spanned<String>, Weight>),
    /// Send the client elsewhere.
    Redirect(&'a Redirect),
    /// Answer at once.
    Respond(&'a Respond),
}

impl Settings {
    /// The actions that are written; a checked configuration has exactly one.
    pub fn actions(&self) -> impl Iterator<Item = Action<'_>> {
        let to = self.to.iter().map(Action::To);
        let split = self.split.iter().map(|split| Action::Split(split.get_ref()));
        let redirect = self.redirect.iter().map(|redirect| Action::Redirect(redirect.get_ref()));
        let respond = self.respond.iter().map(|respond| Action::Respond(respond.get_ref()));
        to.chain(split).chain(redirect).chain(respond)
    }
}

/// A redirection, `redirect = { to = "https://{host}{path}{query}", status = 308 }`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redirect {
    /// The Location: an absolute URL or a path, with variables.
    pub to: Spanned<Template>,
    /// 301, 302, 303, 307 or 308. Default: 308.
    #[serde(default)]
    pub status: RedirectStatus,
}

/// A status of RFC 9110 §15.4 that carries a Location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectStatus(u16);

impl RedirectStatus {
    /// The status.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for RedirectStatus {
    fn default() -> RedirectStatus {
        RedirectStatus(308)
    }
}

impl<'de> Deserialize<'de> for RedirectStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RedirectStatus, D::Error> {
        match u16::deserialize(deserializer)? {
            status @ (301 | 302 | 303 | 307 | 308) => Ok(RedirectStatus(status)),
            status => Err(serde::de::Error::custom(format_args!(
                "{status} is not a redirection; write 301, 302, 303, 307 or 308"
            ))),
        }
    }
}

/// An answer without an upstream, `respond = { status = 200, body = "ok" }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Respond {
    /// The status, 200 to 599. Default: 200.
    pub status: RespondStatus,
    /// The body, sent as text/plain unless `headers` says otherwise. Default: empty.
    pub body: String,
    /// Header fields. Default: none.
    #[serde(deserialize_with = "tagged::distinct")]
    pub headers: BTreeMap<FieldName, FieldValue>,
}

/// A final status, 200 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RespondStatus(u16);

impl RespondStatus {
    /// The status.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for RespondStatus {
    fn default() -> RespondStatus {
        RespondStatus(200)
    }
}

impl<'de> Deserialize<'de> for RespondStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RespondStatus, D::Error> {
        match u16::deserialize(deserializer)? {
            status @ 200..=599 => Ok(RespondStatus(status)),
            status => Err(serde::de::Error::custom(format_args!("{status} is not a status from 200 to 599"))),
        }
    }
}

/// A path that is cut off by whole elements: "/users" cuts "/users/1" but not "/users2".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Prefix {
    /// The path, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for Prefix {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Prefix, UnitError> {
        let path = PathPattern::exact(text)?;
        Ok(Prefix(path.trim_end_matches('/').to_owned()))
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Prefix, D::Error> {
        units::text(deserializer, "a path such as \"/users\"")
    }
}

/// Whether clients may switch to another protocol; a boolean in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "bool")]
pub enum Upgrade {
    /// They may.
    #[default]
    Allowed,
    /// Such a request is passed on as a plain one.
    Ignored,
}

impl From<bool> for Upgrade {
    fn from(allowed: bool) -> Upgrade {
        if allowed { Upgrade::Allowed } else { Upgrade::Ignored }
    }
}

/// The Host that the endpoint sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostHeader {
    /// What the client asked for.
    #[default]
    Preserve,
    /// The address of the endpoint.
    Endpoint,
    /// This text.
    Literal(String),
}

impl std::str::FromStr for HostHeader {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<HostHeader, UnitError> {
        match text {
            "preserve" => Ok(HostHeader::Preserve),
            "endpoint" => Ok(HostHeader::Endpoint),
            _ if text.parse::<http::uri::Authority>().is_ok() && !text.contains('@') => {
                Ok(HostHeader::Literal(text.to_owned()))
            }
            _ => Err(UnitError::new(format!(
                "`{text}` is not a host; write \"preserve\", \"endpoint\" or a host such as \"api.example.com\""
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for HostHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HostHeader, D::Error> {
        units::text(deserializer, "\"preserve\", \"endpoint\" or a host")
    }
}

/// Times that bound an exchange, `[route.timeouts]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// The whole exchange, retries and bodies included. Default: 0s = off.
    pub request: Limit<Duration>,
    /// From the sent request to the head of the response, each attempt. Default: 30s.
    pub response: Timeout,
    /// Longest time without a byte in either direction, tunnels too. Default: 5m.
    pub idle: Timeout,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { request: Limit::Off, response: Timeout::from_secs(30), idle: Timeout::from_secs(300) }
    }
}

/// `retry = "off"` or the table `[route.retry]`; on by default.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Retries(pub Switch<Retry>);

impl Default for Retries {
    fn default() -> Retries {
        Retries(Switch::On(Retry::default()))
    }
}

/// When a request is tried again at another endpoint, `[route.retry]`.
///
/// A request whose bytes never reached an endpoint is always safe to try again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Further tries after the first, at most [`Retry::MAX_ATTEMPTS`]. Default: 2; 0 = none.
    #[serde(deserialize_with = "attempts")]
    pub attempts: u32,
    /// What is worth another try. Default: `["connect", "reset", "refused-stream"]`.
    pub on: Cow<'static, [RetryOn]>,
    /// Whose request may be sent again. Default: `idempotent`.
    pub methods: RetryMethods,
    /// Body kept for another try; a larger one is not tried again once it was sent.
    /// Default: 64KiB; 0 = only requests without a body.
    pub max_body_bytes: Bytes,
}

impl Retry {
    /// Tries after the first beyond which a request only multiplies trouble.
    pub const MAX_ATTEMPTS: u32 = 10;
}

fn attempts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        attempts @ 0..=Retry::MAX_ATTEMPTS => Ok(attempts),
        attempts => Err(serde::de::Error::custom(format_args!(
            "{attempts} further tries are too many; the limit is {}",
            Retry::MAX_ATTEMPTS
        ))),
    }
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 2,
            on: Cow::Borrowed(&[RetryOn::Connect, RetryOn::Reset, RetryOn::RefusedStream]),
            methods: RetryMethods::Idempotent,
            max_body_bytes: Bytes::kib(64),
        }
    }
}

/// An outcome of an attempt that is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// "connect": no connection came about.
    Connect,
    /// "reset": the connection ended before the response began.
    Reset,
    /// "refused-stream": the endpoint says that it did not process the request (RFC 9113 §8.7).
    RefusedStream,
    /// "timeout": no response in time.
    Timeout,
    /// "5xx": any status from 500.
    ServerError,
    /// "503": this status, 400 to 599.
    Status(u16),
}

impl std::str::FromStr for RetryOn {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<RetryOn, UnitError> {
        match text {
            "connect" => Ok(RetryOn::Connect),
            "reset" => Ok(RetryOn::Reset),
            "refused-stream" => Ok(RetryOn::RefusedStream),
            "timeout" => Ok(RetryOn::Timeout),
            "5xx" => Ok(RetryOn::ServerError),
            _ => match text.parse::<u16>() {
                Ok(status @ 400..=599) => Ok(RetryOn::Status(status)),
                _ => Err(UnitError::new(format!(
                    "`{text}` is nothing to retry on; write connect, reset, refused-stream, timeout, 5xx or a status such as 503"
                ))),
            },
        }
    }
}

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RetryOn, D::Error> {
        units::text(deserializer, "a string such as \"connect\" or \"503\"")
    }
}

/// Whose request may be sent again after an endpoint may have seen it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryMethods {
    /// Methods that have the same effect when repeated (RFC 9110 §9.2.2).
    #[default]
    Idempotent,
    /// Every method: the service itself must bear repetition.
    All,
}
