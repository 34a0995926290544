//! Lists of endpoints as files and registries write them: ours, and those of Prometheus.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::failure::{Failure, Kind};
use super::set::{Draft, Found, remote};
use crate::endpoint::Location;
use crate::units::Weight;

/// Whether a list may name UNIX sockets of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// It was written here.
    Local,
    /// It comes from elsewhere.
    Remote,
}

/// Reads a list: addresses, tables with `address`, or groups with `targets` and `labels` (the format
/// of Prometheus file_sd and http_sd). In a table the list stands under `endpoints`.
///
/// # Errors
/// When it is no list. Elements that are no endpoints are left out of the draft.
pub fn read(document: &Value, writer: Writer) -> Result<Draft, Failure> {
    let items = match document {
        Value::Array(items) => Some(items),
        Value::Object(table) => table.get("endpoints").and_then(Value::as_array),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    let items = items
        .ok_or_else(|| Failure::new(Kind::Invalid, "neither a list nor a table with the list `endpoints`"))?;
    let mut draft = Draft::default();
    for item in items {
        match item {
            Value::String(place) => add(&mut draft, place, writer, &Map::new()),
            Value::Object(table) => entry(&mut draft, table, writer),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                draft.refuse(format!("{} is no endpoint", short(item)));
            }
        }
    }
    Ok(draft)
}

fn entry(draft: &mut Draft, table: &Map<String, Value>, writer: Writer) {
    if let Some(targets) = table.get("targets").and_then(Value::as_array) {
        let empty = Map::new();
        let labels = table.get("labels").and_then(Value::as_object).unwrap_or(&empty);
        for target in targets {
            match target.as_str() {
                Some(place) => add(draft, place, writer, labels),
                None => draft.refuse(format!("{} is no target", short(target))),
            }
        }
        return;
    }
    match table.get("address").and_then(Value::as_str) {
        Some(place) => add(draft, place, writer, table),
        None => draft.refuse("a table without `address` or `targets`"),
    }
}

/// An endpoint with what is said about it: `weight`, `priority` and `zone` have a meaning, the rest
/// is metadata.
fn add(draft: &mut Draft, place: &str, writer: Writer, said: &Map<String, Value>) {
    let location = match writer {
        Writer::Local => place.parse::<Location>().map_err(|error| error.to_string()),
        Writer::Remote => remote(place),
    };
    let mut found = match location {
        Ok(location) => Found::at(location),
        Err(why) => return draft.refuse(why),
    };
    let number = |name: &str| match said.get(name).map(plain) {
        None => Ok(None),
        Some(text) => text.parse::<u32>().map(Some).map_err(|_| format!("{name} `{text}` of `{place}`")),
    };
    match (number("weight"), number("priority")) {
        (Ok(weight), Ok(priority)) => {
            found.weight = weight.map_or(found.weight, Weight);
            found.priority = priority.unwrap_or(0);
        }
        (Err(why), _) | (_, Err(why)) => return draft.refuse(format!("{why} is not a whole number")),
    }
    found.zone = said.get("zone").map(plain).unwrap_or_default();
    found.metadata = metadata(said);
    draft.add(found);
}

fn metadata(said: &Map<String, Value>) -> BTreeMap<String, String> {
    let has_meaning = |name: &str| matches!(name, "address" | "weight" | "priority" | "zone" | "metadata");
    let nested = said.get("metadata").and_then(Value::as_object);
    let all = said.iter().filter(|(name, _)| !has_meaning(name)).chain(nested.into_iter().flatten());
    all.map(|(name, value)| (name.clone(), plain(value))).collect()
}

/// What stands at a JSON pointer; the empty one is the whole.
///
/// # Errors
/// When nothing stands there.
pub(super) fn at<'v>(document: &'v Value, pointer: &str) -> Result<&'v Value, Failure> {
    let nothing = || Failure::new(Kind::Invalid, format!("the answer has nothing at `{pointer}`"));
    document.pointer(pointer).ok_or_else(nothing)
}

/// A text as it is, everything else as it is written.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The beginning of a value, for a message.
fn short(value: &Value) -> String {
    value.to_string().chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(document: Value) -> Vec<Found> {
        read(&document, Writer::Remote).unwrap().finish().unwrap().found().to_vec()
    }

    #[test]
    fn addresses_tables_and_groups_of_prometheus_are_read() {
        let all = found(json!([
            "10.0.0.1:80",
            { "address": "10.0.0.2:80", "weight": 3, "priority": 1, "zone": "a", "version": "2" },
            { "targets": ["10.0.0.3:80", "10.0.0.4:80"], "labels": { "weight": "5", "zone": "b", "job": "x" } },
        ]));
        let lines: Vec<_> = all
            .iter()
            .map(|found| format!("{} {} {} {}", found.location, found.weight, found.priority, found.zone))
            .collect();
        assert_eq!(
            lines,
            ["10.0.0.1:80 1 0 ", "10.0.0.3:80 5 0 b", "10.0.0.4:80 5 0 b", "10.0.0.2:80 3 1 a"]
        );
        assert_eq!((&all[1].metadata["job"], &all[3].metadata["version"]), (&"x".into(), &"2".into()));
    }

    #[test]
    fn the_order_of_a_list_makes_no_difference() {
        let items = [
            json!({ "address": "a:1", "weight": 3, "zone": "z" }),
            json!("a:1"),
            json!(5),
            json!({ "targets": ["a:1", "b:1"], "labels": { "priority": 2 } }),
            json!({ "targets": [7] }),
            json!({}),
            json!("nonsense"),
        ];
        let set = |items: Vec<Value>| read(&Value::Array(items), Writer::Remote).unwrap().finish().unwrap();
        assert_eq!(set(items.to_vec()), set(items.into_iter().rev().collect()));
    }

    #[test]
    fn a_table_has_its_list_under_endpoints() {
        assert_eq!(found(json!({ "endpoints": ["10.0.0.1:80"] })).len(), 1);
        for document in [json!({}), json!("10.0.0.1:80"), json!(null), json!({ "endpoints": 1 })] {
            assert_eq!(read(&document, Writer::Remote).unwrap_err().kind, Kind::Invalid);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_left_out_with_a_reason() {
        let document =
            json!(["10.0.0.1:80", 5, {}, { "address": "10.0.0.2:80", "weight": -1 }, { "targets": [1] }]);
        let set = read(&document, Writer::Remote).unwrap().finish().unwrap();
        assert_eq!((set.len(), set.unusable()), (1, 4));
        assert!(set.complaint().contains("5 is no endpoint"), "{}", set.complaint());
    }

    #[test]
    fn a_socket_of_this_machine_is_only_named_by_a_list_of_this_machine() {
        let document = json!(["unix:/run/a.sock", "10.0.0.1:80"]);
        assert_eq!(read(&document, Writer::Local).unwrap().finish().unwrap().len(), 2);
        assert_eq!(read(&document, Writer::Remote).unwrap().finish().unwrap().len(), 1);
    }
}
