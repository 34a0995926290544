//! A container as the daemon lists it, read as an endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::super::Found;
use super::super::set::remote;
use super::Settings;
use crate::units::Weight;

/// Labels of a container that say more about its endpoint.
const PORT: &str = "tidegate.port";
const WEIGHT: &str = "tidegate.weight";
const ZONE: &str = "tidegate.zone";

/// A container that can be used.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    /// Its endpoint, or why it is none.
    pub(super) place: Result<Found, String>,
}

/// An element of `/containers/json`; lists and tables may be null.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    image: String,
    #[serde(default)]
    ports: Option<Vec<Port>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    state: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    network_settings: Networks,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Port {
    private_port: u16,
    #[serde(rename = "Type", default)]
    protocol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Networks {
    #[serde(default)]
    networks: Option<BTreeMap<String, Network>>,
}

#[derive(Debug, Deserialize)]
struct Network {
    #[serde(rename = "IPAddress", default)]
    v4: String,
    #[serde(rename = "GlobalIPv6Address", default)]
    v6: String,
}

/// Reads an element of the list; `None` when it is not to be used now: it does not run, is paused,
/// or its health check has not passed.
///
/// # Errors
/// When it is no container.
pub(super) fn read(element: &Value, settings: &Settings) -> Result<Option<Container>, String> {
    let listed = Listed::deserialize(element).map_err(|error| format!("no container: {error}"))?;
    if listed.state != "running" || !is_fit(&listed.status) {
        return Ok(None);
    }
    let place = found(&listed, settings).map_err(|why| format!("container {}: {why}", name(&listed)));
    Ok(Some(Container { id: listed.id, place }))
}

/// A health check that has not passed stands at the end of the status: "Up 3 minutes (unhealthy)",
/// "Up 2 seconds (health: starting)". Without a check there is nothing.
fn is_fit(status: &str) -> bool {
    !status.ends_with("(unhealthy)") && !status.ends_with("(health: starting)")
}

/// The name, which the daemon writes with a slash, or else the short form of the id.
fn name(listed: &Listed) -> String {
    let name = listed.names.iter().flatten().next().map(|name| name.trim_start_matches('/'));
    name.map_or_else(|| listed.id.chars().take(12).collect(), str::to_owned)
}

fn found(listed: &Listed, settings: &Settings) -> Result<Found, String> {
    let ip = address(listed, &settings.network)?;
    let port = port(listed, settings)?;
    let mut found = Found::at(remote(&std::net::SocketAddr::new(ip, port).to_string())?);
    if let Some(weight) = number(listed, WEIGHT)? {
        found.weight = Weight(weight);
    }
    found.zone = label(listed, ZONE).unwrap_or_default().to_owned();
    found.metadata.insert("container".to_owned(), name(listed));
    found.metadata.insert("image".to_owned(), listed.image.clone());
    Ok(found)
}

/// Its address in the network of that name, or in its only one.
fn address(listed: &Listed, wanted: &str) -> Result<IpAddr, String> {
    let networks = listed.network_settings.networks.iter().flatten();
    let mut addresses = networks.filter_map(|(name, network)| Some((name, network.address()?)));
    if !wanted.is_empty() {
        let found = addresses.find(|(name, _)| *name == wanted);
        return found.map(|(_, ip)| ip).ok_or_else(|| format!("no address in the network `{wanted}`"));
    }
    let all: Vec<_> = addresses.collect();
    match all.as_slice() {
        [(_, ip)] => Ok(*ip),
        [] => Err("no address of its own: it is in no network, or in that of its host".to_owned()),
        several => {
            let names: Vec<_> = several.iter().map(|(name, _)| name.as_str()).collect();
            Err(format!("several networks, `network` says which: {}", names.join(", ")))
        }
    }
}

impl Network {
    fn address(&self) -> Option<IpAddr> {
        self.v4.parse().or_else(|_| self.v6.parse()).ok()
    }
}

fn port(listed: &Listed, settings: &Settings) -> Result<u16, String> {
    let written = number(listed, PORT)?.or(settings.port.fixed());
    let written = written.filter(|port| *port != 0);
    if let Some(port) = written {
        return Ok(port);
    }
    // A published port is listed for each address that it is published at.
    let ports = listed.ports.iter().flatten().filter(|port| port.protocol == "tcp");
    let exposed: BTreeSet<u16> = ports.map(|port| port.private_port).collect();
    let mut exposed = exposed.into_iter();
    match (exposed.next(), exposed.next()) {
        (Some(port), None) => Ok(port),
        (None, _) => Err(format!("exposes no TCP port; the option `port` or its label `{PORT}` names one")),
        (Some(one), Some(other)) => Err(format!(
            "exposes {one}, {other} and maybe more; the option `port` or its label `{PORT}` says which"
        )),
    }
}

fn label<'l>(listed: &'l Listed, key: &str) -> Option<&'l str> {
    listed.labels.as_ref()?.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

fn number<N: std::str::FromStr>(listed: &Listed, key: &str) -> Result<Option<N>, String> {
    let Some(value) = label(listed, key) else { return Ok(None) };
    value.parse().map(Some).map_err(|_| format!("label `{key}` is `{value}`, which is no such number"))
}
