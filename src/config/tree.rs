//! A configuration as keys and values with their spans, before it becomes a [`super::Config`].

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Moves every span of a table by `base` bytes.
pub(super) fn shift(table: DeTable<'_>, base: usize) -> DeTable<'_> {
    if base == 0 {
        return table;
    }
    table
        .into_iter()
        .map(|(key, value)| (shift_one(key, base, |key, _| key), shift_one(value, base, shift_value)))
        .collect()
}

fn shift_one<T>(spanned: Spanned<T>, base: usize, inner: fn(T, usize) -> T) -> Spanned<T> {
    let span = spanned.span();
    Spanned::new(span.start + base..span.end + base, inner(spanned.into_inner(), base))
}

fn shift_value(value: DeValue<'_>, base: usize) -> DeValue<'_> {
    match value {
        DeValue::Table(table) => DeValue::Table(shift(table, base)),
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| shift_one(item, base, shift_value)).collect())
        }
        plain => plain,
    }
}

/// Whether a value stays in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    Yes,
    No,
}

/// A value on a walk through the tree.
pub(super) struct Visit<'v, 'a> {
    /// Where the nearest key is.
    pub(super) key: Range<usize>,
    /// Where the listener, route, upstream or middleware begins that the value belongs to.
    pub(super) owner: usize,
    /// The value.
    pub(super) value: &'v mut Spanned<DeValue<'a>>,
}

/// Calls `visit` for every value, outer ones first, and removes those that shall not stay.
pub(super) fn walk<'a>(table: &mut DeTable<'a>, visit: &mut dyn FnMut(Visit<'_, 'a>) -> Keep) {
    Walk { visit }.table(table, Keys::All, Place::default());
}

/// The same for the values at keys such as "listener.*.bind" only; `*` is any key, elements of an
/// array stand under the key of the array. What lies elsewhere costs nothing.
pub(super) fn walk_at<'a>(table: &mut DeTable<'a>, keys: &str, visit: &mut dyn FnMut(Visit<'_, 'a>) -> Keep) {
    let keys: Vec<&str> = keys.split('.').collect();
    Walk { visit }.table(table, Keys::Rest(&keys), Place::default());
}

/// Which keys below a value are on the way.
#[derive(Clone, Copy)]
enum Keys<'k> {
    All,
    Rest(&'k [&'k str]),
}

/// How deep a walk is, and in whose table.
#[derive(Clone, Copy, Default)]
struct Place {
    depth: usize,
    owner: Option<usize>,
}

struct Walk<'w, 'a> {
    visit: &'w mut dyn FnMut(Visit<'_, 'a>) -> Keep,
}

impl<'a> Walk<'_, 'a> {
    fn table(&mut self, table: &mut DeTable<'a>, keys: Keys<'_>, place: Place) {
        let below = match keys {
            Keys::All => keys,
            Keys::Rest([]) => return,
            Keys::Rest(["*", rest @ ..]) => Keys::Rest(rest),
            Keys::Rest([name, rest @ ..]) => {
                let Some(key) = table.get_key_value(*name).map(|(key, _)| key.span()) else { return };
                let keep = table.get_mut(*name).map(|value| self.entry(key, value, Keys::Rest(rest), place));
                if keep == Some(Keep::No) {
                    table.remove(*name);
                }
                return;
            }
        };
        let mut removed = Vec::new();
        for (key, value) in table.iter_mut() {
            if self.entry(key.span(), value, below, place) == Keep::No {
                removed.push(key.get_ref().to_string());
            }
        }
        for name in removed {
            table.remove(name.as_str());
        }
    }

    fn entry(
        &mut self,
        key: Range<usize>,
        value: &mut Spanned<DeValue<'a>>,
        keys: Keys<'_>,
        place: Place,
    ) -> Keep {
        // The second key of `[upstream.NAME]` names the owner of all that is below it.
        let owner = if place.depth == 1 { place.owner.or(Some(key.start)) } else { place.owner };
        self.value(key, value, keys, Place { depth: place.depth + 1, owner })
    }

    fn value(
        &mut self,
        key: Range<usize>,
        value: &mut Spanned<DeValue<'a>>,
        keys: Keys<'_>,
        place: Place,
    ) -> Keep {
        let is_visited = matches!(keys, Keys::All | Keys::Rest([]));
        let owner = place.owner.unwrap_or(0);
        if is_visited && (self.visit)(Visit { key: key.clone(), owner, value }) == Keep::No {
            return Keep::No;
        }
        match value.get_mut() {
            DeValue::Table(table) => self.table(table, keys, place),
            DeValue::Array(items) => self.items(key, items, keys, place),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
        Keep::Yes
    }

    fn items(&mut self, key: Range<usize>, items: &mut DeArray<'a>, keys: Keys<'_>, place: Place) {
        let keep = |item: &mut Spanned<DeValue<'a>>| {
            let owner = if place.depth == 1 { Some(item.span().start) } else { place.owner };
            self.value(key.clone(), item, keys, Place { owner, ..place })
        };
        let keeps: Vec<Keep> = items.iter_mut().map(keep).collect();
        if keeps.contains(&Keep::No) {
            let all = std::mem::replace(items, DeArray::new()).into_iter().zip(keeps);
            *items = all.filter(|(_, keep)| *keep == Keep::Yes).map(|(item, _)| item).collect();
        }
    }
}

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The smallest key or element that holds a span.
pub(super) struct Innermost {
    pub(super) steps: Vec<Step>,
    pub(super) owner: usize,
    length: usize,
}

impl Innermost {
    /// The keys on the way, without places in arrays.
    pub(super) fn path(&self) -> Vec<&str> {
        let keys = self.steps.iter().map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        keys.flatten().collect()
    }
}

/// Finds the smallest key or element that holds a span.
pub(super) fn innermost(table: &DeTable<'_>, span: &Range<usize>) -> Option<Innermost> {
    let mut search = Search { span, steps: Vec::new(), found: None };
    search.table(table, None);
    search.found
}

struct Search<'s> {
    span: &'s Range<usize>,
    steps: Vec<Step>,
    found: Option<Innermost>,
}

impl Search<'_> {
    fn table(&mut self, table: &DeTable<'_>, owner: Option<usize>) {
        for (key, value) in table {
            let owner = if self.steps.len() == 1 { owner.or(Some(key.span().start)) } else { owner };
            self.steps.push(Step::Key(key.get_ref().to_string()));
            self.compare(key.span(), owner);
            self.value(value, owner);
            self.steps.pop();
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, owner: Option<usize>) {
        self.compare(value.span(), owner);
        match value.get_ref() {
            DeValue::Table(table) => self.table(table, owner),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    let owner = if self.steps.len() == 1 { Some(item.span().start) } else { owner };
                    self.steps.push(Step::Index(index));
                    self.value(item, owner);
                    self.steps.pop();
                }
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {}
        }
    }

    fn compare(&mut self, place: Range<usize>, owner: Option<usize>) {
        let holds = place.start <= self.span.start && self.span.end <= place.end;
        let length = place.len();
        if holds && self.found.as_ref().is_none_or(|found| length <= found.length) {
            self.found = Some(Innermost { steps: self.steps.clone(), owner: owner.unwrap_or(0), length });
        }
    }
}

/// Removes the value at the end of the steps.
pub(super) fn remove(table: &mut DeTable<'_>, steps: &[Step]) {
    let [Step::Key(key), rest @ ..] = steps else { return };
    if rest.is_empty() {
        table.remove(key.as_str());
    } else if let Some(value) = table.get_mut(key.as_str()) {
        remove_inside(value.get_mut(), rest);
    }
}

fn remove_inside(value: &mut DeValue<'_>, steps: &[Step]) {
    match (value, steps) {
        (DeValue::Table(table), _) => remove(table, steps),
        (DeValue::Array(items), [Step::Index(index), rest @ ..]) => {
            if !rest.is_empty() {
                if let Some(item) = items.get_mut(*index) {
                    remove_inside(item.get_mut(), rest);
                }
                return;
            }
            let all = std::mem::replace(items, DeArray::new()).into_iter().enumerate();
            *items = all.filter(|(place, _)| place != index).map(|(_, item)| item).collect();
        }
        _ => {}
    }
}

/// Whether a table, reached through tables only, has no key.
pub(super) fn is_empty(table: &DeTable<'_>, steps: &[Step]) -> bool {
    match steps {
        [] => table.is_empty(),
        [Step::Key(key), rest @ ..] => {
            let inner = table.get(key.as_str()).and_then(|value| value.get_ref().as_table());
            inner.is_some_and(|inner| is_empty(inner, rest))
        }
        [Step::Index(_), ..] => false,
    }
}

/// Whether the table that stands exactly at a place has this key.
pub(super) fn has_key(table: &DeTable<'_>, place: &Range<usize>, key: &str) -> bool {
    table.values().any(|value| value_has_key(value, place, key))
}

fn value_has_key(value: &Spanned<DeValue<'_>>, place: &Range<usize>, key: &str) -> bool {
    match value.get_ref() {
        DeValue::Table(table) => {
            value.span() == *place && table.contains_key(key) || has_key(table, place, key)
        }
        DeValue::Array(items) => items.iter().any(|item| value_has_key(item, place, key)),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_) => false,
    }
}

/// Where the value at these keys is.
pub(super) fn place(table: &DeTable<'_>, keys: &[&str]) -> Option<Range<usize>> {
    entry(table, keys).map(|(_, value)| value)
}

/// Where the last of these keys is.
pub(super) fn key_place(table: &DeTable<'_>, keys: &[&str]) -> Option<Range<usize>> {
    entry(table, keys).map(|(key, _)| key)
}

fn entry(table: &DeTable<'_>, keys: &[&str]) -> Option<(Range<usize>, Range<usize>)> {
    let (last, tables) = keys.split_last()?;
    let mut table = table;
    for key in tables {
        table = table.get(*key)?.get_ref().as_table()?;
    }
    table.get_key_value(*last).map(|(key, value)| (key.span(), value.span()))
}
