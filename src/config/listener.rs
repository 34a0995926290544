//! `[listener.NAME]`: where clients connect, and the limits on what they may do there.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::http::identity::Part;
use crate::http::path::EncodedSlashes;
use crate::tagged;
use crate::units::{self, Auto, Bytes, Duration, FieldName, Limit, Timeout, UnitError};

/// One listener; it may have several addresses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listener {
    /// Addresses; at least one.
    #[serde(deserialize_with = "tagged::one_or_many")]
    pub bind: Vec<Spanned<Bind>>,
    /// What is done with connections. Default: http.
    pub mode: Mode,
    /// Versions of HTTP that are offered. Default: h1 and h2.
    pub protocols: Vec<Protocol>,
    /// The PROXY protocol of load balancers in front. Default: off.
    pub proxy_protocol: ProxyProtocol,
    /// Answer 308 to https instead of routing. Default: false.
    pub redirect_https: bool,
    /// What becomes of %2F and %5C in a path. Default: keep.
    pub encoded_slashes: EncodedSlashes,
    /// What becomes of a host that no route names. Default: not_found.
    pub unknown_host: UnknownHost,
    /// Bounds on time and size.
    pub limits: Limits,
    /// TLS; clear text without it.
    pub tls: Option<Spanned<Tls>>,
}

impl Default for Listener {
    fn default() -> Listener {
        Listener {
            bind: Vec::new(),
            mode: Mode::Http,
            protocols: vec![Protocol::H1, Protocol::H2],
            proxy_protocol: ProxyProtocol::Off,
            redirect_https: false,
            encoded_slashes: EncodedSlashes::Keep,
            unknown_host: UnknownHost::NotFound,
            limits: Limits::default(),
            tls: None,
        }
    }
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Bind {
    /// `127.0.0.1:8080` or `[::]:8080`.
    Tcp(SocketAddr),
    /// "unix:/run/tidegate/web.sock".
    Unix(PathBuf),
    /// "systemd:web": the socket of that name (FileDescriptorName=) of a socket unit.
    Systemd(String),
}

impl FromStr for Bind {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Bind, UnitError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Bind::Unix(PathBuf::from(path)));
        }
        if let Some(name) = text.strip_prefix("systemd:").filter(|name| !name.is_empty()) {
            return Ok(Bind::Systemd(name.to_owned()));
        }
        text.parse().map(Bind::Tcp).map_err(|_| UnitError::new(bind_hint(text)))
    }
}

impl Bind {
    /// Whether sockets at both would be in each other's way.
    pub fn overlaps(&self, other: &Bind) -> bool {
        match (self, other) {
            // The kernel chooses a free one for port 0.
            (Bind::Tcp(one), Bind::Tcp(other)) => {
                let has_all = one.ip().is_unspecified() || other.ip().is_unspecified();
                let is_one_family = one.is_ipv4() == other.is_ipv4();
                one.port() != 0
                    && one.port() == other.port()
                    && (one.ip() == other.ip() || is_one_family && has_all)
            }
            (one, other) => one == other,
        }
    }
}

/// What would be right, near to what was written.
fn bind_hint(text: &str) -> String {
    let port = |port: &str| port.parse::<u16>().is_ok();
    match text.rsplit_once(':') {
        Some(("", number)) if port(number) => {
            format!(
                "`{text}` has no address; write \"0.0.0.0:{number}\" and \"[::]:{number}\" for all, or \"127.0.0.1:{number}\""
            )
        }
        Some(("localhost", number)) if port(number) => {
            format!("an address is bound, not a name; write \"127.0.0.1:{number}\" and \"[::1]:{number}\"")
        }
        None if port(text) => {
            format!("`{text}` has no address; write \"0.0.0.0:{text}\" or \"127.0.0.1:{text}\"")
        }
        None if text.parse::<std::net::Ipv4Addr>().is_ok() => {
            format!("`{text}` has no port; write \"{text}:8080\"")
        }
        _ => format!(
            "`{text}` is not an address; write \"127.0.0.1:8080\", \"[::]:8080\", \"unix:/path\" or \"systemd:NAME\""
        ),
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bind::Tcp(address) => address.fmt(f),
            Bind::Unix(path) => write!(f, "unix:{}", path.display()),
            Bind::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for Bind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bind, D::Error> {
        units::text(deserializer, "an address such as \"127.0.0.1:8080\"")
    }
}

/// What is done with connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They carry HTTP.
    #[default]
    Http,
    /// Their bytes are passed on as they are; routes match on the server name of TLS.
    Tcp,
}

/// A version of HTTP towards the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 and 1.0.
    H1,
    /// HTTP/2: by ALPN with TLS, by prior knowledge on clear text.
    H2,
}

/// Whether connections begin with a PROXY protocol header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// None does.
    #[default]
    Off,
    /// Those from `server.trusted_proxies` and over a UNIX socket do, in version 1 or 2; without a
    /// valid header they are closed. A header of anybody else is not understood.
    Accept,
}

/// What becomes of a host that no route names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownHost {
    /// 404.
    #[default]
    NotFound,
    /// 421.
    Misdirected,
    /// The connection is closed without an answer.
    Close,
}

/// Bounds on time and size, `[listener.NAME.limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// From the first byte of a request to the end of its head. Default: 10s.
    pub header_timeout: Timeout,
    /// Longest silence between bytes of a request body. Default: 30s.
    pub body_timeout: Timeout,
    /// Keep-alive without a request. Default: 75s.
    pub idle_timeout: Timeout,
    /// Longest time without progress while the client does not read. Default: 30s.
    pub write_timeout: Timeout,
    /// Size of a request's head; 431 past it. Default: 32KiB.
    pub max_header_bytes: Bytes,
    /// Header fields of a request; 431 past it. Default: 100.
    pub max_headers: NonZeroU32,
    /// Size of a request body; 413 past it. Default: 0 = no limit, bodies are streamed.
    pub max_body_bytes: Limit<Bytes>,
    /// Requests on one connection, then it is closed politely. Default: 0 = no limit.
    pub max_requests_per_connection: Limit<u64>,
    /// Age of a connection, then it is closed politely. Default: 0 = no limit.
    pub max_connection_age: Limit<Duration>,
    /// Streams at one time on an HTTP/2 connection (RFC 9113 §5.1.2). Default: 128.
    pub h2_max_streams: NonZeroU32,
    /// Window of an HTTP/2 stream (RFC 9113 §6.9). Default: 64KiB.
    pub h2_stream_window: Bytes,
    /// Window of an HTTP/2 connection. Default: 1MiB.
    pub h2_connection_window: Bytes,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            header_timeout: Timeout::from_secs(10),
            body_timeout: Timeout::from_secs(30),
            idle_timeout: Timeout::from_secs(75),
            write_timeout: Timeout::from_secs(30),
            max_header_bytes: Bytes::kib(32),
            max_headers: NonZeroU32::MIN.saturating_add(99),
            max_body_bytes: Limit::Off,
            max_requests_per_connection: Limit::Off,
            max_connection_age: Limit::Off,
            h2_max_streams: NonZeroU32::MIN.saturating_add(127),
            h2_stream_window: Bytes::kib(64),
            h2_connection_window: Bytes::kib(1024),
        }
    }
}

/// TLS towards the client, `[listener.NAME.tls]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Certificates from files, chosen by SNI; the first is the default. Default: none.
    pub certificates: Vec<Spanned<Certificate>>,
    /// Names for which a certificate is made in memory, for development. Default: none.
    pub self_signed: Vec<Spanned<String>>,
    /// The oldest version that is accepted. Default: 1.2.
    pub min_version: TlsVersion,
    /// Whether sessions resume by tickets. Default: true.
    pub session_tickets: bool,
    /// Longest time of a handshake, the wait for its turn included. Default: 10s.
    pub handshake_timeout: Timeout,
    /// Handshakes that run at one time, over all workers; further ones wait within
    /// `handshake_timeout`. Default: 0 = 4096.
    pub max_handshakes: Auto<u32>,
    /// What becomes of clients that speak clear text. Default: refuse.
    pub clear_text: ClearText,
    /// Whether clients show certificates. Default: off.
    pub client_auth: ClientAuth,
    /// Certificates of the authorities whose clients come in, a PEM file. Default: none.
    #[serde(deserialize_with = "tagged::unless_empty")]
    pub client_ca: Option<Spanned<PathBuf>>,
    /// Their revocation lists, a PEM file. Default: none.
    #[serde(deserialize_with = "tagged::unless_empty")]
    pub client_crl: Option<Spanned<PathBuf>>,
    /// What endpoints are told of a client's certificate. Default: nothing.
    pub client_identity: ClientIdentity,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            certificates: Vec::new(),
            self_signed: Vec::new(),
            min_version: TlsVersion::Tls12,
            session_tickets: true,
            handshake_timeout: Timeout::from_secs(10),
            max_handshakes: Auto::Auto,
            clear_text: ClearText::Refuse,
            client_auth: ClientAuth::Off,
            client_ca: None,
            client_crl: None,
            client_identity: ClientIdentity::default(),
        }
    }
}

/// What becomes of clients that speak clear text to a TLS port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearText {
    /// 400, and the connection is closed.
    #[default]
    Refuse,
    /// 308 to https on the same port.
    Redirect,
    /// They are served as http.
    Serve,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    Off,
    /// They may; one that is shown must be valid.
    Optional,
    /// They must.
    Required,
}

/// Names of the header fields that tell endpoints of a client's certificate,
/// `client_identity = { subject = "x-client-subject" }`. What a client itself sends under these
/// names is removed, on every listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientIdentity {
    /// The subject as text (RFC 4514), `CN=alice,O=Example`. Default: none.
    #[serde(deserialize_with = "tagged::unless_empty")]
    pub subject: Option<Spanned<FieldName>>,
    /// The alternative names, `DNS:a.example,URI:spiffe://example/a`. Default: none.
    #[serde(deserialize_with = "tagged::unless_empty")]
    pub san: Option<Spanned<FieldName>>,
    /// SHA-256 in hex. Default: none.
    #[serde(deserialize_with = "tagged::unless_empty")]
    pub fingerprint: Option<Spanned<FieldName>>,
    /// The certificate itself, base64 of its DER between colons (RFC 9440). Default: none.
    #[serde(deserialize_with = "tagged::unless_empty")]
    pub certificate: Option<Spanned<FieldName>>,
}

impl ClientIdentity {
    /// What is told, and where.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &Spanned<FieldName>)> {
        let parts = [
            (Part::Subject, &self.subject),
            (Part::San, &self.san),
            (Part::Fingerprint, &self.fingerprint),
            (Part::Certificate, &self.certificate),
        ];
        parts.into_iter().filter_map(|(part, name)| Some((part, name.as_ref()?)))
    }
}

/// A certificate and its key in PEM files; both are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "1.3")]
    Tls13,
}
