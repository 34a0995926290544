//! From the EndpointSlices of one Service to endpoints.
//!
//! A Service has many slices: of at most so many endpoints each, and of one family of addresses
//! each. Only all of them together say what is ready.

use std::collections::BTreeSet;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::super::set::remote;
use super::super::{Draft, Found};
use super::{Family, Port};

/// The endpoints that take traffic: the ready ones. When none is, those that go away and still
/// serve, which is better than nobody, as in kube-proxy.
pub(super) fn read<'s>(
    slices: impl IntoIterator<Item = &'s EndpointSlice>,
    port: &Port,
    family: Family,
) -> Draft {
    let mut draft = Draft::default();
    let mut all = Vec::new();
    for slice in slices.into_iter().filter(|slice| !endpoints(slice).is_empty()) {
        match port_of(slice, port) {
            Ok((number, protocol)) => {
                all.extend(endpoints(slice).iter().map(|endpoint| One { slice, endpoint, number, protocol }));
            }
            Err(why) => draft.refuse(why),
        }
    }
    let has_ready = all.iter().any(|one| is_ready(one.endpoint));
    all.retain(|one| if has_ready { is_ready(one.endpoint) } else { is_leaving(one.endpoint) });
    for one in in_one_family(all, family) {
        match one.found() {
            Ok(found) => draft.add(found),
            Err(why) => draft.refuse(why),
        }
    }
    draft
}

fn endpoints(slice: &EndpointSlice) -> &[Endpoint] {
    slice.endpoints.as_deref().unwrap_or_default()
}

/// An endpoint and its slice.
struct One<'s> {
    slice: &'s EndpointSlice,
    endpoint: &'s Endpoint,
    number: u16,
    protocol: &'s str,
}

impl One<'_> {
    /// What stands behind it: the pod, or the address itself.
    fn identity(&self) -> &str {
        let pod = self.endpoint.target_ref.as_ref();
        let uid = pod.and_then(|pod| pod.uid.as_deref().or(pod.name.as_deref()));
        uid.or(self.endpoint.addresses.first().map(String::as_str)).unwrap_or_default()
    }

    fn is_of(&self, family: Family) -> bool {
        self.slice.address_type
            == match family {
                Family::Ipv4 => "IPv4",
                Family::Ipv6 => "IPv6",
            }
    }

    fn found(&self) -> Result<Found, String> {
        // All addresses of an endpoint are alike, and consumers are told to use the first.
        let address = self.endpoint.addresses.first().ok_or("an endpoint without an address")?;
        let place = match address.contains(':') {
            true => format!("[{address}]:{}", self.number),
            false => format!("{address}:{}", self.number),
        };
        let mut found = Found::at(remote(&place)?);
        found.zone = self.endpoint.zone.clone().unwrap_or_default();
        let pod = self.endpoint.target_ref.as_ref().and_then(|pod| pod.name.clone());
        let hints = self.endpoint.hints.as_ref().and_then(|hints| hints.for_zones.as_ref());
        let hints = hints.map(|zones| {
            let names: BTreeSet<&str> = zones.iter().map(|zone| zone.name.as_str()).collect();
            names.into_iter().collect::<Vec<_>>().join(",")
        });
        let pairs = [
            ("pod", pod),
            ("node", self.endpoint.node_name.clone()),
            ("zone_hints", hints),
            ("protocol", Some(self.protocol.to_owned()).filter(|protocol| !protocol.is_empty())),
        ];
        let told = pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        found.metadata.extend(told);
        Ok(found)
    }
}

/// Unknown counts as ready, as the API says.
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false)
}

/// Whether it is going away and still serves.
fn is_leaving(endpoint: &Endpoint) -> bool {
    let conditions = endpoint.conditions.as_ref();
    conditions.is_some_and(|it| it.serving == Some(true) && it.terminating == Some(true))
}

/// A pod that has addresses of both families counts once, with the wanted one.
fn in_one_family(all: Vec<One<'_>>, family: Family) -> Vec<One<'_>> {
    let (wanted, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.is_of(family));
    let known: BTreeSet<String> = wanted.iter().map(|one| one.identity().to_owned()).collect();
    let others = others.into_iter().filter(|one| !known.contains(one.identity()));
    wanted.into_iter().chain(others).collect()
}

/// The number of the port in this slice, and the protocol that is spoken there.
fn port_of<'s>(slice: &'s EndpointSlice, wanted: &Port) -> Result<(u16, &'s str), String> {
    let is_tcp = |port: &&EndpointPort| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    let ports: Vec<_> = slice.ports.iter().flatten().filter(is_tcp).collect();
    let number = |port: &EndpointPort| port.port.and_then(|number| u16::try_from(number).ok());
    let port = match (wanted, ports.as_slice()) {
        // A headless Service without ports lists none.
        (Port::Number(number), []) => return Ok((*number, "")),
        (Port::Number(wanted), _) => ports.iter().find(|port| number(port) == Some(*wanted)),
        (Port::Named(name), _) => ports.iter().find(|port| port.name.as_deref() == Some(name)),
        (Port::Only, [_]) => ports.first(),
        (Port::Only, _) => None,
    };
    let told = port.and_then(|port| Some((number(port)?, port.app_protocol.as_deref().unwrap_or_default())));
    told.ok_or_else(|| {
        let names = ports.iter().map(|port| {
            let name = port.name.as_deref().unwrap_or_default();
            format!("{name}={}", number(port).unwrap_or_default())
        });
        let slice = slice.metadata.name.as_deref().unwrap_or_default();
        let names: Vec<String> = names.collect();
        let which = match wanted {
            Port::Only => "`port` has to say which port".to_owned(),
            Port::Named(name) => format!("no port {name}"),
            Port::Number(number) => format!("no port {number}"),
        };
        format!("{which} of {slice}, which has [{}]", names.join(", "))
    })
}

#[cfg(test)]
mod tests;
