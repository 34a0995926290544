//! Hosts of a route: a name, or every name below one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::units::{self, UnitError};

/// Which hosts a route takes, in lower case and without a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// "api.example.com".
    Exact(String),
    /// "*.example.com": every name below; kept as "example.com".
    Below(String),
}

impl FromStr for HostPattern {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<HostPattern, UnitError> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if is_name(name) {
            let name = name.to_ascii_lowercase();
            return Ok(if below { HostPattern::Below(name) } else { HostPattern::Exact(name) });
        }
        if text == "*" {
            return Err(UnitError::new("any host is meant by leaving `host` away"));
        }
        if name.contains('*') {
            return Err(UnitError::new("`*` stands only for the first labels of a host: \"*.example.com\""));
        }
        if text.contains("//") {
            return Err(UnitError::new(format!("`{text}` is a URL; write its host only")));
        }
        let is_address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = is_address.filter(|_| !below) {
            let address: std::net::Ipv6Addr =
                address.parse().map_err(|_| UnitError::new(format!("`{text}` is not an IPv6 address")))?;
            return Ok(HostPattern::Exact(format!("[{address}]")));
        }
        if name.contains(':') {
            return Err(UnitError::new("a host has no port here; the port is that of the listener"));
        }
        Err(UnitError::new(format!(
            "`{text}` is not a host; write \"api.example.com\" or \"*.example.com\" (other letters as punycode)"
        )))
    }
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &[u8]| {
        (1..=63).contains(&label.len())
            && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 253 && text.as_bytes().split(|byte| *byte == b'.').all(is_label)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HostPattern, D::Error> {
        units::text(deserializer, "a host such as \"api.example.com\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_port_scheme_or_inner_star() {
        let host = |text: &str| text.parse::<HostPattern>().ok().map(|host| host.to_string());
        assert_eq!(host("API.Example.com").as_deref(), Some("api.example.com"));
        assert_eq!(host("*.Example.com").as_deref(), Some("*.example.com"));
        assert_eq!(host("[::0:1]").as_deref(), Some("[::1]"));
        assert_eq!(host("127.0.0.1").as_deref(), Some("127.0.0.1"));
        for wrong in [
            "", "*", "a:80", "http://a", "a/b", "a.*.b", "*a", "a..b", "a.", "*.", "[::1", "*.[::1]", "é.com",
        ] {
            assert_eq!(host(wrong), None, "{wrong:?} is refused");
        }
    }
}
