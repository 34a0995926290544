//! All endpoints of an upstream, fit or not: what the configuration lists, names resolved.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::balance::Member;
use crate::config::upstream::{self as settings, Address};
use crate::endpoint::{self, Endpoint};
use crate::units::Weight;

/// The entries of the configuration in their order, each with the endpoints that it stands for.
#[derive(Debug)]
pub struct Roster(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    address: Address,
    weight: Weight,
    priority: u32,
    /// One for an address; for a name as many as were found, none before the first answer.
    endpoints: Vec<Arc<Endpoint>>,
}

/// Whether something is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Other members than before.
    Changed,
    /// The same members.
    Same,
}

impl Roster {
    /// The roster of these settings. Endpoints that `previous` has are taken over with their
    /// counters and their health, and names with their last addresses.
    pub fn new(settings: &settings::Upstream, previous: Option<&Roster>) -> Roster {
        let known = Known::new(previous.iter().flat_map(|roster| roster.endpoints()));
        let entry = |entry: &settings::Endpoint| Entry {
            address: entry.address.clone(),
            weight: entry.weight,
            priority: entry.priority,
            endpoints: match &entry.address {
                Address::Ip(address) => vec![known.or(Endpoint::new((*address).into()))],
                Address::Unix(path) => {
                    vec![known.or(Endpoint::new(endpoint::Address::Unix(path.clone())))]
                }
                Address::Name(..) => previous.map(|roster| roster.found(&entry.address)).unwrap_or_default(),
            },
        };
        Roster(settings.endpoints.iter().map(|spanned| entry(spanned.get_ref())).collect())
    }

    /// All endpoints with their roles.
    pub fn members(&self) -> Vec<Member> {
        let member = |entry: &Entry, endpoint: &Arc<Endpoint>| Member {
            endpoint: endpoint.clone(),
            weight: entry.weight,
            priority: entry.priority,
        };
        self.0
            .iter()
            .flat_map(|entry| entry.endpoints.iter().map(move |endpoint| member(entry, endpoint)))
            .collect()
    }

    /// All endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.0.iter().flat_map(|entry| &entry.endpoints)
    }

    /// The names to resolve, each once, with the number of addresses that are known.
    pub fn names(&self) -> Vec<(String, u16, usize)> {
        let name = |entry: &Entry| match &entry.address {
            Address::Name(host, port) => Some((host.clone(), *port, entry.endpoints.len())),
            Address::Ip(_) | Address::Unix(_) => None,
        };
        self.0.iter().filter_map(name).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Takes the addresses of a name. No address at all is taken for a failure of the resolver:
    /// the last ones stay.
    pub fn resolve(&mut self, host: &str, port: u16, addresses: &[SocketAddr]) -> Change {
        // Resolvers rotate their answers; the order must not look like a change.
        let addresses: BTreeSet<SocketAddr> = addresses.iter().copied().collect();
        let mut change = Change::Same;
        if addresses.is_empty() {
            return change;
        }
        let wanted = Address::Name(host.to_owned(), port);
        let found = self.found(&wanted);
        let known = Known::new(&found);
        let fresh = addresses.iter().map(|address| Endpoint::resolved(host, *address));
        let endpoints: Vec<Arc<Endpoint>> = fresh.map(|fresh| known.or(fresh)).collect();
        for entry in self.0.iter_mut().filter(|entry| entry.address == wanted) {
            let same = entry.endpoints.len() == endpoints.len()
                && entry.endpoints.iter().zip(&endpoints).all(|(one, other)| Arc::ptr_eq(one, other));
            if !same {
                entry.endpoints.clone_from(&endpoints);
                change = Change::Changed;
            }
        }
        change
    }

    /// The endpoints that an address stands for.
    fn found(&self, address: &Address) -> Vec<Arc<Endpoint>> {
        let entry = self.0.iter().find(|entry| entry.address == *address);
        entry.map(|entry| entry.endpoints.clone()).unwrap_or_default()
    }
}

/// Endpoints that may be used again.
struct Known<'a>(HashMap<(&'a endpoint::Address, &'a str), &'a Arc<Endpoint>>);

impl<'a> Known<'a> {
    fn new(endpoints: impl IntoIterator<Item = &'a Arc<Endpoint>>) -> Known<'a> {
        Known(endpoints.into_iter().map(|endpoint| (endpoint.identity(), endpoint)).collect())
    }

    /// The known endpoint that is the same, or the fresh one.
    fn or(&self, fresh: Endpoint) -> Arc<Endpoint> {
        match self.0.get(&fresh.identity()) {
            Some(known) => Arc::clone(known),
            None => Arc::new(fresh),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;

    fn names(roster: &Roster) -> Vec<String> {
        roster.endpoints().map(|endpoint| endpoint.to_string()).collect()
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_name_stands_for_no_endpoint_until_it_is_resolved() {
        let mut roster = Roster::new(&settings(&["10.0.0.1:80", "api.example:80"]), None);
        assert_eq!(names(&roster), ["10.0.0.1:80"]);
        assert_eq!(roster.names(), [("api.example".to_owned(), 80, 0)]);
        let found = addresses(&["10.0.0.3:80", "10.0.0.2:80", "10.0.0.3:80"]);
        assert_eq!(roster.resolve("api.example", 80, &found), Change::Changed);
        assert_eq!(names(&roster), ["10.0.0.1:80", "10.0.0.2:80 (api.example)", "10.0.0.3:80 (api.example)"]);
    }

    #[test]
    fn an_answer_in_another_order_changes_nothing() {
        let mut roster = Roster::new(&settings(&["api.example:80"]), None);
        roster.resolve("api.example", 80, &addresses(&["10.0.0.2:80", "10.0.0.3:80"]));
        let answer = addresses(&["10.0.0.3:80", "10.0.0.2:80"]);
        assert_eq!(roster.resolve("api.example", 80, &answer), Change::Same);
    }

    #[test]
    fn an_empty_answer_keeps_the_last_good_one() {
        let mut roster = Roster::new(&settings(&["api.example:80"]), None);
        roster.resolve("api.example", 80, &addresses(&["10.0.0.2:80"]));
        assert_eq!(roster.resolve("api.example", 80, &[]), Change::Same);
        assert_eq!(names(&roster), ["10.0.0.2:80 (api.example)"]);
    }

    #[test]
    fn an_address_that_stays_keeps_its_endpoint() {
        let mut roster = Roster::new(&settings(&["api.example:80"]), None);
        roster.resolve("api.example", 80, &addresses(&["10.0.0.2:80", "10.0.0.3:80"]));
        let kept = roster.members()[1].endpoint.clone();
        assert_eq!(roster.resolve("api.example", 80, &addresses(&["10.0.0.3:80"])), Change::Changed);
        assert!(Arc::ptr_eq(&roster.members()[0].endpoint, &kept));
    }

    #[test]
    fn a_reload_takes_over_endpoints_of_equal_addresses_and_resolved_names() {
        let mut old = Roster::new(&settings(&["10.0.0.1:80", "api.example:80"]), None);
        old.resolve("api.example", 80, &addresses(&["10.0.0.2:80"]));
        let new = Roster::new(&settings(&["api.example:80", "10.0.0.9:80", "10.0.0.1:80"]), Some(&old));
        assert_eq!(names(&new), ["10.0.0.2:80 (api.example)", "10.0.0.9:80", "10.0.0.1:80"]);
        assert!(Arc::ptr_eq(&new.members()[0].endpoint, &old.members()[1].endpoint));
        assert!(Arc::ptr_eq(&new.members()[2].endpoint, &old.members()[0].endpoint));
    }
}
