//! From the tree to a [`Config`]: every error is recorded and cut out, until the rest can be read.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Error, ValueDeserializer};

use super::Config;
use super::message::{self, Meaning};
use super::tree::{self, Step};
use crate::route::Settings;

/// What is wrong at which bytes.
pub(super) type Wrong = (Range<usize>, String);

/// Places at which something was cut out, so that its absence is not an error of its own.
#[derive(Debug, Default)]
pub(super) struct Holes(BTreeSet<(usize, String)>);

/// Stands for every key of an owner.
const ANY: &str = "*";

impl Holes {
    /// Something without a clear meaning was cut out of the owner that begins at this byte.
    pub(super) fn anywhere(&mut self, owner: usize) {
        self.0.insert((owner, ANY.to_owned()));
    }

    /// This key of the owner lost something.
    fn key(&mut self, owner: usize, key: &str) {
        self.0.insert((owner, key.to_owned()));
    }

    /// Whether this key of the owner may have lost something.
    pub(super) fn has(&self, owner: usize, key: &str) -> bool {
        !self.0.is_empty() && [key, ANY].into_iter().any(|key| self.0.contains(&(owner, key.to_owned())))
    }
}

/// Makes trees again; only an error asks for them.
type Again<'a, T> = &'a dyn Fn() -> T;

/// Reads what can be read; without a result nothing could be cut out to go on. The routes are taken
/// out of the tree. When one of them is wrong, `again` makes a tree that has them all; `as_written`
/// makes the trees of the files as they were before anything was taken out.
pub(super) fn read<'s>(
    tree: &mut DeTable<'s>,
    again: Again<'_, DeTable<'s>>,
    as_written: Again<'_, Vec<DeTable<'s>>>,
    wrong: &mut Vec<Wrong>,
    holes: &mut Holes,
) -> Option<Config> {
    let mut losses = Losses::new(as_written);
    let routes = match take_routes(tree) {
        Ok(routes) => routes,
        Err(_) => read_routes(&mut again(), &mut losses, wrong, holes)?,
    };
    let mut tree = tree.clone();
    loop {
        // Nothing but the elements that are cut out bounds the loop, and each turn cuts out one.
        match Config::deserialize(toml::Deserializer::from(Spanned::new(0..0, tree.clone()))) {
            Ok(config) => return Some(Config { routes, ..config }),
            Err(error) => cut_out(&mut tree, &error, &mut losses, wrong, holes)?,
        }
    }
}

/// What was taken out, as far as a later error may be its consequence.
struct Losses<'a, 's> {
    as_written: Again<'a, Vec<DeTable<'s>>>,
    /// The files as they are written, once that was asked.
    written: Option<Vec<DeTable<'s>>>,
    /// The tables that lost a key which nobody knows, or their last one: what they miss may have been
    /// that.
    guessed: Vec<Vec<Step>>,
    /// The lists that lost an element.
    shortened: Vec<Vec<Step>>,
}

impl<'a, 's> Losses<'a, 's> {
    fn new(as_written: Again<'a, Vec<DeTable<'s>>>) -> Losses<'a, 's> {
        Losses { as_written, written: None, guessed: Vec::new(), shortened: Vec::new() }
    }

    /// Whether an error is about nothing but what was taken out.
    fn explain(&mut self, error: &Error, meaning: Meaning, steps: &[Step]) -> bool {
        let is_among = |all: &[Vec<Step>]| all.iter().any(|one| one == steps);
        match meaning {
            Meaning::Absent => is_among(&self.guessed) || self.is_written(error),
            Meaning::Known | Meaning::Unknown => is_among(&self.shortened),
        }
    }

    /// Whether the key that an error misses is written: its value was taken out.
    fn is_written(&mut self, error: &Error) -> bool {
        let place = error.span().unwrap_or(0..0);
        let key = error.message().strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        let written = self.written.get_or_insert_with(self.as_written);
        key.is_some_and(|key| written.iter().any(|file| tree::has_key(file, &place, key)))
    }

    /// Notes what is about to be taken out.
    fn note(&mut self, meaning: Meaning, steps: &[Step]) {
        match (meaning, steps.split_last()) {
            (_, Some((Step::Index(_), list))) => self.shortened.push(list.to_vec()),
            (Meaning::Unknown, Some((_, table))) => self.guessed.push(table.to_vec()),
            (Meaning::Known | Meaning::Absent, _) | (_, None) => {}
        }
    }
}

/// The key of the routes.
const ROUTES: &str = "route";

/// The routes in their right shape; any other is an error of the whole.
fn routes<'t, 's>(tree: &'t DeTable<'s>) -> &'t [Spanned<DeValue<'s>>] {
    tree.get(ROUTES).and_then(|value| value.get_ref().as_array()).map_or(&[], |items| items)
}

/// Reads the routes without a copy of them, which costs half as much as reading them.
fn take_routes(tree: &mut DeTable<'_>) -> Result<Vec<Spanned<Settings>>, Error> {
    let Some(DeValue::Array(items)) = tree.get_mut(ROUTES).map(Spanned::get_mut) else {
        return Ok(Vec::new());
    };
    let items = std::mem::replace(items, DeArray::new());
    let mut read = Vec::with_capacity(items.len());
    for item in items {
        read.push(Spanned::deserialize(ValueDeserializer::from(item))?);
    }
    Ok(read)
}

/// Reads each route for itself, and what is wrong in it.
fn read_routes(
    tree: &mut DeTable<'_>,
    losses: &mut Losses<'_, '_>,
    wrong: &mut Vec<Wrong>,
    holes: &mut Holes,
) -> Option<Vec<Spanned<Settings>>> {
    let mut read = Vec::new();
    while let Some(item) = routes(tree).get(read.len()) {
        match Spanned::deserialize(ValueDeserializer::from(item.clone())) {
            Ok(route) => read.push(route),
            // Something of the item is cut out, or all of it: then the next one takes its place.
            Err(error) => cut_out(tree, &error, losses, wrong, holes)?,
        }
    }
    Some(read)
}

/// Records an error and removes what holds it; `None` when there is nothing to remove.
fn cut_out(
    tree: &mut DeTable<'_>,
    error: &Error,
    losses: &mut Losses<'_, '_>,
    wrong: &mut Vec<Wrong>,
    holes: &mut Holes,
) -> Option<()> {
    let span = error.span().unwrap_or(0..0);
    let innermost = tree::innermost(tree, &span);
    let path = innermost.as_ref().map(|innermost| innermost.path()).unwrap_or_default();
    let explained = message::explain(error.message(), &path);
    let steps = innermost.as_ref().map(|innermost| innermost.steps.clone()).unwrap_or_default();
    if !losses.explain(error, explained.meaning, &steps) {
        wrong.push((span, explained.message));
    }

    let innermost = innermost?;
    losses.note(explained.meaning, &steps);
    match (explained.meaning, steps.get(2)) {
        (Meaning::Known | Meaning::Absent, Some(Step::Key(key))) => holes.key(innermost.owner, key),
        (Meaning::Known | Meaning::Absent | Meaning::Unknown, _) => holes.anywhere(innermost.owner),
    }
    tree::remove(tree, &steps);
    if let Some((_, table)) = steps.split_last()
        && tree::is_empty(tree, table)
    {
        losses.guessed.push(table.to_vec());
    }
    Some(())
}
