//! When results of checks in a row change the state of an endpoint.

use std::num::NonZeroU32;

use super::Check;
use crate::endpoint::CheckState;

/// Turns results into a state: so many failures in a row to fall, so many successes to rise.
///
/// An endpoint that nothing is known about takes traffic. Its first success makes it healthy at
/// once, since there is nothing bad to outweigh; failures count as they always do.
#[derive(Clone, Debug)]
pub struct Judge {
    fall: NonZeroU32,
    rise: NonZeroU32,
    state: CheckState,
    /// Results in a row that speak against the state.
    against: u32,
}

impl Judge {
    /// A judge that begins with what is known already.
    pub fn new(settings: &Check, state: CheckState) -> Judge {
        Judge { fall: settings.unhealthy, rise: settings.healthy, state, against: 0 }
    }

    /// Takes over what somebody else has published meanwhile; results in a row begin anew then.
    pub fn adopt(&mut self, state: CheckState) {
        if self.state != state {
            self.state = state;
            self.against = 0;
        }
    }

    /// Takes a result; the new state if it changed.
    pub fn step(&mut self, passed: bool) -> Option<CheckState> {
        let (next, needed) = match (self.state, passed) {
            (CheckState::Healthy, true) | (CheckState::Unhealthy, false) => {
                self.against = 0;
                return None;
            }
            (CheckState::Unknown, true) => (CheckState::Healthy, 1),
            (CheckState::Unhealthy, true) => (CheckState::Healthy, self.rise.get()),
            (CheckState::Healthy | CheckState::Unknown, false) => (CheckState::Unhealthy, self.fall.get()),
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.state = next;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs results ('+' and '-') through a judge with fall 3 and rise 2; a letter for each state.
    fn states(start: CheckState, results: &str) -> String {
        let mut judge = Judge::new(&Check::default(), start);
        let letter = |state| match state {
            CheckState::Unknown => '?',
            CheckState::Healthy => 'H',
            CheckState::Unhealthy => 'U',
        };
        let step = |result| {
            judge.step(result == '+');
            letter(judge.state)
        };
        results.chars().map(step).collect()
    }

    #[test]
    fn so_many_failures_in_a_row_make_it_unhealthy() {
        assert_eq!(states(CheckState::Healthy, "--+--+---"), "HHHHHHHHU");
    }

    #[test]
    fn so_many_successes_in_a_row_make_it_healthy_again() {
        assert_eq!(states(CheckState::Unhealthy, "+-+-++"), "UUUUUH");
    }

    #[test]
    fn the_first_success_of_an_unknown_endpoint_is_enough() {
        assert_eq!(states(CheckState::Unknown, "+--"), "HHH");
    }

    #[test]
    fn an_unknown_endpoint_falls_like_a_healthy_one() {
        assert_eq!(states(CheckState::Unknown, "---"), "??U");
        assert_eq!(states(CheckState::Unknown, "--+---"), "??HHHU");
    }

    #[test]
    fn a_state_that_somebody_else_has_published_is_judged_from_then_on() {
        let mut judge = Judge::new(&Check::default(), CheckState::Healthy);
        judge.step(false);
        judge.adopt(CheckState::Unhealthy);
        assert_eq!([true, true].map(|passed| judge.step(passed)), [None, Some(CheckState::Healthy)]);
        judge.step(false);
        judge.adopt(CheckState::Healthy);
        assert_eq!([false, false].map(|passed| judge.step(passed)), [None, Some(CheckState::Unhealthy)]);
    }

    #[test]
    fn only_changes_are_told() {
        let mut judge = Judge::new(&Check::default(), CheckState::Unknown);
        let told: Vec<_> = [true, true, false, false, false, false].map(|passed| judge.step(passed)).into();
        let unhealthy = Some(CheckState::Unhealthy);
        assert_eq!(told, [Some(CheckState::Healthy), None, None, None, unhealthy, None]);
    }
}
