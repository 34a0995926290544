//! Containers of a Docker daemon, found by a label.
//!
//! The daemon's events only say when to ask: after each of them, after every new connection, and now
//! and then without a reason, all containers with the label are listed anew. Two paths are asked
//! for, both with GET: `/events` and `/containers/json`.

use std::fmt::Write;
use std::time::Duration;

use hyper::body::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::client::{Ask, Base, Client, Lines, Tls, Token};
use super::{Draft, Failure, Kind, Pending, Reports, Set, Source};
use crate::units::Auto;

mod container;
mod leaving;

use leaving::Leaving;

/// Longest time that the daemon may take for a list, or to begin the events.
const LIMIT: Duration = Duration::from_secs(5);
/// When the containers are listed again after an event or a new connection, one wait after another;
/// the last one again and again, which notices a daemon that hangs. The short ones are there because
/// dockerd tells of some changes before its own list shows them, and begins to listen for events a
/// moment after it said so.
const LOOKS: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_secs(1), Duration::from_secs(10)];
/// How long further events are waited for after one, at least and at most. Between the two it is as
/// long as the last list took, so that bursts leave the daemon time for other things.
const LEAST_BURST: Duration = Duration::from_millis(10);
const MOST_BURST: Duration = Duration::from_millis(100);
/// No event comes for hours on a quiet host.
const QUIET: Duration = Duration::from_secs(24 * 60 * 60);

/// What changes who is an endpoint.
const EVENTS: [&str; 9] = [
    "start",
    "die",
    "kill",
    "pause",
    "unpause",
    "rename",
    "health_status",
    // Of networks.
    "connect",
    "disconnect",
];

/// Containers with a label, `discover = { docker = { … } }`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the daemon, or a proxy before it, is: "unix:/path", `http://host:2375` or
    /// `https://host:2376`. Default: "unix:/var/run/docker.sock".
    #[serde(default = "usual_socket")]
    pub socket: Base,
    /// The label that a container has, as "key=value", or "key" for any value. Required.
    pub label: Label,
    /// Port of the endpoints, where the container's label `tidegate.port` names none. Default:
    /// "auto" = the only TCP port that the container exposes.
    #[serde(default)]
    pub port: Auto<u16>,
    /// Name of the network in which they are reached. Default: "" = the only one that each is in.
    #[serde(default)]
    pub network: String,
    /// TLS, when `socket` begins with https.
    #[serde(default)]
    pub tls: Tls,
}

fn usual_socket() -> Base {
    Base::socket("/var/run/docker.sock")
}

/// A label as a filter of the daemon: "key" or "key=value"; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Label(String);

impl TryFrom<String> for Label {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Label, Self::Error> {
        match text.is_empty() || text.starts_with('=') {
            true => Err("a label is written \"key=value\" or \"key\""),
            false => Ok(Label(text)),
        }
    }
}

/// Follows a daemon.
#[derive(Debug)]
pub(super) struct Docker {
    settings: Settings,
    client: Client,
    leaving: Leaving,
}

impl Docker {
    pub(super) fn new(settings: Settings) -> Docker {
        let client = Client::new(settings.socket.clone(), settings.tls.clone(), Token::None);
        Docker { settings, client, leaving: Leaving::default() }
    }

    async fn events(&mut self) -> Result<Lines, Failure> {
        let path = filtered("/events", &json!({ "type": ["container", "network"], "event": EVENTS }));
        self.client.lines(Ask::get(path, LIMIT)).await
    }

    async fn list(&mut self) -> Result<Set, Failure> {
        let filters = json!({ "label": [self.settings.label.0], "status": ["running"] });
        let ask = Ask::get(filtered("/containers/json", &filters), LIMIT);
        let document = self.client.ask(ask).await?.successful()?.json().await?;
        self.read(&document)
    }

    fn read(&mut self, document: &Value) -> Result<Set, Failure> {
        let containers = document
            .as_array()
            .ok_or_else(|| Failure::new(Kind::Invalid, "the answer is no list of containers"))?;
        let mut draft = Draft::default();
        let mut running = Vec::with_capacity(containers.len());
        for container in containers {
            match container::read(container, &self.settings) {
                Ok(Some(container)) => running.push(container),
                Ok(None) => {}
                Err(why) => draft.refuse(why),
            }
        }
        self.leaving.keep_only(running.iter().map(|container| container.id.as_str()));
        for container in running.into_iter().filter(|container| !self.leaving.has(&container.id)) {
            match container.place {
                Ok(found) => draft.add(found),
                Err(why) => draft.refuse(why),
            }
        }
        draft.finish()
    }
}

impl Source for Docker {
    fn origin(&self) -> String {
        format!("docker containers {} at {}", self.settings.label.0, self.client.base())
    }

    fn follow<'a>(&'a mut self, reports: &'a Reports) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            // Before the first list, so that nothing changes unseen between the two.
            let mut events = self.events().await?;
            self.leaving.lost_sight();
            let mut looks = LOOKS.iter();
            let mut look = LOOKS[0];
            loop {
                let begun = Instant::now();
                reports.found(self.list().await?);
                let burst = begun.elapsed().clamp(LEAST_BURST, MOST_BURST);
                look = looks.next().copied().unwrap_or(look);
                match next(&mut events, Instant::now() + look).await? {
                    Next::Event(event) => self.leaving.note(&event),
                    Next::Late => continue,
                    Next::End => return Ok(()),
                }
                let end = Instant::now() + burst;
                // An event that is there counts before the end of the wait.
                while Instant::now() < end {
                    match next(&mut events, end).await? {
                        Next::Event(event) => self.leaving.note(&event),
                        Next::Late | Next::End => break,
                    }
                }
                looks = LOOKS.iter();
            }
        })
    }
}

/// What comes of waiting for an event.
enum Next {
    Event(Bytes),
    Late,
    End,
}

async fn next(events: &mut Lines, until: Instant) -> Result<Next, Failure> {
    Ok(match timeout_at(until, events.next(QUIET)).await {
        Ok(line) => line?.map_or(Next::End, Next::Event),
        Err(_) => Next::Late,
    })
}

/// A path with the parameter `filters`.
fn filtered(path: &str, filters: &Value) -> String {
    let mut target = format!("{path}?filters=");
    for byte in filters.to_string().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => target.push(byte.into()),
            // Writing to a String does not fail.
            _ => drop(write!(target, "%{byte:02X}")),
        }
    }
    target
}

#[cfg(test)]
mod tests;
