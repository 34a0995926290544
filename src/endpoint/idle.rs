//! How long an endpoint keeps an idle connection, learned from what it says and does.
//!
//! A request that is sent on a connection which the endpoint closes at that moment is lost, so a
//! pool must let go of it first. The endpoint tells its timeout in `Keep-Alive: timeout=5`, or shows
//! it: two idle closes at about the same age are a timeout, a single one may be a restart.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Closes of younger connections are restarts and errors, not timeouts.
const YOUNGEST: u32 = 1_000;

/// What an endpoint has shown of its idle timeout. Lock-free; concurrent lessons may overwrite
/// each other, which costs one more lesson.
#[derive(Debug, Default)]
pub struct IdleTimeout(AtomicU64);

/// The two halves of the atomic, in milliseconds; 0 is "nothing yet".
#[derive(Clone, Copy)]
struct Lessons {
    /// Believed.
    learned: u32,
    /// Seen once.
    candidate: u32,
}

impl IdleTimeout {
    /// The endpoint said `Keep-Alive: timeout=…`. A zero is not believed: it would disable reuse.
    pub fn announced(&self, timeout: Duration) {
        let said = milliseconds(timeout);
        let lessons = self.lessons();
        if said != 0 && said != lessons.learned {
            self.store(Lessons { learned: said, ..lessons });
        }
    }

    /// The endpoint closed a connection that had been idle for `age`.
    pub fn closed_at(&self, age: Duration) {
        let age = milliseconds(age);
        let lessons = self.lessons();
        if age < YOUNGEST || (lessons.learned != 0 && lessons.learned <= age) {
            return;
        }
        let alike = age.abs_diff(lessons.candidate) <= lessons.candidate / 8;
        self.store(match alike {
            true => Lessons { learned: age.min(lessons.candidate), candidate: 0 },
            false => Lessons { candidate: age, ..lessons },
        });
    }

    /// How long a connection may stay idle: `configured`, or less if the endpoint closes earlier. A
    /// fifth of the learned time, from 250 ms to 2 s, is left for a request that is under way.
    pub fn within(&self, configured: Duration) -> Duration {
        match self.learned() {
            Some(learned) => {
                let margin = (learned / 5).clamp(Duration::from_millis(250), Duration::from_secs(2));
                configured.min(learned.saturating_sub(margin))
            }
            None => configured,
        }
    }

    /// The endpoint's idle timeout, if it has shown one.
    pub fn learned(&self) -> Option<Duration> {
        let learned = self.lessons().learned;
        (learned != 0).then(|| Duration::from_millis(learned.into()))
    }

    fn lessons(&self) -> Lessons {
        let packed = self.0.load(Relaxed);
        Lessons { learned: (packed >> 32) as u32, candidate: packed as u32 }
    }

    fn store(&self, lessons: Lessons) {
        self.0.store(u64::from(lessons.learned) << 32 | u64::from(lessons.candidate), Relaxed);
    }
}

fn milliseconds(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURED: Duration = Duration::from_secs(60);

    #[test]
    fn an_announced_timeout_shortens_the_configured_one_with_a_margin() {
        let idle = IdleTimeout::default();
        assert_eq!(idle.within(CONFIGURED), CONFIGURED);
        idle.announced(Duration::from_secs(5));
        assert_eq!(idle.within(CONFIGURED), Duration::from_secs(4));
        idle.announced(Duration::from_secs(300));
        assert_eq!(idle.within(CONFIGURED), CONFIGURED);
    }

    #[test]
    fn one_close_is_a_restart_and_two_alike_are_a_timeout() {
        let idle = IdleTimeout::default();
        idle.closed_at(Duration::from_secs(10));
        assert_eq!(idle.learned(), None);
        idle.closed_at(Duration::from_secs(3));
        assert_eq!(idle.learned(), None);
        idle.closed_at(Duration::from_millis(3_100));
        assert_eq!(idle.learned(), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_close_of_a_young_connection_teaches_nothing() {
        let idle = IdleTimeout::default();
        idle.closed_at(Duration::from_millis(20));
        idle.closed_at(Duration::from_millis(20));
        assert_eq!(idle.learned(), None);
    }

    #[test]
    fn a_close_later_than_what_was_learned_changes_nothing() {
        let idle = IdleTimeout::default();
        idle.announced(Duration::from_secs(5));
        idle.closed_at(Duration::from_secs(8));
        idle.closed_at(Duration::from_secs(8));
        assert_eq!(idle.learned(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_zero_is_not_believed() {
        let idle = IdleTimeout::default();
        idle.announced(Duration::ZERO);
        assert_eq!(idle.within(CONFIGURED), CONFIGURED);
    }
}
