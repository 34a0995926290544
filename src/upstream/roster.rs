//! All endpoints of an upstream, fit or not: what the configuration lists, what its source has found
//! and what was pushed, names resolved.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use serde::Serialize;

use crate::balance::Member;
use crate::config::upstream as settings;
use crate::discovery::{Found, Push, Set};
use crate::endpoint::{Address, Endpoint, Location};
use crate::units::Weight;

/// The entries in the order of their layers, each with the endpoints that it stands for.
#[derive(Debug)]
pub struct Roster {
    /// What the configuration lists, in its order.
    written: Vec<Found>,
    found: Arc<Set>,
    push: Arc<Push>,
    /// Each place once: the written ones, then those that were found, then those that were pushed.
    entries: Vec<Entry>,
    /// The endpoints of the entries with their roles.
    members: Vec<Member>,
    /// Endpoints that are in no entry any more, while somebody still uses them: one that comes back
    /// is the same.
    gone: Vec<Weak<Endpoint>>,
}

/// One place.
#[derive(Debug)]
pub struct Entry {
    /// The place and what is said about it.
    pub place: Found,
    /// Who says so.
    pub layer: Layer,
    /// Whether it takes new requests.
    pub intake: Intake,
    /// One for an address; for a name as many as were found, none before the first answer.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// Where an endpoint comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The configuration.
    Configuration,
    /// The source of its upstream.
    Discovery,
    /// An operator or a deploy script.
    Push,
}

/// Whether a place takes new requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intake {
    /// It does.
    Open,
    /// It is drained.
    Drained,
}

/// A host name with its port.
pub type Name = (String, u16);

/// Whether something is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Other members than before.
    Changed,
    /// The same members.
    Same,
}

impl Roster {
    /// The roster of these settings, of what is discovered and of what is pushed. Endpoints that
    /// `previous` has are taken over with their counters and their health, and names with their last
    /// addresses.
    pub fn new(
        settings: &settings::Upstream,
        found: Arc<Set>,
        push: Arc<Push>,
        previous: Option<&Roster>,
    ) -> Roster {
        let written = settings.endpoints.iter().map(|spanned| {
            let settings::Endpoint { address, weight, priority } = spanned.get_ref().clone();
            Found { weight, priority, ..Found::at(address) }
        });
        let gone = previous.map(|roster| roster.gone.clone()).unwrap_or_default();
        let written = written.collect();
        let mut roster = Roster { written, found, push, entries: Vec::new(), members: Vec::new(), gone };
        roster.entries = roster.merge(&Known::of(previous));
        roster.members = roster.list();
        roster
    }

    /// Replaces what is discovered.
    pub fn discover(&mut self, found: &Arc<Set>) -> Change {
        self.found = found.clone();
        self.renew()
    }

    /// Replaces what is pushed.
    pub fn push(&mut self, push: &Arc<Push>) -> Change {
        self.push = push.clone();
        self.renew()
    }

    /// All places.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All endpoints with their roles; one that is drained has no weight.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The members of the entries, to be made anew whenever those have changed.
    fn list(&self) -> Vec<Member> {
        let member = |entry: &Entry, endpoint: &Arc<Endpoint>| Member {
            endpoint: endpoint.clone(),
            weight: match entry.intake {
                Intake::Open => entry.place.weight,
                Intake::Drained => Weight(0),
            },
            priority: entry.place.priority,
        };
        let entries = self.entries.iter();
        entries
            .flat_map(|entry| entry.endpoints.iter().map(move |endpoint| member(entry, endpoint)))
            .collect()
    }

    /// All endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.members.iter().map(|member| &member.endpoint)
    }

    /// The names to resolve, each once, with the number of addresses that are known.
    pub fn names(&self) -> BTreeMap<Name, usize> {
        let name = |entry: &Entry| match &entry.place.location {
            Location::Name(host, port) => Some(((host.clone(), *port), entry.endpoints.len())),
            Location::Ip(_) | Location::Unix(_) => None,
        };
        self.entries.iter().filter_map(name).collect()
    }

    /// Takes the addresses of a name: all that it has from now on.
    pub fn resolve(&mut self, host: &str, port: u16, addresses: &[SocketAddr]) -> Change {
        // Resolvers rotate their answers; the order must not look like a change.
        let addresses: BTreeSet<SocketAddr> = addresses.iter().copied().collect();
        let wanted = Location::Name(host.to_owned(), port);
        let known = Known::of(Some(self));
        let fresh = addresses.iter().map(|address| Endpoint::resolved(host, *address));
        let endpoints: Vec<Arc<Endpoint>> = fresh.map(|fresh| known.or(fresh)).collect();
        drop(known);
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.place.location == wanted) else {
            return Change::Same;
        };
        let is_same = entry.endpoints.len() == endpoints.len()
            && entry.endpoints.iter().zip(&endpoints).all(|(one, other)| Arc::ptr_eq(one, other));
        if is_same {
            return Change::Same;
        }
        let before = std::mem::replace(&mut entry.endpoints, endpoints);
        self.members = self.list();
        self.remember(before);
        Change::Changed
    }

    /// Makes the entries of what is there now.
    fn renew(&mut self) -> Change {
        let entries = self.merge(&Known::of(Some(self)));
        let is_same = |(one, other): (&Entry, &Entry)| {
            one.place == other.place && one.layer == other.layer && one.intake == other.intake
        };
        if entries.len() == self.entries.len() && entries.iter().zip(&self.entries).all(is_same) {
            return Change::Same;
        }
        let before = std::mem::replace(&mut self.entries, entries);
        self.members = self.list();
        self.remember(before.into_iter().flat_map(|entry| entry.endpoints).collect());
        Change::Changed
    }

    /// One entry for each place: it stands where it is named first, and what is said there counts,
    /// but for its weight, where a push has the last word.
    fn merge(&self, known: &Known) -> Vec<Entry> {
        let added = self.push.added.iter().map(|found| (&found.location, found.weight));
        let weights = self.push.weights.iter().map(|(place, weight)| (place, *weight));
        let weights: HashMap<&Location, Weight> = added.chain(weights).collect();
        let layers = [
            (Layer::Configuration, &*self.written),
            (Layer::Discovery, self.found.found()),
            (Layer::Push, &*self.push.added),
        ];
        let all = layers.iter().flat_map(|(layer, places)| places.iter().map(|place| (*layer, place)));
        let mut seen = HashSet::new();
        all.filter(|(_, place)| seen.insert(&place.location))
            .map(|(layer, place)| {
                let weight = weights.get(&place.location).copied().unwrap_or(place.weight);
                let place = Found { weight, ..place.clone() };
                let is_drained = self.push.drained.contains(&place.location);
                let intake = if is_drained { Intake::Drained } else { Intake::Open };
                let endpoints = known.endpoints_of(&place);
                Entry { place, layer, intake, endpoints }
            })
            .collect()
    }

    /// Keeps track of those that are in no entry any more while somebody uses them.
    fn remember(&mut self, before: Vec<Arc<Endpoint>>) {
        let left = before.iter().map(Arc::downgrade);
        let mut gone: Vec<Weak<Endpoint>> = left.chain(std::mem::take(&mut self.gone)).collect();
        drop(before);
        let here: HashSet<*const Endpoint> = self.endpoints().map(Arc::as_ptr).collect();
        gone.retain(|one| one.strong_count() > 0 && !here.contains(&one.as_ptr()));
        self.gone = gone;
    }
}

/// Endpoints that may be used again, and the addresses of names.
#[derive(Default)]
struct Known {
    endpoints: HashMap<(Address, String), Arc<Endpoint>>,
    names: HashMap<Location, Vec<Arc<Endpoint>>>,
}

impl Known {
    fn of(roster: Option<&Roster>) -> Known {
        let Some(roster) = roster else { return Known::default() };
        let gone: Vec<_> = roster.gone.iter().filter_map(Weak::upgrade).collect();
        let identity = |endpoint: &Arc<Endpoint>| {
            let (address, authority) = endpoint.identity();
            ((address.clone(), authority.to_owned()), endpoint.clone())
        };
        let is_name = |entry: &&Entry| matches!(entry.place.location, Location::Name(..));
        Known {
            endpoints: gone.iter().chain(roster.endpoints()).map(identity).collect(),
            names: roster
                .entries
                .iter()
                .filter(is_name)
                .map(|entry| (entry.place.location.clone(), entry.endpoints.clone()))
                .collect(),
        }
    }

    /// The endpoints that a place stands for, as far as they are known.
    fn endpoints_of(&self, place: &Found) -> Vec<Arc<Endpoint>> {
        match &place.location {
            Location::Ip(address) if place.host.is_empty() => {
                vec![self.or(Endpoint::new((*address).into()))]
            }
            Location::Ip(address) => vec![self.or(Endpoint::resolved(&place.host, *address))],
            Location::Unix(path) => vec![self.or(Endpoint::new(Address::Unix(path.clone())))],
            Location::Name(..) => self.names.get(&place.location).cloned().unwrap_or_default(),
        }
    }

    /// The known endpoint that is the same, or the fresh one.
    fn or(&self, fresh: Endpoint) -> Arc<Endpoint> {
        let (address, authority) = fresh.identity();
        match self.endpoints.get(&(address.clone(), authority.to_owned())) {
            Some(known) => Arc::clone(known),
            None => Arc::new(fresh),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;
    use super::*;
    use crate::discovery::Draft;

    fn names(roster: &Roster) -> Vec<String> {
        roster.endpoints().map(|endpoint| endpoint.to_string()).collect()
    }

    fn roster(written: &[&str], previous: Option<&Roster>) -> Roster {
        Roster::new(&settings(written), Arc::default(), Arc::default(), previous)
    }

    fn set(places: &[&str]) -> Arc<Set> {
        let mut draft = Draft::default();
        places.iter().for_each(|place| draft.add_at(place));
        Arc::new(draft.finish().unwrap())
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_name_stands_for_no_endpoint_until_it_is_resolved() {
        let mut roster = roster(&["10.0.0.1:80", "api.example:80"], None);
        assert_eq!(names(&roster), ["10.0.0.1:80"]);
        assert_eq!(roster.names(), [(("api.example".to_owned(), 80), 0)].into());
        let found = addresses(&["10.0.0.3:80", "10.0.0.2:80", "10.0.0.3:80"]);
        assert_eq!(roster.resolve("api.example", 80, &found), Change::Changed);
        assert_eq!(names(&roster), ["10.0.0.1:80", "10.0.0.2:80 (api.example)", "10.0.0.3:80 (api.example)"]);
    }

    #[test]
    fn an_answer_in_another_order_changes_nothing() {
        let mut roster = roster(&["api.example:80"], None);
        roster.resolve("api.example", 80, &addresses(&["10.0.0.2:80", "10.0.0.3:80"]));
        let answer = addresses(&["10.0.0.3:80", "10.0.0.2:80"]);
        assert_eq!(roster.resolve("api.example", 80, &answer), Change::Same);
    }

    #[test]
    fn a_name_may_lose_all_of_its_addresses() {
        let mut roster = roster(&["api.example:80"], None);
        roster.resolve("api.example", 80, &addresses(&["10.0.0.2:80"]));
        assert_eq!(roster.resolve("api.example", 80, &[]), Change::Changed);
        assert_eq!(names(&roster), [""; 0]);
        assert_eq!(roster.names(), [(("api.example".to_owned(), 80), 0)].into());
    }

    #[test]
    fn a_discovered_address_may_have_the_name_that_led_to_it() {
        let mut roster = roster(&[], None);
        let mut draft = Draft::default();
        let place = "10.0.0.2:80".parse().unwrap();
        draft.add(Found { host: "api.example".to_owned(), ..Found::at(place) });
        roster.discover(&Arc::new(draft.finish().unwrap()));
        assert_eq!(names(&roster), ["10.0.0.2:80 (api.example)"]);
        assert_eq!(roster.members()[0].endpoint.host(), "api.example");
        assert_eq!(roster.names(), [].into());
    }

    #[test]
    fn an_address_that_stays_keeps_its_endpoint() {
        let mut roster = roster(&["api.example:80"], None);
        roster.resolve("api.example", 80, &addresses(&["10.0.0.2:80", "10.0.0.3:80"]));
        let kept = roster.members()[1].endpoint.clone();
        assert_eq!(roster.resolve("api.example", 80, &addresses(&["10.0.0.3:80"])), Change::Changed);
        assert!(Arc::ptr_eq(&roster.members()[0].endpoint, &kept));
    }

    #[test]
    fn a_reload_takes_over_endpoints_of_equal_addresses_and_resolved_names() {
        let mut old = roster(&["10.0.0.1:80", "api.example:80"], None);
        old.resolve("api.example", 80, &addresses(&["10.0.0.2:80"]));
        let new = roster(&["api.example:80", "10.0.0.9:80", "10.0.0.1:80"], Some(&old));
        assert_eq!(names(&new), ["10.0.0.2:80 (api.example)", "10.0.0.9:80", "10.0.0.1:80"]);
        assert!(Arc::ptr_eq(&new.members()[0].endpoint, &old.members()[1].endpoint));
        assert!(Arc::ptr_eq(&new.members()[2].endpoint, &old.members()[0].endpoint));
    }

    #[test]
    fn discovered_endpoints_stand_behind_the_written_ones_and_each_place_once() {
        let mut roster = roster(&["10.0.0.9:80"], None);
        assert_eq!(roster.discover(&set(&["10.0.0.9:80", "10.0.0.1:80"])), Change::Changed);
        assert_eq!(names(&roster), ["10.0.0.9:80", "10.0.0.1:80"]);
        assert_eq!(roster.discover(&set(&["10.0.0.1:80", "10.0.0.9:80"])), Change::Same);
        assert_eq!(roster.discover(&set(&[])), Change::Changed);
        assert_eq!(names(&roster), ["10.0.0.9:80"]);
    }

    #[test]
    fn an_endpoint_that_comes_back_while_it_is_still_used_is_the_same() {
        let mut roster = roster(&[], None);
        roster.discover(&set(&["10.0.0.1:80", "10.0.0.2:80"]));
        let used = roster.members()[0].endpoint.clone();
        roster.discover(&set(&["10.0.0.2:80"]));
        roster.discover(&set(&["10.0.0.1:80"]));
        assert!(Arc::ptr_eq(&roster.members()[0].endpoint, &used));
        assert_eq!(roster.gone.len(), 0, "nobody used the other one");
    }

    #[test]
    fn a_discovered_name_is_resolved_like_a_written_one() {
        let mut roster = roster(&[], None);
        roster.discover(&set(&["api.example:80"]));
        assert_eq!(roster.names(), [(("api.example".to_owned(), 80), 0)].into());
        roster.resolve("api.example", 80, &addresses(&["10.0.0.2:80"]));
        roster.discover(&set(&["api.example:80", "10.0.0.1:80"]));
        assert_eq!(names(&roster), ["10.0.0.1:80", "10.0.0.2:80 (api.example)"]);
    }

    #[test]
    fn ten_thousand_endpoints_are_taken_over_in_little_time() {
        let places: Vec<String> = (0..10_000).map(|n| format!("10.{}.{}.1:80", n / 250, n % 250)).collect();
        let all = set(&places.iter().map(String::as_str).collect::<Vec<_>>());
        let mut roster = roster(&[], None);
        let begun = std::time::Instant::now();
        roster.discover(&all);
        let kept = roster.members()[17].endpoint.clone();
        roster.discover(&set(&places.iter().skip(1).map(String::as_str).collect::<Vec<_>>()));
        assert!(roster.endpoints().any(|endpoint| Arc::ptr_eq(endpoint, &kept)));
        assert!(begun.elapsed().as_secs() < 2, "{:?}", begun.elapsed());
    }

    fn push(added: &[(&str, u32)], drained: &[&str]) -> Arc<Push> {
        let found = |(place, weight): &(&str, u32)| Found {
            weight: Weight(*weight),
            ..Found::at(place.parse().unwrap())
        };
        Arc::new(Push {
            added: added.iter().map(found).collect(),
            weights: BTreeMap::new(),
            drained: drained.iter().map(|place| place.parse().unwrap()).collect(),
        })
    }

    fn weights(roster: &Roster) -> Vec<String> {
        let members = roster.members();
        members.iter().map(|member| format!("{} {}", member.endpoint, member.weight)).collect()
    }

    #[test]
    fn a_push_adds_places_and_has_the_last_word_on_weights() {
        let mut roster = roster(&["10.0.0.1:80", "10.0.0.2:80"], None);
        let kept = roster.members()[1].endpoint.clone();
        assert_eq!(roster.push(&push(&[("10.0.0.9:80", 1), ("10.0.0.2:80", 5)], &[])), Change::Changed);
        assert_eq!(weights(&roster), ["10.0.0.1:80 1", "10.0.0.2:80 5", "10.0.0.9:80 1"]);
        assert!(Arc::ptr_eq(&roster.members()[1].endpoint, &kept));
        let layers: Vec<_> = roster.entries().iter().map(|entry| entry.layer).collect();
        assert_eq!(layers, [Layer::Configuration, Layer::Configuration, Layer::Push]);
        assert_eq!(roster.push(&push(&[], &[])), Change::Changed);
        assert_eq!(weights(&roster), ["10.0.0.1:80 1", "10.0.0.2:80 1"]);
    }

    #[test]
    fn a_drained_place_stays_without_weight_wherever_it_comes_from() {
        let mut roster = roster(&["10.0.0.1:80"], None);
        roster.discover(&set(&["10.0.0.2:80"]));
        roster.push(&push(&[], &["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]));
        assert_eq!(weights(&roster), ["10.0.0.1:80 0", "10.0.0.2:80 0"]);
        roster.discover(&set(&["10.0.0.2:80", "10.0.0.4:80"]));
        assert_eq!(weights(&roster), ["10.0.0.1:80 0", "10.0.0.2:80 0", "10.0.0.4:80 1"]);
    }
}
