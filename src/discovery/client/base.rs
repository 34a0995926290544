//! Where a registry is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::units::{self, UnitError};

/// The URL that all requests begin with: `http://127.0.0.1:8500`, `https://registry.local/api` or
/// `unix:/var/run/docker.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// How it is reached.
    pub(super) transport: Transport,
    prefix: String,
}

/// How a registry is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// Clear text over TCP.
    Plain(String, u16),
    /// TLS over TCP.
    Tls(String, u16),
    /// A UNIX socket.
    Unix(PathBuf),
}

impl Base {
    /// Clear text at this port of this machine.
    pub fn local(port: u16) -> Base {
        Base { transport: Transport::Plain("127.0.0.1".to_owned(), port), prefix: String::new() }
    }

    /// A UNIX socket.
    pub fn socket(path: impl Into<PathBuf>) -> Base {
        Base { transport: Transport::Unix(path.into()), prefix: String::new() }
    }

    /// The path that stands before the path of every request: "" or "/api".
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether it is reached over TLS.
    pub fn is_secure(&self) -> bool {
        matches!(self.transport, Transport::Tls(..))
    }

    /// The value of Host.
    pub(super) fn host_field(&self) -> String {
        match &self.transport {
            Transport::Plain(host, 80) | Transport::Tls(host, 443) => bracketed(host),
            Transport::Plain(host, port) | Transport::Tls(host, port) => {
                format!("{}:{port}", bracketed(host))
            }
            Transport::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// A whole URL: a base and what is asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Its host.
    pub base: Base,
    /// Its path and query; begins with `/`.
    pub path: String,
}

impl FromStr for Url {
    type Err = UnitError;

    fn from_str(url: &str) -> Result<Url, UnitError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong(url))?;
        let path = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path);
        let base: Base = format!("{scheme}://{authority}").parse()?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        match path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            true => Ok(Url { base, path }),
            false => {
                Err(UnitError::new(format!("`{url}` has bytes that stand escaped in a URL, such as %20")))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
        units::text(deserializer, "a URL such as \"http://registry.local/users\"")
    }
}

impl FromStr for Base {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Base, UnitError> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Base { transport: Transport::Unix(path.into()), prefix: String::new() });
        }
        let uri: hyper::Uri = text.parse().map_err(|_| wrong(text))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong(text));
        };
        if authority.as_str().contains('@') {
            return Err(UnitError::new("a password does not stand in a URL; name a file with it"));
        }
        if uri.query().is_some() {
            return Err(UnitError::new(format!("`{text}` ends before `?`; the query is added")));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        if host.is_empty() || authority.port_u16() == Some(0) {
            return Err(wrong(text));
        }
        let transport = match scheme {
            "http" => Transport::Plain(host, authority.port_u16().unwrap_or(80)),
            "https" => Transport::Tls(host, authority.port_u16().unwrap_or(443)),
            _ => return Err(wrong(text)),
        };
        Ok(Base { transport, prefix: uri.path().trim_end_matches('/').to_owned() })
    }
}

fn wrong(text: &str) -> UnitError {
    UnitError::new(format!(
        "`{text}` is not a URL; write \"http://host:port\", \"https://host\" or \"unix:/path\""
    ))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::Plain(..) => write!(f, "http://{}{}", self.host_field(), self.prefix),
            Transport::Tls(..) => write!(f, "https://{}{}", self.host_field(), self.prefix),
            Transport::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Base {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Base, D::Error> {
        units::text(deserializer, "a URL such as \"http://127.0.0.1:8500\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_written_as_it_was_read() {
        for text in
            ["http://127.0.0.1:8500", "https://registry.local/api", "http://[::1]:1", "unix:/run/a.sock"]
        {
            assert_eq!(text.parse::<Base>().unwrap().to_string(), text);
        }
        let base: Base = "http://h:80/a/".parse().unwrap();
        assert_eq!((base.to_string().as_str(), base.prefix()), ("http://h/a", "/a"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in ["", "h:80", "ftp://h", "http://", "http://u:p@h", "http://h?a=b", "unix:", "http://h:0"]
        {
            assert!(text.parse::<Base>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_whole_url_is_taken_apart() {
        let split = |text: &str| text.parse::<Url>().map(|url| (url.base.to_string(), url.path));
        assert_eq!(split("http://h:1/a?b=c").unwrap(), ("http://h:1".into(), "/a?b=c".into()));
        assert_eq!(split("https://h").unwrap(), ("https://h".into(), "/".into()));
        assert_eq!(split("http://h?b").unwrap(), ("http://h".into(), "/?b".into()));
        assert!(split("http://h/a b").is_err());
    }
}
