//! Power of two choices: the less loaded of two random members. Nearly as even as asking all of
//! them, at a cost that does not grow with the set, and many proxies do not herd on one endpoint.
//! (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.)

use std::sync::Arc;

use super::alias::AliasTable;
use super::{Balancer, Member, PickContext, draw_open, is_less_loaded, remix};
use crate::endpoint::Endpoint;

/// Draws for a second member that differs from the first, before all are looked at. Only a set
/// that is ruled by one weight comes that far.
const DRAWS: u32 = 4;

/// Draws two by weight and takes the one with less in flight for its weight.
#[derive(Debug)]
pub struct PowerOfTwoChoices {
    members: Arc<[Member]>,
    table: AliasTable,
}

impl PowerOfTwoChoices {
    /// The strategy for these members.
    pub fn new(members: Arc<[Member]>) -> PowerOfTwoChoices {
        PowerOfTwoChoices { table: AliasTable::new(&members), members }
    }

    /// A member other than `first`, by weight.
    fn second(&self, first: usize, mut random: u64) -> Option<usize> {
        for _ in 0..DRAWS {
            random = remix(random);
            match self.table.draw(random) {
                Some(second) if second != first => return Some(second),
                _ => {}
            }
        }
        let excluded = self.members.get(first).map(|member| member.endpoint.clone());
        draw_open(&self.members, remix(random), excluded.as_slice())
    }

    /// The better of two; the first when they are equal, which leaves idle sets spread by weight.
    fn better(&self, first: usize, second: Option<usize>) -> Option<usize> {
        let one = self.members.get(first)?;
        let better =
            second.filter(|second| self.members.get(*second).is_some_and(|other| is_less_loaded(other, one)));
        Some(better.unwrap_or(first))
    }
}

impl Balancer for PowerOfTwoChoices {
    fn pick(&self, request: &PickContext, tried: &[Arc<Endpoint>]) -> Option<usize> {
        if tried.is_empty() {
            let first = self.table.draw(request.random)?;
            // Without a load, or another member, there is nothing to gain.
            if self.members.len() == 1 || self.members.get(first)?.endpoint.in_flight() == 0 {
                return Some(first);
            }
            return self.better(first, self.second(first, request.random));
        }
        let first = draw_open(&self.members, request.random, tried)?;
        let mut excluded = tried.to_vec();
        excluded.extend(self.members.get(first).map(|member| member.endpoint.clone()));
        self.better(first, draw_open(&self.members, remix(request.random), &excluded))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_shares, load, members, tried};
    use super::*;

    #[test]
    fn an_idle_set_is_spread_by_weight() {
        assert_shares(&PowerOfTwoChoices::new(members(&[1, 3, 6])), &[], &[0.1, 0.3, 0.6]);
    }

    #[test]
    fn of_two_the_less_loaded_is_always_taken() {
        let members = members(&[1, 1]);
        let _busy = load(&members, &[3, 2]);
        assert_shares(&PowerOfTwoChoices::new(members), &[], &[0.0, 1.0]);
    }

    #[test]
    fn load_is_weighed() {
        let members = members(&[4, 1]);
        let _busy = load(&members, &[3, 1]);
        assert_shares(&PowerOfTwoChoices::new(members), &[], &[1.0, 0.0]);
    }

    #[test]
    fn the_most_loaded_of_three_is_never_taken_and_the_others_as_often_as_they_are_drawn() {
        let members = members(&[1, 1, 1]);
        let _busy = load(&members, &[9, 5, 1]);
        assert_shares(&PowerOfTwoChoices::new(members), &[], &[0.0, 1.0 / 3.0, 2.0 / 3.0]);
    }

    #[test]
    fn a_set_ruled_by_one_weight_still_has_two_choices() {
        let balancer = PowerOfTwoChoices::new(members(&[1_000_000_000, 1]));
        assert_eq!(balancer.second(0, 1), Some(1));
    }

    #[test]
    fn a_retry_takes_the_less_loaded_of_the_others() {
        let members = members(&[1, 1, 1]);
        let _busy = load(&members, &[0, 5, 1]);
        assert_shares(&PowerOfTwoChoices::new(members.clone()), &tried(&members, &[0]), &[0.0, 0.0, 1.0]);
    }
}
