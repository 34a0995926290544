//! Reads endpoints out of any JSON, by pointers (RFC 6901).

use serde_json::Value;

use super::super::list::{at, plain};
use super::super::set::{Draft, Found, remote};
use super::super::{Failure, Kind};
use super::Settings;
use crate::units::Weight;

/// Where in an answer is what.
#[derive(Debug)]
pub(super) struct Pointers(Settings);

impl Pointers {
    /// The pointers of these settings; `None` when they name none within an element.
    pub(super) fn of(settings: &Settings) -> Option<Pointers> {
        let has_place = !settings.address.is_empty() || !settings.host.is_empty();
        has_place.then(|| Pointers(settings.clone()))
    }

    /// Reads the elements of the list. One element may stand without a list around it, as Eureka
    /// writes it.
    pub(super) fn read(&self, document: &Value) -> Result<Draft, Failure> {
        let list = at(document, &self.0.items)?;
        let items = match list {
            Value::Array(items) => items.as_slice(),
            Value::Object(_) | Value::String(_) => std::slice::from_ref(list),
            Value::Null => &[],
            Value::Bool(_) | Value::Number(_) => {
                return Err(Failure::new(Kind::Invalid, format!("no list at `{}`", self.0.items)));
            }
        };
        let mut draft = Draft::default();
        for item in items.iter().filter(|item| self.counts(item)) {
            match self.element(item) {
                Ok(found) => draft.add(found),
                Err(why) => draft.refuse(why),
            }
        }
        Ok(draft)
    }

    fn counts(&self, item: &Value) -> bool {
        self.0.only.iter().all(|(pointer, value)| text(item, pointer).as_ref() == Some(value))
    }

    fn element(&self, item: &Value) -> Result<Found, String> {
        let Settings { address, host, port, weight, zone, .. } = &self.0;
        let wanted =
            |pointer: &str| text(item, pointer).ok_or_else(|| format!("an element without `{pointer}`"));
        let place = match host.is_empty() {
            true => wanted(address)?,
            false => {
                let host = wanted(host)?;
                let host =
                    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
                format!("{host}:{}", wanted(port)?)
            }
        };
        let mut found = Found::at(remote(&place)?);
        if !weight.is_empty() {
            found.weight = share(&wanted(weight)?).ok_or_else(|| format!("a weight of `{place}`"))?;
        }
        if !zone.is_empty() {
            found.zone = text(item, zone).unwrap_or_default();
        }
        Ok(found)
    }
}

/// What stands there; the empty pointer is the element itself.
fn text(item: &Value, pointer: &str) -> Option<String> {
    item.pointer(pointer).filter(|value| !value.is_null()).map(plain)
}

/// A weight that may be a fraction; whoever has a little of the traffic has some.
fn share(text: &str) -> Option<Weight> {
    let share: f64 = text.parse().ok()?;
    (0.0..=1_000_000.0).contains(&share).then(|| Weight(share.ceil() as u32))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(settings: &str, document: &Value) -> Vec<String> {
        let settings: Settings = toml::from_str(&format!("url = \"http://r/\"\n{settings}")).unwrap();
        let set = Pointers::of(&settings).unwrap().read(document).unwrap().finish().unwrap();
        set.found()
            .iter()
            .map(|found| format!("{} {} {}", found.location, found.weight, found.zone).trim().to_owned())
            .collect()
    }

    #[test]
    fn eureka_is_read_with_one_instance_and_with_many() {
        let instance = |ip: &str, status: &str| {
            json!({
                "ipAddr": ip, "status": status, "port": { "$": 8080, "@enabled": "true" },
                "metadata": { "zone": "a" }
            })
        };
        let settings = "items = \"/application/instance\"\nhost = \"/ipAddr\"\nport = \"/port/$\"\n\
            zone = \"/metadata/zone\"\nonly = { \"/status\" = \"UP\" }";
        let many = json!({ "application": { "name": "USERS", "instance":
            [instance("10.0.0.1", "UP"), instance("10.0.0.2", "DOWN"), instance("10.0.0.3", "UP")] } });
        assert_eq!(found(settings, &many), ["10.0.0.1:8080 1 a", "10.0.0.3:8080 1 a"]);
        let one = json!({ "application": { "instance": instance("10.0.0.1", "UP") } });
        assert_eq!(found(settings, &one), ["10.0.0.1:8080 1 a"]);
    }

    #[test]
    fn nacos_is_read_with_its_weights() {
        let host = |ip: &str, weight: f64, healthy: bool| json!({ "ip": ip, "port": 80, "weight": weight, "healthy": healthy });
        let document = json!({ "hosts": [host("10.0.0.1", 2.0, true), host("10.0.0.2", 0.5, true), host("10.0.0.3", 1.0, false)] });
        let settings = "items = \"/hosts\"\nhost = \"/ip\"\nport = \"/port\"\nweight = \"/weight\"\nonly = { \"/healthy\" = \"true\" }";
        assert_eq!(found(settings, &document), ["10.0.0.1:80 2", "10.0.0.2:80 1"]);
    }

    #[test]
    fn a_home_made_registry_that_answers_one_url_is_read() {
        assert_eq!(found("address = \"/url\"", &json!({ "url": "http://10.0.0.1:80/" })), ["10.0.0.1:80 1"]);
        assert_eq!(
            found("items = \"/data\"\naddress = \"/a\"", &json!({ "data": [{ "a": "h:1" }] })),
            ["h:1 1"]
        );
    }

    #[test]
    fn an_address_of_ipv6_gets_its_brackets() {
        let settings = "host = \"/h\"\nport = \"/p\"";
        assert_eq!(found(settings, &json!([{ "h": "fd00::1", "p": "80" }])), ["[fd00::1]:80 1"]);
    }

    #[test]
    fn a_pointer_that_leads_nowhere_is_no_empty_answer() {
        let settings: Settings =
            toml::from_str("url = \"http://r/\"\nitems = \"/hosts\"\naddress = \"/a\"").unwrap();
        let pointers = Pointers::of(&settings).unwrap();
        assert_eq!(pointers.read(&json!({ "error": "no" })).unwrap_err().kind, Kind::Invalid);
        assert_eq!(pointers.read(&json!({ "hosts": 5 })).unwrap_err().kind, Kind::Invalid);
        assert!(pointers.read(&json!({ "hosts": [] })).unwrap().finish().unwrap().is_empty());
    }
}
