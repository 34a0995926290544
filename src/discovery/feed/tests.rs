//! A feed from its start to its end, with files as source.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tokio::time::timeout;

use super::super::reports::State;
use super::super::set::tests::set;
use super::super::{Failure, Kind, Pending, file};
use super::*;

/// What the file source waits without an event.
const LOOK: Duration = Duration::from_secs(10);

fn feed(path: &Path) -> Feed {
    let settings = Settings::File(file::Settings { path: path.to_owned() });
    Feed::new("users", settings, None)
}

fn write(path: &Path, text: &str) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("it did not come true: {what}"));
}

fn failures(feed: &Feed, kind: Kind) -> u64 {
    let at = Kind::ALL.iter().position(|one| *one == kind).unwrap();
    feed.status().failures[at]
}

#[tokio::test]
async fn a_file_is_followed_and_a_bad_one_keeps_the_last_good_set() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("users.json");
    write(&path, "[\"10.0.0.1:80\"]");
    let feed = feed(&path);
    assert_eq!(feed.status().state, State::Waiting);
    feed.start(&Handle::current(), &Store::default());
    feed.settled().await;
    assert_eq!((feed.used().len(), feed.status().state), (1, State::Following));
    write(&path, "[\"10.0.0.1:80\", \"10.0.0.2:80\"]");
    eventually("the second endpoint is found", || feed.used().len() == 2).await;
    write(&path, "[\"10.0.0.1:");
    eventually("the failure is counted", || failures(&feed, Kind::Invalid) > 0).await;
    assert_eq!((feed.used().len(), feed.status().state), (2, State::Failing));
    write(&path, "[\"10.0.0.2:80\"]");
    eventually("it works again", || feed.status().state == State::Following).await;
    assert_eq!(feed.used().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_missing_is_found_when_it_comes() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("users.json");
    let feed = feed(&path);
    feed.start(&Handle::current(), &Store::default());
    feed.settled().await;
    assert!(failures(&feed, Kind::Missing) > 0);
    write(&path, "[\"10.0.0.1:80\"]");
    eventually("it is found", || feed.used().len() == 1).await;
}

#[tokio::test]
async fn a_file_that_comes_back_as_it_was_is_found() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("users.json");
    write(&path, "[\"10.0.0.1:80\"]");
    let feed = feed(&path);
    feed.start(&Handle::current(), &Store::default());
    feed.settled().await;
    fs::remove_file(&path).unwrap();
    eventually("it is missed", || feed.status().state == State::Failing).await;
    write(&path, "[\"10.0.0.1:80\"]");
    let begun = std::time::Instant::now();
    eventually("it works again", || feed.status().state == State::Following).await;
    assert!(begun.elapsed() < LOOK / 2, "an event tells it, not the next look");
}

#[tokio::test]
async fn an_order_that_changes_is_no_update() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("users.json");
    write(&path, "[\"10.0.0.1:80\", \"10.0.0.2:80\"]");
    let feed = feed(&path);
    feed.start(&Handle::current(), &Store::default());
    feed.settled().await;
    write(&path, "[\"10.0.0.2:80\", \"10.0.0.1:80\", \"nonsense\"]");
    eventually("the last file is read", || feed.status().unusable == 1).await;
    assert_eq!(feed.status().updates, 1);
}

#[tokio::test]
async fn the_last_set_is_there_after_a_restart_without_its_source() {
    let directory = TempDir::new().unwrap();
    let (path, state) = (directory.path().join("users.json"), directory.path().join("state"));
    let store = Store::new(Some(state.clone()));
    write(&path, "[\"10.0.0.1:80\"]");
    let first = feed(&path);
    first.start(&Handle::current(), &store);
    eventually("it is stored", || state.join("discovered-users.json").exists()).await;
    drop(first);
    fs::remove_file(&path).unwrap();
    let second = feed(&path);
    second.start(&Handle::current(), &store);
    second.settled().await;
    assert_eq!((second.used().len(), second.status().state), (1, State::Failing));
    assert!(second.status().age_seconds.is_some());
    let elsewhere = feed(&directory.path().join("other.json"));
    elsewhere.start(&Handle::current(), &store);
    elsewhere.settled().await;
    assert!(elsewhere.used().is_empty(), "a stored set belongs to its source");
}

#[tokio::test]
async fn a_broken_state_file_stops_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("users.json");
    write(&path, "[\"10.0.0.1:80\"]");
    fs::write(directory.path().join("discovered-users.json"), "{").unwrap();
    let feed = feed(&path);
    feed.start(&Handle::current(), &Store::new(Some(directory.path().to_owned())));
    eventually("the source is followed", || feed.used().len() == 1).await;
}

/// Tells these sets, one for each time that it is followed, the last one again and again.
#[derive(Debug)]
struct Script {
    sets: Vec<Set>,
    followed: usize,
}

impl Source for Script {
    fn origin(&self) -> String {
        "a script".to_owned()
    }

    fn follow<'a>(&'a mut self, reports: &'a Reports) -> Pending<'a, Result<(), Failure>> {
        reports.found(self.sets[self.followed.min(self.sets.len() - 1)].clone());
        self.followed += 1;
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_told_nothing_but_emptiness_is_asked_again_and_believed() {
    let reports = Reports::new("users", "a script", Arc::new(set(&["a:1", "b:1"])));
    let mut source = Script { sets: vec![Set::default()], followed: 0 };
    let doubted = timeout(Duration::from_secs(59), follow(&mut source, &reports)).await;
    assert!(doubted.is_err(), "it goes on");
    assert_eq!((reports.used().len(), reports.status().state), (2, State::Doubting));
    assert_eq!(source.followed, 1);
    let mut source = Script { sets: vec![Set::default()], followed: 0 };
    let _goes_on = timeout(Duration::from_secs(70), follow(&mut source, &reports)).await;
    assert_eq!((reports.used().len(), reports.status().state), (0, State::Following));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_asked_again_with_growing_pauses() {
    #[derive(Debug, Default)]
    struct Failing(usize);
    impl Source for Failing {
        fn origin(&self) -> String {
            "nobody".to_owned()
        }

        fn follow<'a>(&'a mut self, _: &'a Reports) -> Pending<'a, Result<(), Failure>> {
            self.0 += 1;
            Box::pin(async { Err(Failure::new(Kind::Refused, "status 500")) })
        }
    }
    let reports = Reports::new("users", "nobody", Arc::new(set(&["a:1"])));
    let mut source = Failing::default();
    let _goes_on = timeout(Duration::from_secs(600), follow(&mut source, &reports)).await;
    assert!((40..90).contains(&source.0), "{} times in ten minutes", source.0);
    assert_eq!((reports.used().len(), reports.status().state), (1, State::Failing));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_answers_and_fails_in_every_round_gets_growing_pauses() {
    /// A list that works, and a watch that ends like this.
    #[derive(Debug)]
    struct Listing(usize, Option<Kind>);
    impl Source for Listing {
        fn origin(&self) -> String {
            "half".to_owned()
        }

        fn follow<'a>(&'a mut self, reports: &'a Reports) -> Pending<'a, Result<(), Failure>> {
            self.0 += 1;
            reports.found(set(&["a:1"]));
            let ended = self.1.map_or(Ok(()), |kind| Err(Failure::new(kind, "no watch")));
            Box::pin(async { ended })
        }
    }
    for (ended, most) in [(Some(Kind::Denied), 90), (None, 610)] {
        let reports = Reports::new("users", "half", Arc::default());
        let mut source = Listing(0, ended);
        let _goes_on = timeout(Duration::from_secs(600), follow(&mut source, &reports)).await;
        assert!((40..most).contains(&source.0), "{} times in ten minutes: {ended:?}", source.0);
        assert_eq!(reports.used().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_worked_for_a_while_is_asked_again_soon() {
    let reports = Reports::new("users", "a script", Arc::default());
    let failure = Failure::new(Kind::Denied, "no watch");
    reports.failed(&failure);
    reports.found(set(&["a:1"]));
    assert!(!reports.is_steady());
    let _goes_on = timeout(Duration::from_secs(6), reports.ask_again()).await;
    assert!(reports.is_steady());
    reports.failed(&failure);
    assert!(!reports.is_steady());
}

/// A feed that is stored, as far as it has come to be.
fn stored(state: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&fs::read(state.join("discovered-users.json")).ok()?).ok()
}

#[tokio::test]
async fn an_equal_answer_of_another_source_is_stored_as_its_own() {
    let directory = TempDir::new().unwrap();
    let state = directory.path().join("state");
    let store = Store::new(Some(state.clone()));
    let path = |name: &str| directory.path().join(name);
    for name in ["old.json", "new.json"] {
        write(&path(name), "[\"10.0.0.1:80\"]");
    }
    let old = feed(&path("old.json"));
    old.start(&Handle::current(), &store);
    eventually("it is stored", || stored(&state).is_some()).await;
    let settings = Settings::File(file::Settings { path: path("new.json") });
    let new = Feed::new("users", settings, Some(&old));
    assert!(new.status().age_seconds.is_some(), "what it begins with has an age");
    old.retire();
    new.start(&Handle::current(), &store);
    let is_new = || stored(&state).is_some_and(|set| set["origin"].to_string().contains("new.json"));
    eventually("it is stored as the new one's", is_new).await;
}

#[tokio::test]
async fn a_feed_that_is_retired_keeps_its_endpoints_and_hears_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("users.json");
    write(&path, "[\"10.0.0.1:80\"]");
    let feed = feed(&path);
    feed.start(&Handle::current(), &Store::default());
    feed.settled().await;
    let sets = feed.subscribe();
    feed.retire();
    eventually("its task has ended", || feed.task.get().unwrap().is_finished()).await;
    assert_eq!((feed.used().len(), sets.has_changed().unwrap()), (1, false));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_stored_is_tried_again_and_what_stays_is_written_anew() {
    let directory = TempDir::new().unwrap();
    let state = directory.path().join("state");
    fs::write(&state, "a file where a directory should be").unwrap();
    let store = Store::new(Some(state.clone()));
    let file = StoredSet { name: "discovered-users".to_owned(), origin: "a script".to_owned(), store };
    let reports = Reports::new("users", "a script", Arc::default());
    let keeping = keep(&reports, &file);
    let course = async {
        reports.found(set(&["a:1"]));
        sleep(SAVE_RETRY / 2).await;
        fs::remove_file(&state).unwrap();
        eventually_paused("it is stored", || stored(&state).is_some()).await;
        fs::remove_file(state.join("discovered-users.json")).unwrap();
        sleep(SAVE_AGAIN).await;
        reports.unchanged();
        eventually_paused("it is written again", || stored(&state).is_some()).await;
    };
    tokio::select! {
        () = keeping => {}
        () = course => {}
    }
}

async fn eventually_paused(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..SAVE_RETRY.as_millis() {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not come true: {what}");
}
