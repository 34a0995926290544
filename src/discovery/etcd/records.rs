//! What the values of keys are: addresses, JSON of several kinds, records of go-micro.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::client::bounded;
use super::super::list::{self, Writer, plain};
use super::super::set::Draft;

/// What the values are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Each value says itself: "host:port" or a URL; a record of go-micro; a record of the naming
    /// package of etcd's Go client (`Addr`); a table with `address`, or a list as in a file.
    #[default]
    Auto,
    /// Records of go-micro; others are no endpoints.
    GoMicro,
}

/// The endpoints of one value.
pub(super) fn read(value: &[u8], format: Format) -> Draft {
    let refused = |why: String| {
        let mut draft = Draft::default();
        draft.refuse(why);
        draft
    };
    let Ok(text) = std::str::from_utf8(value) else { return refused("a value is no text".to_owned()) };
    // It was text within JSON, so its tables were not counted yet.
    if let Err(failure) = bounded(value) {
        return refused(failure.chain());
    }
    let text = text.trim();
    let document: Option<Value> =
        if text.starts_with(['{', '[', '"']) { serde_json::from_str(text).ok() } else { None };
    let record = document.as_ref().and_then(go_micro);
    match (record, document, format) {
        (Some(record), _, _) => record,
        (None, Some(document), Format::Auto) => other(&document).unwrap_or_else(refused),
        (None, None, Format::Auto) => {
            let mut draft = Draft::default();
            draft.add_at(text);
            draft
        }
        (None, _, Format::GoMicro) => refused(format!("`{}` is no record of go-micro", short(text))),
    }
}

/// A record of go-micro (registry.Service): `nodes`, each with `address` and `metadata`, and the
/// `version` of all. Old ones have the port apart. Its `endpoints` are methods.
fn go_micro(document: &Value) -> Option<Draft> {
    let nodes = document.get("nodes")?.as_array()?;
    let version = document.get("version").and_then(Value::as_str).filter(|version| !version.is_empty());
    let elements = nodes.iter().map(|node| {
        let mut said = node.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(version) = version {
            said.entry("version").or_insert_with(|| json!(version));
        }
        let address = node.get("address").and_then(Value::as_str).unwrap_or_default();
        let port = node.get("port").and_then(Value::as_u64).filter(|port| *port != 0);
        let place = port.map_or_else(|| address.to_owned(), |port| format!("{address}:{port}"));
        said.insert("address".to_owned(), json!(place));
        Value::Object(said)
    });
    list::read(&elements.collect(), Writer::Remote).ok()
}

fn other(document: &Value) -> Result<Draft, String> {
    let one = |said: Map<String, Value>| Value::Array(vec![Value::Object(said)]);
    let list = match document {
        Value::Object(said) if said.contains_key("endpoints") => document.clone(),
        // naming/endpoints of etcd's Go client: { "Op": 0, "Addr": "host:port", "Metadata": … }.
        Value::Object(said) if said.contains_key("Addr") => {
            let metadata = said.get("Metadata").and_then(Value::as_object).cloned();
            let address = said.get("Addr").map(plain).unwrap_or_default();
            let mut said = metadata.unwrap_or_default();
            said.insert("address".to_owned(), json!(address));
            one(said)
        }
        Value::Object(said) => one(said.clone()),
        Value::Array(_) => document.clone(),
        Value::String(place) => json!([place]),
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            return Err(format!("`{}` is no endpoint", short(&document.to_string())));
        }
    };
    list::read(&list, Writer::Remote).map_err(|failure| failure.chain())
}

/// The beginning of a text, for a message.
fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::set::Found;
    use super::*;

    fn found(value: &str, format: Format) -> Vec<Found> {
        read(value.as_bytes(), format).finish().map(|set| set.found().to_vec()).unwrap_or_default()
    }

    fn places(value: &str) -> String {
        let found = found(value, Format::Auto);
        found.iter().map(|found| found.location.to_string()).collect::<Vec<_>>().join(" ")
    }

    /// As go-micro v4 with its etcd registry writes it.
    const RECORD: &str = r#"{"name":"users","version":"1.4.0","metadata":null,
        "endpoints":[{"name":"Users.Get","request":null,"response":null,"metadata":{"stream":"true"}}],
        "nodes":[{"metadata":{"broker":"http","protocol":"grpc","registry":"etcd","transport":"grpc","zone":"a"},
            "id":"users-9f1c","address":"10.0.0.1:38211"}]}"#;

    #[test]
    fn addresses_tables_and_lists_are_read() {
        for value in ["10.0.0.1:80", " 10.0.0.1:80\n", "\"10.0.0.1:80\"", "http://10.0.0.1:80/"] {
            assert_eq!(places(value), "10.0.0.1:80", "{value}");
        }
        let one = found(r#"{"address":"h:1","weight":3,"zone":"b","version":"2"}"#, Format::Auto);
        assert_eq!(
            (one[0].weight.0, one[0].zone.as_str(), one[0].metadata["version"].as_str()),
            (3, "b", "2")
        );
        assert_eq!(places(r#"["a:1", {"address":"b:1"}]"#), "a:1 b:1");
        assert_eq!(places(r#"{"endpoints":["a:1"]}"#), "a:1");
    }

    #[test]
    fn records_of_etcds_own_naming_are_read() {
        let record = r#"{"Op":0,"Addr":"10.0.0.1:80","Metadata":{"zone":"a"}}"#;
        assert_eq!(places(record), "10.0.0.1:80");
        assert_eq!(found(record, Format::Auto)[0].zone, "a");
        assert_eq!(places(r#"{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}"#), "10.0.0.1:80");
    }

    #[test]
    fn records_of_go_micro_are_read_under_both_formats() {
        for format in [Format::Auto, Format::GoMicro] {
            let found = found(RECORD, format);
            assert_eq!((found.len(), found[0].location.to_string().as_str()), (1, "10.0.0.1:38211"));
            assert_eq!(
                (found[0].metadata["protocol"].as_str(), found[0].metadata["version"].as_str()),
                ("grpc", "1.4.0")
            );
            assert_eq!(found[0].zone, "a");
        }
        assert_eq!(
            places(r#"{"name":"users","nodes":[{"id":"a","address":"10.0.0.1","port":81}]}"#),
            "10.0.0.1:81"
        );
        assert_eq!(places(r#"{"name":"users","nodes":[]}"#), "");
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_a_reason() {
        for value in
            ["", "nobody", "{\"address\":", "{}", "null", "{\"nodes\":[{}]}", "[1]", "unix:/run/a.sock"]
        {
            let draft = read(value.as_bytes(), Format::Auto);
            assert!(draft.finish().is_err(), "{value}");
        }
        assert!(read(b"\xff:1", Format::Auto).finish().is_err());
        let tables = read(format!("[{}{{}}]", "{},".repeat(1_000_000)).as_bytes(), Format::Auto);
        assert!(tables.finish().unwrap_err().chain().contains("tables"));
        assert!(read(b"10.0.0.1:80", Format::GoMicro).finish().is_err());
    }
}
