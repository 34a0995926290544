//! A watch of etcd: one JSON document a line.

use std::time::Duration;

use serde_json::Value;

use super::super::client::{Lines, bounded};
use super::super::{Failure, Kind};
use super::gateway::{Key, key, number};

/// Longest silence within a line that has begun, and between lines; whoever watches looks elsewhere
/// long before.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// Codes of gRPC.
const PERMISSION_DENIED: u64 = 7;
const UNAVAILABLE: u64 = 14;
const UNAUTHENTICATED: u64 = 16;

/// A watch that is open.
#[derive(Debug)]
pub(super) struct Watch {
    lines: Lines,
}

/// What a watch tells.
#[derive(Debug)]
pub(super) enum Told {
    /// Keys that changed, possibly none, and the revision of the store then.
    Events { revision: u64, keys: Vec<Key> },
    /// It is over: what it was to begin with has been compacted, the user is to be made known again,
    /// or the member ends.
    Ended,
}

impl Watch {
    pub(super) fn new(lines: Lines) -> Watch {
        Watch { lines }
    }

    /// What is told next. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Told, Failure> {
        match self.lines.next(LONGEST_SILENCE).await? {
            Some(line) => read(&line),
            None => Ok(Told::Ended),
        }
    }
}

fn read(line: &[u8]) -> Result<Told, Failure> {
    let invalid = || Failure::new(Kind::Invalid, "the watch tells what is no event");
    bounded(line)?;
    let message: Value = serde_json::from_slice(line)
        .map_err(|error| Failure::because(Kind::Invalid, "the watch tells what is no JSON", error))?;
    if let Some(error) = message.get("error") {
        return Err(failure(error));
    }
    let result = message.get("result").ok_or_else(invalid)?;
    if result.get("canceled").and_then(Value::as_bool) == Some(true) {
        return canceled(result);
    }
    let events = result.get("events").and_then(Value::as_array);
    let keys: Option<Vec<Key>> = events.into_iter().flatten().map(event).collect();
    let revision = number(result.pointer("/header/revision"));
    revision.zip(keys).map(|(revision, keys)| Told::Events { revision, keys }).ok_or_else(invalid)
}

/// A change of a key; the type of a PUT is left out.
fn event(event: &Value) -> Option<Key> {
    let key = key(event.get("kv")?)?;
    let is_deleted = event.get("type").and_then(Value::as_str) == Some("DELETE");
    Some(if is_deleted { Key { value: None, ..key } } else { key })
}

fn canceled(result: &Value) -> Result<Told, Failure> {
    let reason = result.get("cancel_reason").and_then(Value::as_str).unwrap_or_default();
    let is_compacted = number(result.get("compact_revision")).is_some_and(|revision| revision > 0);
    if is_compacted || reason.contains("Unauthenticated") {
        return Ok(Told::Ended);
    }
    let is_denied = reason.contains("PermissionDenied");
    let kind = if is_denied { Kind::Denied } else { Kind::Refused };
    Err(Failure::new(kind, format!("etcd canceled the watch: {reason}")))
}

/// An error in the place of an event, such as the last words of a member that ends.
fn failure(error: &Value) -> Failure {
    let code = number(error.get("grpc_code").or_else(|| error.get("code")));
    let kind = match code {
        Some(UNAVAILABLE) => Kind::Unreachable,
        Some(PERMISSION_DENIED | UNAUTHENTICATED) => Kind::Denied,
        Some(_) | None => Kind::Refused,
    };
    let text = error.get("message").and_then(Value::as_str).unwrap_or("an error");
    Failure::new(kind, format!("etcd ends the watch: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(line: &str) -> (u64, Vec<Key>) {
        match read(line.as_bytes()).unwrap() {
            Told::Events { revision, keys } => (revision, keys),
            Told::Ended => panic!("it ended: {line}"),
        }
    }

    #[test]
    fn puts_have_no_type_and_deletions_no_value() {
        let (revision, keys) = events(
            r#"{"result":{"header":{"revision":"4"},"events":[
                {"kv":{"key":"L3MvYg==","mod_revision":"3","value":"MS4yLjMuNDo2"}},
                {"type":"DELETE","kv":{"key":"L3MvYg==","mod_revision":"4"}}]}}"#,
        );
        assert_eq!(revision, 4);
        assert_eq!(keys[0].value.as_deref(), Some(b"1.2.3.4:6".as_slice()));
        assert_eq!((keys[1].name.as_slice(), &keys[1].value), (b"/s/b".as_slice(), &None));
        assert!(events(r#"{"result":{"header":{"revision":"2"},"created":true}}"#).1.is_empty());
    }

    #[test]
    fn compaction_and_a_token_that_has_run_out_end_it_and_a_refusal_is_a_failure() {
        let canceled = |more: &str| {
            read(
                format!(r#"{{"result":{{"header":{{"raft_term":"2"}},"canceled":true,{more}}}}}"#).as_bytes(),
            )
        };
        assert!(matches!(canceled(r#""compact_revision":"3""#), Ok(Told::Ended)));
        let unknown =
            r#""cancel_reason":"rpc error: code = Unauthenticated desc = etcdserver: invalid auth token""#;
        assert!(matches!(canceled(unknown), Ok(Told::Ended)));
        let denied =
            r#""cancel_reason":"rpc error: code = PermissionDenied desc = etcdserver: permission denied""#;
        assert_eq!(canceled(denied).unwrap_err().kind, Kind::Denied);
    }

    #[test]
    fn an_error_in_the_place_of_an_event_is_a_failure() {
        let kind = |line: &str| read(line.as_bytes()).unwrap_err().kind;
        assert_eq!(
            kind(r#"{"error":{"grpc_code":14,"http_code":503,"message":"closing"}}"#),
            Kind::Unreachable
        );
        assert_eq!(kind(r#"{"error":{"code":13,"message":"x"}}"#), Kind::Refused);
        assert_eq!(kind("{}"), Kind::Invalid);
        assert_eq!(kind("nonsense"), Kind::Invalid);
        assert_eq!(kind(&format!("[{}{{}}]", "{},".repeat(1_000_000))), Kind::Invalid);
    }
}
