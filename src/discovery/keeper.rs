//! What an answer is worth: the last good set, and doubts about answers that take too much away.
//!
//! Pure: answers and the clock go in, the set to use comes out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::set::Set;

/// How long an answer is doubted that takes everything away, or that comes after an outage and takes
/// more than half away. A registry that lost its data is filled again by the next heartbeats of its
/// services, which come every 30 s at most in the usual ones.
pub const DOUBT: Duration = Duration::from_secs(60);

/// Holds the set that is in use.
///
/// The latest answer wins, with one exception. An empty answer begins a doubt, and so does one that
/// lacks more than half of the endpoints when it is the first one after a failure or a start: for
/// [`DOUBT`] endpoints are added and changed, but none is removed. Then the source is asked again, and
/// its answer wins, whatever it is. An answer that has all endpoints again ends a doubt. After
/// a failure its time begins anew, but what it keeps does not grow: endpoints that came and went during
/// a doubt are not kept.
#[derive(Debug)]
pub(super) struct Keeper {
    used: Arc<Set>,
    last: Arc<Set>,
    doubt: Option<Doubt>,
    sight: Sight,
}

/// What is known about the source since its last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// It would have been seen to go away.
    Kept,
    /// It was away, or the proxy was.
    Lost,
}

#[derive(Debug)]
struct Doubt {
    /// Absent from a failure to the next answer.
    end: Option<Instant>,
    /// What no answer removes.
    before: Arc<Set>,
    asks: Asks,
}

/// Whether the source was asked again at the end of a doubt.
#[derive(Debug, PartialEq, Eq)]
enum Asks {
    Waiting,
    Asked,
}

impl Keeper {
    /// Begins with a set that is kept until the first answer.
    pub(super) fn new(kept: Arc<Set>) -> Keeper {
        Keeper { last: kept.clone(), used: kept, doubt: None, sight: Sight::Kept }
    }

    /// Begins with a set that was stored: what happened since is as unknown as after an outage.
    pub(super) fn restored(stored: Arc<Set>) -> Keeper {
        Keeper { sight: Sight::Lost, ..Keeper::new(stored) }
    }

    /// The set that is in use.
    pub(super) fn used(&self) -> &Arc<Set> {
        &self.used
    }

    /// Takes an answer; the set that is to be used from now on, if it is another one.
    pub(super) fn answer(&mut self, set: Arc<Set>, now: Instant) -> Option<Arc<Set>> {
        let is_suspicious = self.is_suspicious(&set);
        match &mut self.doubt {
            Some(doubt) if doubt.is_over(&set, now) => self.doubt = None,
            Some(doubt) => _ = doubt.end.get_or_insert(now + DOUBT),
            None if is_suspicious => {
                let before = self.used.clone();
                self.doubt = Some(Doubt { end: Some(now + DOUBT), before, asks: Asks::Waiting });
            }
            None => {}
        }
        self.sight = Sight::Kept;
        self.last = set.clone();
        let next = match &self.doubt {
            Some(doubt) => Arc::new(set.union(&doubt.before)),
            None => set,
        };
        if next.found() == self.used.found() {
            return None;
        }
        self.used = next.clone();
        Some(next)
    }

    /// The source says that its last answer still holds.
    pub(super) fn unchanged(&mut self, now: Instant) -> Option<Arc<Set>> {
        self.answer(self.last.clone(), now)
    }

    /// Takes note of a failure: what is used stays, and the time of a doubt begins anew with the next
    /// answer.
    pub(super) fn failed(&mut self) {
        self.sight = Sight::Lost;
        if let Some(doubt) = &mut self.doubt {
            (doubt.end, doubt.asks) = (None, Asks::Waiting);
        }
    }

    /// When the source is to be asked again because of a doubt; once for each doubt.
    pub(super) fn ask_again_at(&self) -> Option<Instant> {
        self.doubt.as_ref().filter(|doubt| doubt.asks == Asks::Waiting)?.end
    }

    /// It has been asked.
    pub(super) fn asked_again(&mut self) {
        if let Some(doubt) = &mut self.doubt {
            doubt.asks = Asks::Asked;
        }
    }

    fn is_suspicious(&self, set: &Set) -> bool {
        let is_doubted = match self.sight {
            Sight::Kept => set.is_empty(),
            Sight::Lost => true,
        };
        is_doubted && lacks_most(set, &self.used)
    }

    /// Whether endpoints are kept that the last answer does not have.
    pub(super) fn doubts(&self) -> bool {
        self.doubt.is_some()
    }
}

impl Doubt {
    /// Whether that answer ends it: in time it is one that has all again, or, after a failure, most.
    fn is_over(&self, set: &Set, now: Instant) -> bool {
        match self.end {
            Some(end) => now >= end || set.lacks(&self.before) == 0,
            None => !lacks_most(set, &self.before),
        }
    }
}

fn lacks_most(set: &Set, before: &Set) -> bool {
    set.lacks(before) * 2 > before.len()
}

#[cfg(test)]
mod tests {
    use super::super::set::tests::set;
    use super::*;

    const THREE: &[&str] = &["a:1", "b:1", "c:1"];

    fn keeper(places: &[&str]) -> Keeper {
        Keeper::new(Arc::new(set(places)))
    }

    fn answer(keeper: &mut Keeper, places: &[&str], now: Instant) -> Option<usize> {
        keeper.answer(Arc::new(set(places)), now).map(|set| set.len())
    }

    #[test]
    fn the_latest_answer_wins_and_an_equal_one_is_no_change() {
        let (mut keeper, now) = (keeper(&[]), Instant::now());
        assert_eq!(answer(&mut keeper, THREE, now), Some(3));
        assert_eq!(answer(&mut keeper, &["c:1", "b:1", "a:1"], now), None);
        assert_eq!(answer(&mut keeper, &["d:1"], now), Some(1), "a source that works may replace all");
        assert_eq!(keeper.unchanged(now), None);
    }

    #[test]
    fn an_empty_answer_removes_nothing_until_the_source_repeats_it_a_minute_later() {
        let (mut keeper, now) = (keeper(THREE), Instant::now());
        assert_eq!(answer(&mut keeper, &[], now), None);
        assert_eq!(answer(&mut keeper, &[], now + DOUBT / 2), None);
        assert_eq!(keeper.ask_again_at(), Some(now + DOUBT));
        keeper.asked_again();
        assert_eq!(keeper.ask_again_at(), None, "it is asked once");
        assert_eq!(keeper.unchanged(now + DOUBT).map(|set| set.len()), Some(0));
        assert!(!keeper.doubts());
    }

    #[test]
    fn a_registry_that_is_filled_again_piece_by_piece_removes_nothing() {
        let (mut keeper, now) = (keeper(THREE), Instant::now());
        assert_eq!(answer(&mut keeper, &[], now), None);
        assert_eq!(answer(&mut keeper, &["b:1"], now), None);
        assert_eq!(answer(&mut keeper, &["b:1", "d:1"], now), Some(4), "a new one is used at once");
        assert_eq!(answer(&mut keeper, &["a:1", "b:1", "c:1", "d:1"], now), None);
        assert!(!keeper.doubts());
        assert_eq!(answer(&mut keeper, &["d:1"], now), Some(1));
    }

    #[test]
    fn what_did_not_come_back_within_a_minute_is_removed() {
        let (mut keeper, now) = (keeper(THREE), Instant::now());
        answer(&mut keeper, &[], now);
        answer(&mut keeper, &["b:1"], now);
        assert_eq!(answer(&mut keeper, &["b:1"], now + DOUBT), Some(1));
    }

    #[test]
    fn after_an_outage_an_answer_that_lacks_more_than_half_is_doubted() {
        let (mut keeper, now) = (keeper(THREE), Instant::now());
        keeper.failed();
        assert_eq!(answer(&mut keeper, &["a:1"], now), None);
        assert!(keeper.doubts());
        keeper.failed();
        assert_eq!(answer(&mut keeper, &["a:1", "b:1"], now), Some(2), "most are there");
    }

    #[test]
    fn a_failure_begins_a_doubt_anew() {
        let (mut keeper, now) = (keeper(THREE), Instant::now());
        answer(&mut keeper, &[], now);
        keeper.failed();
        assert_eq!(answer(&mut keeper, &[], now + DOUBT), None);
        assert_eq!(keeper.ask_again_at(), Some(now + DOUBT * 2));
    }

    #[test]
    fn what_comes_and_goes_during_a_doubt_is_not_kept_however_often_the_source_fails() {
        let (mut keeper, mut now) = (keeper(THREE), Instant::now());
        for round in 0..20 {
            keeper.failed();
            now += DOUBT / 2;
            let fresh: Vec<String> =
                (0..3 + round % 2 * 40).map(|number| format!("r{round}n{number}:1")).collect();
            let fresh: Vec<&str> = fresh.iter().map(String::as_str).collect();
            answer(&mut keeper, &fresh, now);
            assert_eq!(keeper.used().len(), fresh.len() + THREE.len(), "round {round}");
        }
        assert_eq!(answer(&mut keeper, &["d:1"], now + DOUBT), Some(1), "a minute without a failure ends it");
    }

    #[test]
    fn half_of_what_was_stored_is_doubted_as_after_an_outage() {
        let (mut keeper, now) = (Keeper::restored(Arc::new(set(THREE))), Instant::now());
        assert_eq!(answer(&mut keeper, &["a:1"], now), None);
        assert!(keeper.doubts());
        assert_eq!(answer(&mut keeper, &["a:1"], now + DOUBT), Some(1));
    }

    #[test]
    fn the_first_answer_may_be_empty() {
        let (mut keeper, now) = (keeper(&[]), Instant::now());
        assert_eq!(answer(&mut keeper, &[], now), None);
        assert!(!keeper.doubts());
    }
}
