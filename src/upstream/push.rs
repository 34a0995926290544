//! Endpoints that are added, removed and drained while the proxy runs.

use std::collections::HashSet;

use tracing::warn;

use super::Upstream;
use super::roster::{Change, Layer};
use crate::discovery::{Found, Kept, Push, StoreError};
use crate::endpoint::{Location, Moment};
use crate::units::Weight;

/// Most places that are pushed to an upstream.
const MOST: usize = 20_000;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushChange {
    /// Takes these into traffic: new places with weight 1 or the given one, known ones with their own
    /// or the given one. Ends their drain.
    Add(Vec<Location>, Option<Weight>),
    /// Forgets what was pushed about these.
    Remove(Vec<Location>),
    /// Sends these no new requests; they stay listed, and what runs there goes on.
    Drain(Vec<Location>),
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The upstream does not have it.
    #[error("upstream `{upstream}` has no endpoint `{place}`")]
    Unknown {
        /// The upstream.
        upstream: String,
        /// What it does not have.
        place: Location,
    },
    /// It comes from elsewhere, so it would be there again at once.
    #[error("`{place}` comes from {}; `drain` takes it out of traffic", match .layer {
        Layer::Configuration => "the configuration",
        Layer::Discovery | Layer::Push => "the source of the upstream",
    })]
    Elsewhere {
        /// What can not be removed.
        place: Location,
        /// Where it comes from.
        layer: Layer,
    },
    /// Too many.
    #[error("{MOST} pushed endpoints are the most")]
    TooMany,
}

impl Upstream {
    /// Makes a change, all of it or nothing. It is in force when this returns; [`Upstream::keep`]
    /// makes it outlive the process.
    ///
    /// # Errors
    /// When a place is not there, or not to be removed.
    pub fn push(&self, change: &PushChange) -> Result<(), PushError> {
        self.check(change)?;
        let known: HashSet<Location> = self.places().into_iter().map(|(place, _)| place).collect();
        self.pushed.change(|push| match change {
            PushChange::Add(places, weight) => {
                places.iter().for_each(|place| add(push, place, *weight, known.contains(place)));
            }
            PushChange::Remove(places) => {
                push.added.retain(|found| !places.contains(&found.location));
                push.weights.retain(|place, _| !places.contains(place));
                push.drained.retain(|place| !places.contains(place));
            }
            PushChange::Drain(places) => push.drained.extend(places.iter().cloned()),
        });
        self.take_push();
        Ok(())
    }

    /// Stores what was pushed.
    ///
    /// # Errors
    /// When the directory can not be written to.
    pub async fn keep(&self) -> Result<Kept, StoreError> {
        self.pushed.save().await
    }

    /// The same where nobody waits for the answer.
    pub(super) async fn keep_and_tell(&self) {
        if let Err(error) = self.keep().await {
            warn!(upstream = self.name(), %error, "pushed endpoints can not be stored");
        }
    }

    /// Takes what is pushed now.
    pub(super) fn take_push(&self) {
        let mut roster = self.roster();
        if roster.push(&self.pushed.current()) == Change::Changed {
            self.settle(&roster, Moment::now());
            drop(roster);
            self.changed.notify_one();
        }
    }

    /// Forgets the drain and the weight of places that were here and are not any more: whoever comes
    /// there next is somebody else. Returns whether there were some.
    pub(super) fn forget_gone(&self, gone: &[Location]) -> bool {
        let pushed = self.pushed.current();
        let is_told = |place| pushed.drained.contains(place) || pushed.weights.contains_key(place);
        if !gone.iter().any(is_told) {
            return false;
        }
        self.pushed.change(|push| {
            push.drained.retain(|place| !gone.contains(place));
            push.weights.retain(|place, _| !gone.contains(place));
        });
        true
    }

    /// Forgets, once after a start, the drains and weights of places that went while nobody looked.
    /// Returns whether there were some.
    pub(super) fn forget_absent(&self) -> bool {
        if !self.pushed.is_to_compare() {
            return false;
        }
        self.take_push();
        let has_forgotten = self.feed.as_ref().is_some_and(|feed| self.set_found(&feed.used()));
        let here: HashSet<Location> = self.places().into_iter().map(|(place, _)| place).collect();
        let pushed = self.pushed.current();
        let told = pushed.drained.iter().chain(pushed.weights.keys());
        let gone: Vec<Location> = told.filter(|place| !here.contains(place)).cloned().collect();
        self.forget_gone(&gone) || has_forgotten
    }

    fn check(&self, change: &PushChange) -> Result<(), PushError> {
        let (places, pushed) = (self.places(), self.pushed.current());
        let layer = |place: &Location| places.iter().find(|(one, _)| one == place).map(|(_, layer)| *layer);
        let unknown =
            |place: &Location| PushError::Unknown { upstream: self.name().to_owned(), place: place.clone() };
        match change {
            PushChange::Add(added, _) => match pushed.added.len() + pushed.weights.len() + added.len() > MOST
            {
                true => Err(PushError::TooMany),
                false => Ok(()),
            },
            PushChange::Remove(removed) => removed.iter().try_for_each(|place| {
                let is_added = pushed.added.iter().any(|found| found.location == *place);
                let is_pushed = is_added || pushed.weights.contains_key(place);
                match layer(place) {
                    _ if is_pushed => Ok(()),
                    Some(layer) => Err(PushError::Elsewhere { place: place.clone(), layer }),
                    None => Err(unknown(place)),
                }
            }),
            PushChange::Drain(drained) => drained.iter().try_for_each(|place| match layer(place) {
                Some(_) => Ok(()),
                None => Err(unknown(place)),
            }),
        }
    }

    fn places(&self) -> Vec<(Location, Layer)> {
        let roster = self.roster();
        roster.entries().iter().map(|entry| (entry.place.location.clone(), entry.layer)).collect()
    }
}

fn add(push: &mut Push, place: &Location, weight: Option<Weight>, is_known: bool) {
    push.drained.remove(place);
    let found = push.added.iter_mut().find(|found| found.location == *place);
    match (found, weight) {
        (Some(found), Some(weight)) => found.weight = weight,
        (Some(_), None) => {}
        (None, None) if is_known => {}
        // Only the weight: its source goes on to decide whether it is there.
        (None, Some(weight)) if is_known => {
            push.weights.insert(place.clone(), weight);
        }
        (None, weight) => {
            push.added.push(Found { weight: weight.unwrap_or_default(), ..Found::at(place.clone()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{settings, upstream};
    use super::*;
    use crate::discovery::{Draft, Set};

    fn places(texts: &[&str]) -> Vec<Location> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn set(upstream: &Upstream) -> Vec<String> {
        upstream.membership().set.iter().map(|one| format!("{} {}", one.endpoint, one.weight)).collect()
    }

    #[test]
    fn an_endpoint_is_added_and_removed() {
        let upstream = upstream(&["10.0.0.1:80"]);
        upstream.push(&PushChange::Add(places(&["10.0.0.2:80"]), Some(Weight(3)))).unwrap();
        assert_eq!(set(&upstream), ["10.0.0.1:80 1", "10.0.0.2:80 3"]);
        upstream.push(&PushChange::Add(places(&["10.0.0.2:80"]), None)).unwrap();
        assert_eq!(set(&upstream)[1], "10.0.0.2:80 3", "what was said stays");
        upstream.push(&PushChange::Remove(places(&["10.0.0.2:80"]))).unwrap();
        assert_eq!(set(&upstream), ["10.0.0.1:80 1"]);
    }

    #[test]
    fn a_drained_endpoint_takes_nothing_until_it_is_added_again() {
        let upstream = upstream(&["10.0.0.1:80", "10.0.0.2:80"]);
        upstream.push(&PushChange::Drain(places(&["10.0.0.1:80"]))).unwrap();
        assert_eq!(set(&upstream), ["10.0.0.2:80 1"]);
        assert_eq!(upstream.status().endpoints.len(), 2, "it stays listed");
        upstream.push(&PushChange::Add(places(&["10.0.0.1:80"]), None)).unwrap();
        assert_eq!(set(&upstream), ["10.0.0.1:80 1", "10.0.0.2:80 1"]);
    }

    #[test]
    fn a_change_with_one_wrong_place_changes_nothing() {
        let upstream = upstream(&["10.0.0.1:80"]);
        let error = upstream.push(&PushChange::Drain(places(&["10.0.0.1:80", "10.0.0.9:80"]))).unwrap_err();
        assert_eq!(error.to_string(), "upstream `users` has no endpoint `10.0.0.9:80`");
        let error = upstream.push(&PushChange::Remove(places(&["10.0.0.1:80"]))).unwrap_err();
        assert!(error.to_string().contains("comes from the configuration"), "{error}");
        assert_eq!(set(&upstream), ["10.0.0.1:80 1"]);
    }

    #[test]
    fn a_reload_keeps_what_was_pushed() {
        let old = upstream(&["10.0.0.1:80", "10.0.0.2:80"]);
        old.push(&PushChange::Add(places(&["10.0.0.3:80"]), None)).unwrap();
        old.push(&PushChange::Drain(places(&["10.0.0.1:80"]))).unwrap();
        let new = Upstream::build("users", settings(&["10.0.0.1:80", "10.0.0.4:80"]), Some(&old));
        assert_eq!(set(&new), ["10.0.0.4:80 1", "10.0.0.3:80 1"]);
    }

    #[test]
    fn a_drain_and_a_weight_are_forgotten_when_their_endpoint_is_gone() {
        let upstream = upstream(&["10.0.0.1:80", "10.0.0.2:80"]);
        upstream.push(&PushChange::Drain(places(&["10.0.0.1:80"]))).unwrap();
        upstream.push(&PushChange::Add(places(&["10.0.0.2:80"]), Some(Weight(5)))).unwrap();
        assert_eq!(set(&upstream), ["10.0.0.2:80 5"]);
        assert!(!upstream.forget_gone(&places(&["10.0.0.3:80"])));
        assert!(upstream.forget_gone(&places(&["10.0.0.1:80"])));
        assert!(upstream.forget_gone(&places(&["10.0.0.2:80"])));
        upstream.take_push();
        assert_eq!(set(&upstream), ["10.0.0.1:80 1", "10.0.0.2:80 1"]);
    }

    #[test]
    fn what_was_stored_about_places_that_are_gone_is_forgotten_once_after_a_start() {
        let upstream = upstream(&["10.0.0.1:80", "10.0.0.2:80"]);
        upstream.pushed.change(|push| {
            push.drained.extend(places(&["10.0.0.1:80", "10.0.0.8:80"]));
            push.weights.extend(places(&["10.0.0.9:80"]).into_iter().map(|place| (place, Weight(5))));
        });
        assert!(upstream.forget_absent());
        let pushed = upstream.pushed.current();
        assert_eq!(pushed.drained.iter().cloned().collect::<Vec<_>>(), places(&["10.0.0.1:80"]));
        assert!(pushed.weights.is_empty());
        assert!(!upstream.forget_absent());
    }

    fn discovered(found: &[Found]) -> Arc<Set> {
        let mut draft = Draft::default();
        found.iter().for_each(|found| draft.add(found.clone()));
        Arc::new(draft.finish().unwrap())
    }

    #[test]
    fn a_weight_for_a_discovered_endpoint_does_not_outlive_it() {
        let upstream = upstream(&["10.0.0.1:80"]);
        let found = Found::at("10.0.0.2:80".parse().unwrap());
        upstream.set_found(&discovered(std::slice::from_ref(&found)));
        upstream.push(&PushChange::Add(places(&["10.0.0.2:80"]), Some(Weight(5)))).unwrap();
        assert_eq!(set(&upstream), ["10.0.0.1:80 1", "10.0.0.2:80 5"]);
        assert!(upstream.set_found(&discovered(&[])), "there is something to store");
        assert_eq!(set(&upstream), ["10.0.0.1:80 1"]);
        upstream.take_push();
        upstream.set_found(&discovered(&[found]));
        assert_eq!(set(&upstream), ["10.0.0.1:80 1", "10.0.0.2:80 1"], "it is somebody else");
    }

    #[test]
    fn a_weight_leaves_a_standby_where_it_stands() {
        let upstream = upstream(&["10.0.0.1:80"]);
        let standby = Found { priority: 5, ..Found::at("10.0.0.2:80".parse().unwrap()) };
        upstream.set_found(&discovered(&[standby]));
        upstream.push(&PushChange::Add(places(&["10.0.0.2:80"]), Some(Weight(5)))).unwrap();
        let tiers: Vec<_> =
            upstream.membership().set.iter().map(|one| (one.priority, one.weight.0)).collect();
        assert_eq!(tiers, [(0, 1), (5, 5)]);
        upstream.push(&PushChange::Remove(places(&["10.0.0.2:80"]))).unwrap();
        assert_eq!(upstream.pushed.current().weights.len(), 0);
    }
}
