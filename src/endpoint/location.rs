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
        if let Some((_, rest)) = text.split_once("://") {
            let rest = rest.trim_end_matches('/');
            return Err(UnitError::new(format!("an endpoint is an address, not a URL; write \"{rest}\"")));
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
        for text in ["10.0.0.1:80", "[fd00::1]:80", "host.name:80", "unix:/run/a.sock", "UNIX:60", "unix:é"] {
            let place: Location = text.parse().unwrap();
            assert_eq!(place.to_string().parse(), Ok(place.clone()), "{text}");
        }
    }

    #[test]
    fn no_host_can_be_taken_for_a_file() {
        assert_eq!("Unix:60".parse(), Ok(Location::Unix("60".into())));
        assert_eq!("unix.local:60".parse(), Ok(Location::Name("unix.local".into(), 60)));
        assert!("unix:".parse::<Location>().is_err());
    }
}
