//! Reads the instances of a service out of an answer of the health API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::list::plain;
use super::super::set::{Draft, Found, remote};
use super::super::{Failure, Kind};
use crate::units::Weight;

/// Longest version that a tag may hold, in bytes.
const LONGEST_VERSION: usize = 256;

/// Reads a list of instances.
///
/// # Errors
/// When it is no list. An instance without a usable address is left out of the draft.
pub(super) fn read(document: &Value) -> Result<Draft, Failure> {
    let instances = document
        .as_array()
        .ok_or_else(|| Failure::new(Kind::Invalid, "the answer is no list of instances"))?;
    let mut draft = Draft::default();
    for instance in instances {
        match found(instance) {
            Ok(found) => draft.add(found),
            Err(why) => draft.refuse(why),
        }
    }
    Ok(draft)
}

fn found(instance: &Value) -> Result<Found, String> {
    let text =
        |pointer: &str| instance.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let id = text("/Service/ID").unwrap_or("without an id");
    let number = |pointer: &str| instance.pointer(pointer).and_then(Value::as_u64);
    // A service that was registered without an address is where its node is.
    let host = text("/Service/Address").or_else(|| text("/Node/Address"));
    let host = host.ok_or_else(|| format!("instance `{id}` has no address"))?;
    let port = number("/Service/Port").filter(|port| *port != 0);
    let port = port.ok_or_else(|| format!("instance `{id}` has no port"))?;
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let mut found = Found::at(remote(&format!("{host}:{port}"))?);
    if let Some(weight) = number("/Service/Weights/Passing") {
        found.weight = Weight(u32::try_from(weight).map_err(|_| format!("the weight of instance `{id}`"))?);
    }
    found.metadata = metadata(instance);
    found.zone = found.metadata.get("zone").cloned().unwrap_or_default();
    Ok(found)
}

/// `Service.Meta`, and what go-micro writes into tags.
fn metadata(instance: &Value) -> BTreeMap<String, String> {
    let meta = instance.pointer("/Service/Meta").and_then(Value::as_object);
    let pairs = meta.into_iter().flatten();
    let mut metadata: BTreeMap<_, _> = pairs.map(|(name, value)| (name.clone(), plain(value))).collect();
    let tags = instance.pointer("/Service/Tags").and_then(Value::as_array);
    let mut versions = tags.into_iter().flatten().filter_map(Value::as_str).filter_map(version_of);
    if let Some(version) = versions.next() {
        metadata.entry("version".to_owned()).or_insert(version);
    }
    metadata
}

/// The version in a tag of go-micro: `v-` and the hexadecimal zlib stream (RFC 1950) of its text.
fn version_of(tag: &str) -> Option<String> {
    let digits = tag.strip_prefix("v-")?.as_bytes();
    if digits.len() % 2 != 0 || digits.len() > 2 * LONGEST_VERSION {
        return None;
    }
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes: Option<Vec<u8>> = digits
        .chunks_exact(2)
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?))
        .collect();
    let text = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(&bytes?, LONGEST_VERSION).ok()?;
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(document: Value) -> Found {
        read(&json!([document])).unwrap().finish().unwrap().found()[0].clone()
    }

    #[test]
    fn an_instance_has_address_weight_zone_and_metadata() {
        let found = one(json!({
            "Node": { "Address": "10.0.0.1" },
            "Service": { "ID": "u1", "Address": "10.0.0.2", "Port": 9001, "Weights": { "Passing": 3, "Warning": 1 },
                "Meta": { "zone": "a", "version": "2" }, "Tags": ["x"] },
        }));
        assert_eq!((found.location.to_string().as_str(), found.weight), ("10.0.0.2:9001", Weight(3)));
        assert_eq!((found.zone.as_str(), found.metadata["version"].as_str()), ("a", "2"));
    }

    #[test]
    fn a_service_without_an_address_is_where_its_node_is() {
        let found = one(
            json!({ "Node": { "Address": "fd00::1" }, "Service": { "Address": "", "Port": 1, "Meta": null } }),
        );
        assert_eq!((found.location.to_string().as_str(), found.weight), ("[fd00::1]:1", Weight(1)));
    }

    #[test]
    fn an_instance_without_a_port_is_left_out() {
        let node = json!({ "Address": "10.0.0.1" });
        let draft = read(
            &json!([{ "Node": node, "Service": { "Port": 0 } }, { "Node": node, "Service": { "Port": 1 } }]),
        );
        let set = draft.unwrap().finish().unwrap();
        assert_eq!((set.len(), set.unusable()), (1, 1));
        assert_eq!(read(&json!({ "error": 1 })).unwrap_err().kind, Kind::Invalid);
    }

    #[test]
    fn go_micro_writes_the_version_into_a_tag() {
        // What compress/zlib of Go 1.27 and of Go 1.19 writes.
        let latest = "v-789c000600f9ff6c6174657374030008cc028e";
        assert_eq!(version_of(latest).as_deref(), Some("latest"));
        assert_eq!(version_of("v-789cca492c492d2e01040000ffff08cc028e").as_deref(), Some("latest"));
        for tag in ["v-", "v-78", "v-zz", "v-789", "version", "v-789ccaffff", "v2"] {
            assert_eq!(version_of(tag), None, "{tag}");
        }
        let found = one(json!({ "Service": { "Address": "h", "Port": 1, "Tags": ["t-1", latest] } }));
        assert_eq!(found.metadata["version"], "latest");
    }
}
