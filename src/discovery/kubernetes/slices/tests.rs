//! What becomes an endpoint, and what does not.

use serde_json::{Value, json};

use super::*;

/// A slice of this family with one port and these endpoints.
fn slice(name: &str, family: &str, endpoints: Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": { "name": name }, "addressType": family, "endpoints": endpoints,
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }, { "name": "dns", "port": 53, "protocol": "UDP" }],
    }))
    .unwrap()
}

fn places(slices: &[EndpointSlice]) -> Vec<String> {
    let set = read(slices, &Port::Only, Family::Ipv4).finish().unwrap();
    set.found().iter().map(|found| found.location.to_string()).collect()
}

fn told(slice: &EndpointSlice, port: &Port) -> Result<String, String> {
    let set = read([slice], port, Family::Ipv4).finish().map_err(|failure| failure.to_string())?;
    Ok(set.found()[0].location.to_string())
}

#[test]
fn all_slices_together_are_one_set() {
    let slices = [
        slice("a", "IPv4", json!([{ "addresses": ["10.0.0.1"] }, { "addresses": ["10.0.0.2"] }])),
        slice("b", "IPv4", json!([{ "addresses": ["10.0.0.3"] }, { "addresses": ["10.0.0.2"] }])),
        slice("c", "IPv4", Value::Null),
    ];
    assert_eq!(places(&slices), ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"]);
}

#[test]
fn ready_endpoints_count_and_unknown_is_ready() {
    let slices = [slice(
        "a",
        "IPv4",
        json!([
            { "addresses": ["10.0.0.1"], "conditions": { "ready": true } },
            { "addresses": ["10.0.0.2"], "conditions": { "ready": false } },
            { "addresses": ["10.0.0.3"], "conditions": {} },
            { "addresses": ["10.0.0.4"], "conditions": { "ready": false, "serving": true, "terminating": true } },
        ]),
    )];
    assert_eq!(places(&slices), ["10.0.0.1:8080", "10.0.0.3:8080"]);
}

#[test]
fn without_a_ready_one_in_any_slice_those_that_leave_and_serve_count() {
    let leaving = json!({ "ready": false, "serving": true, "terminating": true });
    let gone = json!({ "ready": false, "serving": false, "terminating": true });
    let first = slice(
        "a",
        "IPv4",
        json!([{ "addresses": ["10.0.0.1"], "conditions": leaving }, { "addresses": ["10.0.0.2"], "conditions": gone }]),
    );
    let second = slice("b", "IPv4", json!([{ "addresses": ["10.0.0.3"], "conditions": { "ready": false } }]));
    let ready = slice("c", "IPv4", json!([{ "addresses": ["10.0.0.4"], "conditions": { "ready": true } }]));
    assert_eq!(places(&[first.clone(), second.clone()]), ["10.0.0.1:8080"]);
    assert_eq!(places(&[first, second.clone(), ready]), ["10.0.0.4:8080"]);
    assert!(places(&[second]).is_empty(), "an empty answer, which the common part doubts");
}

#[test]
fn a_pod_of_a_dual_stack_service_counts_once() {
    let pod = json!({ "kind": "Pod", "name": "users-1", "uid": "1" });
    let slices = [
        slice(
            "a",
            "IPv6",
            json!([{ "addresses": ["fd00::1"], "targetRef": pod }, { "addresses": ["fd00::2"] }]),
        ),
        slice("b", "IPv4", json!([{ "addresses": ["10.0.0.1"], "targetRef": pod }])),
    ];
    assert_eq!(places(&slices), ["10.0.0.1:8080", "[fd00::2]:8080"]);
    let set = read(&slices, &Port::Only, Family::Ipv6).finish().unwrap();
    let places: Vec<_> = set.found().iter().map(|found| found.location.to_string()).collect();
    assert_eq!(places, ["[fd00::1]:8080", "[fd00::2]:8080"]);
}

#[test]
fn names_are_endpoints_too() {
    assert_eq!(
        places(&[slice("a", "FQDN", json!([{ "addresses": ["users.internal"] }]))]),
        ["users.internal:8080"]
    );
}

#[test]
fn zone_hints_pod_and_node_are_told() {
    let slices = [slice(
        "a",
        "IPv4",
        json!([{
            "addresses": ["10.0.0.1"], "zone": "eu-1a", "nodeName": "n1", "targetRef": { "name": "users-1" },
            "hints": { "forZones": [{ "name": "eu-1b" }, { "name": "eu-1a" }] },
        }]),
    )];
    let set = read(&slices, &Port::Only, Family::Ipv4).finish().unwrap();
    let found = &set.found()[0];
    assert_eq!(found.zone, "eu-1a");
    let pairs: Vec<_> = found.metadata.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(pairs, ["node=n1", "pod=users-1", "zone_hints=eu-1a,eu-1b"]);
}

#[test]
fn a_port_is_found_by_name_by_number_or_because_it_is_the_only_one() {
    let mut slice = slice("a", "IPv4", json!([{ "addresses": ["10.0.0.1"] }]));
    let named = |name: &str| Port::Named(name.to_owned());
    assert_eq!(told(&slice, &named("http")).unwrap(), "10.0.0.1:8080");
    assert_eq!(told(&slice, &Port::Number(8080)).unwrap(), "10.0.0.1:8080");
    assert!(told(&slice, &Port::Number(80)).unwrap_err().contains("no port 80 of a, which has [http=8080]"));
    assert!(told(&slice, &named("dns")).unwrap_err().contains("no port dns"), "UDP is no place for requests");
    slice.ports =
        serde_json::from_value(json!([{ "name": "http", "port": 1 }, { "name": "admin", "port": 2 }]))
            .unwrap();
    assert!(told(&slice, &Port::Only).unwrap_err().contains("[http=1, admin=2]"));
    slice.ports = None;
    assert_eq!(told(&slice, &Port::Number(9)).unwrap(), "10.0.0.1:9", "a headless Service may list no port");
}
