//! The budget that the retries of an upstream share.
//!
//! Retries help while few requests fail and are the storm itself when many do. So every request
//! pays a share of a token in, every retry takes a whole one out, and a token is worth less the
//! older it is. The model is Finagle's `RetryBudget`; the expiry is exponential here, which needs
//! no buckets and makes the whole state one word.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::config::upstream::Budget as Settings;
use crate::endpoint::Moment;

/// How long a token lasts, and how many seconds of `min_per_second` are there from the start.
const LIFETIME: Duration = Duration::from_secs(10);

/// One token in the units of the state.
const TOKEN: f64 = 1_000_000.0;

/// The clock of the state, coarse enough to fit beside the tokens.
const TICK: Duration = Duration::from_millis(16);
const TICK_BITS: u32 = 24;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;
const TOKEN_MASK: u64 = (1 << (64 - TICK_BITS)) - 1;

/// Workers read the clock before they settle, so one may come a little late.
const LATE_TICKS: u64 = 256;

/// A token bucket shared by all workers, lock-free. Over any time `t` it allows at most
/// `retry * requests + min_per_second * (t + 10 s)` retries.
#[derive(Debug)]
pub struct Budget {
    share: f64,
    min_per_second: f64,
    requests: Lanes,
    /// The tick of the last settlement above, millionths of tokens below.
    state: AtomicU64,
}

impl Budget {
    /// A budget with its reserve full, so that the first requests after a start may be retried.
    pub fn new(settings: Settings, now: Moment) -> Budget {
        let min_per_second = f64::from(settings.min_per_second);
        let reserve = min_per_second * LIFETIME.as_secs_f64() * TOKEN;
        Budget {
            share: settings.retry.as_f64(),
            min_per_second,
            requests: Lanes::default(),
            state: AtomicU64::new(pack(tick(now), reserve)),
        }
    }

    /// Counts a request: one addition on a cache line of the calling thread.
    pub fn deposit(&self) {
        self.requests.add();
    }

    /// Takes the token of a retry; `false` when there is none and the retry should not happen.
    pub fn try_spend(&self, now: Moment) -> bool {
        let requests = self.requests.take();
        let mut state = self.state.load(Relaxed);
        loop {
            let (at, tokens) = self.settle(state, now, requests);
            let spent = tokens >= TOKEN;
            let left = if spent { tokens - TOKEN } else { tokens };
            match self.state.compare_exchange_weak(state, pack(at, left), Relaxed, Relaxed) {
                Ok(_) => return spent,
                Err(current) => state = current,
            }
        }
    }

    /// Brings a state to the present: old tokens fade, the requests since then pay in as if they
    /// had come evenly.
    fn settle(&self, state: u64, now: Moment, requests: u64) -> (u64, f64) {
        let (at, tokens) = ((state >> (64 - TICK_BITS)), (state & TOKEN_MASK) as f64);
        let paid = self.share * requests as f64 * TOKEN;
        let elapsed = tick(now).wrapping_sub(at) & TICK_MASK;
        if elapsed == 0 || elapsed > TICK_MASK - LATE_TICKS {
            return (at, tokens + paid);
        }
        let seconds = elapsed as f64 * TICK.as_secs_f64();
        let lifetime = LIFETIME.as_secs_f64();
        let kept = (-seconds / lifetime).exp();
        let per_second = self.min_per_second * TOKEN + paid / seconds;
        (tick(now), tokens * kept + per_second * lifetime * (1.0 - kept))
    }
}

fn tick(now: Moment) -> u64 {
    (now.0 / TICK.as_millis() as u64) & TICK_MASK
}

fn pack(tick: u64, tokens: f64) -> u64 {
    tick << (64 - TICK_BITS) | (tokens as u64).min(TOKEN_MASK)
}

/// A counter that every thread adds to in a place of its own.
#[derive(Debug, Default)]
struct Lanes([Lane; 16]);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane(AtomicU64);

impl Lanes {
    fn add(&self) {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local!(static LANE: Cell<usize> = Cell::new(NEXT.fetch_add(1, Relaxed)));
        self.0[LANE.get() % self.0.len()].0.fetch_add(1, Relaxed);
    }

    /// What was added since the last call; each addition is taken once.
    fn take(&self) -> u64 {
        let nonzero = self.0.iter().filter(|lane| lane.0.load(Relaxed) != 0);
        nonzero.map(|lane| lane.0.swap(0, Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::Ratio;

    const START: Moment = Moment(1_000_000);

    fn budget(percent: u16, min_per_second: u32) -> Budget {
        Budget::new(Settings { retry: Ratio::percent(percent), min_per_second }, START)
    }

    fn later(milliseconds: u64) -> Moment {
        START.after(Duration::from_millis(milliseconds))
    }

    /// Takes all tokens that are there.
    fn drain(budget: &Budget, now: Moment) -> u32 {
        (0..).take_while(|_| budget.try_spend(now)).count() as u32
    }

    #[test]
    fn the_first_retries_after_a_start_are_allowed() {
        assert_eq!(drain(&budget(20, 3), START), 30);
        assert_eq!(drain(&budget(20, 0), START), 0);
    }

    #[test]
    fn five_requests_pay_for_one_retry() {
        let budget = budget(20, 0);
        (0..4).for_each(|_| budget.deposit());
        assert!(!budget.try_spend(START));
        budget.deposit();
        assert!(budget.try_spend(START));
        assert!(!budget.try_spend(START));
    }

    #[test]
    fn without_requests_the_minimum_comes_back() {
        let budget = budget(20, 3);
        drain(&budget, START);
        let spent: u32 = (1..=600).map(|step| drain(&budget, later(step * 100))).sum();
        assert!((174..=180).contains(&spent), "{spent} in a minute");
    }

    #[test]
    fn a_storm_is_held_to_its_share() {
        let budget = budget(20, 3);
        let mut retries = 0;
        for request in 0..60_000 {
            budget.deposit();
            retries += u32::from(budget.try_spend(later(request)));
        }
        assert!((11_900..=12_210).contains(&retries), "{retries} of 60,000");
    }

    #[test]
    fn old_tokens_expire() {
        let budget = budget(20, 3);
        (0..10_000).for_each(|_| budget.deposit());
        assert!(budget.try_spend(later(16)));
        assert_eq!(drain(&budget, later(200_000)), 30);
    }

    #[test]
    fn the_clock_of_the_state_may_wrap_and_workers_may_be_late() {
        let wrap = (TICK_MASK + 1) * TICK.as_millis() as u64;
        let settings = Settings { retry: Ratio::percent(0), min_per_second: 3 };
        let budget = Budget::new(settings, Moment(wrap - 1_000));
        drain(&budget, Moment(wrap - 1_000));
        assert_eq!(drain(&budget, Moment(wrap - 1_500)), 0, "late");
        assert_eq!(drain(&budget, Moment(wrap + 1_000)), 5, "two seconds");
    }

    #[test]
    fn threads_never_spend_a_token_twice() {
        let budget = budget(0, 100);
        let spent: u32 = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| drain(&budget, START))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert_eq!(spent, 1_000);
    }

    proptest! {
        #[test]
        fn retries_never_exceed_what_was_paid(steps in prop::collection::vec((0_u64..2_000, 0_u32..50, 0_u32..50), 1..60)) {
            let budget = budget(20, 3);
            let (mut now, mut requests, mut retries) = (0, 0, 0);
            for (wait, paid, wanted) in steps {
                now += wait;
                requests += paid;
                (0..paid).for_each(|_| budget.deposit());
                retries += (0..wanted).filter(|_| budget.try_spend(later(now))).count();
                // One tick of rounding.
                let allowed = 0.2 * f64::from(requests) + 3.0 * (now as f64 / 1_000.0 + 10.016);
                prop_assert!(retries as f64 <= allowed + 0.001, "{retries} of {allowed}");
            }
        }
    }
}
