//! What counts as a change of a watched file.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// A file of its own with the content "old", which is loaded and watched.
struct Case {
    directory: TempDir,
    watcher: Watcher,
}

impl Case {
    fn new() -> Case {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("proxy.toml"), "old").unwrap();
        let watcher = watcher(&directory.path().join("proxy.toml"));
        Case { directory, watcher }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Passes when the watcher finds exactly this content, once.
    async fn finds(&mut self, content: &str) {
        let found = timeout(Duration::from_secs(10), self.watcher.changed()).await;
        assert_eq!(found.expect("the change is found"), hash(content.as_bytes()));
    }

    /// Passes when the next reason to look is no change.
    async fn looks_and_finds_nothing(&mut self) {
        let looked = timeout(Duration::from_secs(10), self.watcher.look()).await;
        assert_eq!(looked.expect("there is a reason to look"), None);
    }
}

fn watcher(path: &Path) -> Watcher {
    let file = path.to_owned();
    let fingerprint = Arc::new(move || fs::read(&file).ok().map(|content| hash(&content)));
    Watcher::new([path.to_owned()], hash(b"old"), fingerprint)
}

#[tokio::test]
async fn a_change_between_load_and_watch_is_found() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("proxy.toml"), "new").unwrap();
    let watcher = watcher(&directory.path().join("proxy.toml"));
    Case { directory, watcher }.finds("new").await;
}

#[tokio::test]
async fn a_file_that_is_written_in_place_is_found() {
    let mut case = Case::new();
    case.looks_and_finds_nothing().await;
    fs::write(case.path("proxy.toml"), "new").unwrap();
    case.finds("new").await;
    assert_eq!(case.watcher.source(), Source::Events);
}

#[tokio::test]
async fn a_file_that_is_being_written_is_read_when_it_is_closed() {
    let mut case = Case::new();
    case.looks_and_finds_nothing().await;
    let mut file = fs::File::create(case.path("proxy.toml")).unwrap();
    file.write_all(b"ne").unwrap();
    for _ in 0..2 {
        // The second one shows that nothing is lost when the wait is given up.
        assert!(timeout(Duration::from_millis(200), case.watcher.changed()).await.is_err());
    }
    file.write_all(b"w").unwrap();
    drop(file);
    case.finds("new").await;
}

#[tokio::test]
async fn a_file_that_is_not_watched_may_be_open_for_as_long_as_it_likes() {
    let mut case = Case::new();
    case.looks_and_finds_nothing().await;
    let mut log = fs::File::create(case.path("access.log")).unwrap();
    log.write_all(b"a line").unwrap();
    fs::write(case.path("proxy.toml"), "new").unwrap();
    let begun = Instant::now();
    case.finds("new").await;
    assert!(begun.elapsed() < UNFINISHED);
}

#[tokio::test]
async fn a_directory_link_on_the_way_that_is_swapped_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (release, content) in [("releases/1", "old"), ("releases/2", "new")] {
        fs::create_dir_all(path(release).join("conf")).unwrap();
        fs::write(path(release).join("conf/proxy.toml"), content).unwrap();
    }
    symlink("releases/1", path("current")).unwrap();
    let watcher = watcher(&path("current/conf/proxy.toml"));
    symlink("releases/2", path("next")).unwrap();
    let (from, to) = (path("next"), path("current"));
    let mut case = Case { directory, watcher };
    case.looks_and_finds_nothing().await;
    fs::rename(from, to).unwrap();
    case.finds("new").await;
}

#[test]
fn links_that_lead_to_themselves_are_followed_for_a_while_only() {
    let directory = tempfile::tempdir().unwrap();
    symlink("b", directory.path().join("a")).unwrap();
    symlink("a", directory.path().join("b")).unwrap();
    assert_eq!(directories(&directory.path().join("a/x")).len(), 2);
}

#[tokio::test]
async fn a_file_that_is_renamed_over_it_is_found() {
    let mut case = Case::new();
    case.looks_and_finds_nothing().await;
    fs::write(case.path(".proxy.toml.swp"), "new").unwrap();
    fs::rename(case.path(".proxy.toml.swp"), case.path("proxy.toml")).unwrap();
    case.finds("new").await;
    fs::write(case.path("proxy.toml"), "newer").unwrap();
    case.finds("newer").await;
}

#[tokio::test]
async fn a_link_that_is_swapped_as_in_a_config_map_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for (data, content) in [("..data_1", "old"), ("..data_2", "new")] {
        fs::create_dir(path(data)).unwrap();
        fs::write(path(data).join("proxy.toml"), content).unwrap();
    }
    symlink("..data_1", path("..data")).unwrap();
    symlink("..data/proxy.toml", path("proxy.toml")).unwrap();
    let watcher = watcher(&path("proxy.toml"));
    symlink("..data_2", path("..data_tmp")).unwrap();
    let (from, to, old) = (path("..data_tmp"), path("..data"), path("..data_1"));
    let mut case = Case { directory, watcher };
    case.looks_and_finds_nothing().await;
    fs::rename(from, to).unwrap();
    fs::remove_dir_all(old).unwrap();
    case.finds("new").await;
}

#[tokio::test]
async fn a_file_that_a_link_leads_to_is_found() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let real = elsewhere.path().join("real.toml");
    fs::write(&real, "old").unwrap();
    symlink(&real, directory.path().join("proxy.toml")).unwrap();
    let watcher = watcher(&directory.path().join("proxy.toml"));
    let mut case = Case { directory, watcher };
    case.looks_and_finds_nothing().await;
    fs::write(real, "new").unwrap();
    case.finds("new").await;
}

#[tokio::test]
async fn a_file_that_is_away_for_a_while_is_no_change() {
    let mut case = Case::new();
    case.looks_and_finds_nothing().await;
    fs::remove_file(case.path("proxy.toml")).unwrap();
    case.looks_and_finds_nothing().await;
    fs::write(case.path("proxy.toml"), "old").unwrap();
    case.looks_and_finds_nothing().await;
    fs::remove_file(case.path("proxy.toml")).unwrap();
    fs::write(case.path("proxy.toml"), "new").unwrap();
    case.finds("new").await;
}

#[tokio::test]
async fn a_touch_is_no_change() {
    let mut case = Case::new();
    case.looks_and_finds_nothing().await;
    fs::write(case.path("proxy.toml"), "old").unwrap();
    case.looks_and_finds_nothing().await;
    let file = fs::File::options().write(true).open(case.path("proxy.toml")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(file);
    case.looks_and_finds_nothing().await;
}

#[tokio::test]
async fn reading_is_no_reason_to_look() {
    let mut case = Case::new();
    case.looks_and_finds_nothing().await;
    fs::read(case.path("proxy.toml")).unwrap();
    assert!(timeout(Duration::from_millis(150), case.watcher.look()).await.is_err());
}

#[tokio::test]
async fn what_is_written_into_a_file_beside_it_is_no_reason_to_look() {
    let mut case = Case::new();
    let mut log = fs::File::create(case.path("access.log")).unwrap();
    case.looks_and_finds_nothing().await;
    // The creation of the log may be told late.
    while timeout(Duration::from_millis(100), case.watcher.signal.changed.notified()).await.is_ok() {}
    log.write_all(b"a line").unwrap();
    drop(log);
    assert!(timeout(Duration::from_millis(300), case.watcher.signal.changed.notified()).await.is_err());
    fs::write(case.path("proxy.toml"), "new").unwrap();
    case.finds("new").await;
}

#[tokio::test]
async fn a_directory_that_is_replaced_is_watched_again() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("conf");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("proxy.toml"), "old").unwrap();
    let watcher = watcher(&inner.join("proxy.toml"));
    let mut case = Case { directory, watcher };
    case.looks_and_finds_nothing().await;
    fs::rename(&inner, case.path("away")).unwrap();
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("proxy.toml"), "new").unwrap();
    case.finds("new").await;
    fs::write(inner.join("proxy.toml"), "newer").unwrap();
    case.finds("newer").await;
    assert_eq!(case.watcher.source(), Source::Events);
}

#[tokio::test]
async fn without_events_the_files_are_polled() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("later");
    let watcher = watcher(&inner.join("proxy.toml"));
    assert_eq!(watcher.source(), Source::Polling);
    let mut case = Case { directory, watcher };
    case.looks_and_finds_nothing().await;
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("proxy.toml"), "new").unwrap();
    case.finds("new").await;
    assert_eq!(case.watcher.source(), Source::Events);
}

#[tokio::test]
async fn after_another_load_other_files_are_watched() {
    let mut case = Case::new();
    let added = tempfile::tempdir().unwrap();
    let include = added.path().join("a.toml");
    case.looks_and_finds_nothing().await;
    case.watcher.follow([case.path("proxy.toml"), include.clone()], hash(b"old"));
    case.looks_and_finds_nothing().await;
    fs::write(include, "included").unwrap();
    case.looks_and_finds_nothing().await;
}
