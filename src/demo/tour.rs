//! Where the proxy of a configuration is to be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::fetch::{Call, Wire};
use crate::config::Config;
use crate::config::listener::Bind;

/// The first address of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tour {
    pub(super) http: Option<SocketAddr>,
    pub(super) https: Option<SocketAddr>,
    pub(super) admin: Option<SocketAddr>,
}

impl Tour {
    pub(super) fn of(config: &Config) -> Tour {
        let mut tour = Tour::default();
        for listener in config.listeners.values() {
            let place = if listener.tls.is_some() { &mut tour.https } else { &mut tour.http };
            let first = listener.bind.iter().find_map(|bind| reachable(bind.get_ref()));
            *place = place.or(first);
        }
        tour.admin = config.admin.bind.as_ref().and_then(|bind| reachable(bind.get_ref()));
        tour
    }

    /// A GET in clear text; `None` without such a listener.
    pub(super) fn http(&self, path: &str) -> Option<Call> {
        self.http.map(|address| Call::get(address, path))
    }

    /// A GET over TLS, in the version of HTTP that the wire names.
    pub(super) fn https(&self, wire: Wire, path: &str) -> Option<Call> {
        let address = self.https?;
        let host = format!("localhost:{}", address.port());
        Some(Call { wire, host, ..Call::get(address, path) })
    }
}

/// The address to connect to; an unspecified one is reached over loopback.
fn reachable(bind: &Bind) -> Option<SocketAddr> {
    let Bind::Tcp(address) = bind else { return None };
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Some(SocketAddr::new(ip, address.port()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn the_shipped_configuration_can_be_shown() {
        let config = config::parse(super::super::SHIPPED_CONFIG, Path::new("proxy.toml"), &|_| None).unwrap();
        let tour = Tour::of(&config);
        assert!(tour.http.is_some() && tour.https.is_some() && tour.admin.is_some(), "{tour:?}");
    }

    #[test]
    fn an_unspecified_address_is_reached_over_loopback() {
        let reached = |text: &str| reachable(&text.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(reached("0.0.0.0:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(reached("[::]:80").as_deref(), Some("[::1]:80"));
        assert_eq!(reached("10.0.0.1:80").as_deref(), Some("10.0.0.1:80"));
        assert_eq!(reached("unix:/run/x"), None);
    }
}
