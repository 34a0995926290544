//! Asks the admin listener of a running proxy.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::failure::Failure;
use super::{Running, choice};
use crate::admin::client::{Answer, ask};
use crate::config::{self, listener::Bind};
use crate::net::listen::Address;

/// A little more than the proxy takes to give up a reload.
const RELOAD_LIMIT: Duration = Duration::from_secs(65);

/// The status is at hand.
const STATUS_LIMIT: Duration = Duration::from_secs(5);

/// Where the admin listener is: as given, or as the configuration says, which may have mistakes
/// elsewhere: the running proxy serves without them, and this is how its health is asked for.
pub(super) fn address(running: Running) -> Result<Address, Failure> {
    if let Some(text) = running.admin {
        return Ok(text.parse()?);
    }
    let chosen = choice::to_run(running.config)?;
    // Both are written alike.
    let parsed = |bind: &Bind| Ok(bind.to_string().parse()?);
    if let Some(bind) = config::admin_address(&chosen.path) {
        return parsed(&bind);
    }
    let config = config::load(&chosen.path).map_err(|report| {
        Failure::from(report).hint("--admin ADDRESS asks without reading the configuration")
    })?;
    match &config.admin.bind {
        Some(bind) => parsed(bind.get_ref()),
        None => Err(Failure::new(format!("the admin listener is off in {}", chosen.path.display())).hint(
            "`kill -HUP PID` or `systemctl reload tidegate` reloads without it; \
             [admin] bind = \"127.0.0.1:9901\" switches it on",
        )),
    }
}

/// Asks for a reload and waits for its end: the line that says so.
pub(super) fn reload(address: &Address) -> Result<String, Failure> {
    let answer = send(address, Method::POST, "/reload", "", RELOAD_LIMIT)?;
    match answer.status {
        200 => Ok(match json(&answer).and_then(|told| told.get("generation").cloned()) {
            Some(generation) => format!("reloaded, generation {generation}"),
            None => "reloaded".to_owned(),
        }),
        400 => Err(Failure::new("the reload was refused, the old configuration stays in use")
            .details(printable(&answer.text))),
        _ => Err(unexpected(address, &answer)),
    }
}

/// The state of the proxy as it answers.
pub(super) fn status(address: &Address) -> Result<Value, Failure> {
    let answer = send(address, Method::GET, "/status", "", STATUS_LIMIT)?;
    match json(&answer) {
        Some(state) if answer.status == 200 => Ok(state),
        _ => Err(unexpected(address, &answer)),
    }
}

/// Lists or changes the endpoints of an upstream: what the proxy answers.
pub(super) fn endpoints(address: &Address, method: Method, path: &str, body: &str) -> Result<Value, Failure> {
    let answer = send(address, method, path, body, STATUS_LIMIT)?;
    match json(&answer) {
        Some(list) if answer.status == 200 => Ok(list),
        // The proxy says why, in a sentence.
        _ if matches!(answer.status, 400 | 404 | 409 | 500) => Err(Failure::new(printable(&answer.text))),
        _ => Err(unexpected(address, &answer)),
    }
}

fn send(
    address: &Address,
    method: Method,
    path: &str,
    body: &str,
    limit: Duration,
) -> Result<Answer, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(ask(address, method, path, body, limit))?)
}

fn json(answer: &Answer) -> Option<Value> {
    serde_json::from_str(&answer.text).ok()
}

fn unexpected(address: &Address, answer: &Answer) -> Failure {
    let first =
        printable(&answer.text).lines().next().unwrap_or_default().chars().take(200).collect::<String>();
    Failure::new(format!("{address} answers {}: {first}", answer.status))
        .hint("is this the admin listener of tidegate?")
}

/// The text without what a terminal would obey.
fn printable(text: &str) -> String {
    text.trim_end().chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

#[cfg(test)]
mod tests;
