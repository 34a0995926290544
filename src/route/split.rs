//! The choice between the upstreams of a route by weight, as a function of a random number.

/// Weighted targets, drawn with exactly the probability `weight / sum of weights`.
#[derive(Clone, Debug)]
pub struct Split {
    /// The sum of the weights up to and with each target.
    cumulative: Box<[u64]>,
}

/// Why a split can not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// There is no target, or all weights are 0.
    #[error("a split needs at least one target with a weight above 0")]
    NoWeight,
}

impl Split {
    /// Prepares the choice between targets with these weights; a weight of 0 is never chosen.
    ///
    /// # Errors
    /// [`SplitError`] when no target can be chosen.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Result<Split, SplitError> {
        let mut sum = 0;
        let cumulative: Box<[u64]> = weights
            .into_iter()
            .map(|weight| {
                sum += u64::from(weight);
                sum
            })
            .collect();
        if sum == 0 { Err(SplitError::NoWeight) } else { Ok(Split { cumulative }) }
    }

    /// The number of the chosen target, for a random number that is uniform over all values.
    pub fn choose(&self, random: u64) -> usize {
        let sum = self.cumulative.last().copied().unwrap_or(0);
        // The high half of the product scales without the bias of a remainder.
        let point = ((u128::from(random) * u128::from(sum)) >> 64) as u64;
        self.cumulative.partition_point(|end| *end <= point)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn targets_are_chosen_by_their_weights() {
        let split = Split::new([95, 5]).expect("two targets");
        let chosen = (0..100u64).map(|hundredth| split.choose(u64::MAX / 200 * (2 * hundredth + 1)));
        assert_eq!(chosen.filter(|target| *target == 1).count(), 5);
        assert_eq!((split.choose(0), split.choose(u64::MAX)), (0, 1));
    }

    #[test]
    fn a_split_without_weight_is_refused() {
        assert_eq!(Split::new([]).err(), Some(SplitError::NoWeight));
        assert_eq!(Split::new([0, 0]).err(), Some(SplitError::NoWeight));
    }

    proptest! {
        #[test]
        fn a_target_of_weight_0_is_never_chosen(weights in prop::collection::vec(0u32..4, 1..8), random: u64) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let split = Split::new(weights.iter().copied()).expect("a weight above 0");
            prop_assert!(weights[split.choose(random)] > 0);
        }
    }
}
