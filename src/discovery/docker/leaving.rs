//! Containers that are about to end, or have, and are still listed as running.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

/// The signals that end services: SIGINT, SIGQUIT, SIGKILL, SIGTERM, SIGWINCH. `docker stop` sends
/// the one that the image names; those besides SIGTERM are of nginx, httpd and the like. Others,
/// such as SIGHUP, mean something else.
const ENDING: [&str; 5] = ["2", "3", "9", "15", "28"];
/// Those of them that leave no doubt: whoever still runs is finishing what it has begun.
const FINAL: [&str; 2] = ["9", "15"];
/// One that still runs after that time did not mean to end.
const SHORT: Duration = Duration::from_secs(60);
/// The same for a signal that leaves no doubt. Whoever drains longer than that has forgotten to end.
const LONG: Duration = Duration::from_secs(60 * 60);

/// `docker stop` sends a signal and waits for the end, while the container is listed as running: left
/// alone from the signal on, it finishes in peace. One that has died or is paused may be listed as
/// running for a while too.
#[derive(Debug, Default)]
pub(super) struct Leaving(BTreeMap<String, Told>);

/// When one was told to end, and how long that is believed.
#[derive(Debug)]
struct Told {
    since: Instant,
    holds: Duration,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "Action", default)]
    action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Attributes", default)]
    attributes: BTreeMap<String, String>,
}

impl Leaving {
    /// Takes an event, a line of JSON. What is not understood only says that something has happened.
    pub(super) fn note(&mut self, event: &[u8]) {
        let Ok(Event { action, actor }) = serde_json::from_slice(event) else { return };
        let signal = actor.attributes.get("signal").map(String::as_str).unwrap_or_default();
        match action.as_str() {
            "kill" if !ENDING.contains(&signal) => {}
            "kill" | "die" | "pause" => {
                let holds = if FINAL.contains(&signal) { LONG } else { SHORT };
                let told = self.0.entry(actor.id).or_insert_with(|| Told { since: Instant::now(), holds });
                told.holds = told.holds.max(holds);
            }
            "start" | "unpause" => {
                self.0.remove(&actor.id);
            }
            _ => {}
        }
    }

    /// Between two streams of events somebody may have been started again.
    pub(super) fn lost_sight(&mut self) {
        self.0.values_mut().for_each(|told| told.holds = SHORT);
    }

    /// Forgets those that are not among the running ones, and those that run on and on.
    pub(super) fn keep_only<'a>(&mut self, running: impl Iterator<Item = &'a str>) {
        if !self.0.is_empty() {
            let running: BTreeSet<&str> = running.collect();
            self.0.retain(|id, told| running.contains(id.as_str()) && told.since.elapsed() < told.holds);
        }
    }

    /// Whether that one is leaving.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str, signal: &str) -> Vec<u8> {
        format!(
            "{{\"Type\":\"container\",\"Action\":\"{action}\",\"Actor\":{{\"ID\":\"a\",\
             \"Attributes\":{{\"signal\":\"{signal}\"}}}}}}"
        )
        .into_bytes()
    }

    #[test]
    fn a_container_leaves_when_it_is_told_to_end_and_returns_with_its_start() {
        let mut leaving = Leaving::default();
        leaving.note(&event("kill", "1"));
        leaving.note(b"no event");
        assert!(!leaving.has("a"), "SIGHUP ends nothing");
        leaving.note(&event("kill", "15"));
        assert!(leaving.has("a"));
        leaving.note(&event("start", ""));
        assert!(!leaving.has("a"));
        for (leaves, returns) in [("pause", "unpause"), ("die", "start")] {
            leaving.note(&event(leaves, ""));
            assert!(leaving.has("a"), "{leaves}");
            leaving.note(&event(returns, ""));
            assert!(!leaving.has("a"), "{returns}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_runs_on_after_a_minute_is_used_again_unless_it_was_told_without_doubt() {
        let mut leaving = Leaving::default();
        let is_leaving = async |leaving: &mut Leaving, after: Duration| {
            tokio::time::advance(after).await;
            leaving.keep_only(["a"].into_iter());
            leaving.has("a")
        };
        leaving.note(&event("kill", "28"));
        assert!(is_leaving(&mut leaving, SHORT / 2).await);
        leaving.note(&event("kill", "28"));
        assert!(!is_leaving(&mut leaving, SHORT / 2).await, "SIGWINCH may mean something else");
        leaving.note(&event("kill", "28"));
        leaving.note(&event("kill", "15"));
        assert!(is_leaving(&mut leaving, LONG / 2).await);
        assert!(!is_leaving(&mut leaving, LONG / 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_may_be_missed_between_two_streams() {
        let mut leaving = Leaving::default();
        leaving.note(&event("kill", "15"));
        leaving.lost_sight();
        leaving.keep_only(["a"].into_iter());
        assert!(leaving.has("a"));
        tokio::time::advance(SHORT).await;
        leaving.keep_only(["a"].into_iter());
        assert!(!leaving.has("a"));
    }

    #[test]
    fn one_that_is_gone_is_forgotten() {
        let mut leaving = Leaving::default();
        leaving.note(&event("kill", "9"));
        leaving.keep_only(["b"].into_iter());
        assert!(!leaving.has("a"));
    }
}
