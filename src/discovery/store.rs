//! Sets on disk, in `server.state_dir`, so that a start does not depend on a source.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::set::{Draft, Found, Set};
use crate::units::Weight;

/// Largest file that is read.
const MOST_BYTES: u64 = 32 << 20;

/// A directory for sets, or none, in which case nothing is kept.
#[derive(Clone, Debug, Default)]
pub struct Store(Option<Arc<Path>>);

/// A set that was stored.
#[derive(Debug, PartialEq)]
pub struct Stored {
    /// The source that it came from.
    pub origin: String,
    /// When.
    pub at: SystemTime,
    /// The endpoints.
    pub set: Set,
}

/// Why a set could not be stored or read.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct StoreError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub reason: Reason,
}

type Reason = Box<dyn std::error::Error + Send + Sync>;

/// What a file says.
#[derive(Serialize, Deserialize)]
struct Document {
    origin: String,
    /// Seconds since 1970.
    at: u64,
    endpoints: Vec<Record>,
}

/// An endpoint in a file.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    address: String,
    #[serde(default)]
    host: String,
    weight: u32,
    priority: u32,
    zone: String,
    metadata: BTreeMap<String, String>,
}

impl Record {
    pub(super) fn of(found: &Found) -> Record {
        Record {
            address: found.location.to_string(),
            host: found.host.clone(),
            weight: found.weight.0,
            priority: found.priority,
            zone: found.zone.clone(),
            metadata: found.metadata.clone(),
        }
    }

    pub(super) fn add_to(self, draft: &mut Draft) {
        match self.address.parse() {
            Ok(location) => draft.add(Found {
                location,
                host: self.host,
                weight: Weight(self.weight),
                priority: self.priority,
                zone: self.zone,
                metadata: self.metadata,
            }),
            Err(_) => draft.refuse(self.address),
        }
    }
}

impl Store {
    /// A store in this directory, which is made when it is first needed.
    pub fn new(directory: Option<PathBuf>) -> Store {
        Store(directory.map(Arc::from))
    }

    /// Whether there is a directory.
    pub fn keeps(&self) -> bool {
        self.0.is_some()
    }

    /// The set under this name; `None` when there is none. Blocks.
    ///
    /// # Errors
    /// A file that can not be read, or holds something else.
    pub fn load(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let Some(Document { origin, at, endpoints }) = self.read(name)? else { return Ok(None) };
        let mut draft = Draft::default();
        endpoints.into_iter().for_each(|record: Record| record.add_to(&mut draft));
        let set = draft.finish().map_err(|failure| self.error(name, failure))?;
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(at)).unwrap_or(UNIX_EPOCH);
        Ok(Some(Stored { origin, at, set }))
    }

    /// Replaces the set under this name. Blocks.
    ///
    /// # Errors
    /// When the directory can not be written to.
    pub fn save(&self, name: &str, origin: &str, set: &Set) -> Result<(), StoreError> {
        let endpoints = set.found().iter().map(Record::of).collect();
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.write(name, &Document { origin: origin.to_owned(), at, endpoints })
    }

    /// Reads a document. Blocks.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let Some(path) = self.path(name) else { return Ok(None) };
        let mut text = Vec::new();
        match fs::File::open(&path) {
            Ok(file) => file.take(MOST_BYTES).read_to_end(&mut text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error),
        }
        .map_err(|error| self.error(name, error))?;
        serde_json::from_slice(&text).map(Some).map_err(|error| self.error(name, error))
    }

    /// Replaces a document: the file is the old one or the new one, whatever happens. Blocks.
    pub(super) fn write<T: Serialize>(&self, name: &str, document: &T) -> Result<(), StoreError> {
        let Some(path) = self.path(name) else { return Ok(()) };
        let write = || -> Result<(), Reason> {
            if let Some(directory) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            }
            let fresh = path.with_extension(fresh_extension());
            let renamed = fill(&fresh, document).and_then(|()| Ok(fs::rename(&fresh, &path)?));
            if renamed.is_err() {
                // Where it was not made, there is nothing to remove.
                let _ = fs::remove_file(&fresh);
            }
            renamed
        };
        write().map_err(|reason| self.error(name, reason))
    }

    fn error(&self, name: &str, reason: impl Into<Reason>) -> StoreError {
        StoreError { path: self.path(name).unwrap_or_default(), reason: reason.into() }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.0.as_ref().map(|directory| directory.join(format!("{name}.json")))
    }
}

/// Another one for every write: two that write the same document at the same time, perhaps in two
/// processes, do not write into one file.
fn fresh_extension() -> String {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    format!("json.{}-{}.new", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed))
}

fn fill<T: Serialize>(path: &Path, document: &T) -> Result<(), Reason> {
    let mut file = fs::File::create(path)?;
    file.write_all(&serde_json::to_vec_pretty(document)?)?;
    Ok(file.sync_data()?)
}

#[cfg(test)]
mod tests {
    use super::super::set::tests::set;
    use super::*;

    #[test]
    fn a_set_is_read_as_it_was_stored() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(directory.path().join("state/deep")));
        assert_eq!(store.load("users").unwrap(), None);
        let mut draft = Draft::default();
        let mut found = Found::at("10.0.0.1:80".parse().unwrap());
        found.metadata.insert("version".to_owned(), "2".to_owned());
        draft.add(Found {
            host: "a.example".to_owned(),
            weight: Weight(7),
            priority: 2,
            zone: "a".to_owned(),
            ..found
        });
        draft.add_at("users.internal:80");
        let set = draft.finish().unwrap();
        store.save("users", "file x", &set).unwrap();
        let stored = store.load("users").unwrap().unwrap();
        assert_eq!((stored.origin.as_str(), &stored.set), ("file x", &set));
        assert!(stored.at.elapsed().unwrap() < Duration::from_secs(10));
    }

    #[test]
    fn a_broken_file_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(directory.path().to_owned()));
        for text in ["", "{", "[]", "{\"origin\":\"x\",\"at\":1,\"endpoints\":[{}]}"] {
            fs::write(directory.path().join("users.json"), text).unwrap();
            assert!(store.load("users").unwrap_err().path.ends_with("users.json"), "{text}");
        }
    }

    #[test]
    fn writes_at_the_same_time_do_not_disturb_each_other_and_leave_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(Some(directory.path().to_owned()));
        let write = |place: &str| {
            (0..50).for_each(|_| store.save("users", "file x", &set(&[place])).unwrap());
        };
        std::thread::scope(|scope| {
            scope.spawn(|| write("a:1"));
            scope.spawn(|| write("b:1"));
        });
        assert_eq!(store.load("users").unwrap().unwrap().set.len(), 1);
        fs::create_dir(directory.path().join("other.json")).unwrap();
        assert!(store.save("other", "file x", &set(&["a:1"])).is_err(), "a directory is in its place");
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["other.json", "users.json"]);
    }

    #[test]
    fn without_a_directory_nothing_is_kept() {
        let store = Store::default();
        store.save("users", "file x", &set(&["a:1"])).unwrap();
        assert_eq!(store.load("users").unwrap(), None);
    }
}
