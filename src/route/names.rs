//! Which route takes a connection that is passed through: by the server name of TLS alone.

use std::net::IpAddr;

use super::hosts::HostIndex;
use super::settings::Settings;
use crate::units::Network;

/// The routes of one listener in tcp mode: the exact name, then the longest `*.suffix`, then those
/// without a name.
#[derive(Debug, Default)]
pub struct ServerNames {
    index: HostIndex<Vec<Candidate>>,
    asks_for_names: bool,
}

#[derive(Debug)]
struct Candidate {
    route: u32,
    priority: i32,
    client: Vec<Network>,
}

impl ServerNames {
    /// Of routes with their numbers, in the order of the configuration.
    pub fn new<'a>(routes: impl IntoIterator<Item = (u32, &'a Settings)>) -> ServerNames {
        let mut names = ServerNames::default();
        let mut routes: Vec<_> = routes.into_iter().collect();
        // Among those of one name: the larger priority, then those for certain clients.
        routes.sort_by_key(|(_, settings)| (-i64::from(settings.priority), settings.client.is_empty()));
        for (route, settings) in routes {
            names.asks_for_names |= !settings.sni.is_empty();
            for name in super::or_any(&settings.sni) {
                let (priority, client) = (settings.priority, settings.client.clone());
                names.index.entry(name).push(Candidate { route, priority, client });
            }
        }
        names
    }

    /// Whether a connection must show its name before it is known where it goes. When not, nothing
    /// is read: the endpoint may be the one that speaks first.
    pub fn asks_for_names(&self) -> bool {
        self.asks_for_names
    }

    /// The route of a connection; `name` in lower case.
    pub fn find(&self, name: Option<&str>, client: IpAddr) -> Option<u32> {
        let fits =
            |one: &&Candidate| one.client.is_empty() || one.client.iter().any(|net| net.contains(client));
        let mut best: Option<(i32, u32)> = None;
        // All that fit are looked at, since a priority wins over a more specific name.
        let _all: Option<()> = self.index.find(name.unwrap_or_default().as_bytes(), |candidates| {
            if let Some(found) = candidates.iter().find(fits)
                && best.is_none_or(|(priority, _)| found.priority > priority)
            {
                best = Some((found.priority, found.route));
            }
            None
        });
        best.map(|(_, route)| route)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(routes: &[&str]) -> ServerNames {
        let settings: Vec<Settings> =
            routes.iter().map(|text| toml::from_str(text).expect("a route")).collect();
        ServerNames::new((0..).zip(&settings))
    }

    fn find(names: &ServerNames, name: Option<&str>) -> Option<u32> {
        names.find(name, "10.0.0.1".parse().expect("an address"))
    }

    #[test]
    fn the_most_specific_name_wins_and_the_rest_goes_to_the_route_without_a_name() {
        let names = names(&["", "sni = \"*.example.com\"", "sni = [\"db.example.com\", \"x.test\"]"]);
        for (name, route) in
            [("db.example.com", 2), ("x.test", 2), ("a.example.com", 1), ("example.com", 0), ("other", 0)]
        {
            assert_eq!(find(&names, Some(name)), Some(route), "{name}");
        }
        assert_eq!(find(&names, None), Some(0));
        assert!(names.asks_for_names());
    }

    #[test]
    fn without_a_route_for_the_rest_an_unknown_name_goes_nowhere() {
        let names = names(&["sni = \"db.example.com\""]);
        assert_eq!(find(&names, Some("other.example.com")), None);
        assert_eq!(find(&names, None), None);
    }

    #[test]
    fn nobody_asks_for_a_name_when_no_route_has_one() {
        assert!(!names(&["", "client = [\"10.0.0.0/8\"]"]).asks_for_names());
    }

    #[test]
    fn networks_and_priorities_decide_among_routes() {
        let own = names(&["sni = \"a.test\"", "sni = \"a.test\"\nclient = [\"10.0.0.0/8\"]"]);
        assert_eq!(find(&own, Some("a.test")), Some(1));
        let other = names(&["sni = \"a.test\"", "sni = \"a.test\"\nclient = [\"192.0.2.0/24\"]"]);
        assert_eq!(find(&other, Some("a.test")), Some(0));
        let first = names(&["sni = \"a.test\"", "priority = 1"]);
        assert_eq!(find(&first, Some("a.test")), Some(1));
    }
}
