//! In turn, smoothly by weight, exact over all workers: they share one position.

use std::sync::Arc;

use super::schedule::rotation;
use super::{Balancer, Cursor, Member, PickContext, draw_open};
use crate::endpoint::Endpoint;

/// Turns that a retry looks at before it draws instead: a heavy member may own very many in a row.
const LOOK_AHEAD: usize = 64;

/// Visits the members in the order of a [`rotation`].
#[derive(Debug)]
pub struct RoundRobin {
    members: Arc<[Member]>,
    order: Box<[u32]>,
    cursor: Arc<Cursor>,
}

impl RoundRobin {
    /// The strategy for these members, continuing where the cursor stands.
    pub fn new(members: Arc<[Member]>, cursor: Arc<Cursor>) -> RoundRobin {
        let weights: Vec<u64> = members.iter().map(Member::weight).collect();
        RoundRobin { order: rotation(&weights), members, cursor }
    }
}

impl Balancer for RoundRobin {
    fn pick(&self, request: &PickContext, tried: &[Arc<Endpoint>]) -> Option<usize> {
        let turn = self.cursor.advance().checked_rem(self.order.len() as u64)? as usize;
        if tried.is_empty() {
            return self.order.get(turn).map(|index| *index as usize);
        }
        let is_open = |index: &usize| self.members.get(*index).is_some_and(|member| member.is_open(tried));
        let ahead = self.order.iter().cycle().skip(turn).take(LOOK_AHEAD.min(self.order.len()));
        ahead
            .map(|index| *index as usize)
            .find(is_open)
            .or_else(|| draw_open(&self.members, request.random, tried))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{members, tried};
    use super::*;

    fn balancer(weights: &[u32], start: u64) -> RoundRobin {
        RoundRobin::new(members(weights), Arc::new(Cursor::starting_at(start)))
    }

    fn picks(balancer: &RoundRobin, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| balancer.pick(&PickContext::default(), &[])).collect()
    }

    #[test]
    fn equal_members_take_turns() {
        assert_eq!(picks(&balancer(&[1, 1, 1], 0), 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn weights_are_honoured_smoothly() {
        assert_eq!(picks(&balancer(&[5, 1, 1], 0), 7), [0, 1, 0, 0, 0, 2, 0]);
    }

    #[test]
    fn a_member_without_weight_is_passed_over() {
        assert_eq!(picks(&balancer(&[1, 0, 1], 0), 4), [0, 2, 0, 2]);
    }

    #[test]
    fn a_rebuild_goes_on_where_the_old_one_stood() {
        let cursor = Arc::new(Cursor::starting_at(0));
        let members = members(&[1, 1, 1]);
        assert_eq!(picks(&RoundRobin::new(members.clone(), cursor.clone()), 2), [0, 1]);
        assert_eq!(picks(&RoundRobin::new(members, cursor), 2), [2, 0]);
    }

    #[test]
    fn the_count_is_exact_over_threads() {
        let balancer = balancer(&[2, 1, 1], 12_345);
        let mut counts = [0; 3];
        let threads: Vec<Vec<usize>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| picks(&balancer, 1_000))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        threads.into_iter().flatten().for_each(|index| counts[index] += 1);
        assert_eq!(counts, [2_000, 1_000, 1_000]);
    }

    #[test]
    fn a_retry_takes_the_next_turn_that_is_not_the_tried_ones() {
        let balancer = balancer(&[1, 1, 1], 0);
        let tried = tried(&balancer.members, &[0]);
        assert_eq!(balancer.pick(&PickContext::default(), &tried), Some(1));
    }

    #[test]
    fn a_retry_gets_past_a_long_run_of_one_member() {
        let balancer = balancer(&[10_000, 1], 0);
        let tried = tried(&balancer.members, &[0]);
        assert_eq!(balancer.pick(&PickContext::default(), &tried), Some(1));
    }
}
