//! The last active checks of an endpoint: the answer to "why is it unhealthy?".

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Checks that are remembered.
const CAPACITY: usize = 8;

/// One active check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckRecord {
    /// When it ended, on the wall clock.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Why it failed; `None` when it passed.
    pub failure: Option<String>,
}

/// The last eight checks, oldest first. Off the hot path, hence a mutex.
#[derive(Debug, Default)]
pub struct CheckHistory(Mutex<VecDeque<CheckRecord>>);

impl CheckHistory {
    /// Remembers a check, forgetting the oldest when full.
    pub fn push(&self, record: CheckRecord) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if records.len() == CAPACITY {
            records.pop_front();
        }
        records.push_back(record);
    }

    /// The checks, oldest first.
    pub fn to_vec(&self) -> Vec<CheckRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Why the latest check failed; `None` when it passed or there was none.
    pub fn last_failure(&self) -> Option<String> {
        let records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.back().and_then(|record| record.failure.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u64, failure: Option<&str>) -> CheckRecord {
        let took = Duration::from_millis(number);
        CheckRecord { at: SystemTime::UNIX_EPOCH, took, failure: failure.map(str::to_owned) }
    }

    #[test]
    fn only_the_latest_checks_are_kept() {
        let history = CheckHistory::default();
        (0..20).for_each(|number| history.push(record(number, None)));
        let took: Vec<_> = history.to_vec().iter().map(|record| record.took.as_millis()).collect();
        assert_eq!(took, (12..20).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_failure_is_gone_after_a_check_that_passed() {
        let history = CheckHistory::default();
        assert_eq!(history.last_failure(), None);
        history.push(record(1, Some("status 500")));
        assert_eq!(history.last_failure().as_deref(), Some("status 500"));
        history.push(record(2, None));
        assert_eq!(history.last_failure(), None);
    }
}
