//! A file as a registry: its writer is a program that renames a new version over the old one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// A file of its own. A crash of it is that it is gone.
struct ListFile {
    directory: TempDir,
    places: BTreeSet<SocketAddr>,
}

impl ListFile {
    fn new() -> ListFile {
        let file = ListFile { directory: TempDir::new().expect("a directory"), places: BTreeSet::new() };
        file.write();
        file
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("endpoints.json")
    }

    fn write(&self) {
        let list: Vec<String> = self.places.iter().map(ToString::to_string).collect();
        self.write_text(&serde_json::to_string(&list).expect("a list of texts"));
    }

    fn write_text(&self, text: &str) {
        let fresh = self.directory.path().join("endpoints.json.new");
        std::fs::write(&fresh, text).expect("the directory is ours");
        std::fs::rename(fresh, self.path()).expect("the directory is ours");
    }
}

impl Registry for ListFile {
    fn discover(&self) -> String {
        format!("{{ file = {{ path = \"{}\" }} }}", self.path().display())
    }

    fn register(&mut self, place: SocketAddr) {
        self.places.insert(place);
        self.write();
    }

    fn register_all(&mut self, places: &[SocketAddr]) {
        self.places.extend(places);
        self.write();
    }

    fn deregister(&mut self, place: SocketAddr) {
        self.places.remove(&place);
        self.write();
    }

    fn kill(&mut self) {
        std::fs::remove_file(self.path()).expect("it is there");
    }

    fn restart(&mut self, data: Data) {
        if data == Data::Lost {
            self.places.clear();
        }
        self.write();
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(200)
    }
}

#[test]
fn a_change_of_the_file_is_used_within_200_ms() {
    a_change_is_used_within_the_limit(&mut ListFile::new());
}

#[test]
fn a_hundred_changes_of_the_file_under_load_fail_nothing() {
    a_hundred_changes_under_load_fail_nothing(&mut ListFile::new());
}

#[test]
fn a_file_that_is_gone_and_comes_back_fails_nothing() {
    an_outage_fails_nothing(&mut ListFile::new(), Data::Kept);
}

#[test]
fn a_file_that_comes_back_empty_fails_nothing() {
    an_outage_fails_nothing(&mut ListFile::new(), Data::Lost);
}

#[test]
fn a_start_without_the_file_uses_the_last_endpoints() {
    a_start_without_the_registry_uses_the_last_endpoints(&mut ListFile::new());
}

#[test]
fn a_thousand_endpoints_of_a_file_are_found() {
    a_thousand_endpoints_are_found(&mut ListFile::new());
}
