//! What a source says, and what becomes of it: the set in use, the log, the figures.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::Keeper;
use super::failure::{Failure, Kind};
use super::set::Set;

/// Takes what a source says. Nothing here waits.
#[derive(Debug)]
pub struct Reports {
    upstream: Box<str>,
    origin: Box<str>,
    inner: Mutex<Inner>,
    used: watch::Sender<Arc<Set>>,
    /// Whether the source has been heard, or has failed once.
    settled: watch::Sender<bool>,
    /// A doubt may have begun or ended.
    doubted: Notify,
}

#[derive(Debug)]
struct Inner {
    keeper: Keeper,
    /// When the last good answer came; before this process for a stored set.
    good: Option<Good>,
    updates: u64,
    answers: u64,
    failures: [u64; Kind::ALL.len()],
    /// The last failure, while it lasts.
    failure: Option<String>,
    /// The kinds that were logged since the last good answer.
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
            settled: watch::Sender::new(false),
            doubted: Notify::new(),
            inner: Mutex::new(Inner {
                keeper: Keeper::new(kept),
                good: None,
                updates: 0,
                answers: 0,
                failures: [0; Kind::ALL.len()],
                failure: None,
                told: BTreeSet::new(),
                unusable: 0,
                complaint: String::new(),
            }),
        }
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
        inner.keeper.failed();
        drop(inner);
        self.doubted.notify_one();
        self.settled.send_replace(true);
    }

    fn good(&self, mut inner: MutexGuard<'_, Inner>, before: &Set, changed: Option<Arc<Set>>) {
        let (upstream, source) = (&*self.upstream, &*self.origin);
        inner.good = Some(Good { at: Instant::now(), age: Duration::ZERO });
        inner.answers += 1;
        if inner.failure.take().is_some() {
            inner.told.clear();
            info!(upstream, source, "discovery works again");
        }
        if let Some(set) = changed {
            inner.updates += 1;
            let (added, removed) = (before.lacks(&set), set.lacks(before));
            info!(upstream, source, endpoints = set.len(), added, removed, "endpoints discovered");
            self.used.send_replace(set);
        }
        if inner.keeper.doubts() && inner.keeper.ask_again_at().is_some() {
            let kept = inner.keeper.used().len();
            tracing::debug!(upstream, source, kept, "the answer lacks too much to be believed yet");
        }
        drop(inner);
        self.doubted.notify_one();
        self.settled.send_replace(true);
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
        inner.keeper = Keeper::new(set.clone());
        inner.good = Some(Good { at: Instant::now(), age });
        self.used.send_replace(set);
    }

    /// The set in use, and its changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Set>> {
        self.used.subscribe()
    }

    /// The set in use.
    pub(super) fn used(&self) -> Arc<Set> {
        self.used.borrow().clone()
    }

    /// Good answers so far.
    pub(super) fn answers(&self) -> u64 {
        self.lock().answers
    }

    /// Returns when the source is to be asked again because of a doubt. Cancel-safe.
    pub(super) async fn ask_again(&self) {
        loop {
            let at = self.lock().keeper.ask_again_at();
            let due = async {
                match at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    self.lock().keeper.asked_again();
                    return;
                }
                () = self.doubted.notified() => {}
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
        let state = match (&inner.failure, inner.answers) {
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
