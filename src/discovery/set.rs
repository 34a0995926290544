//! What a source has found, in one canonical form: equal worlds are equal values.

use std::collections::{BTreeMap, BTreeSet};

use super::failure::{Failure, Kind};
use crate::endpoint::Location;
use crate::units::Weight;

/// Most endpoints of one answer.
pub(super) const MOST: usize = 20_000;
/// Most endpoints of an answer and those that are kept beside it.
const MOST_KEPT: usize = 2 * MOST;
/// Most pairs of metadata of an endpoint, and most bytes of a name or a value; more is left out.
const MOST_METADATA: usize = 32;
const LONGEST_METADATA: usize = 256;
/// How many unusable entries are told in words, and in how many characters each.
const TOLD: usize = 3;
const LONGEST_REASON: usize = 200;

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
    /// The first of the reasons in their own order, which does not depend on that of the answer.
    examples: BTreeSet<String>,
}

impl Unusable {
    fn tell(&mut self, why: String) {
        self.examples.insert(why);
        if self.examples.len() > TOLD {
            self.examples.pop_last();
        }
    }

    fn complaint(&self) -> String {
        self.examples.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }
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
        self.unusable.complaint()
    }

    /// How many endpoints of `other` are not in here.
    pub(super) fn lacks(&self, other: &Set) -> usize {
        let places: BTreeSet<_> = self.found.iter().map(|found| &found.location).collect();
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
        let found = canonical(places.into_values().cloned().collect());
        Set { found, unusable: self.unusable.clone() }
    }
}

/// One of each place, in the order of priority and place. Of those that say different things about one
/// place the smallest counts, by priority, weight and the rest: which of them comes first is no change.
fn canonical(mut all: Vec<Found>) -> Vec<Found> {
    let said = |found: &Found| (found.priority, found.weight.0);
    all.sort_unstable_by(|one, other| {
        let places = one.location.cmp(&other.location);
        let rest = || (&one.host, &one.zone, &one.metadata).cmp(&(&other.host, &other.zone, &other.metadata));
        places.then_with(|| said(one).cmp(&said(other))).then_with(rest)
    });
    all.dedup_by(|one, before| one.location == before.location);
    all.sort_by_key(|found| found.priority);
    all
}

/// An answer while it is read.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    found: Vec<Found>,
    /// Further ones, which are too many.
    surplus: usize,
    unusable: Unusable,
}

impl Draft {
    /// How many endpoints were added.
    pub fn len(&self) -> usize {
        self.found.len() + self.surplus
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an endpoint; what is too much is only counted.
    pub fn add(&mut self, mut found: Found) {
        if self.found.len() >= MOST {
            self.surplus += 1;
            return;
        }
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

    /// Leaves an entry out that is no endpoint, and says why. The reason may hold what a registry
    /// says, so it has an end, and no line ends.
    pub fn refuse(&mut self, why: impl AsRef<str>) {
        self.unusable.count += 1;
        let why = why.as_ref().chars().take(LONGEST_REASON);
        self.unusable.tell(why.map(|letter| if letter.is_control() { ' ' } else { letter }).collect());
    }

    /// Adds all that another one has.
    pub fn append(&mut self, other: &Draft) {
        let (taken, surplus) = other.found.split_at(other.found.len().min(MOST - self.found.len()));
        self.found.extend_from_slice(taken);
        self.surplus += surplus.len() + other.surplus;
        self.unusable.count += other.unusable.count;
        other.unusable.examples.iter().for_each(|why| self.unusable.tell(why.clone()));
    }

    /// The answer.
    ///
    /// # Errors
    /// When it is too large, or has entries of which none is an endpoint: that is no empty answer,
    /// it is one that was not understood.
    pub fn finish(self) -> Result<Set, Failure> {
        let count = self.len();
        let Draft { found, unusable, .. } = self;
        if count > MOST {
            return Err(Failure::new(Kind::Invalid, format!("{count} endpoints; {MOST} are the most")));
        }
        if found.is_empty() && unusable.count > 0 {
            let examples = unusable.complaint();
            return Err(Failure::new(Kind::Invalid, format!("no entry is an endpoint: {examples}")));
        }
        Ok(Set { found: canonical(found), unusable })
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
    fn of_what_is_said_about_one_place_the_same_counts_in_any_order() {
        let one = Found { weight: Weight(5), ..Found::at("a:1".parse().unwrap()) };
        let other = Found { zone: "z".to_owned(), ..Found::at("a:1".parse().unwrap()) };
        let third = Found { priority: 1, weight: Weight(0), ..one.clone() };
        let found = |all: [&Found; 3]| {
            let mut draft = Draft::default();
            all.into_iter().for_each(|found| draft.add(found.clone()));
            draft.finish().unwrap().found().to_vec()
        };
        let expected = vec![other.clone()];
        assert_eq!(found([&one, &other, &third]), expected);
        assert_eq!(found([&third, &other, &one]), expected);
    }

    #[test]
    fn complaints_have_an_order_and_a_length_and_are_one_line() {
        let told = |reasons: [&str; 4]| {
            let mut draft = Draft::default();
            draft.add_at("a:1");
            reasons.iter().for_each(|why| draft.refuse(why));
            draft.finish().unwrap().complaint()
        };
        assert_eq!(told(["d", "c", "b", "a\n"]), "a ; b; c");
        assert_eq!(told(["a\n", "b", "c", "d"]), "a ; b; c");
        assert_eq!(told([&"x".repeat(100_000), "a", "b", "c"]).len(), 7);
        assert_eq!(told([&"x".repeat(100_000); 4]).len(), LONGEST_REASON);
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
