//! The keys of etcd below a prefix, followed by a watch.
//!
//! All goes through the JSON gateway (`/v3/…`), which etcd has had on its client port since 3.4: a
//! gRPC client would need the protocol compiler wherever tidegate is built.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::client::{Base, Tls};
use super::{Failure, Kind, Pending, Reports, Source};
use crate::units::Timeout;

mod gateway;
mod mirror;
mod records;
mod watch;

use gateway::Gateway;
use mirror::Mirror;
use watch::{Told, Watch};

pub use records::Format;

/// A watch that is silent for so long is compared with a look at the keys.
const SILENCE: Duration = Duration::from_secs(10);
/// Events that come so soon after others are one change.
const BURST: Duration = Duration::from_millis(10);
/// Longest time over which events are gathered.
const LONGEST_BURST: Duration = Duration::from_millis(50);

/// Keys of etcd, `discover = { etcd = { … } }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The members; the next one is used when one fails. Required.
    #[serde(deserialize_with = "endpoints")]
    pub endpoints: Vec<Base>,
    /// What the keys begin with, such as "/services/users/". Required; not "".
    #[serde(deserialize_with = "prefix")]
    pub prefix: String,
    /// What the values are. Default: auto.
    #[serde(default)]
    pub format: Format,
    /// The user who asks. Default: "" = no authentication.
    #[serde(default)]
    pub username: String,
    /// File with the user's password, read for every authentication. Default: "".
    #[serde(default)]
    pub password_file: PathBuf,
    /// Longest time for an answer. Default: 5s.
    #[serde(default = "five_seconds")]
    pub timeout: Timeout,
    /// TLS, when an endpoint begins with https.
    #[serde(default)]
    pub tls: Tls,
}

fn five_seconds() -> Timeout {
    Timeout::from_secs(5)
}

fn endpoints<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Base>, D::Error> {
    let endpoints = Vec::<Base>::deserialize(deserializer)?;
    match endpoints.is_empty() {
        true => Err(D::Error::custom("`endpoints` names one member at least")),
        false => Ok(endpoints),
    }
}

fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let prefix = String::deserialize(deserializer)?;
    match prefix.is_empty() {
        true => Err(D::Error::custom("`prefix` is what the keys begin with, such as \"/services/users/\"")),
        false => Ok(prefix),
    }
}

/// Follows a prefix.
#[derive(Debug)]
pub(super) struct Etcd {
    settings: Settings,
    members: Vec<Gateway>,
    /// The member in use.
    current: usize,
    /// Whether it was told that another member is asked, since one has worked.
    is_told: bool,
}

impl Etcd {
    pub(super) fn new(settings: Settings) -> Etcd {
        let members = settings.endpoints.iter().map(|base| Gateway::new(base, &settings)).collect();
        Etcd { settings, members, current: 0, is_told: false }
    }

    /// Follows the member in use: a list, then a watch from there on. Returns without a failure when
    /// the keys are to be listed again.
    async fn follow_member(&mut self, reports: &Reports) -> Result<(), Failure> {
        let Some(member) = self.members.get_mut(self.current) else { return Ok(()) };
        let mut mirror = Mirror::new(member.list().await?, self.settings.format)?;
        let mut told = tell(&mirror, reports);
        let mut watch = member.watch(mirror.revision() + 1).await?;
        loop {
            match timeout(SILENCE, watch.next()).await {
                Ok(first) => match gather(&mut watch, &mut mirror, first).await? {
                    Gathered::Changes => told = tell(&mirror, reports),
                    Gathered::Nothing => {}
                    Gathered::Outdated => return Ok(()),
                },
                // A connection that was lost on its way is as silent as a prefix without changes.
                Err(_silent) if mirror.is_newest(&member.look().await?) => still(told, reports),
                Err(_silent) => return Ok(()),
            }
        }
    }
}

/// What the keys were when they were told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Values {
    Endpoints,
    Unusable,
}

/// Tells what the keys are. Values of which none is an endpoint do not end the watch: the next change
/// may put it right.
fn tell(mirror: &Mirror, reports: &Reports) -> Values {
    match mirror.set() {
        Ok(set) => {
            reports.found(set);
            Values::Endpoints
        }
        Err(failure) => {
            reports.failed(&failure);
            Values::Unusable
        }
    }
}

/// Tells that the keys are as they were. That is no good answer when they could not be used.
fn still(told: Values, reports: &Reports) {
    match told {
        Values::Endpoints => reports.unchanged(),
        Values::Unusable => {}
    }
}

/// What came out of a watch.
enum Gathered {
    Changes,
    Nothing,
    /// It has ended, or tells of a store with another past: the keys are to be listed again.
    Outdated,
}

/// Takes what a watch has told, and what follows soon after.
async fn gather(
    watch: &mut Watch,
    mirror: &mut Mirror,
    first: Result<Told, Failure>,
) -> Result<Gathered, Failure> {
    let end = Instant::now() + LONGEST_BURST;
    let (mut told, mut gathered) = (first, Gathered::Nothing);
    loop {
        match told {
            Ok(Told::Ended) => return Ok(Gathered::Outdated),
            // A connection that is open for long may be lost; whether etcd is there is seen at once.
            Err(Failure { kind: Kind::Unreachable, .. }) => return Ok(Gathered::Outdated),
            Err(failure) => return Err(failure),
            Ok(Told::Events { revision, .. }) if revision < mirror.revision() => {
                return Ok(Gathered::Outdated);
            }
            Ok(Told::Events { revision, keys }) => {
                if !keys.is_empty() {
                    gathered = Gathered::Changes;
                }
                mirror.apply(revision, keys)?;
            }
        }
        let burst = BURST.min(end.saturating_duration_since(Instant::now()));
        if burst.is_zero() {
            return Ok(gathered);
        }
        told = match timeout(burst, watch.next()).await {
            Ok(told) => told,
            Err(_quiet) => return Ok(gathered),
        };
    }
}

impl Source for Etcd {
    fn origin(&self) -> String {
        let members: Vec<_> = self.settings.endpoints.iter().map(ToString::to_string).collect();
        format!("etcd {} at {}", self.settings.prefix, members.join(" "))
    }

    fn follow<'a>(&'a mut self, reports: &'a Reports) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut failed = 0;
            loop {
                let begun = Instant::now();
                let Err(failure) = self.follow_member(reports).await else { return Ok(()) };
                // One that has worked for a while is a failure of a member, not of all.
                if begun.elapsed() > SILENCE {
                    (failed, self.is_told) = (0, false);
                }
                failed += 1;
                self.current = (self.current + 1) % self.members.len();
                // Members do not differ in whom they know.
                if failed >= self.members.len() || failure.kind == Kind::Denied {
                    return Err(failure);
                }
                if !std::mem::replace(&mut self.is_told, true) {
                    let source = self.origin();
                    warn!(source, failure = failure.chain(), "another member of etcd is asked");
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::reports::State;
    use super::super::set::tests::set;
    use super::gateway::{Key, Listed};
    use super::*;

    #[test]
    fn values_that_can_not_be_used_and_stay_are_no_good_answer() {
        let reports = Reports::new("users", "etcd", Arc::new(set(&["a:1"])));
        let keys = |value: &str| {
            vec![Key { name: b"/s/a".to_vec(), value: Some(value.as_bytes().to_vec()), changed: 1 }]
        };
        let listed = Listed { revision: 1, count: 1, keys: keys("nobody") };
        let mut mirror = Mirror::new(listed, Format::Auto).unwrap();
        still(tell(&mirror, &reports), &reports);
        assert_eq!(reports.status().state, State::Failing);
        mirror.apply(2, keys("a:1")).unwrap();
        still(tell(&mirror, &reports), &reports);
        assert_eq!(reports.status().state, State::Following);
    }
}
