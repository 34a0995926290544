//! What stands below a prefix, kept up to date by events. Pure.

use std::collections::BTreeMap;

use super::super::set::{Draft, MOST, Set};
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
    /// Endpoints in all records.
    endpoints: usize,
    format: Format,
}

impl Mirror {
    /// As the list has it.
    pub(super) fn new(listed: Listed, format: Format) -> Result<Mirror, Failure> {
        let mut mirror = Mirror { revision: 0, records: BTreeMap::new(), endpoints: 0, format };
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
            let before = match value {
                Some(value) => {
                    let record = read(&value, self.format);
                    self.endpoints += record.len();
                    self.records.insert(name, record)
                }
                None => self.records.remove(&name),
            };
            self.endpoints -= before.map_or(0, |record| record.len());
            // One value of many endpoints is small beside what is kept of it, so not only at the end.
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Failure> {
        let too_many = |what| Err(Failure::new(Kind::Invalid, format!("there are more than {what}")));
        if self.records.len() > MOST_KEYS {
            return too_many(format!("{MOST_KEYS} keys"));
        }
        if self.endpoints > MOST {
            return too_many(format!("{MOST} endpoints"));
        }
        Ok(())
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
    fn endpoints_in_few_keys_have_a_most_too() {
        let list = |count: usize| {
            let places: Vec<String> = (0..count).map(|number| format!("h{number}:1")).collect();
            serde_json::to_string(&places).unwrap()
        };
        let (small, large) = (list(MOST / 2), list(MOST));
        let keys =
            vec![key("/s/a", Some(&large), 1), key("/s/a", Some(&small), 2), key("/s/b", Some(&small), 2)];
        let mut mirror = Mirror::new(listed(2, keys), Format::Auto).unwrap();
        let one_more = vec![key("/s/c", Some("a:1"), 3)];
        assert_eq!(mirror.apply(3, one_more).unwrap_err().kind, Kind::Invalid);
        let mut draft = read(list(MOST + 10).as_bytes(), Format::Auto);
        assert_eq!(draft.len(), MOST + 10, "what is too much is counted");
        draft.add_at("a:1");
        assert_eq!(draft.len(), MOST + 11);
    }

    #[test]
    fn there_is_a_most() {
        let keys = (0..=MOST_KEYS).map(|number| key(&number.to_string(), Some("h:1"), 1)).collect();
        assert_eq!(Mirror::new(listed(1, keys), Format::Auto).unwrap_err().kind, Kind::Invalid);
    }
}
