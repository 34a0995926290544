//! Endpoints that an operator or a deploy script adds and drains while the proxy runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::{info, warn};

use super::set::{Draft, Found};
use super::store::{Record, Store, StoreError};
use crate::endpoint::Location;
use crate::units::Weight;

/// What was pushed to one upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// Endpoints of its own.
    pub added: Vec<Found>,
    /// Other weights for endpoints from elsewhere, as long as they are there.
    pub weights: BTreeMap<Location, Weight>,
    /// Places that take no new requests, wherever they come from.
    pub drained: BTreeSet<Location>,
}

/// Whether a change outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It is on disk.
    Stored,
    /// There is no `server.state_dir`.
    Forgotten,
}

/// What was pushed to one upstream, as it changes. It outlives the upstream of one configuration.
#[derive(Debug)]
pub struct Pushed {
    upstream: Box<str>,
    current: watch::Sender<Arc<Push>>,
    loaded: watch::Sender<bool>,
    /// Whether what was stored has been compared with what is there.
    compared: AtomicBool,
    store: OnceLock<Store>,
    /// Writes go one after another, each with what is current then. Held by blocking threads only.
    writing: Mutex<()>,
}

/// What a file says.
#[derive(Serialize, Deserialize)]
struct Document {
    added: Vec<Record>,
    #[serde(default)]
    weights: BTreeMap<String, u32>,
    drained: BTreeSet<String>,
}

impl Pushed {
    /// Nothing was pushed yet.
    pub fn new(upstream: &str) -> Pushed {
        Pushed {
            upstream: upstream.into(),
            current: watch::Sender::default(),
            loaded: watch::Sender::new(false),
            compared: AtomicBool::new(false),
            store: OnceLock::new(),
            writing: Mutex::new(()),
        }
    }

    /// What is pushed now.
    pub fn current(&self) -> Arc<Push> {
        self.current.borrow().clone()
    }

    /// What is pushed now and later.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Push>> {
        self.current.subscribe()
    }

    /// Changes it.
    pub fn change(&self, change: impl FnOnce(&mut Push)) {
        self.current.send_modify(|push| change(Arc::make_mut(push)));
    }

    /// Takes what was stored, once; it is kept in this store from now on. A file that can not be read
    /// is none, said aloud.
    pub async fn load(self: &Arc<Self>, store: &Store) {
        if self.store.set(store.clone()).is_err() {
            return;
        }
        let (store, name) = (store.clone(), self.name());
        let read = tokio::task::spawn_blocking(move || store.read::<Document>(&name)).await;
        match read {
            Ok(Ok(Some(document))) => self.restore(document),
            Ok(Ok(None)) | Err(_) => {}
            Ok(Err(error)) => {
                warn!(file = %error.path.display(), %error, "pushed endpoints can not be used");
            }
        }
        self.loaded.send_replace(true);
    }

    /// Returns when what was stored has been taken. Cancel-safe.
    pub async fn loaded(&self) {
        // The sender lives in `self`, so the channel is not closed.
        let _ = self.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    /// Whether nobody has asked this before: what was stored is compared once with what is there.
    pub fn is_to_compare(&self) -> bool {
        !self.compared.swap(true, Ordering::Relaxed)
    }

    /// Writes what is current to the disk. When the future is dropped, the write goes on.
    ///
    /// # Errors
    /// When the directory can not be written to; the change holds until the process ends.
    pub async fn save(self: &Arc<Self>) -> Result<Kept, StoreError> {
        let Some(store) = self.store.get().filter(|store| store.keeps()).cloned() else {
            return Ok(Kept::Forgotten);
        };
        let pushed = self.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let _turn = pushed.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let push = pushed.current();
            let document = Document {
                added: push.added.iter().map(Record::of).collect(),
                weights: push.weights.iter().map(|(place, weight)| (place.to_string(), weight.0)).collect(),
                drained: push.drained.iter().map(ToString::to_string).collect(),
            };
            store.write(&pushed.name(), &document)
        });
        // The write does not panic, and nobody aborts it.
        writing.await.unwrap_or(Ok(())).map(|()| Kept::Stored)
    }

    fn restore(&self, document: Document) {
        let mut draft = Draft::default();
        document.added.into_iter().for_each(|record| record.add_to(&mut draft));
        let added = draft.finish().map(|set| set.found().to_vec()).unwrap_or_default();
        let drained: BTreeSet<Location> =
            document.drained.iter().filter_map(|place| place.parse().ok()).collect();
        let weights = document.weights.iter();
        let weights: BTreeMap<Location, Weight> =
            weights.filter_map(|(place, weight)| Some((place.parse().ok()?, Weight(*weight)))).collect();
        if added.is_empty() && weights.is_empty() && drained.is_empty() {
            return;
        }
        let (upstream, endpoints, draining) = (&*self.upstream, added.len(), drained.len());
        info!(upstream, endpoints, draining, "pushed endpoints are used again");
        self.change(|push| *push = Push { added, weights, drained });
    }

    fn name(&self) -> String {
        format!("pushed-{}", self.upstream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_pushed_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(directory.path().to_owned()));
        let first = Arc::new(Pushed::new("users"));
        first.load(&store).await;
        first.change(|push| {
            push.added.push(Found::at("10.0.0.1:80".parse().unwrap()));
            push.weights.insert("10.0.0.3:80".parse().unwrap(), Weight(7));
            push.drained.insert("10.0.0.2:80".parse().unwrap());
        });
        assert_eq!(first.save().await.unwrap(), Kept::Stored);
        let second = Arc::new(Pushed::new("users"));
        second.load(&store).await;
        second.loaded().await;
        assert_eq!(second.current(), first.current());
        let other = Arc::new(Pushed::new("other"));
        other.load(&store).await;
        assert_eq!(*other.current(), Push::default());
    }

    #[tokio::test]
    async fn a_file_without_weights_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"{"added": [], "drained": ["10.0.0.2:80"]}"#;
        std::fs::write(directory.path().join("pushed-users.json"), text).unwrap();
        let pushed = Arc::new(Pushed::new("users"));
        pushed.load(&Store::new(Some(directory.path().to_owned()))).await;
        assert_eq!((pushed.current().drained.len(), pushed.current().weights.len()), (1, 0));
    }

    #[tokio::test]
    async fn without_a_directory_it_is_forgotten() {
        let pushed = Arc::new(Pushed::new("users"));
        pushed.load(&Store::default()).await;
        assert_eq!(pushed.save().await.unwrap(), Kept::Forgotten);
    }

    #[tokio::test]
    async fn a_broken_file_stops_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("pushed-users.json"), "{").unwrap();
        let pushed = Arc::new(Pushed::new("users"));
        pushed.load(&Store::new(Some(directory.path().to_owned()))).await;
        pushed.loaded().await;
        assert_eq!(*pushed.current(), Push::default());
    }
}
