//! What active checks and traffic have shown about an endpoint: the atomics behind its fitness.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::Moment;

/// Health by active check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CheckState {
    /// Not decided yet; counts as healthy.
    #[default]
    Unknown = 0,
    /// Passed.
    Healthy = 1,
    /// Failed.
    Unhealthy = 2,
}

/// Why traffic had an endpoint ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EjectionCause {
    /// Too many failures in a row.
    ConsecutiveFailures = 1,
    /// Too large a share of failures.
    ErrorRatio = 2,
    /// A failure before the first success after an ejection.
    Probation = 3,
}

impl EjectionCause {
    /// The name in logs and status.
    pub fn name(self) -> &'static str {
        match self {
            EjectionCause::ConsecutiveFailures => "consecutive_failures",
            EjectionCause::ErrorRatio => "error_ratio",
            EjectionCause::Probation => "probation",
        }
    }
}

/// The state of active checks and of outlier ejection. `health` is the only writer; all atomics
/// are independent facts, so relaxed order is enough.
#[derive(Debug, Default)]
pub struct Standing {
    check: AtomicU8,
    cause: AtomicU8,
    ejections: AtomicU64,
    consecutive_ejections: AtomicU32,
    ejected_until: AtomicU64,
    window: Window,
}

/// Counts at the beginning of the window in which the share of failures is measured.
#[derive(Debug, Default)]
struct Window {
    opened: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// The window as it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowStart {
    /// When.
    pub at: Moment,
    /// Requests until then.
    pub requests: u64,
    /// Failures until then.
    pub failures: u64,
}

impl Standing {
    /// Health by active check.
    pub fn check(&self) -> CheckState {
        match self.check.load(Relaxed) {
            1 => CheckState::Healthy,
            2 => CheckState::Unhealthy,
            _ => CheckState::Unknown,
        }
    }

    /// Publishes what a check decided.
    pub fn set_check(&self, state: CheckState) {
        self.check.store(state as u8, Relaxed);
    }

    /// Whether traffic keeps the endpoint out at `now`.
    pub fn is_ejected(&self, now: Moment) -> bool {
        now < self.ejected_until()
    }

    /// The end of the latest ejection; moment 0 when there was none.
    pub fn ejected_until(&self) -> Moment {
        Moment(self.ejected_until.load(Relaxed))
    }

    /// Ejections so far; a counter that nothing resets.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Relaxed)
    }

    /// Ejections in a row, which lengthen the next one.
    pub fn consecutive_ejections(&self) -> u32 {
        self.consecutive_ejections.load(Relaxed)
    }

    /// Why the latest ejection happened.
    pub fn ejection_cause(&self) -> Option<EjectionCause> {
        [EjectionCause::ConsecutiveFailures, EjectionCause::ErrorRatio, EjectionCause::Probation]
            .into_iter()
            .find(|cause| *cause as u8 == self.cause.load(Relaxed))
    }

    /// Publishes an ejection, which is that number in a row.
    pub fn eject(&self, until: Moment, in_a_row: u32, cause: EjectionCause) {
        self.cause.store(cause as u8, Relaxed);
        self.ejections.fetch_add(1, Relaxed);
        self.consecutive_ejections.store(in_a_row, Relaxed);
        self.ejected_until.store(until.0, Relaxed);
    }

    /// Ends an ejection early; the next one is the first in a row.
    pub fn forget_ejections(&self) {
        self.consecutive_ejections.store(0, Relaxed);
        self.ejected_until.store(0, Relaxed);
    }

    /// The open window; `None` before the first failure.
    pub fn window(&self) -> Option<WindowStart> {
        let at = Moment(self.window.opened.load(Relaxed));
        let requests = self.window.requests.load(Relaxed);
        let failures = self.window.failures.load(Relaxed);
        (at != Moment(0)).then_some(WindowStart { at, requests, failures })
    }

    /// Opens a window, or closes it for good with `None`.
    pub fn set_window(&self, window: Option<WindowStart>) {
        let start = window.unwrap_or(WindowStart { at: Moment(0), requests: 0, failures: 0 });
        self.window.requests.store(start.requests, Relaxed);
        self.window.failures.store(start.failures, Relaxed);
        self.window.opened.store(start.at.0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ejection_ends_by_the_clock() {
        let standing = Standing::default();
        assert!(!standing.is_ejected(Moment(1)));
        standing.eject(Moment(100), 1, EjectionCause::ErrorRatio);
        assert!(standing.is_ejected(Moment(99)));
        assert!(!standing.is_ejected(Moment(100)));
        assert_eq!(standing.ejection_cause(), Some(EjectionCause::ErrorRatio));
    }

    #[test]
    fn the_number_of_ejections_never_falls() {
        let standing = Standing::default();
        standing.eject(Moment(100), 1, EjectionCause::ErrorRatio);
        standing.eject(Moment(200), 2, EjectionCause::Probation);
        assert_eq!((standing.ejections(), standing.consecutive_ejections()), (2, 2));
        standing.forget_ejections();
        assert_eq!((standing.ejections(), standing.consecutive_ejections()), (2, 0));
        standing.eject(Moment(300), 1, EjectionCause::ErrorRatio);
        assert_eq!((standing.ejections(), standing.consecutive_ejections()), (3, 1));
    }

    #[test]
    fn a_check_state_is_read_as_it_was_written() {
        let standing = Standing::default();
        assert_eq!(standing.check(), CheckState::Unknown);
        for state in [CheckState::Healthy, CheckState::Unhealthy, CheckState::Unknown] {
            standing.set_check(state);
            assert_eq!(standing.check(), state);
        }
    }
}
