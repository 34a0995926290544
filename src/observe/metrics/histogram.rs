//! A histogram of durations with fixed buckets.

use std::time::Duration;

use super::counter::Counter;

/// Upper bounds of the buckets in seconds: dense where a proxied request of a healthy service
/// ends, and one bucket past every usual timeout.
pub(super) const BOUNDS: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

/// The same in nanoseconds, so that a request compares integers.
const NANOSECONDS: [u64; 15] = [
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    15_000_000_000,
    60_000_000_000,
];

/// Durations by bucket; the last bucket has no upper bound. Two cache lines.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [Counter; 16],
}

impl Histogram {
    /// Counts a duration.
    pub(super) fn record(&self, nanoseconds: u64) {
        let index = NANOSECONDS.partition_point(|bound| *bound < nanoseconds);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.add(1);
        }
    }
}

/// The sum of histograms, as it is exported.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Durations in each bucket, not cumulated.
    pub(super) buckets: [u64; 16],
    /// The sum of all durations.
    pub(super) sum: Duration,
}

impl Totals {
    /// Adds a histogram and the sum of its durations.
    pub(super) fn add(&mut self, histogram: &Histogram, nanoseconds: u64) {
        for (total, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.total();
        }
        self.sum += Duration::from_nanos(nanoseconds);
    }

    /// How many durations there were: by definition what the buckets hold, so that a scrape in
    /// the middle of a request never shows a last bucket that differs from the count.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Upper bounds with the durations in each bucket.
    pub(super) fn bounded(&self) -> [(f64, u64); 16] {
        std::array::from_fn(|index| {
            (BOUNDS.get(index).copied().unwrap_or(f64::INFINITY), self.buckets[index])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_of_bounds_say_the_same_and_grow() {
        for (seconds, nanoseconds) in BOUNDS.iter().zip(NANOSECONDS) {
            assert_eq!(Duration::from_secs_f64(*seconds).as_nanos(), u128::from(nanoseconds));
        }
        assert!(NANOSECONDS.is_sorted());
    }

    #[test]
    fn a_duration_on_a_bound_is_inside_and_one_past_it_is_not() {
        let histogram = Histogram::default();
        for nanoseconds in [0, 500_000, 500_001, 60_000_000_000, 60_000_000_001, u64::MAX] {
            histogram.record(nanoseconds);
        }
        let mut totals = Totals::default();
        totals.add(&histogram, 0);
        assert_eq!(totals.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(totals.count(), 6);
        assert!(totals.bounded()[15].0.is_infinite());
    }
}
