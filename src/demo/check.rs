//! `tidegate demo --check`: does what the demo suggests, through real sockets, and judges it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use hyper::Method;
use hyper::header::CONTENT_TYPE;
use tokio::sync::oneshot;

use super::fetch::{Call, FetchError, Reply, Wire};
use super::services::Services;
use super::tour::Tour;
use super::{Service, Verdict};
use crate::terminal::{Paint, say};

/// What came of a step: what happened, or what was wrong.
pub(super) type Outcome = Result<String, String>;

/// Bounds on what the steps wait for.
const START: Duration = Duration::from_secs(5);
const EDIT: Duration = Duration::from_secs(3);
const MOVE: Duration = Duration::from_secs(5);

/// Requests in a row without an answer of one service: its traffic has moved.
const IN_A_ROW: usize = 20;

/// Between two looks for a change.
const PAUSE: Duration = Duration::from_millis(20);

/// The steps so far, each printed when it is done.
#[derive(Debug)]
pub(super) struct List {
    paint: Paint,
    verdict: Verdict,
}

impl List {
    pub(super) fn new(paint: Paint) -> List {
        List { paint, verdict: Verdict::Passed }
    }

    pub(super) fn add(&mut self, name: &str, outcome: Outcome) {
        let (mark, text) = match outcome {
            Ok(text) => (self.paint.green("✓"), text),
            Err(text) => {
                self.verdict = Verdict::Failed;
                (self.paint.red("✗"), text)
            }
        };
        say(format_args!("{mark} {}  {text}", self.paint.bold(format_args!("{name:<14}"))));
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }
}

/// Does all steps in turn; without a start there is nothing to do.
pub(super) async fn steps(
    list: &mut List,
    started: oneshot::Receiver<()>,
    tour: &Tour,
    services: &Services,
    config: &Path,
) {
    let begin = Instant::now();
    match tokio::time::timeout(START, started).await {
        Ok(Ok(())) => list.add("start", Ok(format!("every listener accepts after {}", ms(begin)))),
        Ok(Err(_proxy_ended)) => return list.add("start", Err("the proxy did not start".to_owned())),
        Err(_elapsed) => return list.add("start", Err(format!("no listener accepts after {START:?}"))),
    }
    list.add("http", greeting(tour.http("/"), "http").await);
    list.add("https", greeting(tour.https(Wire::H1Tls, "/"), "TLS").await);
    list.add("http/2", greeting(tour.https(Wire::H2Tls, "/"), "TLS").await);
    list.add("routes", routes(tour).await);
    // Before the events: a stream that was left counts at its endpoint for another second.
    list.add("balance", balance(tour, services).await);
    list.add("events", events(tour).await);
    list.add("live edit", live_edit(tour, config).await);
    list.add("broken edit", broken_edit(tour, config).await);
    if let Some(users) = services.find("users") {
        list.add("failing", failing(tour, users).await);
        list.add("recovered", recovered(tour, users).await);
        users.stop();
        list.add("stopped", stopped(tour, users).await);
    }
}

async fn greeting(call: Option<Call>, listener: &str) -> Outcome {
    let call = call.ok_or_else(|| format!("the configuration has no {listener} listener"))?;
    let begin = Instant::now();
    let instance = instance(&ask(&call).await?)?;
    Ok(format!("{instance} answered through {} in {}", call.host, ms(begin)))
}

/// Each path leads to its service, which sees the path without the prefix.
async fn routes(tour: &Tour) -> Outcome {
    for service in ["hello", "users", "auth"] {
        let call = clear(tour, &format!("/{service}/echo"))?;
        let echo = ask(&call).await?.json();
        if echo["service"] != service || echo["path"] != "/echo" {
            let (from, path) = (&echo["service"], &echo["path"]);
            return Err(format!("{} was answered by {from} as {path}", call.path));
        }
    }
    Ok("/hello, /users and /auth lead to their services".to_owned())
}

/// The first event comes long before the last one.
async fn events(tour: &Tour) -> Outcome {
    let begin = Instant::now();
    let call = Call { enough: 1, deadline: Duration::from_secs(2), ..clear(tour, "/events")? };
    let reply = ask(&call).await?;
    let is_stream = reply.headers.get(CONTENT_TYPE).is_some_and(|value| value == "text/event-stream");
    match is_stream && reply.text().starts_with("id: 1") {
        true => Ok(format!("the first of ten came after {}", ms(begin))),
        false => Err(format!("the stream begins with {:?}", shorten(&reply.text()))),
    }
}

async fn balance(tour: &Tour, services: &Services) -> Outcome {
    let call = clear(tour, "/")?;
    let mut instances = BTreeSet::new();
    for _ in 0..3 * IN_A_ROW {
        instances.insert(instance(&ask(&call).await?)?);
    }
    let names = Vec::from_iter(instances.iter().cloned()).join(", ");
    match instances.len() == services.all().len() {
        true => Ok(format!("{} requests reached {names}", 3 * IN_A_ROW)),
        false => Err(format!("{} requests reached only {names}", 3 * IN_A_ROW)),
    }
}

/// A route that the edits of the check add.
const ADDED: &str = "\n[[route]]\nname = \"demo-check\"\npath = \"/demo-check\"\n\
                     respond = { status = 200, body = \"edited\" }\n";

async fn live_edit(tour: &Tour, config: &Path) -> Outcome {
    let call = clear(tour, "/demo-check")?;
    let before = call.send().await.map_err(|error| chain(&error))?;
    if before.text() == "edited" {
        return Err("the answer is there before the edit".to_owned());
    }
    let begin = Instant::now();
    append(config, ADDED).map_err(|error| format!("{} can not be edited: {error}", config.display()))?;
    while begin.elapsed() < EDIT {
        if ask(&call).await.is_ok_and(|reply| reply.text() == "edited") {
            return Ok(format!("a new route answered {} after it was written", ms(begin)));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("a new route does not answer {EDIT:?} after it was written"))
}

async fn broken_edit(tour: &Tour, config: &Path) -> Outcome {
    let call = clear(tour, "/demo-check")?;
    let good = fs::read_to_string(config).map_err(|error| error.to_string())?;
    append(config, "\n[listener.web\n").map_err(|error| error.to_string())?;
    let begin = Instant::now();
    let mut requests = 0;
    while begin.elapsed() < Duration::from_millis(500) {
        let text = ask(&call).await?.text();
        if text != "edited" {
            return Err(format!("a file with a mistake changed the answer to {:?}", shorten(&text)));
        }
        requests += 1;
        tokio::time::sleep(PAUSE).await;
    }
    fs::write(config, good).map_err(|error| error.to_string())?;
    Ok(format!("a file with a mistake changed none of {requests} answers"))
}

/// The service fails its health checks: others answer, and no request fails meanwhile.
async fn failing(tour: &Tour, service: &Service) -> Outcome {
    turn(service, "/fail").await?;
    let begin = Instant::now();
    let call = clear(tour, "/")?;
    let mut others = 0;
    while others < IN_A_ROW {
        if begin.elapsed() > MOVE {
            return Err(format!("{} still gets requests after {MOVE:?}", service.name));
        }
        match instance(&ask(&call).await?)?.starts_with(service.name) {
            true => others = 0,
            false => others += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(format!("the traffic of {} moved within {}, no request failed", service.name, ms(begin)))
}

async fn recovered(tour: &Tour, service: &Service) -> Outcome {
    turn(service, "/recover").await?;
    let begin = Instant::now();
    let call = clear(tour, "/")?;
    while begin.elapsed() < MOVE {
        if instance(&ask(&call).await?)?.starts_with(service.name) {
            return Ok(format!("{} is back after {}", service.name, ms(begin)));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("{} gets no request {MOVE:?} after it recovered", service.name))
}

/// The service is gone: nobody notices.
async fn stopped(tour: &Tour, service: &Service) -> Outcome {
    let call = clear(tour, "/")?;
    for number in 1..=2 * IN_A_ROW {
        ask(&call).await.map_err(|error| format!("request {number} after the stop: {error}"))?;
    }
    Ok(format!("{} is gone and none of {} requests failed", service.name, 2 * IN_A_ROW))
}

/// A request in clear text through the proxy.
fn clear(tour: &Tour, path: &str) -> Result<Call, String> {
    tour.http(path).ok_or_else(|| "the configuration has no http listener".to_owned())
}

/// The answer, which has to be a good one.
async fn ask(call: &Call) -> Result<Reply, String> {
    let reply = call.send().await.map_err(|error| chain(&error))?;
    match reply.status {
        200 => Ok(reply),
        status => Err(format!("{} was answered {status} {:?}", call.path, shorten(&reply.text()))),
    }
}

async fn turn(service: &Service, path: &str) -> Result<(), String> {
    let call = Call { method: Method::POST, ..Call::get(service.address, path) };
    ask(&call).await.map(drop)
}

fn instance(reply: &Reply) -> Result<String, String> {
    let json = reply.json();
    let instance = json["instance"].as_str().map(str::to_owned);
    instance.ok_or_else(|| format!("the answer names no instance: {:?}", shorten(&reply.text())))
}

fn append(path: &Path, text: &str) -> io::Result<()> {
    let whole = fs::read_to_string(path)? + text;
    fs::write(path, whole)
}

fn ms(begin: Instant) -> String {
    format!("{} ms", begin.elapsed().as_millis())
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The error and where it came from, in one line.
fn chain(error: &FetchError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
