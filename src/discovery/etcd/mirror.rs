//! What stands below a prefix, kept up to date by events. Pure.

use std::collections::BTreeMap;

use super::super::set::{Draft, Set};
use super::super::{Failure, Kind};
use super::gateway::{Key, Listed};
use super::records::{Format, read};

/// Most keys; one of them may hold several endpoints.
const MOST_KEYS: usize = 20_000;

/// The keys with what their values mean.
#[derive(Debug)]
pub(super) struct Mirror {
    revision: u64,
    records: BTreeMap<Vec<u8>, Draft>,
    format: Format,
}

impl Mirror {
    /// As the list has it.
    pub(super) fn new(listed: Listed, format: Format) -> Result<Mirror, Failure> {
        let mut mirror = Mirror { revision: 0, records: BTreeMap::new(), format };
        mirror.apply(listed.revision, listed.keys)?;
        Ok(mirror)
    }

    /// The revision of the store that this is a picture of.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Takes changes until that revision.
    pub(super) fn apply(&mut self, revision: u64, keys: Vec<Key>) -> Result<(), Failure> {
        self.revision = self.revision.max(revision);
        for Key { name, value, .. } in keys {
            match value {
                Some(value) => self.records.insert(name, read(&value, self.format)),
                None => self.records.remove(&name),
            };
        }
        match self.records.len() > MOST_KEYS {
            true => Err(Failure::new(Kind::Invalid, format!("there are more than {MOST_KEYS} keys"))),
            false => Ok(()),
        }
    }

    /// The endpoints in all values.
    pub(super) fn set(&self) -> Result<Set, Failure> {
        let mut whole = Draft::default();
        self.records.values().for_each(|record| whole.append(record));
        whole.finish()
    }

    /// Whether a look at the store finds nothing newer than this, and not an older past of it, as
    /// after a restore.
    pub(super) fn is_newest(&self, look: &Listed) -> bool {
        let changed = look.keys.first().map_or(0, |key| key.changed);
        look.revision >= self.revision && look.count == self.records.len() as u64 && changed <= self.revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, value: Option<&str>, changed: u64) -> Key {
        Key { name: name.into(), value: value.map(|value| value.as_bytes().to_vec()), changed }
    }

    fn listed(revision: u64, keys: Vec<Key>) -> Listed {
        Listed { revision, count: keys.len() as u64, keys }
    }

    fn mirror() -> Mirror {
        let keys = vec![key("/s/a", Some("10.0.0.1:80"), 3), key("/s/b", Some("10.0.0.2:80"), 5)];
        Mirror::new(listed(7, keys), Format::Auto).unwrap()
    }

    #[test]
    fn events_change_the_list() {
        let mut mirror = mirror();
        let events =
            vec![key("/s/a", None, 8), key("/s/c", Some("10.0.0.3:80"), 9), key("/s/b", Some("h:1"), 9)];
        mirror.apply(9, events).unwrap();
        let set = mirror.set().unwrap();
        let places: Vec<_> = set.found().iter().map(|found| found.location.to_string()).collect();
        assert_eq!(places, ["10.0.0.3:80", "h:1"]);
        assert_eq!(mirror.revision(), 9);
    }

    #[test]
    fn a_value_that_is_no_endpoint_does_not_spoil_the_others() {
        let mut mirror = mirror();
        mirror.apply(8, vec![key("/s/leader", Some("nobody"), 8)]).unwrap();
        let set = mirror.set().unwrap();
        assert_eq!((set.len(), set.unusable()), (2, 1));
    }

    #[test]
    fn a_look_finds_what_a_lost_watch_did_not_tell() {
        let mirror = mirror();
        let look =
            |revision, count, changed| Listed { revision, count, keys: vec![key("/s/b", None, changed)] };
        assert!(mirror.is_newest(&look(7, 2, 5)), "nothing happened");
        assert!(mirror.is_newest(&look(90, 2, 5)), "something happened elsewhere");
        assert!(!mirror.is_newest(&look(90, 2, 60)), "a value changed");
        assert!(!mirror.is_newest(&look(90, 1, 5)), "a key was deleted");
        assert!(!mirror.is_newest(&look(6, 2, 5)), "the store was restored");
        assert!(!mirror.is_newest(&listed(90, vec![])), "all was deleted");
    }

    #[test]
    fn there_is_a_most() {
        let keys = (0..=MOST_KEYS).map(|number| key(&number.to_string(), Some("h:1"), 1)).collect();
        assert_eq!(Mirror::new(listed(1, keys), Format::Auto).unwrap_err().kind, Kind::Invalid);
    }
}
