//! How long to wait before a source is asked again.

use std::time::Duration;

use super::failure::Kind;

/// The pauses after failures in a row: each up to twice as long as the one before, with jitter.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// Failures that cost the source nothing.
    cheap: u32,
    /// Others, of whatever kinds.
    costly: u32,
    /// Rounds that ended without a failure.
    ends: u32,
}

/// Between the end of a watch without a failure and the next one: first and longest.
const AT_ONCE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Who does not accept connections is not burdened by another try, and is found soon after it is back.
const CHEAP: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Everything else costs the source work.
const COSTLY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

impl Pauses {
    /// The pause after a failure; `random` from 0 to 1. A registry that refused connections for long
    /// and then says 500 is on its way back, so the two are counted apart.
    pub(super) fn after(&mut self, kind: Kind, random: f64) -> Duration {
        let full = match kind {
            Kind::Unreachable => next(&mut self.cheap, CHEAP),
            Kind::Tls | Kind::Timeout | Kind::Denied | Kind::Missing | Kind::Refused | Kind::Invalid => {
                next(&mut self.costly, COSTLY)
            }
        };
        full.mul_f64(0.5 + random / 2.0)
    }

    /// The pause after an end without a failure.
    pub(super) fn after_end(&mut self) -> Duration {
        next(&mut self.ends, AT_ONCE)
    }

    /// The source has worked for a while.
    pub(super) fn reset(&mut self) {
        *self = Pauses::default();
    }
}

fn next(count: &mut u32, (first, longest): (Duration, Duration)) -> Duration {
    let full = first.saturating_mul(1 << (*count).min(16)).min(longest);
    *count = count.saturating_add(1);
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_vary_by_half() {
        let mut pauses = Pauses::default();
        let millis: Vec<_> = (0..9).map(|_| pauses.after(Kind::Refused, 1.0).as_millis()).collect();
        assert_eq!(millis, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
        assert_eq!(pauses.after(Kind::Refused, 0.0).as_millis(), 7500);
        (0..1000).for_each(|_| assert!(pauses.after(Kind::Unreachable, 1.0) <= Duration::from_secs(1)));
    }

    #[test]
    fn another_kind_of_failure_does_not_begin_anew() {
        let mut pauses = Pauses::default();
        let kinds = [Kind::Timeout, Kind::Denied, Kind::Unreachable, Kind::Timeout, Kind::Unreachable];
        let millis = kinds.map(|kind| pauses.after(kind, 1.0).as_millis());
        assert_eq!(millis, [250, 500, 100, 1000, 200], "but a registry may have been away");
        pauses.reset();
        assert_eq!(pauses.after(Kind::Denied, 1.0).as_millis(), 250);
    }

    #[test]
    fn ends_without_a_failure_that_follow_each_other_get_pauses_too() {
        let mut pauses = Pauses::default();
        let millis: Vec<_> = (0..6).map(|_| pauses.after_end().as_millis()).collect();
        assert_eq!(millis, [50, 100, 200, 400, 800, 1000]);
        pauses.reset();
        assert_eq!(pauses.after_end().as_millis(), 50);
    }
}
