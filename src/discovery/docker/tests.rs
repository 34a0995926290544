//! Containers as the daemon tells them, and the endpoints that they make.

use serde_json::json;

use super::*;
use crate::units::Weight;

fn docker(more: &str) -> Docker {
    Docker::new(toml::from_str(&format!("label = \"tidegate.service=users\"\n{more}")).unwrap())
}

/// A container as dockerd 20.10 lists it, with these changes.
fn container(changes: Value) -> Value {
    let mut container = json!({
        "Id": "16accd13ef4a51c4b0edc1d8c2c0886cda004f09efbe66a8a61639a7f3210fbe",
        "Names": ["/users-1"],
        "Image": "users:1",
        "ImageID": "sha256:03c41fcb73502ccab2c8a55834de0e18f7eb5c293c22f90de0eb9aeabc36212f",
        "Command": "/users",
        "Created": 1795667312,
        "Ports": [
            { "IP": "0.0.0.0", "PrivatePort": 8080, "PublicPort": 80, "Type": "tcp" },
            { "IP": "::", "PrivatePort": 8080, "PublicPort": 80, "Type": "tcp" },
            { "PrivatePort": 53, "Type": "udp" },
        ],
        "Labels": { "tidegate.service": "users" },
        "State": "running",
        "Status": "Up Less than a second",
        "HostConfig": { "NetworkMode": "back" },
        "NetworkSettings": { "Networks": { "back": {
            "IPAMConfig": null, "Links": null, "Aliases": null, "Gateway": "10.9.0.1",
            "IPAddress": "10.9.0.7", "IPPrefixLen": 16, "GlobalIPv6Address": "", "DriverOpts": null,
        } } },
        "Mounts": [],
    });
    let table = container.as_object_mut().unwrap();
    for (key, value) in changes.as_object().unwrap() {
        table.insert(key.clone(), value.clone());
    }
    container
}

fn read(mut docker: Docker, containers: &[Value]) -> Result<Set, Failure> {
    docker.read(&Value::Array(containers.to_vec()))
}

/// The only endpoint of one container.
fn place(options: &str, changes: Value) -> Result<String, String> {
    let set = read(docker(options), &[container(changes)]).map_err(|failure| failure.chain())?;
    Ok(set.found().iter().map(|found| found.location.to_string()).collect())
}

#[test]
fn an_endpoint_is_the_address_of_a_container_and_its_exposed_port() {
    let set = read(docker(""), &[container(json!({}))]).unwrap();
    let found = &set.found()[0];
    assert_eq!((found.location.to_string().as_str(), found.weight), ("10.9.0.7:8080", Weight(1)));
    assert_eq!(
        (&found.metadata["container"], &found.metadata["image"]),
        (&"users-1".into(), &"users:1".into())
    );
}

#[test]
fn its_labels_name_port_weight_and_zone() {
    let labels = json!({ "tidegate.port": "9000", "tidegate.weight": "3", "tidegate.zone": "a" });
    let set = read(docker("port = 8080"), &[container(json!({ "Labels": labels }))]).unwrap();
    let found = &set.found()[0];
    assert_eq!(found.location.to_string(), "10.9.0.7:9000", "the label comes before the option");
    assert_eq!((found.weight, found.zone.as_str()), (Weight(3), "a"));
}

#[test]
fn the_port_must_be_known() {
    let two = json!([{ "PrivatePort": 1, "Type": "tcp" }, { "PrivatePort": 2, "Type": "tcp" }]);
    assert_eq!(place("port = 2", json!({ "Ports": two })).unwrap(), "10.9.0.7:2");
    assert!(place("", json!({ "Ports": two })).unwrap_err().contains("exposes 1, 2"));
    assert!(place("", json!({ "Ports": null })).unwrap_err().contains("exposes no TCP port"));
    for wrong in ["http", "70000", "-1"] {
        let labels = json!({ "Labels": { "tidegate.port": wrong } });
        assert!(place("", labels).unwrap_err().contains(wrong), "{wrong}");
    }
}

#[test]
fn of_several_networks_one_is_named() {
    let networks = |names: Value| json!({ "NetworkSettings": { "Networks": names } });
    let two = networks(json!({ "a": { "IPAddress": "10.1.0.1" }, "b": { "IPAddress": "10.2.0.1" } }));
    assert_eq!(place("network = \"b\"", two.clone()).unwrap(), "10.2.0.1:8080");
    assert!(place("", two.clone()).unwrap_err().contains("several networks, `network` says which: a, b"));
    assert!(place("network = \"c\"", two).unwrap_err().contains("no address in the network `c`"));
    let host = networks(json!({ "host": { "IPAddress": "" } }));
    assert!(place("", host).unwrap_err().contains("in that of its host"));
    let v6 = networks(json!({ "a": { "IPAddress": "", "GlobalIPv6Address": "fd00::7" } }));
    assert_eq!(place("", v6).unwrap(), "[fd00::7]:8080");
}

#[test]
fn what_is_paused_or_has_not_passed_its_health_check_is_not_used() {
    for (state, status, is_used) in [
        ("running", "Up 3 minutes", true),
        ("running", "Up 3 minutes (healthy)", true),
        ("running", "Up 3 minutes (unhealthy)", false),
        ("running", "Up 2 seconds (health: starting)", false),
        ("paused", "Up 3 minutes (Paused)", false),
        ("restarting", "Restarting (1) 2 seconds ago", false),
        ("exited", "Exited (0) 1 second ago", false),
    ] {
        let place = place("", json!({ "State": state, "Status": status })).unwrap();
        assert_eq!(!place.is_empty(), is_used, "{state}, {status}");
    }
}

#[test]
fn one_that_was_told_to_end_is_not_used() {
    let mut docker = docker("");
    let element = container(json!({}));
    let event =
        json!({ "Action": "kill", "Actor": { "ID": element["Id"], "Attributes": { "signal": "15" } } });
    docker.leaving.note(event.to_string().as_bytes());
    let set = docker.read(&json!([element])).unwrap();
    assert!(set.is_empty() && set.unusable() == 0);
}

#[test]
fn a_container_that_can_not_be_used_spoils_no_other() {
    let broken = [json!({}), json!(5), container(json!({ "Ports": null })), container(json!({}))];
    let set = read(docker(""), &broken).unwrap();
    assert_eq!((set.len(), set.unusable()), (1, 3));
    assert!(docker("").read(&json!({ "message": "no" })).is_err());
}

#[test]
fn a_label_is_a_key_with_or_without_a_value() {
    for (label, is_right) in [("a", true), ("a=b", true), ("a=b=c", true), ("", false), ("=b", false)] {
        let settings: Result<Settings, _> = toml::from_str(&format!("label = \"{label}\""));
        assert_eq!(settings.is_ok(), is_right, "{label}");
    }
    assert_eq!(docker("").origin(), "docker containers tidegate.service=users at unix:/var/run/docker.sock");
}

#[test]
fn filters_are_escaped() {
    assert_eq!(filtered("/a", &json!({ "l": ["k=v&"] })), "/a?filters=%7B%22l%22%3A%5B%22k%3Dv%26%22%5D%7D");
}
