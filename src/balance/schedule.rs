//! The order in which a weighted rotation visits its members.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Turns of one rotation at most, unless there are more members than that.
const LONGEST: u64 = 65_536;

/// A smooth weighted rotation: each member appears as often as its weight, as evenly as can be.
///
/// The turns of a member of weight `w` lie `1 / w` of the rotation apart, and members of equal
/// weight stand in equal steps between each other's turns, in the order of the file: with equal
/// weights it is the plain rotation. Weights are divided by their greatest common divisor; should
/// the rotation still be too long, they are scaled down, none below one.
///
/// The measure of evenness is the window: of any turns in a row, wherever they begin, how far is a
/// member from its share? Not only prefixes count, because the rotation begins at a random turn and
/// has no end. Weights 5, 1, 1 give `abaaaca`, at most 6/7 of a turn off, which is the least that a
/// single turn in seven can be. The rotation of nginx, `aabacaa`, is as much as 8/7 off: the heavy
/// member has four turns in a row where the end meets the beginning.
///
/// nginx finds its order by a step over all members for each turn; a sort is `O(t log t)` for
/// `t` turns, and 10,000 members stay cheap enough to rebuild whenever health changes.
pub fn rotation(weights: &[u64]) -> Box<[u32]> {
    let weights = reduce(weights);
    let mut classes: BTreeMap<Reverse<u64>, Vec<u32>> = BTreeMap::new();
    for (index, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
        classes.entry(Reverse(*weight)).or_default().push(index as u32);
    }
    let mut turns = Vec::new();
    for (Reverse(weight), class) in &classes {
        let steps = weight * class.len() as u64;
        // The middle of each step, so that classes do not all begin at the same place. 40 bits tell
        // any two places apart: their denominators together have less.
        let place = |step: u64| ((2 * step + 1) << 40) / (2 * steps);
        let order = (0..*weight).flat_map(|_| class);
        turns.extend(order.zip(0..).map(|(index, step)| (place(step), *index)));
    }
    // Each class is in order already, and the stable sort merges runs.
    turns.sort();
    turns.into_iter().map(|(_, index)| index).collect()
}

/// The same proportions in smaller numbers.
fn reduce(weights: &[u64]) -> Vec<u64> {
    let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let total: u64 = weights.iter().map(|weight| weight / divisor).sum();
    let scale = |weight: u64| match total <= LONGEST.max(weights.len() as u64) {
        true => weight,
        false => (u128::from(weight) * u128::from(LONGEST) / u128::from(total)).max(1) as u64,
    };
    weights.iter().map(|weight| if *weight == 0 { 0 } else { scale(weight / divisor) }).collect()
}

fn greatest_common_divisor(one: u64, other: u64) -> u64 {
    match other {
        0 => one,
        other => greatest_common_divisor(other, one % other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letters(weights: &[u64]) -> String {
        rotation(weights).iter().map(|index| char::from(b'a' + *index as u8)).collect()
    }

    #[test]
    fn equal_weights_take_turns_in_the_order_of_the_file() {
        assert_eq!(letters(&[1, 1, 1]), "abc");
        assert_eq!(letters(&[7, 7, 7]), "abc");
    }

    #[test]
    fn a_heavy_member_is_spread_between_the_light_ones() {
        assert_eq!(letters(&[5, 1, 1]), "abaaaca");
        assert_eq!(letters(&[3, 1]), "aaba");
        assert_eq!(letters(&[2, 2, 1]), "abcab");
    }

    #[test]
    fn a_member_without_weight_has_no_turn() {
        assert_eq!(letters(&[0, 2, 0]), "b");
        assert_eq!(letters(&[0, 0]), "");
        assert_eq!(letters(&[]), "");
    }

    #[test]
    fn a_rotation_that_would_be_too_long_is_scaled_and_nobody_is_lost() {
        let order = rotation(&[1_000_003, 1, 999_983]);
        assert!(order.len() as u64 <= LONGEST + 3, "{}", order.len());
        let turns = |wanted: u32| order.iter().filter(|index| **index == wanted).count();
        assert_eq!(turns(1), 1);
        assert!(turns(0).abs_diff(turns(2)) <= 2);
    }

    #[test]
    fn more_members_than_the_longest_rotation_all_have_a_turn() {
        let mut order = rotation(&vec![1; 70_000]).into_vec();
        order.dedup();
        assert_eq!(order.len(), 70_000);
    }

    /// How far a member is from its share in the worst window of an endless rotation, in parts of a
    /// turn as long as the rotation. The worst window lies between the prefixes that are furthest
    /// ahead and furthest behind.
    fn worst_window(order: &[u32], member: u32) -> i64 {
        let owned = |turn: &&u32| **turn == member;
        let share = order.iter().filter(owned).count() as i64;
        let ahead = order.iter().zip(1..).scan(0, |seen, (turn, length)| {
            *seen += i64::from(owned(&turn)) * order.len() as i64;
            Some(*seen - length * share)
        });
        let (least, most) = ahead.fold((0, 0), |(least, most), ahead| (ahead.min(least), ahead.max(most)));
        most - least
    }

    #[test]
    fn no_window_of_a_heavy_and_two_light_members_is_a_whole_turn_off() {
        let worst = |order: &[u32]| (0..3).map(|member| worst_window(order, member)).max();
        assert_eq!(worst(&rotation(&[5, 1, 1])), Some(6), "sevenths of a turn");
        assert_eq!(worst(&[0, 0, 1, 0, 2, 0, 0]), Some(8), "nginx: four in a row over the seam");
    }

    proptest! {
        #[test]
        fn every_member_has_its_turns_and_they_are_evenly_spread(weights in prop::collection::vec(0_u64..12, 1..12)) {
            let order = rotation(&weights);
            let divisor = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
            for (member, weight) in (0..).zip(&weights) {
                let turns = order.iter().filter(|turn| **turn == member).count() as u64;
                prop_assert_eq!(turns, weight / divisor);
                prop_assert!(worst_window(&order, member) < 2 * order.len().max(1) as i64, "{:?}: {}", order, member);
            }
        }
    }
}
