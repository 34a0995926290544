//! The least loaded of all members: the evenest for one proxy, at a cost that grows with the set,
//! 5 to 10 ns for each endpoint. For thousands of them `p2c` is the choice.

use std::sync::Arc;

use super::alias::AliasTable;
use super::{Balancer, Member, PickContext, draw_open, is_less_loaded};
use crate::endpoint::Endpoint;

/// Takes the member with the fewest requests in flight for its weight.
#[derive(Debug)]
pub struct LeastRequest {
    members: Arc<[Member]>,
    /// Where the search begins. The first of equals wins, so a start by weight keeps a set that is
    /// mostly idle spread by weight.
    start: AliasTable,
}

impl LeastRequest {
    /// The strategy for these members.
    pub fn new(members: Arc<[Member]>) -> LeastRequest {
        LeastRequest { start: AliasTable::new(&members), members }
    }
}

impl Balancer for LeastRequest {
    fn pick(&self, request: &PickContext, tried: &[Arc<Endpoint>]) -> Option<usize> {
        let start = match tried {
            [] => self.start.draw(request.random)?,
            tried => draw_open(&self.members, request.random, tried)?,
        };
        let mut best = (start, self.members.get(start)?);
        for index in (start + 1..self.members.len()).chain(0..start) {
            if best.1.endpoint.in_flight() == 0 {
                break;
            }
            let Some(member) = self.members.get(index) else { continue };
            if is_less_loaded(member, best.1) && member.is_open(tried) {
                best = (index, member);
            }
        }
        Some(best.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_shares, load, members, tried};
    use super::*;

    #[test]
    fn an_idle_set_is_spread_by_weight() {
        assert_shares(&LeastRequest::new(members(&[1, 3, 6])), &[], &[0.1, 0.3, 0.6]);
    }

    #[test]
    fn the_least_loaded_for_its_weight_is_always_taken() {
        let members = members(&[1, 1, 10, 1]);
        let _busy = load(&members, &[2, 3, 15, 2]);
        assert_shares(&LeastRequest::new(members), &[], &[0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn members_without_weight_are_never_taken_though_idle() {
        let members = members(&[1, 0, 1]);
        let _busy = load(&members, &[2, 0, 1]);
        assert_shares(&LeastRequest::new(members), &[], &[0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_retry_takes_the_least_loaded_of_the_others() {
        let members = members(&[1, 1, 1]);
        let _busy = load(&members, &[0, 5, 1]);
        assert_shares(&LeastRequest::new(members.clone()), &tried(&members, &[0]), &[0.0, 0.0, 1.0]);
    }
}
