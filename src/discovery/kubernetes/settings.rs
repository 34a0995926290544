//! What a configuration says about a Service.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::units::{self, Timeout, UnitError};

/// A Service, `discover = { kubernetes = { … } }`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The Service: "namespace/name", or "name" in the namespace of the pod or of the kubeconfig's
    /// context. Required.
    pub service: Service,
    /// The port of the pods by its name in the Service, or by its number. Default: "" = the only one.
    #[serde(default)]
    pub port: Port,
    /// Which address counts of a pod that has one of each family, in a dual-stack Service.
    /// Default: ipv4.
    #[serde(default)]
    pub family: Family,
    /// File that says where the API server is and who asks. Default: "" = what every pod has.
    #[serde(default)]
    pub kubeconfig: PathBuf,
    /// The context within it. Default: "" = its current one.
    #[serde(default)]
    pub context: String,
    /// Longest time that one answer may take, and the silence after which a watch that should have
    /// ended counts as broken. Default: 5s.
    #[serde(default = "five_seconds")]
    pub timeout: Timeout,
}

fn five_seconds() -> Timeout {
    Timeout::from_secs(5)
}

/// The name of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Empty for the namespace of whoever asks.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl FromStr for Service {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Service, UnitError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) if is_label(namespace) => (namespace, name),
            Some(_) => return Err(wrong(text)),
            None => ("", text),
        };
        match is_label(name) {
            true => Ok(Service { namespace: namespace.to_owned(), name: name.to_owned() }),
            false => Err(wrong(text)),
        }
    }
}

fn wrong(text: &str) -> UnitError {
    UnitError::new(format!("`{text}` is not a Service; write \"namespace/name\" or \"name\""))
}

/// A label of RFC 1123, as Kubernetes wants names of namespaces and Services.
fn is_label(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Service, D::Error> {
        units::text(deserializer, "a Service such as \"default/users\"")
    }
}

/// A port of a Service's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Port {
    /// The only one.
    #[default]
    Only,
    /// The one that the Service calls so.
    Named(String),
    /// The one with this number.
    Number(u16),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Port::Only => Ok(()),
            Port::Named(name) => write!(f, " port {name}"),
            Port::Number(number) => write!(f, " port {number}"),
        }
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Port, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

struct PortVisitor;

impl Visitor<'_> for PortVisitor {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a port, such as \"http\", or its number")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Port, E> {
        match text {
            "" => Ok(Port::Only),
            _ if is_label(text) => Ok(Port::Named(text.to_owned())),
            _ => Err(E::custom(format!("`{text}` is not the name of a port; write \"http\" or 8080"))),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Port, E> {
        let port = u16::try_from(number).ok().filter(|port| *port > 0);
        port.map(Port::Number)
            .ok_or_else(|| E::custom(format!("{number} is not a port; ports are 1 to 65535")))
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// 10.0.0.1
    #[default]
    Ipv4,
    /// fd00::1
    Ipv6,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_service_has_a_namespace_or_that_of_whoever_asks() {
        let service = |text: &str| text.parse::<Service>().map(|service| service.namespace);
        assert_eq!(service("default/users").unwrap(), "default");
        assert_eq!(service("users").unwrap(), "");
        for text in ["", "a/", "/b", "a/b/c", "Default/users", "-a", "a b", "a/../b"] {
            assert!(service(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_port_is_a_name_or_a_number() {
        let port =
            |text: &str| settings(&format!("service = \"a\"\nport = {text}")).map(|settings| settings.port);
        assert_eq!(port("\"http\"").unwrap(), Port::Named("http".to_owned()));
        assert_eq!(port("8080").unwrap(), Port::Number(8080));
        assert_eq!(port("\"\"").unwrap(), Port::Only);
        for text in ["0", "70000", "\"a b\"", "true"] {
            assert!(port(text).is_err(), "{text}");
        }
    }
}
