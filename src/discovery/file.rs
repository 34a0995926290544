//! A file with a list of endpoints, followed as it changes.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::list::{self, Writer};
use super::{Failure, Kind, Pending, Reports, Set, Source};
use crate::watch::Watcher;

/// Largest file.
const MOST_BYTES: u64 = 16 << 20;
/// The fingerprints of what was not looked at yet, and of what can not be read.
const NOTHING: u64 = 0;
const UNREADABLE: u64 = 1;
/// How long a file is not read after a change, in case more come. One that is half written is no list.
const AT_MOST: Duration = Duration::from_millis(30);
/// How often it is looked at without an event.
const LOOK: Duration = Duration::from_secs(10);

/// A file, `discover = { file = { … } }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// JSON, or TOML when its name ends with `.toml`: a list of addresses, of tables with `address`,
    /// or of groups as in file_sd of Prometheus. Required.
    pub path: PathBuf,
}

/// Follows a file.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
}

impl File {
    pub(super) fn new(settings: Settings) -> File {
        File { path: settings.path }
    }
}

impl Source for File {
    fn origin(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn follow<'a>(&'a mut self, reports: &'a Reports) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let path = self.path.clone();
            let (mut watcher, mut seen) = (watcher(&path), None);
            loop {
                let content = content(path.clone()).await?;
                match content {
                    Ok(Content { hash, .. }) if seen == Some(hash) => reports.unchanged(),
                    Ok(Content { hash, set: Ok(set) }) => {
                        seen = Some(hash);
                        reports.found(set);
                    }
                    Ok(Content { set: Err(failure), .. }) | Err(failure) => {
                        seen = None;
                        reports.failed(&failure);
                    }
                }
                // Past that time the file is read without an event.
                let _changed_or_late = timeout(LOOK, watcher.changed()).await;
            }
        })
    }
}

/// What a file holds.
struct Content {
    hash: u64,
    set: Result<Set, Failure>,
}

/// Reads the file away from the runtime; the outer failure is the end of the process.
async fn content(path: PathBuf) -> Result<Result<Content, Failure>, Failure> {
    let reading = tokio::task::spawn_blocking(move || {
        let text = read(&path).map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::NotFound => Kind::Missing,
                io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Invalid,
            };
            Failure::because(kind, format!("{} can not be read", path.display()), error)
        })?;
        let hash = hash(&text);
        Ok(Content { hash, set: parse(&path, &text) })
    });
    reading.await.map_err(|error| Failure::because(Kind::Refused, "the file was not read", error))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    std::fs::File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    match text.len() as u64 > MOST_BYTES {
        true => Err(io::Error::other(format!("it is larger than {} MiB", MOST_BYTES >> 20))),
        false => Ok(text),
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Set, Failure> {
    let invalid = |error: Box<dyn std::error::Error + Send + Sync>| {
        Failure::because(Kind::Invalid, format!("{} is no list of endpoints", path.display()), error)
    };
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let document: Value = match is_toml {
        true => {
            let text = std::str::from_utf8(text).map_err(|error| invalid(error.into()))?;
            toml::from_str(text).map_err(|error| invalid(error.message().into()))?
        }
        false => serde_json::from_slice(text).map_err(|error| invalid(error.into()))?,
    };
    list::read(&document, Writer::Local)?.finish()
}

fn watcher(path: &Path) -> Watcher {
    let watched = path.to_owned();
    // A file that is gone is a change, and one that comes back as it was is another.
    let fingerprint = Arc::new(move || Some(read(&watched).map_or(UNREADABLE, |text| hash(&text))));
    Watcher::new([path.to_owned()], NOTHING, fingerprint).at_most(AT_MOST)
}

fn hash(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_toml_are_told_apart_by_the_name() {
        let json =
            parse(Path::new("a.json"), b"[\"10.0.0.1:80\", {\"address\": \"b:1\", \"weight\": 2}]").unwrap();
        let toml = "endpoints = [\"10.0.0.1:80\", { address = \"b:1\", weight = 2 }]";
        assert_eq!(parse(Path::new("a.toml"), toml.as_bytes()).unwrap(), json);
        assert_eq!(json.len(), 2);
    }

    #[test]
    fn a_file_that_is_being_written_is_no_answer() {
        for text in ["", "[\"10.0.0.1:80\"", "[\"10.0.", "{\"endpoints\": ["] {
            assert_eq!(parse(Path::new("a"), text.as_bytes()).unwrap_err().kind, Kind::Invalid, "{text}");
        }
    }
}
