//! Outlier ejection: what the traffic itself shows about an endpoint.
//!
//! Workers report every outcome. The success of a sound endpoint costs one relaxed load and no
//! write; everything else is counted on failures only. The state lives in the endpoint's
//! [`Standing`](crate::endpoint::Standing) and survives rebuilds and reloads; concurrent reports
//! may lose a step of it, never more.
//!
//! ```text
//! sound ── failures in a row, or too large a share ──▶ ejected ── time ──▶ probation
//!   ▲                                                     ▲                 │     │
//!   └──────────────────── success ────────────────────────│─────────────────┘     │
//!                                                         └─────── failure ───────┘
//! ```

use std::time::Duration;

use super::settings;
use crate::endpoint::{EjectionCause, Endpoint, Moment, WindowStart};

/// How an attempt at an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a whole response of this status.
    Answered(u16),
    /// No connection.
    ConnectFailed,
    /// The connection broke, or what came back was not HTTP.
    Reset,
    /// No answer in time.
    TimedOut,
    /// Given up for a reason of ours or of the client; says nothing about the endpoint.
    Abandoned,
}

impl Outcome {
    /// Whether the endpoint is at fault.
    pub fn is_failure(self) -> bool {
        match self {
            Outcome::Answered(status) => matches!(status, 502..=504),
            Outcome::ConnectFailed | Outcome::Reset | Outcome::TimedOut => true,
            Outcome::Abandoned => false,
        }
    }
}

/// What follows from an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Keep,
    /// The endpoint should take no traffic for a while; whoever knows the upstream decides.
    Eject(EjectionCause),
}

/// The rules of outlier ejection.
#[derive(Clone, Copy, Debug)]
pub struct Outlier {
    settings: settings::Outlier,
}

impl Outlier {
    /// The rules of these settings.
    pub fn new(settings: settings::Outlier) -> Outlier {
        Outlier { settings }
    }

    /// Endpoints of `all` that may be ejected at one time.
    pub fn most_ejected(&self, all: usize) -> usize {
        self.settings.max_ejected.of(all)
    }

    /// Takes a success. The caller has seen that the endpoint is suspected.
    pub fn observe_success(&self, endpoint: &Endpoint, now: Moment) {
        // The late answer to a request from before the ejection is no sign of recovery.
        if !endpoint.standing.is_ejected(now) {
            endpoint.clear_suspicion();
        }
    }

    /// Takes a failure and counts it.
    pub fn observe_failure(&self, endpoint: &Endpoint, now: Moment) -> Verdict {
        let was_on_probation = endpoint.on_probation();
        let in_a_row = endpoint.count_failure();
        if endpoint.standing.is_ejected(now) {
            return Verdict::Keep;
        }
        if was_on_probation {
            return Verdict::Eject(EjectionCause::Probation);
        }
        if self.settings.consecutive_failures.get().is_some_and(|limit| in_a_row >= limit) {
            return Verdict::Eject(EjectionCause::ConsecutiveFailures);
        }
        match self.share_is_too_large(endpoint, now) {
            true => Verdict::Eject(EjectionCause::ErrorRatio),
            false => Verdict::Keep,
        }
    }

    /// Carries an ejection out and returns its length.
    pub fn eject(&self, endpoint: &Endpoint, cause: EjectionCause, now: Moment) -> Duration {
        let last_end = endpoint.standing.ejected_until();
        // An endpoint that was well for as long as the longest ejection starts anew.
        let in_a_row = match now.since(last_end) < settings::Outlier::MAX_EJECTION.get() {
            true => endpoint.standing.consecutive_ejections().saturating_add(1),
            false => 1,
        };
        let length = self.settings.base_ejection.get().saturating_mul(in_a_row);
        let length = length.min(settings::Outlier::MAX_EJECTION.get());
        endpoint.standing.eject(now.after(length), in_a_row, cause);
        self.forgive(endpoint);
        endpoint.begin_probation();
        length
    }

    /// Begins to count anew, when an ejection had to be refused because too many are out.
    pub fn forgive(&self, endpoint: &Endpoint) {
        endpoint.clear_suspicion();
        endpoint.standing.set_window(None);
    }

    /// The share of failures in the window. It opens with a failure, so that a success never has
    /// to write: requests are counted anyway, and only their number at the opening is kept.
    fn share_is_too_large(&self, endpoint: &Endpoint, now: Moment) -> bool {
        let Some(ratio) = self.settings.error_ratio.get() else { return false };
        let (requests, failures) = (endpoint.requests(), endpoint.failures());
        let open = endpoint
            .standing
            .window()
            .filter(|window| now.since(window.at) < settings::Outlier::WINDOW.get());
        let Some(window) = open else {
            let (requests, failures) = (requests.saturating_sub(1), failures.saturating_sub(1));
            endpoint.standing.set_window(Some(WindowStart { at: now, requests, failures }));
            return false;
        };
        let requests = requests.saturating_sub(window.requests);
        let failures = failures.saturating_sub(window.failures);
        requests >= u64::from(settings::Outlier::MIN_REQUESTS)
            && failures as f64 >= ratio.as_f64() * requests as f64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::endpoint::InFlight;
    use crate::units::{Limit, Ratio, Timeout};

    const START: Moment = Moment(1_000_000);

    fn later(seconds: u64) -> Moment {
        START.after(Duration::from_secs(seconds))
    }

    /// One endpoint, its rules and the ejections that follow.
    struct Scene {
        outlier: Outlier,
        endpoint: Arc<Endpoint>,
    }

    impl Scene {
        fn new(settings: settings::Outlier) -> Scene {
            let endpoint = Arc::new(Endpoint::new("127.0.0.1:1".parse().unwrap()));
            Scene { outlier: Outlier::new(settings), endpoint }
        }

        fn succeed(&self, now: Moment) {
            drop(InFlight::begin(self.endpoint.clone()));
            self.outlier.observe_success(&self.endpoint, now);
        }

        fn fail(&self, now: Moment) -> Verdict {
            drop(InFlight::begin(self.endpoint.clone()));
            self.outlier.observe_failure(&self.endpoint, now)
        }

        /// Fails as often, expecting nothing to follow.
        fn fail_unnoticed(&self, times: u32, now: Moment) {
            (0..times).for_each(|_| assert_eq!(self.fail(now), Verdict::Keep));
        }
    }

    fn only_ratio() -> settings::Outlier {
        settings::Outlier { consecutive_failures: Limit::Off, ..settings::Outlier::default() }
    }

    const IN_A_ROW: Verdict = Verdict::Eject(EjectionCause::ConsecutiveFailures);
    const SHARE: Verdict = Verdict::Eject(EjectionCause::ErrorRatio);
    const AGAIN: Verdict = Verdict::Eject(EjectionCause::Probation);

    #[test]
    fn five_failures_in_a_row_eject() {
        let scene = Scene::new(settings::Outlier::default());
        scene.fail_unnoticed(4, START);
        assert_eq!(scene.fail(START), IN_A_ROW);
    }

    #[test]
    fn a_success_between_failures_begins_the_count_anew() {
        let scene = Scene::new(settings::Outlier::default());
        scene.fail_unnoticed(4, START);
        scene.succeed(START);
        scene.fail_unnoticed(4, START);
    }

    #[test]
    fn half_of_twenty_requests_eject_and_of_nineteen_do_not() {
        let scene = Scene::new(only_ratio());
        scene.fail_unnoticed(10, START);
        (0..9).for_each(|_| scene.succeed(START));
        assert_eq!(scene.endpoint.requests(), 19);
        assert_eq!(scene.fail(START), SHARE);
    }

    #[test]
    fn a_small_share_of_failures_does_not_eject() {
        let scene = Scene::new(only_ratio());
        for _ in 0..50 {
            scene.fail_unnoticed(1, START);
            (0..2).for_each(|_| scene.succeed(START));
        }
    }

    #[test]
    fn failures_of_an_earlier_window_are_forgotten() {
        let scene = Scene::new(only_ratio());
        scene.fail_unnoticed(19, START);
        scene.fail_unnoticed(19, later(10));
        assert_eq!(scene.fail(later(19)), SHARE);
    }

    #[test]
    fn requests_before_the_window_do_not_dilute_it() {
        let scene = Scene::new(only_ratio());
        (0..10_000).for_each(|_| scene.succeed(START));
        scene.fail_unnoticed(19, START);
        assert_eq!(scene.fail(START), SHARE);
    }

    #[test]
    fn a_rule_that_is_off_ejects_nobody() {
        let scene = Scene::new(settings::Outlier { error_ratio: Limit::Off, ..only_ratio() });
        scene.fail_unnoticed(1_000, START);
    }

    #[test]
    fn each_ejection_lasts_longer_up_to_a_minute() {
        let scene = Scene::new(settings::Outlier { base_ejection: Timeout::from_secs(25), ..only_ratio() });
        let mut now = START;
        let mut lengths = Vec::new();
        for _ in 0..4 {
            let length = scene.outlier.eject(&scene.endpoint, EjectionCause::Probation, now);
            lengths.push(length.as_secs());
            now = now.after(length);
        }
        assert_eq!(lengths, [25, 50, 60, 60]);
    }

    #[test]
    fn an_endpoint_that_was_well_for_a_minute_starts_anew() {
        let scene = Scene::new(settings::Outlier::default());
        let eject = |now| scene.outlier.eject(&scene.endpoint, EjectionCause::ErrorRatio, now).as_secs();
        assert_eq!((eject(START), eject(later(64)), eject(later(74 + 60))), (5, 10, 5));
    }

    #[test]
    fn the_first_failure_after_an_ejection_ejects_again() {
        let scene = Scene::new(settings::Outlier::default());
        scene.outlier.eject(&scene.endpoint, EjectionCause::ConsecutiveFailures, START);
        assert_eq!(scene.fail(later(6)), AGAIN);
    }

    #[test]
    fn a_success_after_an_ejection_ends_the_probation() {
        let scene = Scene::new(settings::Outlier::default());
        scene.outlier.eject(&scene.endpoint, EjectionCause::ConsecutiveFailures, START);
        scene.succeed(later(6));
        assert!(!scene.endpoint.is_suspected());
        scene.fail_unnoticed(4, later(7));
        assert_eq!(scene.fail(later(7)), IN_A_ROW);
    }

    #[test]
    fn what_ends_during_an_ejection_changes_nothing() {
        let scene = Scene::new(settings::Outlier::default());
        scene.outlier.eject(&scene.endpoint, EjectionCause::ConsecutiveFailures, START);
        scene.succeed(later(1));
        assert!(scene.endpoint.on_probation());
        scene.fail_unnoticed(100, later(2));
        assert!(!scene.endpoint.standing.is_ejected(later(5)));
    }

    #[test]
    fn a_refused_ejection_begins_the_count_anew() {
        let scene = Scene::new(settings::Outlier::default());
        scene.fail_unnoticed(4, START);
        assert_eq!(scene.fail(START), IN_A_ROW);
        scene.outlier.forgive(&scene.endpoint);
        scene.fail_unnoticed(4, START);
    }

    #[test]
    fn never_more_than_the_allowed_share_is_ejected() {
        let outlier = Outlier::new(settings::Outlier { max_ejected: Ratio::percent(50), ..only_ratio() });
        assert_eq!([1, 2, 3, 10].map(|all| outlier.most_ejected(all)), [0, 1, 1, 5]);
    }

    #[test]
    fn only_the_endpoint_s_own_faults_are_failures() {
        for outcome in [Outcome::ConnectFailed, Outcome::Reset, Outcome::TimedOut] {
            assert!(outcome.is_failure());
        }
        assert!([502, 503, 504].iter().all(|status| Outcome::Answered(*status).is_failure()));
        assert!([200, 404, 500, 501, 505].iter().all(|status| !Outcome::Answered(*status).is_failure()));
        assert!(!Outcome::Abandoned.is_failure());
    }
}
