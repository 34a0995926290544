//! Runs a source and keeps what it found.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::pause::Pauses;
use super::reports::{Reports, STEADY, Status};
use super::set::Set;
use super::store::{Store, Stored};
use super::{Settings, Source, build};

/// Between two writes of the set to the disk: a burst of changes is one write.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
/// When a set that stays as it is gets written again, since the file says how old it is.
const SAVE_AGAIN: Duration = Duration::from_secs(60);
/// Between a write that failed and the next try.
const SAVE_RETRY: Duration = Duration::from_secs(10);

/// The endpoints that one source knows, as they change. It outlives the upstream of one
/// configuration: the next one with equal settings goes on with it.
#[derive(Debug)]
pub struct Feed {
    upstream: Box<str>,
    settings: Settings,
    reports: Arc<Reports>,
    task: OnceLock<JoinHandle<()>>,
}

impl Feed {
    /// A feed that is not followed yet; until the first answer it has the endpoints of the one before,
    /// which are as old as they were there.
    pub fn new(upstream: &str, settings: Settings, before: Option<&Feed>) -> Feed {
        let origin = build(upstream, &settings).origin();
        let reports = match before {
            Some(before) => Reports::after(&before.reports, &origin),
            None => Reports::new(upstream, &origin, Arc::default()),
        };
        let reports = Arc::new(reports);
        Feed { upstream: upstream.into(), settings, reports, task: OnceLock::new() }
    }

    /// Begins to follow the source on `runtime`, until the feed is dropped. What `store` has of it is
    /// used until the first answer. Further calls change nothing.
    pub fn start(&self, runtime: &Handle, store: &Store) {
        self.task.get_or_init(|| {
            let source = build(&self.upstream, &self.settings);
            runtime.spawn(run(self.upstream.clone(), source, self.reports.clone(), store.clone()))
        });
    }

    /// Follows the source no longer; the endpoints stay as they are. For a feed that another one with
    /// other settings takes over from, while exchanges still hold it: there is one file for both.
    pub fn retire(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// What it was made from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The endpoints now.
    pub fn used(&self) -> Arc<Set> {
        self.reports.used()
    }

    /// The endpoints now and later. The channel closes with the feed.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Set>> {
        self.reports.subscribe()
    }

    /// The number of good answers, now and later. The channel closes with the feed.
    pub fn subscribe_answers(&self) -> watch::Receiver<u64> {
        self.reports.subscribe_answers()
    }

    /// Returns when the source has been heard, or has failed once. Cancel-safe; the deadline is the
    /// caller's.
    pub async fn settled(&self) {
        self.reports.settled().await;
    }

    /// How the source is doing.
    pub fn status(&self) -> Status {
        self.reports.status()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.retire();
    }
}

async fn run(upstream: Box<str>, mut source: Box<dyn Source>, reports: Arc<Reports>, store: Store) {
    let file = StoredSet { name: format!("discovered-{upstream}"), origin: source.identity(), store };
    if let Some(stored) = file.load().await {
        let age = SystemTime::now().duration_since(stored.at).unwrap_or_default();
        reports.restore(Arc::new(stored.set), age);
    }
    tokio::join!(follow(&mut *source, &reports), keep(&reports, &file));
}

/// Stores what is used: after the first answer, since what is stored may be of another source, after a
/// change, and now and then.
async fn keep(reports: &Reports, file: &StoredSet) {
    let mut answers = reports.subscribe_answers();
    if *answers.borrow() > 0 {
        answers.mark_changed();
    }
    let mut stored: Option<(Arc<Set>, Instant)> = None;
    // The channel lives as long as `reports`.
    while answers.changed().await.is_ok() {
        let set = reports.used();
        let is_stored =
            |(before, at): &(Arc<Set>, Instant)| Arc::ptr_eq(before, &set) && at.elapsed() < SAVE_AGAIN;
        if stored.as_ref().is_some_and(is_stored) {
            continue;
        }
        match file.save(set.clone()).await {
            Saved::Written => {
                stored = Some((set, Instant::now()));
                sleep(SAVE_INTERVAL).await;
            }
            Saved::Failed => {
                stored = None;
                sleep(SAVE_RETRY).await;
                answers.mark_changed();
            }
        }
    }
}

async fn follow(source: &mut dyn Source, reports: &Reports) {
    let mut pauses = Pauses::default();
    loop {
        let begun = Instant::now();
        let ended = tokio::select! {
            ended = source.follow(reports) => ended,
            () = reports.ask_again() => {
                pauses.reset();
                Ok(())
            }
        };
        // One whose list works and whose watch fails answers in every round.
        if reports.is_steady() && begun.elapsed() >= STEADY {
            pauses.reset();
        }
        let pause = match ended {
            Ok(()) => pauses.after_end(),
            Err(failure) => {
                reports.failed(&failure);
                pauses.after(failure.kind, fastrand::f64())
            }
        };
        sleep(pause).await;
    }
}

/// How a write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saved {
    Written,
    Failed,
}

/// Where the set of one upstream is stored.
struct StoredSet {
    name: String,
    origin: String,
    store: Store,
}

impl StoredSet {
    /// The stored set of this origin. One that can not be read is none, said aloud.
    async fn load(&self) -> Option<Stored> {
        let (store, name) = (self.store.clone(), self.name.clone());
        let loaded = tokio::task::spawn_blocking(move || store.load(&name)).await.ok()?;
        match loaded {
            Ok(stored) => stored.filter(|stored| stored.origin == self.origin),
            Err(error) => {
                warn!(file = %error.path.display(), %error, "stored endpoints can not be used");
                None
            }
        }
    }

    async fn save(&self, set: Arc<Set>) -> Saved {
        let (store, name, origin) = (self.store.clone(), self.name.clone(), self.origin.clone());
        let saved = tokio::task::spawn_blocking(move || store.save(&name, &origin, &set)).await;
        match saved {
            Ok(Err(error)) => {
                warn!(file = %error.path.display(), %error, "endpoints can not be stored");
                Saved::Failed
            }
            // Nobody aborts it.
            Ok(Ok(())) | Err(_) => Saved::Written,
        }
    }
}

#[cfg(test)]
mod tests;
