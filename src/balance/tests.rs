//! What every strategy promises, and the helpers of their tests.

use super::*;
use crate::endpoint::InFlight;

const STRATEGIES: [Settings; 5] =
    [Settings::RoundRobin, Settings::Random, Settings::LeastRequest, Settings::P2c, Settings::First];

/// Members with these weights, all of priority 0.
pub fn members(weights: &[u32]) -> Arc<[Member]> {
    let member = |(index, weight): (usize, &u32)| Member {
        endpoint: Arc::new(Endpoint::new(format!("127.0.0.1:{}", index + 1).parse().unwrap())),
        weight: Weight(*weight),
        priority: 0,
    };
    weights.iter().enumerate().map(member).collect()
}

/// The endpoints of these members.
pub fn tried(members: &[Member], indices: &[usize]) -> Vec<Arc<Endpoint>> {
    indices.iter().map(|index| members[*index].endpoint.clone()).collect()
}

/// Keeps so many attempts in flight at each member.
pub fn load(members: &[Member], in_flight: &[u32]) -> Vec<InFlight> {
    let guards = |(member, count): (&Member, &u32)| {
        let endpoint = member.endpoint.clone();
        (0..*count).map(move |_| InFlight::begin(endpoint.clone())).collect::<Vec<_>>()
    };
    members.iter().zip(in_flight).flat_map(guards).collect()
}

/// Picks 100,000 times with a fixed seed. A share is off by less than 0.8 %: five standard
/// deviations of a fair draw. A share of 0 or 1 is exact.
pub fn assert_shares(balancer: &dyn Balancer, tried: &[Arc<Endpoint>], expected: &[f64]) {
    const PICKS: u32 = 100_000;
    let mut random = fastrand::Rng::with_seed(42);
    let mut counts = vec![0_u32; expected.len()];
    for _ in 0..PICKS {
        counts[balancer.pick(&PickContext { random: random.u64(..) }, tried).unwrap()] += 1;
    }
    for (count, share) in counts.iter().zip(expected) {
        let found = f64::from(*count) / f64::from(PICKS);
        let tolerance = if *share == 0.0 || *share == 1.0 { 0.0 } else { 0.008 };
        assert!((found - share).abs() <= tolerance, "{counts:?} instead of {expected:?}");
    }
}

fn balancers(members: &Arc<[Member]>) -> impl Iterator<Item = Box<dyn Balancer>> {
    STRATEGIES.iter().map(|settings| build(settings, members.clone(), &Arc::default()))
}

fn contexts() -> impl Iterator<Item = PickContext> {
    let mut random = fastrand::Rng::with_seed(7);
    let extremes = [0, 1, u64::MAX];
    extremes.into_iter().chain((0..1_000).map(move |_| random.u64(..))).map(|random| PickContext { random })
}

#[test]
fn an_empty_set_has_no_pick() {
    for balancer in balancers(&members(&[])) {
        assert!(contexts().all(|context| balancer.pick(&context, &[]).is_none()), "{balancer:?}");
    }
}

#[test]
fn a_member_without_weight_is_never_picked() {
    let set = members(&[0, 2, 0, 1]);
    for balancer in balancers(&set) {
        for context in contexts() {
            assert!(matches!(balancer.pick(&context, &[]), Some(1 | 3)), "{balancer:?}");
            assert_eq!(balancer.pick(&context, &tried(&set, &[1])), Some(3), "{balancer:?}");
        }
    }
    for balancer in balancers(&members(&[0, 0])) {
        assert!(contexts().all(|context| balancer.pick(&context, &[]).is_none()), "{balancer:?}");
    }
}

#[test]
fn a_retry_never_picks_what_was_tried_and_ends_when_all_were() {
    let set = members(&[1, 5, 1]);
    let _busy = load(&set, &[3, 0, 7]);
    for balancer in balancers(&set) {
        for context in contexts() {
            assert!(matches!(balancer.pick(&context, &tried(&set, &[1])), Some(0 | 2)), "{balancer:?}");
            assert_eq!(balancer.pick(&context, &tried(&set, &[1, 0])), Some(2), "{balancer:?}");
            assert_eq!(balancer.pick(&context, &tried(&set, &[0, 1, 2])), None, "{balancer:?}");
        }
    }
}

#[test]
fn random_bits_are_mapped_to_the_whole_range() {
    assert_eq!((scale(0, 10), scale(u64::MAX, 10), scale(1 << 63, 10)), (0, 9, 5));
}
