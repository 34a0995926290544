//! Which endpoints of an upstream take traffic now.

use std::sync::Arc;

use crate::balance::{Balancer, Cursor, Member, PickContext, Settings, build, draw_open};
use crate::endpoint::Endpoint;
use crate::units::{Limit, Ratio};

/// The set of endpoints that take traffic and the balancer that was built for it: facts that must
/// agree, replaced together.
#[derive(Debug)]
pub struct Membership {
    /// Grows by one with every change.
    pub version: u64,
    /// The fit endpoints, the preferred ones first, then those of later priorities in their order.
    pub set: Arc<[Member]>,
    /// How many at the beginning of the set the balancer chooses from.
    pub preferred: usize,
    /// Chooses among the preferred; its indices are those of the set.
    pub balancer: Box<dyn Balancer>,
    /// Whether health is ignored because too few endpoints are fit.
    pub panic: bool,
}

impl Membership {
    /// The membership of a choice.
    pub fn new(version: u64, choice: Choice<'_>, strategy: &Settings, cursor: &Arc<Cursor>) -> Membership {
        let Choice { set, preferred, panic } = choice;
        let set: Arc<[Member]> = set.into_iter().cloned().collect();
        let balanced = if preferred == set.len() { set.clone() } else { set[..preferred].into() };
        let balancer = build(strategy, balanced, cursor);
        Membership { version, set, preferred, balancer, panic }
    }

    /// The place in the set of the member that takes the request: the balancer's choice, and for a
    /// retry that has tried all of the preferred ones, another of the next priority. `None` when no
    /// endpoint is left.
    pub fn pick(&self, request: &PickContext, tried: &[Arc<Endpoint>]) -> Option<usize> {
        self.balancer.pick(request, tried).or_else(|| self.spare(request, tried))
    }

    /// One of the best spare members by weight.
    fn spare(&self, request: &PickContext, tried: &[Arc<Endpoint>]) -> Option<usize> {
        let mut start = self.preferred;
        for tier in self.set.get(start..)?.chunk_by(|one, other| one.priority == other.priority) {
            if let Some(index) = draw_open(tier, request.random, tried) {
                return Some(start + index);
            }
            start += tier.len();
        }
        None
    }

    /// How well the upstream can serve.
    pub fn condition(&self) -> Condition {
        match (self.set.is_empty(), self.panic) {
            (true, _) => Condition::Empty,
            (false, true) => Condition::Panic,
            (false, false) => Condition::Sound,
        }
    }

    /// Whether the choice would make the same membership.
    pub fn is_same(&self, choice: &Choice<'_>) -> bool {
        let same = |(one, other): (&Member, &&Member)| {
            Arc::ptr_eq(&one.endpoint, &other.endpoint)
                && one.weight == other.weight
                && one.priority == other.priority
        };
        self.panic == choice.panic
            && self.preferred == choice.preferred
            && self.set.len() == choice.set.len()
            && self.set.iter().zip(&choice.set).all(same)
    }
}

/// How well an upstream can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Enough endpoints are fit.
    Sound,
    /// Too few are; health is ignored.
    Panic,
    /// None is, and health is not ignored, or there are no endpoints.
    Empty,
}

/// The members that should take traffic. Borrowed, since it is made every second and is mostly what it
/// was before: counting many endpoints up and down would cost more than looking at them.
#[derive(Debug)]
pub struct Choice<'roster> {
    set: Vec<&'roster Member>,
    preferred: usize,
    panic: bool,
}

impl<'roster> Choice<'roster> {
    /// Chooses the fit members of the lowest priority number that has any; the fit ones of higher
    /// numbers are spares. When the share of fit members there is below the threshold, or nobody
    /// is fit anywhere, health is more likely wrong than right about so many, and sending all
    /// traffic to the rest would make it right: all members are chosen. Weight 0 is never chosen.
    pub fn of(
        members: &'roster [Member],
        threshold: Limit<Ratio>,
        is_fit: impl Fn(&Endpoint) -> bool,
    ) -> Choice<'roster> {
        let mut all: Vec<&Member> = members.iter().filter(|member| member.weight.0 > 0).collect();
        all.sort_by_key(|member| member.priority);
        let mut choice = Choice { set: Vec::with_capacity(all.len()), preferred: 0, panic: false };
        for tier in all.chunk_by(|one, other| one.priority == other.priority) {
            let fit: Vec<&Member> = tier.iter().copied().filter(|member| is_fit(&member.endpoint)).collect();
            if choice.preferred > 0 || fit.is_empty() {
                choice.set.extend(fit);
                continue;
            }
            choice.panic = is_below(fit.len(), tier.len(), threshold);
            choice.set.extend_from_slice(if choice.panic { tier } else { &fit });
            choice.preferred = choice.set.len();
        }
        match choice.preferred == 0 && is_below(0, all.len(), threshold) {
            true => Choice { preferred: first_tier(&all), set: all, panic: true },
            false => choice,
        }
    }
}

fn first_tier(members: &[&Member]) -> usize {
    members.chunk_by(|one, other| one.priority == other.priority).next().map_or(0, <[&Member]>::len)
}

/// Whether so many of all are less than the share, without rounding.
fn is_below(fit: usize, all: usize, threshold: Limit<Ratio>) -> bool {
    // A ratio is a whole number of ten thousandths.
    threshold.get().is_some_and(|share| fit * 10_000 < share.of(all * 10_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Weight;

    const HALF: Limit<Ratio> = Limit::At(Ratio::percent(50));

    /// Members of these priorities and weights, named by their port from 1 on.
    fn members(roles: &[(u32, u32)]) -> Vec<Member> {
        let member = |(index, (priority, weight)): (usize, &(u32, u32))| Member {
            endpoint: Arc::new(Endpoint::new(format!("127.0.0.1:{}", index + 1).parse().unwrap())),
            weight: Weight(*weight),
            priority: *priority,
        };
        roles.iter().enumerate().map(member).collect()
    }

    fn ports(set: &[&Member]) -> Vec<u16> {
        let port = |member: &&Member| member.endpoint.name().rsplit(':').next().unwrap().parse().unwrap();
        set.iter().map(port).collect()
    }

    /// The preferred and the spare ports and whether it is a panic, when these ports are unfit.
    fn choose(roles: &[(u32, u32)], threshold: Limit<Ratio>, unfit: &[u16]) -> (Vec<u16>, Vec<u16>, bool) {
        let members = members(roles);
        let is_fit =
            |endpoint: &Endpoint| !unfit.iter().any(|port| endpoint.name() == format!("127.0.0.1:{port}"));
        let choice = Choice::of(&members, threshold, is_fit);
        let (preferred, spare) = choice.set.split_at(choice.preferred);
        (ports(preferred), ports(spare), choice.panic)
    }

    #[test]
    fn only_fit_members_with_a_weight_take_traffic() {
        let roles = [(0, 1), (0, 0), (0, 2), (0, 1)];
        assert_eq!(choose(&roles, HALF, &[4]), (vec![1, 3], vec![], false));
    }

    #[test]
    fn a_higher_priority_number_is_a_spare_until_no_lower_one_is_fit() {
        let roles = [(1, 1), (0, 1), (0, 1)];
        assert_eq!(choose(&roles, HALF, &[]), (vec![2, 3], vec![1], false));
        assert_eq!(choose(&roles, HALF, &[3]), (vec![2], vec![1], false));
        assert_eq!(choose(&roles, HALF, &[2, 3]), (vec![1], vec![], false));
    }

    #[test]
    fn with_less_than_the_threshold_fit_health_is_ignored() {
        let roles = [(0, 1); 4];
        assert_eq!(choose(&roles, HALF, &[1, 2]), (vec![3, 4], vec![], false));
        assert_eq!(choose(&roles, HALF, &[1, 2, 3]), (vec![1, 2, 3, 4], vec![], true));
        assert_eq!(choose(&roles[..3], HALF, &[1, 2]), (vec![1, 2, 3], vec![], true));
    }

    #[test]
    fn with_nobody_fit_all_take_traffic_in_the_order_of_their_priority() {
        assert_eq!(choose(&[(1, 1), (0, 1)], HALF, &[1, 2]), (vec![2], vec![1], true));
    }

    #[test]
    fn without_a_threshold_nobody_fit_means_an_empty_set() {
        assert_eq!(choose(&[(0, 1), (0, 1)], Limit::Off, &[1, 2]), (vec![], vec![], false));
        assert_eq!(choose(&[(0, 1), (0, 1)], Limit::Off, &[1]), (vec![2], vec![], false));
    }

    #[test]
    fn no_members_are_no_panic() {
        assert_eq!(choose(&[], HALF, &[]), (vec![], vec![], false));
    }

    fn membership(members: &[Member], strategy: Settings) -> Membership {
        Membership::new(1, Choice::of(members, HALF, |_| true), &strategy, &Arc::default())
    }

    #[test]
    fn a_retry_goes_to_the_next_priority_when_the_preferred_are_tried() {
        let members = members(&[(0, 1), (1, 1), (2, 1)]);
        let membership = membership(&members, Settings::P2c);
        let mut tried = Vec::new();
        for member in &members {
            let picked = &membership.set[membership.pick(&PickContext { random: 5 }, &tried).unwrap()];
            assert!(Arc::ptr_eq(&picked.endpoint, &member.endpoint));
            tried.push(picked.endpoint.clone());
        }
        assert!(membership.pick(&PickContext { random: 5 }, &tried).is_none());
    }

    #[test]
    fn the_same_choice_is_recognised_and_every_difference_too() {
        let mut members = members(&[(0, 1), (0, 1)]);
        let membership = membership(&members, Settings::Random);
        assert!(membership.is_same(&Choice::of(&members, HALF, |_| true)));
        assert!(!membership.is_same(&Choice::of(&members[..1], HALF, |_| true)));
        assert!(!membership.is_same(&Choice::of(&members, HALF, |_| false)), "panic");
        members[1].weight = Weight(2);
        assert!(!membership.is_same(&Choice::of(&members, HALF, |_| true)), "weight");
    }
}
