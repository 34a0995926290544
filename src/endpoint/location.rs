//! Where an endpoint is as it is written: an address, or a name that stands for several.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::units::{self, UnitError};

/// Where an endpoint is as somebody has written it. Only names need an answer before they are
/// connected to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Location {
    /// `10.0.0.1:8080` or `[fd00::1]:8080`.
    Ip(SocketAddr),
    /// "users.internal:8080": resolved, and resolved again later.
    Name(String, u16),
    /// "unix:/run/users.sock".
    Unix(PathBuf),
}

impl FromStr for Location {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Location, UnitError> {
        // In any case of letters, so that no host of this name can be taken for a file.
        let is_unix = text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("unix:"));
        if is_unix && text.len() > 5 {
            return Ok(Location::Unix(PathBuf::from(&text[5..])));
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return match address.port() {
                0 => Err(UnitError::new(format!("`{text}`: an endpoint has no port 0"))),
                _ => Ok(Location::Ip(address)),
            };
        }
        let wrong = || {
            UnitError::new(format!(
                "`{text}` is not an endpoint; write \"10.0.0.1:8080\", \"[fd00::1]:8080\", \"host.name:8080\" or \"unix:/path\""
            ))
        };
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(of_url(scheme, rest).map_or_else(wrong, UnitError::new));
        }
        if text.is_empty() {
            return Err(wrong());
        }
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
            true => Ok(Location::Name(host.to_ascii_lowercase(), port)),
            false => Err(wrong()),
        }
    }
}

/// What would be right in the place of a URL; `None` when it names no host.
fn of_url(scheme: &str, rest: &str) -> Option<String> {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // Credentials are no part of an address.
    let host = authority.rsplit('@').next().filter(|host| !host.is_empty())?;
    let is_secure = ["https", "wss"].iter().any(|secure| scheme.eq_ignore_ascii_case(secure));
    let (port, tls) = if is_secure { (443, " and `[upstream.NAME.tls]`") } else { (80, "") };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    Some(format!("an endpoint is an address, not a URL; write \"{address}\"{tls}"))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Ip(address) => address.fmt(f),
            Location::Name(host, port) => write!(f, "{host}:{port}"),
            Location::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Location {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Location, D::Error> {
        units::text(deserializer, "an address such as \"10.0.0.1:8080\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_written_as_it_is_read() {
        for text in ["10.0.0.1:80", "[fd00::1]:80", "host.name:80", "unix:/run/a.sock", "UNIX:60", "unix:é"]
        {
            let place: Location = text.parse().unwrap();
            assert_eq!(place.to_string().parse(), Ok(place.clone()), "{text}");
        }
    }

    #[test]
    fn what_is_suggested_in_the_place_of_a_url_is_an_endpoint() {
        for (url, address) in [
            ("http://127.0.0.1:9101/x", "127.0.0.1:9101"),
            ("http://api.example.com", "api.example.com:80"),
            ("https://api.example.com/?a#b", "api.example.com:443"),
            ("HTTPS://user:secret@api.example.com:8443", "api.example.com:8443"),
            ("http://[fd00::1]/", "[fd00::1]:80"),
        ] {
            let said = url.parse::<Location>().unwrap_err().to_string();
            let suggested = said.split('"').nth(1).unwrap();
            assert_eq!(suggested, address, "{said}");
            assert!(suggested.parse::<Location>().is_ok(), "{said}");
            assert_eq!(
                said.contains("[upstream.NAME.tls]"),
                url.to_lowercase().starts_with("https"),
                "{said}"
            );
        }
        for nothing in ["", "http://", "http:///x"] {
            let said = nothing.parse::<Location>().unwrap_err().to_string();
            assert!(said.contains("is not an endpoint") && !said.contains("\":"), "{said}");
        }
    }

    #[test]
    fn no_host_can_be_taken_for_a_file() {
        assert_eq!("Unix:60".parse(), Ok(Location::Unix("60".into())));
        assert_eq!("unix.local:60".parse(), Ok(Location::Name("unix.local".into(), 60)));
        assert!("unix:".parse::<Location>().is_err());
    }
}
