//! From the tree to a [`Config`]: every error is recorded and cut out, until the rest can be read.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, Error};

use super::Config;
use super::message::{self, Meaning};
use super::tree::{self, Step};

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

/// Reads what can be read; without a result nothing could be cut out to go on. `as_written` makes
/// the trees of the files as they were before anything was taken out; only an error asks for them.
pub(super) fn read<'w>(
    tree: &DeTable<'_>,
    as_written: &dyn Fn() -> Vec<DeTable<'w>>,
    wrong: &mut Vec<Wrong>,
    holes: &mut Holes,
) -> Option<Config> {
    let mut tree = Cow::Borrowed(tree);
    let mut losses: Option<Losses<'w>> = None;
    loop {
        // Nothing but the elements that are cut out bounds the loop, and each turn cuts out one.
        match Config::deserialize(toml::Deserializer::from(Spanned::new(0..0, (*tree).clone()))) {
            Ok(config) => return Some(config),
            Err(error) => {
                let losses = losses.get_or_insert_with(|| Losses::new(as_written()));
                cut_out(tree.to_mut(), &error, losses, wrong, holes)?;
            }
        }
    }
}

/// What was taken out, as far as a later error may be its consequence.
struct Losses<'w> {
    /// The files as they are written.
    written: Vec<DeTable<'w>>,
    /// The tables that lost a key which nobody knows, or their last one: what they miss may have been
    /// that.
    guessed: Vec<Vec<Step>>,
    /// The lists that lost an element.
    shortened: Vec<Vec<Step>>,
}

impl<'w> Losses<'w> {
    fn new(written: Vec<DeTable<'w>>) -> Losses<'w> {
        Losses { written, guessed: Vec::new(), shortened: Vec::new() }
    }

    /// Whether an error is about nothing but what was taken out.
    fn explain(&self, error: &Error, meaning: Meaning, steps: &[Step]) -> bool {
        let is_among = |all: &[Vec<Step>]| all.iter().any(|one| one == steps);
        match meaning {
            Meaning::Absent => is_among(&self.guessed) || self.is_written(error),
            Meaning::Known | Meaning::Unknown => is_among(&self.shortened),
        }
    }

    /// Whether the key that an error misses is written: its value was taken out.
    fn is_written(&self, error: &Error) -> bool {
        let place = error.span().unwrap_or(0..0);
        let key = error.message().strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        key.is_some_and(|key| self.written.iter().any(|file| tree::has_key(file, &place, key)))
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

/// Records an error and removes what holds it; `None` when there is nothing to remove.
fn cut_out(
    tree: &mut DeTable<'_>,
    error: &Error,
    losses: &mut Losses<'_>,
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
