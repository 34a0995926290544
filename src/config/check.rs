//! What needs more than one value to be wrong: references, duplicates, conflicts, emptiness.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rustc_hash::FxHashMap;
use toml::Spanned;
use toml::de::DeTable;

use super::Config;
use super::message;
use super::read::{Holes, Wrong};
use super::source::Sources;
use super::tree;

mod discovery;
mod listener;
mod middleware;
mod passthrough;
mod route;
mod tls;
mod upstream;

/// The names that are defined, by their table.
pub(super) type Names = BTreeMap<String, BTreeSet<String>>;

/// What a check looks at besides the configuration.
pub(super) struct Context<'c> {
    /// Everything that is written, also what could not be read.
    pub(super) tree: &'c DeTable<'c>,
    /// Every name of a table, also of those whose definition is refused.
    pub(super) names: &'c Names,
    /// Where something could not be read.
    pub(super) holes: &'c Holes,
    /// The texts.
    pub(super) sources: &'c Sources,
}

/// Adds everything that is wrong with a configuration that could be read.
pub(super) fn check(config: &Config, context: &Context<'_>, wrong: &mut Vec<Wrong>) {
    let mut findings = Findings { context, wrong };
    names(config, &mut findings);
    listener::check(config, &mut findings);
    route::check(config, &mut findings);
    passthrough::check(config, &mut findings);
    middleware::check(config, &mut findings);
    upstream::check(config, &mut findings);
}

/// Collects what is wrong.
struct Findings<'f> {
    context: &'f Context<'f>,
    wrong: &'f mut Vec<Wrong>,
}

impl Findings<'_> {
    fn add(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.wrong.push((span, message.into()));
    }

    /// Where a key stands, if it is written.
    fn written(&self, keys: &[&str]) -> Option<Range<usize>> {
        tree::place(self.context.tree, keys)
    }

    /// Where the key itself stands, if it is written.
    fn written_key(&self, keys: &[&str]) -> Option<Range<usize>> {
        tree::key_place(self.context.tree, keys)
    }

    /// Where a span is, as `file:line`.
    fn place(&self, span: Range<usize>) -> String {
        self.context.sources.place(span)
    }

    /// Whether a key of the owner that begins at this byte may have had something that is wrong by
    /// itself, so that its emptiness says nothing.
    fn is_incomplete(&self, owner: usize, key: &str) -> bool {
        self.context.holes.has(owner, key)
    }

    /// Every name of a table, also of those whose definition could not be read.
    fn names_of(&self, table: &str) -> Vec<&str> {
        let names = self.context.names.get(table);
        names.into_iter().flatten().map(String::as_str).collect()
    }

    /// Refuses a name that is defined nowhere.
    fn reference(&mut self, table: &str, name: &Spanned<String>) {
        let text = name.get_ref().as_str();
        if self.context.names.get(table).is_some_and(|names| names.contains(text)) {
            return;
        }
        let names = self.names_of(table);
        let hint = match message::suggest(text, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("define it with `[{}]`", defining(table, text)),
            None if names.len() <= 8 => format!("there is {}", message::list(&names, "and")),
            None => format!("define it with `[{}]`", defining(table, text)),
        };
        self.add(name.span(), format!("no {table} has the name `{text}`; {hint}"));
    }

    /// Refuses the second of two equal items; `words` names the item and its first place.
    fn distinct<T: PartialEq + std::fmt::Display>(&mut self, items: &[Spanned<T>], what: &str) {
        for (index, item) in items.iter().enumerate() {
            if items.iter().take(index).any(|earlier| earlier == item) {
                self.add(item.span(), format!("{what} `{}` stands twice in the list", item.get_ref()));
            }
        }
    }
}

fn defining(table: &str, name: &str) -> String {
    match table {
        "middleware" => format!("middleware.{name}.headers"),
        _ => format!("{table}.{name}"),
    }
}

/// Names become labels of metrics and fields of logs: plain, and short enough.
fn names(config: &Config, findings: &mut Findings<'_>) {
    let tables = config.listeners.keys().chain(config.upstreams.keys()).chain(config.middlewares.keys());
    let routes = config.routes.iter().filter_map(|route| route.get_ref().name.as_ref());
    for name in tables.chain(routes) {
        let text = name.get_ref();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 64 || !text.chars().all(is_plain) {
            findings.add(
                name.span(),
                format!("`{text}` is not a name; it has letters, digits, `-`, `_` and `.`, at most 64"),
            );
        }
    }
    let mut seen: FxHashMap<Cow<'_, str>, Range<usize>> = FxHashMap::default();
    seen.reserve(config.routes.len());
    for (index, route) in config.routes.iter().enumerate() {
        let span = route.get_ref().name.as_ref().map_or(route.span(), Spanned::span);
        let name = config.route_name(index);
        match seen.get(&name) {
            Some(first) => {
                let place = findings.place(first.clone());
                findings.add(span, format!("the route at {place} is called `{name}` already"));
            }
            None => {
                seen.insert(name, span);
            }
        }
    }
}
