//! Numbers for names.

use std::collections::HashMap;
use std::sync::Arc;

/// The number of a route in the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RouteId(pub(super) u32);

impl RouteId {
    /// Requests that no route took; exported as `route=""`.
    pub const NONE: RouteId = RouteId(NONE);
}

/// The number of a listener in the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub(super) u32);

/// The empty name.
const NONE: u32 = 0;
/// All names that came after the table was full.
const OTHER: u32 = 1;

/// A name that is exported, with its number.
pub(super) type Label = (u32, Arc<str>);

/// Names in the order in which they came. They are never forgotten, so there is a most.
#[derive(Debug)]
pub(super) struct Names {
    numbers: HashMap<Arc<str>, u32>,
    list: Vec<Name>,
    capacity: usize,
}

#[derive(Debug)]
struct Name {
    text: Arc<str>,
    exposed: bool,
}

impl Names {
    /// No names but the two that are always there.
    pub(super) fn new(capacity: usize) -> Names {
        let mut names = Names { numbers: HashMap::new(), list: Vec::new(), capacity };
        names.push("");
        names.push("(other)");
        names
    }

    /// The number of a name, the same for ever.
    pub(super) fn intern(&mut self, name: &str) -> u32 {
        match self.numbers.get(name) {
            Some(number) => *number,
            None if self.list.len() < self.capacity => self.push(name),
            None => OTHER,
        }
    }

    /// Exports exactly these.
    pub(super) fn expose(&mut self, numbers: impl Iterator<Item = u32>) {
        self.list.iter_mut().for_each(|name| name.exposed = false);
        for number in numbers {
            if let Some(name) = self.list.get_mut(number as usize) {
                name.exposed = true;
            }
        }
    }

    /// What is exported, in the order of the numbers.
    pub(super) fn exposed(&self) -> Vec<Label> {
        let numbered = (0..).zip(&self.list).filter(|(_, name)| name.exposed);
        numbered.map(|(number, name)| (number, name.text.clone())).collect()
    }

    fn push(&mut self, name: &str) -> u32 {
        let number = self.list.len() as u32;
        let text: Arc<str> = name.into();
        self.numbers.insert(text.clone(), number);
        self.list.push(Name { text, exposed: false });
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_while_it_is_away() {
        let mut names = Names::new(10);
        let (first, second) = (names.intern("a"), names.intern("b"));
        names.expose([second].into_iter());
        assert_eq!(names.exposed().iter().map(|(_, name)| &**name).collect::<Vec<_>>(), ["b"]);
        assert_eq!(names.intern("a"), first);
    }

    #[test]
    fn a_name_that_was_never_exposed_is_not_exported() {
        let mut names = Names::new(10);
        names.intern("a");
        assert!(names.exposed().is_empty());
    }

    #[test]
    fn names_past_the_capacity_share_one_number() {
        let mut names = Names::new(3);
        let kept = names.intern("a");
        let (second, third) = (names.intern("b"), names.intern("c"));
        assert_eq!((second, third), (OTHER, OTHER));
        names.expose([kept, second, third].into_iter());
        assert_eq!(names.exposed().len(), 2);
    }
}
