//! A name in the DNS: its addresses, or the services that its SRV records list.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::sleep;

use super::{Draft, Failure, Found, Kind, Pending, Reports, Source};
use crate::endpoint::Location;
use crate::net::dns::{self, Answer, Host, LookupError, QueryName, Resolver, Server, Service, Target};
use crate::units::{Timeout, Weight};

/// Longest pause while a name that never had an endpoint has none.
const LOOK: Duration = Duration::from_secs(5);

/// A name, `discover = { dns = { … } }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is asked for. Without a last dot it is completed as `/etc/resolv.conf` says; with
    /// `resolver` it is a full name. Required.
    pub name: QueryName,
    /// The port at each address; SRV records say it themselves.
    #[serde(default)]
    pub port: Option<NonZeroU16>,
    /// The records that count. Default: a.
    #[serde(default, rename = "type")]
    pub records: Records,
    /// The server that is asked. Default: "" = those of `/etc/resolv.conf`.
    #[serde(default)]
    pub resolver: Server,
    /// An answer holds for its time to live, but at least so long. Default: 1s.
    #[serde(default = "shortest")]
    pub min_ttl: Timeout,
    /// And at most so long. Default: 1m.
    #[serde(default = "longest")]
    pub max_ttl: Timeout,
}

fn shortest() -> Timeout {
    Timeout::from_secs(dns::SHORTEST.as_secs())
}

fn longest() -> Timeout {
    Timeout::from_secs(dns::LONGEST.as_secs())
}

/// What of a name is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Records {
    /// Addresses of both families, A and AAAA.
    #[default]
    A,
    /// Hosts with ports, weights and priorities (RFC 2782).
    Srv,
}

/// Asks for a name.
#[derive(Debug)]
pub(super) struct Dns {
    settings: Settings,
    resolver: Resolver,
    asked: Asked,
}

#[derive(Debug)]
enum Asked {
    Host(Host),
    Service(Service),
}

impl Dns {
    pub(super) fn new(settings: Settings) -> Dns {
        let name = settings.name.as_str();
        let asked = match settings.records {
            Records::A => Asked::Host(Host::new(name)),
            Records::Srv => Asked::Service(Service::new(name)),
        };
        Dns { asked, resolver: Resolver::new(settings.resolver.clone()), settings }
    }

    /// The endpoints, how long they hold, and whether the name exists.
    async fn ask(&mut self) -> Result<(Draft, Duration, bool), Failure> {
        match &mut self.asked {
            Asked::Host(host) => {
                let Answer { records, ttl, exists } = host.ask(&self.resolver).await.map_err(failure)?;
                Ok((addresses(&self.settings, &records), ttl, exists))
            }
            Asked::Service(service) => {
                let Answer { records, ttl, exists } = service.ask(&self.resolver).await.map_err(failure)?;
                Ok((targets(&records), ttl, exists))
            }
        }
    }
}

impl Source for Dns {
    fn origin(&self) -> String {
        let Settings { name, port, resolver, .. } = &self.settings;
        match (self.settings.records, port) {
            (Records::A, Some(port)) => format!("dns {}:{port} from {resolver}", name.as_str()),
            (Records::A, None) => format!("dns {} from {resolver}", name.as_str()),
            (Records::Srv, _) => format!("dns srv {} from {resolver}", name.as_str()),
        }
    }

    fn follow<'a>(&'a mut self, reports: &'a Reports) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            loop {
                let (draft, ttl, exists) = self.ask().await?;
                let set = draft.finish()?;
                let (shortest, mut longest) = (self.settings.min_ttl.get(), self.settings.max_ttl.get());
                // With endpoints in use, an empty answer is doubted and then believed; without any it
                // is more likely a mistake in the name, which should be seen.
                if set.is_empty() && reports.used().is_empty() {
                    let what = if exists { "has no such records" } else { "does not exist" };
                    let name = self.settings.name.as_str();
                    reports.failed(&Failure::new(Kind::Missing, format!("{name} {what}")));
                    longest = longest.min(LOOK);
                } else {
                    reports.found(set);
                }
                sleep(dns::pause(ttl, shortest, longest, fastrand::f64())).await;
            }
        })
    }
}

fn addresses(settings: &Settings, addresses: &[IpAddr]) -> Draft {
    let mut draft = Draft::default();
    let host = settings.name.as_str().trim_end_matches('.');
    // A configuration without a port was refused.
    let Some(port) = settings.port else { return draft };
    for address in addresses {
        let place = Location::Ip(SocketAddr::new(*address, port.get()));
        draft.add(Found { host: host.to_owned(), ..Found::at(place) });
    }
    draft
}

fn targets(targets: &[Target]) -> Draft {
    let mut draft = Draft::default();
    for Target { priority, host, port, weight, addresses } in targets {
        // What is not fit for a certificate or a Host field is no host.
        if let Err(error) = format!("{host}:{port}").parse::<Location>() {
            draft.refuse(error.to_string());
            continue;
        }
        if addresses.is_empty() {
            draft.refuse(format!("{host} has no address"));
        }
        for address in addresses {
            draft.add(Found {
                host: host.clone(),
                // RFC 2782: weight 0 has a very small chance, all of weight 0 have the same.
                weight: Weight(u32::from(*weight).max(1)),
                priority: u32::from(*priority),
                ..Found::at(Location::Ip(SocketAddr::new(*address, *port)))
            });
        }
    }
    draft
}

fn failure(error: LookupError) -> Failure {
    let kind = match &error {
        LookupError::Timeout(_) => Kind::Timeout,
        LookupError::Unreachable(..) | LookupError::Resolver(..) => Kind::Unreachable,
        LookupError::Denied(_) => Kind::Denied,
        LookupError::Refused(..) => Kind::Refused,
        LookupError::Invalid(..) | LookupError::Name(_) => Kind::Invalid,
    };
    Failure::because(kind, "the name was not found out", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, priority: u16, weight: u16, addresses: &[&str]) -> Target {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Target { priority, host: host.to_owned(), port: 80, weight, addresses }
    }

    #[test]
    fn records_become_endpoints_with_their_weight_tier_and_host() {
        let all = [target("a.test", 0, 30, &["10.0.0.1", "fd00::1"]), target("b.test", 5, 0, &["10.0.0.2"])];
        let set = targets(&all).finish().unwrap();
        let said: Vec<_> = set
            .found()
            .iter()
            .map(|found| (found.location.to_string(), &*found.host, found.weight.0, found.priority))
            .collect();
        let expected = [
            ("10.0.0.1:80".to_owned(), "a.test", 30, 0),
            ("[fd00::1]:80".to_owned(), "a.test", 30, 0),
            ("10.0.0.2:80".to_owned(), "b.test", 1, 5),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_target_without_an_address_or_with_an_odd_name_is_left_out_and_told() {
        let set = targets(&[
            target("a.test", 0, 1, &["10.0.0.1"]),
            target("gone.test", 0, 1, &[]),
            target("a\\032b.test", 0, 1, &["10.0.0.2"]),
        ]);
        let set = set.finish().unwrap();
        assert_eq!((set.len(), set.unusable()), (1, 2));
        assert!(set.complaint().contains("gone.test has no address"), "{}", set.complaint());
    }

    #[test]
    fn each_failure_has_its_kind() {
        let server: SocketAddr = "10.0.0.2:53".parse().unwrap();
        let kind = |error| failure(error).kind;
        assert_eq!(kind(LookupError::Denied(server)), Kind::Denied);
        assert_eq!(kind(LookupError::Timeout(server)), Kind::Timeout);
        assert_eq!(kind(LookupError::Invalid(server, "x")), Kind::Invalid);
    }
}
