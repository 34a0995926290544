//! A name that is asked for again and again, and what stays of the last answer when a part fails.

use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::time::Duration;

use hickory_proto::rr::{Name, Record, RecordType};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use super::answer::{Existence, Said, read};
use super::exchange::{Reply, ask};
use super::setup::Setup;
use super::{Answer, LookupError};

/// Most messages for one chain of names.
const LONGEST_CHAIN: usize = 8;

/// How much longer the other kind of records may take when one is there: some servers never answer
/// for AAAA.
const LATE: Duration = Duration::from_millis(500);
/// Most full names that are asked for at the same time at one server, each with up to two sockets. The
/// others wait: a source may tell thousands.
const AT_ONCE: usize = 32;

/// Places for those that are asked for. Servers share few of them, by their address, so that one that
/// is silent does not stop the questions to the others.
static TURNS: [Semaphore; 8] = [const { Semaphore::const_new(AT_ONCE) }; 8];

/// The kinds of records that make one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A and AAAA.
    Addresses,
    /// SRV.
    Services,
}

impl Wanted {
    fn kinds(self) -> (RecordType, Option<RecordType>) {
        match self {
            Wanted::Addresses => (RecordType::A, Some(RecordType::AAAA)),
            Wanted::Services => (RecordType::SRV, None),
        }
    }
}

/// A name and what it stood for last.
#[derive(Clone, Debug)]
pub(super) struct Question {
    name: String,
    wanted: Wanted,
    /// The full name that had records last.
    full: Option<Name>,
    /// The records of each kind that it had.
    known: [Vec<Record>; 2],
}

/// Records, and those that the server sent along.
pub(super) type Records = (Answer<Record>, Vec<Record>);

impl Question {
    pub(super) fn new(name: &str, wanted: Wanted) -> Question {
        Question { name: name.to_owned(), wanted, full: None, known: Default::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Asks under each full name that it may stand for, until one has records. Like in the C
    /// library a server that is silent ends the search, and one that fails for a name does not;
    /// except that then no later name may take the place of the one that was found before.
    pub(super) async fn ask(&mut self, setup: &Setup) -> Result<Records, LookupError> {
        let (mut absent, mut failed): (Option<Records>, _) = (None, None);
        for full in setup.candidates(&self.name)? {
            let is_known = self.full.as_ref() == Some(&full);
            match self.ask_for(setup, &full).await {
                Ok(found) if !found.0.records.is_empty() => {
                    self.full = Some(full);
                    return Ok(found);
                }
                Ok(nothing) => {
                    absent = Some(match absent {
                        Some((before, more)) => (both_absent(before, &nothing.0), more),
                        None => nothing,
                    });
                }
                Err(error) if is_known || !error.is_about_the_name() => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        match (absent, failed) {
            (_, Some(error)) => Err(error),
            (Some(nothing), None) => {
                self.known = Default::default();
                Ok(nothing)
            }
            (None, None) => Err(LookupError::Name(self.name.clone())),
        }
    }

    /// All kinds of records of a full name. A kind that fails while the other one is there has its
    /// last records.
    async fn ask_for(&mut self, setup: &Setup, full: &Name) -> Result<Records, LookupError> {
        // It is never closed.
        let _turn = turns(setup).acquire().await;
        let (first, second) = self.wanted.kinds();
        let (one, other) = match second {
            Some(second) => {
                let (one, other) = both_kinds(setup, full, first, second).await;
                (one, Some(other))
            }
            None => (chain(setup, full, first).await, None),
        };
        let nothing = Default::default();
        let is_known = self.full.as_ref() == Some(full);
        let [known, known_other] = if is_known { &self.known } else { &nothing };
        let (answer, more) = match (one, other) {
            (one, None) => one?,
            (Ok(one), Some(Ok(other))) => both(one, other),
            (Ok(found), Some(Err(error))) if !found.0.records.is_empty() => {
                debug!(name = self.name, %error, "no answer for AAAA; the last one counts");
                with_known(found, known_other)
            }
            (Err(error), Some(Ok(found))) if !found.0.records.is_empty() => {
                debug!(name = self.name, %error, "no answer for A; the last one counts");
                with_known(found, known)
            }
            (Err(error), Some(_)) | (_, Some(Err(error))) => return Err(error),
        };
        // What another full name does not have says nothing about the one that was found before.
        if !answer.records.is_empty() {
            let other = second.map(|kind| of_kind(&answer.records, kind)).unwrap_or_default();
            self.known = [of_kind(&answer.records, first), other];
        }
        Ok((answer, more))
    }
}

fn turns(setup: &Setup) -> &'static Semaphore {
    let mut hasher = DefaultHasher::new();
    setup.servers.hash(&mut hasher);
    let [first, ..] = &TURNS;
    let place = usize::from(hasher.finish().to_be_bytes()[0]) % TURNS.len();
    TURNS.get(place).unwrap_or(first)
}

/// Both kinds at the same time. When one has records, the other one is late soon.
async fn both_kinds(
    setup: &Setup,
    full: &Name,
    first: RecordType,
    second: RecordType,
) -> (Result<Records, LookupError>, Result<Records, LookupError>) {
    let (mut one, mut other) = (pin!(chain(setup, full, first)), pin!(chain(setup, full, second)));
    tokio::select! {
        answer = &mut one => {
            let further = soon(setup, &answer, other).await;
            (answer, further)
        }
        answer = &mut other => (soon(setup, &answer, one).await, answer),
    }
}

/// The answer for one kind while there is one for the other.
async fn soon(
    setup: &Setup,
    other: &Result<Records, LookupError>,
    asked: impl Future<Output = Result<Records, LookupError>>,
) -> Result<Records, LookupError> {
    match other {
        Ok((found, _)) if !found.records.is_empty() => {
            timeout(LATE, asked).await.unwrap_or_else(|_late| Err(setup.late()))
        }
        Ok(_) | Err(_) => asked.await,
    }
}

/// Follows a chain of names that one message does not hold.
async fn chain(setup: &Setup, full: &Name, kind: RecordType) -> Result<Records, LookupError> {
    let (mut name, mut ttl) = (full.clone(), Duration::MAX);
    for link in 1..=LONGEST_CHAIN {
        let Reply { server, message } = ask(setup, &name, kind).await?;
        match read(&message, &name, kind) {
            Said::Records(records, lives) => {
                let answer = Answer { records, ttl: ttl.min(lives), exists: true };
                return Ok((answer, message.additionals));
            }
            Said::Nothing(existence, lives) => {
                let exists = existence == Existence::Exists;
                return Ok((Answer { records: Vec::new(), ttl: ttl.min(lives), exists }, Vec::new()));
            }
            Said::Alias(target, lives) if link < LONGEST_CHAIN => (name, ttl) = (target, ttl.min(lives)),
            Said::Alias(..) | Said::Endless => {
                return Err(LookupError::Invalid(server, "leads from name to name without an end"));
            }
            Said::Referral => {
                return Err(LookupError::Invalid(server, "refers to other servers instead of asking them"));
            }
        }
    }
    Err(LookupError::Name(full.to_ascii()))
}

/// One answer of two kinds of records; absence of one does not make it shorter.
fn both((one, mut more): Records, (other, further): Records) -> Records {
    more.extend(further);
    let ttl = match (one.records.is_empty(), other.records.is_empty()) {
        (false, true) => one.ttl,
        (true, false) => other.ttl,
        _ => one.ttl.min(other.ttl),
    };
    let exists = one.exists || other.exists;
    let records = one.records.into_iter().chain(other.records).collect();
    (Answer { records, ttl, exists }, more)
}

fn of_kind(records: &[Record], kind: RecordType) -> Vec<Record> {
    records.iter().filter(|record| record.record_type() == kind).cloned().collect()
}

fn with_known((mut answer, more): Records, known: &[Record]) -> Records {
    answer.records.extend_from_slice(known);
    (answer, more)
}

fn both_absent(one: Answer<Record>, other: &Answer<Record>) -> Answer<Record> {
    Answer { ttl: one.ttl.min(other.ttl), exists: one.exists || other.exists, ..one }
}
