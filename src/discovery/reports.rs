//! What a source says, and what becomes of it: the set in use, the log, the figures.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::Keeper;
use super::failure::{Failure, Kind};
use super::set::Set;

/// Who has answered for so long, without a failure, works.
pub(super) const STEADY: Duration = Duration::from_secs(5);

/// Takes what a source says. Nothing here waits.
#[derive(Debug)]
pub struct Reports {
    upstream: Box<str>,
    origin: Box<str>,
    inner: Mutex<Inner>,
    used: watch::Sender<Arc<Set>>,
    /// Good answers so far.
    answers: watch::Sender<u64>,
    /// Whether the source has been heard, or has failed once.
    settled: watch::Sender<bool>,
    /// A doubt, or a failure, may have begun or ended.
    turned: Notify,
}

#[derive(Debug)]
struct Inner {
    keeper: Keeper,
    /// When the last good answer came; before this process for a stored set.
    good: Option<Good>,
    updates: u64,
    failures: [u64; Kind::ALL.len()],
    /// The last failure, while it lasts.
    failure: Option<String>,
    /// Since when it answers without a failure.
    answers_since: Option<Instant>,
    /// The kinds that were logged since it worked last.
    told: BTreeSet<Kind>,
    unusable: usize,
    complaint: String,
}

#[derive(Clone, Copy, Debug)]
struct Good {
    at: Instant,
    /// The age that it had then.
    age: Duration,
}

/// How a source is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No answer yet.
    Waiting,
    /// The last answer is in use.
    Following,
    /// The last answer took so much away that it is not believed yet.
    Doubting,
    /// It does not answer; the last good set is in use.
    Failing,
}

/// How a source is doing, for metrics and the status page.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// What is followed.
    pub origin: String,
    /// How it goes.
    pub state: State,
    /// Endpoints of the set in use.
    pub endpoints: usize,
    /// Time since the last good answer; absent before the first.
    pub age_seconds: Option<f64>,
    /// Answers that changed the set.
    pub updates: u64,
    /// Entries of the last answer that are no endpoints.
    pub unusable: usize,
    /// Why it does not answer; absent when it does.
    pub failure: Option<String>,
    /// Failures so far, in the order of [`Kind::ALL`].
    #[serde(skip)]
    pub failures: [u64; Kind::ALL.len()],
}

impl Reports {
    /// Begins with a set that is used until the first answer.
    pub(super) fn new(upstream: &str, origin: &str, kept: Arc<Set>) -> Reports {
        Reports {
            upstream: upstream.into(),
            origin: origin.into(),
            used: watch::Sender::new(kept.clone()),
            answers: watch::Sender::new(0),
            settled: watch::Sender::new(false),
            turned: Notify::new(),
            inner: Mutex::new(Inner {
                keeper: Keeper::new(kept),
                good: None,
                updates: 0,
                failures: [0; Kind::ALL.len()],
                failure: None,
                answers_since: None,
                told: BTreeSet::new(),
                unusable: 0,
                complaint: String::new(),
            }),
        }
    }

    /// Begins with the set that another source has found, until the first answer of this one.
    pub(super) fn after(before: &Reports, origin: &str) -> Reports {
        let (kept, good) = (before.used(), before.lock().good);
        let reports = Reports::new(&before.upstream, origin, kept);
        reports.lock().good = good;
        reports
    }

    /// The full state, as the source knows it now.
    pub fn found(&self, set: Set) {
        let mut inner = self.lock();
        self.complain(&mut inner, &set);
        let before = inner.keeper.used().clone();
        let changed = inner.keeper.answer(Arc::new(set), Instant::now());
        self.good(inner, &before, changed);
    }

    /// What the source said last still holds.
    pub fn unchanged(&self) {
        let mut inner = self.lock();
        let before = inner.keeper.used().clone();
        let changed = inner.keeper.unchanged(Instant::now());
        self.good(inner, &before, changed);
    }

    /// The source does not answer. For failures after which `follow` goes on by itself; others are
    /// returned from it.
    pub fn failed(&self, failure: &Failure) {
        let mut inner = self.lock();
        let text = failure.chain();
        if let Some(count) =
            Kind::ALL.iter().position(|kind| *kind == failure.kind).and_then(|at| inner.failures.get_mut(at))
        {
            *count += 1;
        }
        if inner.told.insert(failure.kind) {
            let (upstream, source, reason) = (&*self.upstream, &*self.origin, failure.kind.name());
            let kept = inner.keeper.used().len();
            warn!(upstream, source, reason, error = %text, kept, "discovery failed, the last endpoints stay");
        }
        inner.failure = Some(text);
        inner.answers_since = None;
        inner.keeper.failed();
        drop(inner);
        self.turned.notify_one();
        self.settled.send_replace(true);
    }

    fn good(&self, mut inner: MutexGuard<'_, Inner>, before: &Set, changed: Option<Arc<Set>>) {
        let (upstream, source) = (&*self.upstream, &*self.origin);
        inner.good = Some(Good { at: Instant::now(), age: Duration::ZERO });
        inner.failure = None;
        inner.answers_since.get_or_insert_with(Instant::now);
        if let Some(set) = changed {
            inner.updates += 1;
            let (added, removed) = (before.lacks(&set), set.lacks(before));
            let endpoints = set.len();
            match added + removed {
                0 => debug!(upstream, source, endpoints, "endpoints say something else"),
                _ => info!(upstream, source, endpoints, added, removed, "endpoints discovered"),
            }
            self.used.send_replace(set);
        }
        if inner.keeper.doubts() && inner.keeper.ask_again_at().is_some() {
            let kept = inner.keeper.used().len();
            debug!(upstream, source, kept, "the answer lacks too much to be believed yet");
        }
        drop(inner);
        self.answers.send_modify(|count| *count += 1);
        self.turned.notify_one();
        self.settled.send_replace(true);
    }

    /// Says that a source works again, when it has for a while.
    fn works(&self) {
        let mut inner = self.lock();
        if inner.is_steady() && !inner.told.is_empty() {
            inner.told.clear();
            info!(upstream = &*self.upstream, source = &*self.origin, "discovery works again");
        }
    }

    /// Says once what of an answer can not be used.
    fn complain(&self, inner: &mut Inner, set: &Set) {
        inner.unusable = set.unusable();
        let complaint = set.complaint();
        if complaint != inner.complaint && !complaint.is_empty() {
            let (upstream, source, unusable) = (&*self.upstream, &*self.origin, set.unusable());
            warn!(upstream, source, unusable, examples = %complaint, "entries that are no endpoints");
        }
        inner.complaint = complaint;
    }

    /// Uses a set that was stored so long ago, unless there is one already.
    pub(super) fn restore(&self, set: Arc<Set>, age: Duration) {
        let mut inner = self.lock();
        if !inner.keeper.used().is_empty() || set.is_empty() {
            return;
        }
        let (upstream, source, endpoints) = (&*self.upstream, &*self.origin, set.len());
        info!(upstream, source, endpoints, age_seconds = age.as_secs(), "stored endpoints are used");
        inner.keeper = Keeper::restored(set.clone());
        inner.good = Some(Good { at: Instant::now(), age });
        self.used.send_replace(set);
    }

    /// The set in use, and its changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Set>> {
        self.used.subscribe()
    }

    /// The number of good answers so far, and every further one.
    pub(super) fn subscribe_answers(&self) -> watch::Receiver<u64> {
        self.answers.subscribe()
    }

    /// The set in use.
    pub(super) fn used(&self) -> Arc<Set> {
        self.used.borrow().clone()
    }

    /// Whether the source has answered for a while without a failure.
    pub(super) fn is_steady(&self) -> bool {
        self.lock().is_steady()
    }

    /// Returns when the source is to be asked again because of a doubt; says meanwhile when it works
    /// again. Cancel-safe.
    pub(super) async fn ask_again(&self) {
        loop {
            let (again, steady) = {
                let inner = self.lock();
                (inner.keeper.ask_again_at(), inner.steady_at())
            };
            tokio::select! {
                () = until(again) => {
                    self.lock().keeper.asked_again();
                    return;
                }
                () = until(steady) => self.works(),
                () = self.turned.notified() => {}
            }
        }
    }

    /// Returns when the source has been heard, or has failed. Cancel-safe.
    pub(super) async fn settled(&self) {
        // The sender lives in `self`, so the channel is not closed.
        let _ = self.settled.subscribe().wait_for(|settled| *settled).await;
    }

    /// How the source is doing.
    pub(super) fn status(&self) -> Status {
        let inner = self.lock();
        let state = match (&inner.failure, *self.answers.borrow()) {
            (Some(_), _) => State::Failing,
            (None, 0) => State::Waiting,
            (None, _) if inner.keeper.doubts() => State::Doubting,
            (None, _) => State::Following,
        };
        Status {
            origin: self.origin.to_string(),
            state,
            endpoints: inner.keeper.used().len(),
            age_seconds: inner.good.map(|good| (good.at.elapsed() + good.age).as_secs_f64()),
            updates: inner.updates,
            unusable: inner.unusable,
            failure: inner.failure.clone(),
            failures: inner.failures,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn is_steady(&self) -> bool {
        self.answers_since.is_some_and(|since| since.elapsed() >= STEADY)
    }

    /// When it is to be told that the source works again.
    fn steady_at(&self) -> Option<Instant> {
        self.answers_since.filter(|_| !self.told.is_empty()).map(|since| since + STEADY)
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
