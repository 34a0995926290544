//! By chance, exactly by weight: needs no shared state and herds nobody.

use std::sync::Arc;

use super::alias::AliasTable;
use super::{Balancer, Member, PickContext, draw_open};
use crate::endpoint::Endpoint;

/// Draws by weight.
#[derive(Debug)]
pub struct Random {
    members: Arc<[Member]>,
    table: AliasTable,
}

impl Random {
    /// The strategy for these members.
    pub fn new(members: Arc<[Member]>) -> Random {
        Random { table: AliasTable::new(&members), members }
    }
}

impl Balancer for Random {
    fn pick(&self, request: &PickContext, tried: &[Arc<Endpoint>]) -> Option<usize> {
        match tried {
            [] => self.table.draw(request.random),
            tried => draw_open(&self.members, request.random, tried),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_shares, members, tried};
    use super::*;

    #[test]
    fn requests_spread_by_weight() {
        assert_shares(&Random::new(members(&[1, 3, 6])), &[], &[0.1, 0.3, 0.6]);
    }

    #[test]
    fn a_retry_spreads_by_weight_over_the_others() {
        let members = members(&[1, 3, 6]);
        assert_shares(&Random::new(members.clone()), &tried(&members, &[2]), &[0.25, 0.75, 0.0]);
    }
}
