//! The answer of a source: whatever it holds, the set is sorted and has each place once, no place is
//! a file of this machine, and the order of the answer makes no difference.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tidegate::discovery::Set;
use tidegate::discovery::list::{Writer, read};
use tidegate::endpoint::Location;

fuzz_target!(|data: &[u8]| {
    let Ok(document) = serde_json::from_slice::<Value>(data) else { return };
    let Some(set) = set(&document) else { return };
    let places: Vec<&Location> = set.found().iter().map(|found| &found.location).collect();
    assert!(places.iter().all(|place| !matches!(place, Location::Unix(_))));
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), places.len(), "a place stands twice");
    let keys: Vec<_> = set.found().iter().map(|found| (found.priority, &found.location)).collect();
    assert!(keys.is_sorted(), "the set is not in its order");
    for found in set.found() {
        let again: Location = found.location.to_string().parse().expect("a place is written as it is read");
        assert_eq!(again, found.location);
        assert!(found.metadata.len() <= 32 && found.zone.len() <= 256);
    }
    let Value::Array(items) = &document else { return };
    let reversed = Value::Array(items.iter().rev().cloned().collect());
    assert_eq!(self::set(&reversed).expect("the same entries"), set);
    if items.iter().all(Value::is_string) {
        let slow: BTreeSet<String> = items.iter().filter_map(slowly).collect();
        assert_eq!(slow.len(), set.len(), "another reading finds others");
    }
});

fn set(document: &Value) -> Option<Set> {
    read(document, Writer::Remote).ok()?.finish().ok()
}

/// A place by a second reading of the text.
fn slowly(item: &Value) -> Option<String> {
    let text = item.as_str()?;
    let bare = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let bare = bare.map_or(text, |rest| rest.find('/').map_or(rest, |at| &rest[..at]));
    match bare.parse::<Location>().ok()? {
        Location::Unix(_) => None,
        place => Some(place.to_string()),
    }
}
