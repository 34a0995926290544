//! Asks the admin listener of a running proxy.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;

use super::failure::Failure;
use super::{Running, choice};
use crate::config;
use crate::config::listener::Bind;
use crate::demo::BoxError;
use crate::fetch::{Address, Call, FetchError, Reply};

/// A reload resolves names and reads certificates before it answers.
const RELOAD_DEADLINE: Duration = Duration::from_secs(30);

/// Where the admin listener is: as given, or as the configuration says.
pub(super) fn address(running: Running) -> Result<Address, Failure> {
    if let Some(text) = running.admin {
        return given(&text);
    }
    let chosen = choice::to_run(running.config)?;
    let config = config::load(&chosen.path).map_err(|report| {
        Failure::from(BoxError::from(report)).hint("--admin ADDRESS asks without reading the configuration")
    })?;
    let path = chosen.path.display();
    match &config.admin.bind {
        Some(bind) => to_connect(bind.get_ref()),
        None => Err(Failure::new(format!("the admin listener is off in {path}")).hint(
            "`kill -HUP PID` or `systemctl reload tidegate` reloads without it; [admin] bind = \"127.0.0.1:9901\" switches it on",
        )),
    }
}

/// Asks for a reload and waits for its end: what the proxy says of it.
pub(super) fn reload(address: &Address) -> Result<String, Failure> {
    let call = Call {
        method: Method::POST,
        deadline: RELOAD_DEADLINE,
        accept: Some("application/json"),
        ..Call::get(address.clone(), "/reload")
    };
    let reply = send(&call)?;
    let text = reply.text().trim().to_owned();
    match reply.status {
        200..=299 if text.is_empty() => Ok("reloaded".to_owned()),
        200..=299 => Ok(reloaded(&reply.json()).unwrap_or(text)),
        status => Err(refused(status, &reply.json(), &text)),
    }
}

/// The state of the proxy as it answers.
pub(super) fn status(address: &Address) -> Result<Value, Failure> {
    let call = Call { accept: Some("application/json"), ..Call::get(address.clone(), "/status") };
    let reply = send(&call)?;
    match (reply.status, reply.json()) {
        (200, Value::Null) => Err(Failure::new(format!("{address} answers, but not as tidegate does"))),
        (200, answer) => Ok(answer),
        (status, _) => Err(Failure::new(format!("{address} answers {status}: {}", reply.text().trim()))),
    }
}

fn given(text: &str) -> Result<Address, Failure> {
    match text.parse::<Bind>() {
        Ok(bind) => to_connect(&bind),
        Err(error) => Err(Failure::new(error.to_string())),
    }
}

fn to_connect(bind: &Bind) -> Result<Address, Failure> {
    match bind {
        Bind::Tcp(address) => Ok(Address::Tcp(*address)),
        Bind::Unix(path) => Ok(Address::Unix(path.clone())),
        Bind::Systemd(name) => {
            Err(Failure::new(format!("the admin listener is the socket `{name}` of systemd"))
                .hint("say where it is with --admin ADDRESS; `systemctl list-sockets` shows it"))
        }
    }
}

fn send(call: &Call) -> Result<Reply, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(call.send()).map_err(|error| {
        let is_away = matches!(error, FetchError::Connect { .. });
        let failure = Failure::of(error.into());
        match is_away {
            true => failure.hint("is the proxy running, and with this admin address?"),
            false => failure,
        }
    })
}

/// "reloaded, generation 4", when the answer tells it.
fn reloaded(answer: &Value) -> Option<String> {
    let generation = answer.get("generation")?;
    Some(format!("reloaded, generation {generation}"))
}

/// The reasons, one each line as the proxy wrote them, then that nothing changed.
fn refused(status: u16, answer: &Value, text: &str) -> Failure {
    let told = answer.get("error").and_then(Value::as_str).unwrap_or(text);
    let hint = "the old configuration stays in use; `tidegate check` shows the mistakes of the file";
    Failure::new(format!("the reload was refused ({status}): {told}")).hint(hint)
}

#[cfg(test)]
mod tests;
