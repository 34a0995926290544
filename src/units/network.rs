//! Networks of peers.

use std::fmt::{self, Display};
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer};

use super::{UnitError, text};

/// A network of peers: "10.0.0.0/8", "fd00::/8", or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpNet);

impl Network {
    /// Whether the address belongs to it; an IPv4 address written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }

    /// The network as its crate has it.
    pub fn get(self) -> IpNet {
        self.0
    }
}

impl FromStr for Network {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Network, UnitError> {
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        match network {
            Ok(network) if network.addr() != network.network() => Err(UnitError::new(format!(
                "`{text}` has bits beyond its prefix; the network is `{}`",
                network.trunc()
            ))),
            Ok(network) => Ok(Network(network)),
            Err(_) => Err(UnitError::new(format!(
                "`{text}` is not a network; write \"10.0.0.0/8\", \"fd00::/8\" or one address"
            ))),
        }
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        text(deserializer, "a network such as \"10.0.0.0/8\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_is_a_network_of_its_own() {
        let network: Network = "10.0.0.1".parse().expect("an address");
        assert_eq!(network.to_string(), "10.0.0.1/32");
        assert!(network.contains(IpAddr::from([10, 0, 0, 1])));
        assert!(!network.contains(IpAddr::from([10, 0, 0, 2])));
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_belongs_to_its_ipv4_network() {
        let network: Network = "10.0.0.0/8".parse().expect("a network");
        assert!(network.contains("::ffff:10.1.2.3".parse().expect("an address")));
    }

    #[test]
    fn bits_beyond_the_prefix_are_refused_with_the_network_that_was_meant() {
        let error = "10.1.0.0/8".parse::<Network>().expect_err("it is ambiguous");
        assert!(error.to_string().contains("10.0.0.0/8"), "{error}");
    }
}
