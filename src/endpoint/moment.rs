//! The clock that all workers share.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

/// Milliseconds on the process's monotonic clock: one origin for all threads, so that a moment
/// fits an atomic that workers and the control plane both read. Stands still with tokio's test clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// The present.
    pub fn now() -> Moment {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        // Never 0, which atomics use for "not set".
        Moment(
            Instant::now().saturating_duration_since(*ORIGIN.get_or_init(Instant::now)).as_millis() as u64
                + 1,
        )
    }

    /// This moment and a span more.
    pub fn after(self, span: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The span since `earlier`; zero when it lies ahead.
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_the_runtime() {
        let start = Moment::now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(Moment::now().since(start), Duration::from_secs(5));
        assert_eq!(start.since(Moment::now()), Duration::ZERO);
        assert_eq!(start.after(Duration::from_secs(5)), Moment::now());
    }
}
