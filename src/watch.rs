//! Waits until files have another content: those of the configuration, lists of endpoints.
//!
//! The directories are watched, not the files: editors rename a new file over the old one, and
//! Kubernetes swaps a symbolic link beside it. What counts is the content: an event is only a reason
//! to read the files again and to compare their fingerprint. Where events are not to be had (limits
//! of inotify, network file systems) the files are compared every now and then instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use ::notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::aside::{Length, aside};

/// This long without an event: whoever writes has written.
const QUIET: Duration = Duration::from_millis(50);

/// A directory that never gets quiet is looked at this often.
const AT_MOST: Duration = Duration::from_secs(1);

/// Between two comparisons when there are no events.
const POLL: Duration = Duration::from_secs(2);

/// Between two comparisons when there are events: some file systems, such as NFS, tell only what
/// this machine did.
const SAFETY_POLL: Duration = Duration::from_secs(30);

/// This long a file that was written and not closed is waited for: half of it may be valid.
const UNFINISHED: Duration = Duration::from_secs(5);

/// As many links a path may lead through in Linux.
const MOST_LINKS: u32 = 40;

/// Reads the watched files: equal for equal content, `None` while they can not be read.
pub type Fingerprint = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

/// Watches some files whose content belongs together.
pub struct Watcher {
    fingerprint: Fingerprint,
    /// How long it takes to make one.
    length: Length,
    directories: BTreeSet<PathBuf>,
    names: Names,
    seen: u64,
    /// A reason to compare that no event tells.
    is_due: bool,
    /// The longest wait for quiet.
    at_most: Duration,
    signal: Arc<Wake>,
    events: Option<RecommendedWatcher>,
}

/// How a [`Watcher`] learns of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel tells.
    Events,
    /// Files are read every two seconds.
    Polling,
}

/// What the thread of the events tells.
#[derive(Debug, Default)]
struct Wake {
    changed: Notify,
    /// A watched directory was removed or renamed: what stands in its place is not watched.
    is_lost: AtomicBool,
    /// Watched files that were written and not closed yet, and since when.
    unfinished: Mutex<BTreeMap<PathBuf, std::time::Instant>>,
}

impl Wake {
    /// Notes who begins to write and who has ended.
    fn note(&self, event: &Event, names: &Names) {
        let watched = event.paths.iter().filter(|path| names.has(path));
        let mut unfinished = self.unfinished();
        match &event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => watched.for_each(|path| {
                unfinished.entry(path.clone()).or_insert_with(std::time::Instant::now);
            }),
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_) => watched.for_each(|path| {
                unfinished.remove(path);
            }),
            _ => {}
        }
    }

    /// How long a writer is still to be waited for.
    fn patience(&self) -> Option<Duration> {
        let unfinished = self.unfinished();
        let left = unfinished.values().filter_map(|since| UNFINISHED.checked_sub(since.elapsed()));
        left.max()
    }

    fn unfinished(&self) -> MutexGuard<'_, BTreeMap<PathBuf, std::time::Instant>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the watched files are called, wherever links lead; a pattern stands for all that end as it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names(BTreeSet<String>);

impl Names {
    fn of(files: &[PathBuf]) -> Names {
        let real = files.iter().filter_map(|file| file.canonicalize().ok());
        let all = files.iter().cloned().chain(real);
        Names(all.filter_map(|file| Some(file.file_name()?.to_str()?.to_owned())).collect())
    }

    fn has(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
        self.0.iter().any(|known| match known.rsplit_once('*') {
            Some((_, end)) => name.ends_with(end),
            None => name == known,
        })
    }
}

impl Watcher {
    /// Watches the directories of these files. `loaded` is the fingerprint of what was loaded: a
    /// change since then is found at once. Patterns count as files of their directory.
    pub fn new(files: impl IntoIterator<Item = PathBuf>, loaded: u64, fingerprint: Fingerprint) -> Watcher {
        let mut watcher = Watcher {
            fingerprint,
            length: Length::Short,
            directories: BTreeSet::new(),
            names: Names::default(),
            seen: loaded,
            is_due: true,
            at_most: AT_MOST,
            signal: Arc::default(),
            events: None,
        };
        watcher.follow(files, loaded);
        watcher
    }

    /// The same, but looks at most so long after an event, though more of them come: for files that
    /// are replaced often and whole.
    pub fn at_most(self, at_most: Duration) -> Watcher {
        Watcher { at_most, ..self }
    }

    /// Says how long it takes to read the files.
    pub fn set_length(&mut self, length: Length) {
        self.length = length;
    }

    /// Goes on with the files of another load.
    pub fn follow(&mut self, files: impl IntoIterator<Item = PathBuf>, loaded: u64) {
        let files: Vec<PathBuf> = files.into_iter().collect();
        let directories = files.iter().flat_map(|file| directories(file)).collect();
        let names = Names::of(&files);
        if directories != self.directories || names != self.names || self.events.is_none() {
            (self.directories, self.names) = (directories, names);
            self.watch();
        }
        self.seen = loaded;
        self.is_due = true;
    }

    /// How changes are learnt of at the moment.
    pub fn source(&self) -> Source {
        match self.events {
            Some(_) => Source::Events,
            None => Source::Polling,
        }
    }

    /// Whether somebody has written a watched file and not closed it yet.
    pub fn is_being_written(&self) -> bool {
        self.signal.patience().is_some()
    }

    /// The fingerprint of a content that is neither the one of the last load nor the one that was
    /// returned last. Cancel-safe.
    pub async fn changed(&mut self) -> u64 {
        loop {
            if let Some(fingerprint) = self.look().await {
                return fingerprint;
            }
        }
    }

    /// Waits for one reason to compare, and compares.
    async fn look(&mut self) -> Option<u64> {
        if !self.is_due {
            let pause = if self.events.is_some() { SAFETY_POLL } else { POLL };
            // Past the pause the files are compared without an event.
            let _event_or_pause = timeout(pause, self.signal.changed.notified()).await;
            self.is_due = true;
            self.settle().await;
        }
        self.wait_for_writers().await;
        if self.events.is_none() || self.signal.is_lost.swap(false, Ordering::Relaxed) {
            self.watch();
        }
        let fingerprint = self.fingerprint.clone();
        let now = aside(self.length, move || fingerprint()).await.ok().flatten();
        self.is_due = false;
        let now = now.filter(|now| *now != self.seen)?;
        self.seen = now;
        Some(now)
    }

    /// Returns when there were no events for a while.
    async fn settle(&self) {
        let end = Instant::now() + self.at_most;
        let quiet = async { while timeout(QUIET, self.signal.changed.notified()).await.is_ok() {} };
        tokio::select! {
            () = quiet => {}
            () = sleep(end - Instant::now()) => {}
        }
    }

    /// Returns when whoever writes a watched file has closed it, or takes too long.
    async fn wait_for_writers(&self) {
        while let Some(patience) = self.signal.patience() {
            let _event_or_patience = timeout(patience, self.signal.changed.notified()).await;
        }
    }

    /// Asks for the events of all directories; without one of them it is polling for all.
    fn watch(&mut self) {
        let was = self.source();
        // The old watches end before the new ones begin, so that the limit counts them once.
        self.events = None;
        // Nobody tells any more that these were closed.
        self.signal.unfinished().clear();
        match events(&self.directories, &self.names, &self.signal) {
            Ok(watcher) => self.events = Some(watcher),
            Err(error) if was == Source::Events => {
                tracing::info!(%error, "no events for watched files; they are read every 2 s");
            }
            Err(error) => tracing::debug!(%error, "still no events for watched files"),
        }
    }
}

/// The directories whose entries decide what a path leads to: its own, the one of the file that it
/// really is, and those of all links on the way.
fn directories(file: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::from([parent(file)]);
    found.extend(std::fs::canonicalize(file).ok().map(|real| parent(&real)));
    let mut ways = vec![file.to_owned()];
    let mut links_left = MOST_LINKS;
    while let Some(way) = ways.pop() {
        for part in way.ancestors() {
            let Ok(target) = std::fs::read_link(part) else { continue };
            if links_left == 0 {
                return found;
            }
            links_left -= 1;
            let rest = way.strip_prefix(part).unwrap_or(Path::new(""));
            ways.push(parent(part).join(target).join(rest));
            found.insert(parent(part));
        }
    }
    found
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn events(
    directories: &BTreeSet<PathBuf>,
    names: &Names,
    signal: &Arc<Wake>,
) -> ::notify::Result<RecommendedWatcher> {
    let mut watched = directories.clone();
    watched.extend(directories.iter().filter_map(|directory| directory.canonicalize().ok()));
    let (signal, names) = (signal.clone(), names.clone());
    let mut watcher = ::notify::recommended_watcher(move |event: ::notify::Result<Event>| {
        let is_another_file =
            |event: &Event| is_content(&event.kind) && !event.paths.iter().any(|path| names.has(path));
        if event.as_ref().is_ok_and(|event| is_reading(&event.kind) || is_another_file(event)) {
            return;
        }
        if let Ok(event) = &event {
            signal.note(event, &names);
        }
        let is_about_directory = |event: &Event| event.paths.iter().any(|path| watched.contains(path));
        if event.as_ref().map_or(true, is_about_directory) {
            signal.is_lost.store(true, Ordering::Relaxed);
        }
        signal.changed.notify_one();
    })?;
    for directory in directories {
        watcher.watch(directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

/// Whether nothing was written, as when the fingerprint is taken.
fn is_reading(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
        EventKind::Access(_) => true,
        _ => false,
    }
}

/// Whether bytes of a file were written, and no name has come to stand for another one: of a file that is
/// not watched, such as a log beside it, that is nothing to look for.
fn is_content(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Modify(ModifyKind::Data(_)) | EventKind::Access(AccessKind::Close(AccessMode::Write))
    )
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher")
            .field("directories", &self.directories)
            .field("seen", &self.seen)
            .field("source", &self.source())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
