//! How long to wait before a source is asked again.

use std::time::Duration;

use super::failure::Kind;

/// The pauses after failures in a row: each up to twice as long as the one before, with jitter.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    last: Option<Kind>,
    failures: u32,
}

impl Pauses {
    /// The pause after a failure; `random` from 0 to 1. Another kind of failure begins anew: a
    /// registry that refuses connections and then says 500 is on its way back.
    pub(super) fn after(&mut self, kind: Kind, random: f64) -> Duration {
        if self.last.replace(kind) != Some(kind) {
            self.failures = 0;
        }
        let (first, longest) = bounds(kind);
        let full = first.saturating_mul(1 << self.failures.min(16)).min(longest);
        self.failures += 1;
        full.mul_f64(0.5 + random / 2.0)
    }

    /// The source has answered.
    pub(super) fn reset(&mut self) {
        *self = Pauses::default();
    }
}

/// The first and the longest pause. Who does not accept connections is not burdened by another try,
/// and is found soon after it is back; everything else costs the source work.
fn bounds(kind: Kind) -> (Duration, Duration) {
    match kind {
        Kind::Unreachable => (Duration::from_millis(100), Duration::from_secs(1)),
        Kind::Tls | Kind::Timeout | Kind::Denied | Kind::Missing | Kind::Refused | Kind::Invalid => {
            (Duration::from_millis(250), Duration::from_secs(15))
        }
    }
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
    fn an_answer_or_another_kind_of_failure_begins_anew() {
        let mut pauses = Pauses::default();
        (0..5).for_each(|_| assert!(pauses.after(Kind::Timeout, 1.0).as_millis() >= 250));
        assert_eq!(pauses.after(Kind::Denied, 1.0).as_millis(), 250);
        pauses.after(Kind::Denied, 1.0);
        pauses.reset();
        assert_eq!(pauses.after(Kind::Denied, 1.0).as_millis(), 250);
    }
}
