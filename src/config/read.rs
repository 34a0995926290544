//! From the tree to a [`Config`]: every error is recorded and cut out, until the rest can be read.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error, ValueDeserializer};

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

/// Reads what can be read; without a result nothing could be cut out to go on. Only what is wrong
/// in routes leaves the tree itself.
pub(super) fn read(tree: &mut DeTable<'_>, wrong: &mut Vec<Wrong>, holes: &mut Holes) -> Option<Config> {
    let mut guessed = Vec::new();
    let routes = read_routes(tree, &mut guessed, wrong, holes)?;
    let entries = tree.iter().filter(|(key, value)| !are_routes(key.get_ref(), value.get_ref()));
    let mut tree: DeTable<'_> = entries.map(|(key, value)| (key.clone(), value.clone())).collect();
    loop {
        // Nothing but the elements that are cut out bounds the loop, and each turn cuts out one.
        match Config::deserialize(toml::Deserializer::from(Spanned::new(0..0, tree.clone()))) {
            Ok(config) => return Some(Config { routes, ..config }),
            Err(error) => cut_out(&mut tree, &error, &mut guessed, wrong, holes)?,
        }
    }
}

/// Whether these are routes in their right shape.
fn are_routes(key: &str, value: &DeValue<'_>) -> bool {
    key == ROUTES && value.is_array()
}

/// The key of the routes.
const ROUTES: &str = "route";

/// Reads each route for itself: a copy of all of them at once costs as much as parsing them.
fn read_routes(
    tree: &mut DeTable<'_>,
    guessed: &mut Vec<Vec<Step>>,
    wrong: &mut Vec<Wrong>,
    holes: &mut Holes,
) -> Option<Vec<Spanned<Settings>>> {
    fn items<'t, 'a>(tree: &'t DeTable<'a>) -> &'t [Spanned<DeValue<'a>>] {
        tree.get(ROUTES).and_then(|value| value.get_ref().as_array()).map_or(&[], |items| items)
    }
    let mut routes = Vec::with_capacity(items(tree).len());
    while let Some(item) = items(tree).get(routes.len()) {
        match Spanned::deserialize(ValueDeserializer::from(item.clone())) {
            Ok(route) => routes.push(route),
            // Something of the item is cut out, or all of it: then the next one takes its place.
            Err(error) => cut_out(tree, &error, guessed, wrong, holes)?,
        }
    }
    Some(routes)
}

/// Records an error and removes what holds it; `None` when there is nothing to remove.
///
/// `guessed` are the tables that lost a key which nobody knows, or their last one: what they miss may
/// have been that.
fn cut_out(
    tree: &mut DeTable<'_>,
    error: &Error,
    guessed: &mut Vec<Vec<Step>>,
    wrong: &mut Vec<Wrong>,
    holes: &mut Holes,
) -> Option<()> {
    let span = error.span().unwrap_or(0..0);
    let innermost = tree::innermost(tree, &span);
    let path = innermost.as_ref().map(|innermost| innermost.path()).unwrap_or_default();
    let explained = message::explain(error.message(), &path);
    let steps = innermost.as_ref().map(|innermost| innermost.steps.clone()).unwrap_or_default();
    let is_consequence = explained.meaning == Meaning::Absent && guessed.contains(&steps);
    if !is_consequence {
        wrong.push((span, explained.message));
    }

    let innermost = innermost?;
    if let (Meaning::Unknown, Some((_, table))) = (explained.meaning, steps.split_last()) {
        guessed.push(table.to_vec());
    }
    match (explained.meaning, steps.get(2)) {
        (Meaning::Known | Meaning::Absent, Some(Step::Key(key))) => holes.key(innermost.owner, key),
        (Meaning::Known | Meaning::Absent | Meaning::Unknown, _) => holes.anywhere(innermost.owner),
    }
    tree::remove(tree, &steps);
    if let Some((_, table)) = steps.split_last()
        && tree::is_empty(tree, table)
    {
        guessed.push(table.to_vec());
    }
    Some(())
}
