//! The first member in the order of priority, then of the file: for a primary with stand-ins.

use std::sync::Arc;

use super::{Balancer, Member, PickContext};
use crate::endpoint::Endpoint;

/// Takes the first that has not been tried.
#[derive(Debug)]
pub struct First {
    members: Arc<[Member]>,
    /// Indices in the order of preference.
    order: Box<[usize]>,
}

impl First {
    /// The strategy for these members.
    pub fn new(members: Arc<[Member]>) -> First {
        let mut order: Vec<(u32, usize)> =
            members.iter().enumerate().map(|(index, member)| (member.priority, index)).collect();
        order.sort_unstable();
        First { order: order.into_iter().map(|(_, index)| index).collect(), members }
    }
}

impl Balancer for First {
    fn pick(&self, _request: &PickContext, tried: &[Arc<Endpoint>]) -> Option<usize> {
        let is_open = |index: &usize| self.members.get(*index).is_some_and(|member| member.is_open(tried));
        self.order.iter().copied().find(is_open)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{members, tried};
    use super::*;

    fn pick(members: &Arc<[Member]>, tried_indices: &[usize]) -> Option<usize> {
        First::new(members.clone()).pick(&PickContext { random: 1 }, &tried(members, tried_indices))
    }

    #[test]
    fn the_lowest_priority_number_is_taken_and_the_others_only_when_it_was_tried() {
        let mut list = members(&[1, 1, 1]).to_vec();
        list[0].priority = 2;
        list[2].priority = 1;
        let members: Arc<[Member]> = list.into();
        assert_eq!(pick(&members, &[]), Some(1));
        assert_eq!(pick(&members, &[1]), Some(2));
        assert_eq!(pick(&members, &[1, 2]), Some(0));
        assert_eq!(pick(&members, &[0, 1, 2]), None);
    }

    #[test]
    fn among_equals_the_order_of_the_file_decides() {
        assert_eq!(pick(&members(&[0, 1, 5]), &[]), Some(1));
    }
}
