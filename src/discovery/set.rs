//! What a source has found, in one canonical form: equal worlds are equal values.

use std::collections::BTreeMap;

use super::failure::{Failure, Kind};
use crate::endpoint::Location;
use crate::units::Weight;

/// Most endpoints of one answer.
const MOST: usize = 20_000;
/// Most endpoints of an answer and those that are kept beside it.
const MOST_KEPT: usize = 2 * MOST;
/// Most pairs of metadata of an endpoint, and most bytes of a name or a value; more is left out.
const MOST_METADATA: usize = 32;
const LONGEST_METADATA: usize = 256;
/// How many unusable entries are told in words.
const TOLD: usize = 3;

/// One endpoint as a source tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it is.
    pub location: Location,
    /// The host name that led to the address, which a certificate must be for; empty when there is
    /// none but what stands in `location`.
    pub host: String,
    /// Its share of the traffic; 0 = none.
    pub weight: Weight,
    /// Lower ones come first: the tier of an SRV record.
    pub priority: u32,
    /// Where it stands; empty when the source does not say.
    pub zone: String,
    /// What else the source says, such as `protocol` and `version`; for the status page.
    pub metadata: BTreeMap<String, String>,
}

impl Found {
    /// An endpoint of which only the place is known.
    pub fn at(location: Location) -> Found {
        Found {
            location,
            host: String::new(),
            weight: Weight::default(),
            priority: 0,
            zone: String::new(),
            metadata: BTreeMap::new(),
        }
    }
}

/// A full answer: each place once, in the order of priority and place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    found: Vec<Found>,
    unusable: Unusable,
}

/// Entries that are no endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Unusable {
    count: usize,
    examples: Vec<String>,
}

impl Set {
    /// The endpoints in their order.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many entries of the answer were left out because they are no endpoints.
    pub fn unusable(&self) -> usize {
        self.unusable.count
    }

    /// Some of those in words.
    pub fn complaint(&self) -> String {
        self.unusable.examples.join("; ")
    }

    /// How many endpoints of `other` are not in here.
    pub(super) fn lacks(&self, other: &Set) -> usize {
        let places: std::collections::BTreeSet<_> = self.found.iter().map(|found| &found.location).collect();
        other.found.iter().filter(|found| !places.contains(&found.location)).count()
    }

    /// The endpoints of both, as far as they are not too many; what this one says about a place
    /// counts.
    pub(super) fn union(&self, other: &Set) -> Set {
        let mut places: BTreeMap<&Location, &Found> =
            self.found.iter().map(|found| (&found.location, found)).collect();
        for found in &other.found {
            if places.len() < MOST_KEPT {
                places.entry(&found.location).or_insert(found);
            }
        }
        let found = canonical(places.into_values().cloned());
        Set { found, unusable: self.unusable.clone() }
    }
}

/// One of each place, the first that is told, in the order of priority and place.
fn canonical(all: impl Iterator<Item = Found>) -> Vec<Found> {
    let mut places = BTreeMap::new();
    for found in all {
        places.entry(found.location.clone()).or_insert(found);
    }
    let mut found: Vec<Found> = places.into_values().collect();
    found.sort_by_key(|found| found.priority);
    found
}

/// An answer while it is read.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    found: Vec<Found>,
    unusable: Unusable,
}

impl Draft {
    /// Adds an endpoint.
    pub fn add(&mut self, mut found: Found) {
        let is_short = |text: &str| text.len() <= LONGEST_METADATA;
        found.metadata.retain(|name, value| is_short(name) && is_short(value));
        while found.metadata.len() > MOST_METADATA {
            found.metadata.pop_last();
        }
        if !is_short(&found.zone) {
            found.zone.clear();
        }
        self.found.push(found);
    }

    /// Adds the endpoint at this place, "10.0.0.1:8080" or "host.name:8080". A place that is none is
    /// an unusable entry, and so is a UNIX socket: a source elsewhere does not open files here.
    pub fn add_at(&mut self, place: &str) {
        match remote(place) {
            Ok(location) => self.add(Found::at(location)),
            Err(why) => self.refuse(why),
        }
    }

    /// Leaves an entry out that is no endpoint, and says why.
    pub fn refuse(&mut self, why: impl Into<String>) {
        self.unusable.count += 1;
        if self.unusable.examples.len() < TOLD {
            self.unusable.examples.push(why.into());
        }
    }

    /// Adds all that another one has.
    pub fn append(&mut self, other: &Draft) {
        self.found.extend_from_slice(&other.found);
        self.unusable.count += other.unusable.count;
        let room = TOLD.saturating_sub(self.unusable.examples.len());
        self.unusable.examples.extend(other.unusable.examples.iter().take(room).cloned());
    }

    /// The answer.
    ///
    /// # Errors
    /// When it is too large, or has entries of which none is an endpoint: that is no empty answer,
    /// it is one that was not understood.
    pub fn finish(self) -> Result<Set, Failure> {
        let Draft { found, unusable } = self;
        if found.len() > MOST {
            let count = found.len();
            return Err(Failure::new(Kind::Invalid, format!("{count} endpoints; {MOST} are the most")));
        }
        if found.is_empty() && unusable.count > 0 {
            let examples = unusable.examples.join("; ");
            return Err(Failure::new(Kind::Invalid, format!("no entry is an endpoint: {examples}")));
        }
        Ok(Set { found: canonical(found.into_iter()), unusable })
    }
}

/// A place on the network. A registry may write it as a URL.
pub(super) fn remote(place: &str) -> Result<Location, String> {
    let bare = place.strip_prefix("http://").or_else(|| place.strip_prefix("https://"));
    let bare = bare.map_or(place, |rest| rest.split('/').next().unwrap_or(rest));
    match bare.parse::<Location>() {
        Ok(Location::Unix(_)) => Err(format!("`{place}` is a file of this machine")),
        Ok(location) => Ok(location),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The set of these places.
    pub(in super::super) fn set(places: &[&str]) -> Set {
        let mut draft = Draft::default();
        places.iter().for_each(|place| draft.add_at(place));
        draft.finish().unwrap()
    }

    #[test]
    fn order_and_repetition_make_no_difference() {
        assert_eq!(set(&["b:1", "10.0.0.1:80", "b:1"]), set(&["10.0.0.1:80", "b:1"]));
        assert_eq!(set(&["b:1", "a:1"]).found()[0].location.to_string(), "a:1");
    }

    #[test]
    fn an_entry_that_is_no_endpoint_does_not_spoil_the_others() {
        let set = set(&["10.0.0.1:80", "nonsense", "unix:/run/docker.sock"]);
        assert_eq!((set.len(), set.unusable()), (1, 2));
        assert!(set.complaint().contains("nonsense") && set.complaint().contains("docker.sock"));
    }

    #[test]
    fn an_answer_of_nothing_but_nonsense_is_a_failure_and_an_empty_one_is_not() {
        let mut draft = Draft::default();
        draft.add_at("nonsense");
        assert_eq!(draft.finish().unwrap_err().kind, Kind::Invalid);
        assert!(Draft::default().finish().unwrap().is_empty());
    }

    #[test]
    fn an_answer_has_a_largest_size() {
        let mut draft = Draft::default();
        (0..=MOST).for_each(|number| draft.add_at(&format!("h{number}:1")));
        assert_eq!(draft.finish().unwrap_err().kind, Kind::Invalid);
    }

    #[test]
    fn metadata_is_bounded() {
        let mut found = Found::at("a:1".parse().unwrap());
        found.metadata.extend((0..100).map(|number| (format!("k{number}"), "v".to_owned())));
        found.metadata.insert("long".to_owned(), "x".repeat(10_000));
        let mut draft = Draft::default();
        draft.add(found);
        let set = draft.finish().unwrap();
        assert_eq!(set.found()[0].metadata.len(), MOST_METADATA);
        assert!(!set.found()[0].metadata.contains_key("long"));
    }

    #[test]
    fn what_one_says_counts_in_a_union() {
        let (one, other) = (set(&["a:1"]), set(&["a:1", "b:1"]));
        assert_eq!(one.union(&other), other);
        assert_eq!((one.lacks(&other), other.lacks(&one)), (1, 0));
        let many = |name: &str| {
            let mut draft = Draft::default();
            (0..MOST).for_each(|number| draft.add_at(&format!("{name}{number}:1")));
            draft.finish().unwrap()
        };
        assert_eq!(one.union(&many("b")).union(&many("c")).union(&many("d")).len(), MOST_KEPT);
    }

    #[test]
    fn a_place_may_be_written_as_a_url() {
        assert_eq!(remote("http://10.0.0.1:80/api").unwrap().to_string(), "10.0.0.1:80");
        assert!(remote("http://10.0.0.1/api").is_err());
    }
}
