//! Keys and values that belong to the configuration contract but do not work in this version yet.
//!
//! The rule: such a key is refused, unless it says what holds anyway ("off", empty, zero). Such a
//! value is refused wherever it stands. When a feature arrives, its lines leave this file.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::tree::{self, Keep};

/// One entry of the list.
struct Planned {
    /// The keys from the root; `*` is any name, elements of arrays stand under the array's key.
    path: &'static str,
    rule: Rule,
}

/// What of a path does not work yet.
enum Rule {
    /// The key, unless it has one of these values.
    KeyUnless(&'static [&'static str]),
    /// These values of the key, short or with options.
    Values(&'static [&'static str]),
    /// A table that has one of these keys.
    TableWith(&'static [&'static str]),
    /// This value of the key, which needs the cargo feature of the same name.
    #[cfg(not(feature = "kubernetes"))]
    Feature(&'static str),
}

impl Planned {
    /// The last key of the path.
    fn key(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or_default()
    }
}

#[cfg(not(feature = "kubernetes"))]
use Rule::Feature;
use Rule::{KeyUnless, TableWith, Values};

const fn planned(path: &'static str, rule: Rule) -> Planned {
    Planned { path, rule }
}

const PLANNED: &[Planned] = &[
    planned("acme", KeyUnless(&[])),
    planned("tracing", KeyUnless(&[])),
    planned("test", KeyUnless(&["[]"])),
    planned("reload.guard", KeyUnless(&["off"])),
    planned("listener.*.protocols", Values(&["h3"])),
    planned("listener.*.tls.acme", KeyUnless(&["[]"])),
    planned("route.mirror", KeyUnless(&["off"])),
    planned("route.retry.hedge", KeyUnless(&["off"])),
    planned(
        "middleware.*",
        TableWith(&[
            "rate_limit",
            "concurrency",
            "basic_auth",
            "jwt",
            "forward_auth",
            "ip_allow",
            "cors",
            "compress",
            "error_pages",
            "cache",
        ]),
    ),
    planned("upstream.*.endpoints.zone", KeyUnless(&[""])),
    #[cfg(not(feature = "kubernetes"))]
    planned("upstream.*.discover", Feature("kubernetes")),
    planned("upstream.*.balance", Values(&["adaptive", "peak_ewma", "ring_hash", "maglev"])),
    planned("upstream.*.slow_start", KeyUnless(&["0", "0s"])),
    planned("upstream.*.zone", KeyUnless(&[""])),
    planned("upstream.*.sticky", KeyUnless(&["off"])),
    planned("upstream.*.connections.max_per_endpoint", KeyUnless(&["0"])),
    planned("upstream.*.connections.max_in_flight", KeyUnless(&["0"])),
    planned("upstream.*.connections.adaptive_limit", KeyUnless(&["false"])),
    // Without a limit nothing queues, so the default of the contract promises nothing.
    planned("upstream.*.connections.queue_timeout", KeyUnless(&["100ms"])),
];

/// A refused key or value.
pub(super) struct Refused {
    pub(super) span: Range<usize>,
    pub(super) owner: usize,
    pub(super) message: String,
}

/// Takes every planned key out of the tree and says which of them promise what does not work.
pub(super) fn refuse(tree: &mut DeTable<'_>) -> Vec<Refused> {
    let mut refused = Vec::new();
    for planned in PLANNED {
        tree::walk_at(tree, planned.path, &mut |visit| {
            let owner = visit.owner;
            let mut refuse = |span, message| refused.push(Refused { span, owner, message });
            match planned.rule {
                KeyUnless(values) => {
                    let written = text_of(visit.value.get_ref());
                    if !written.is_some_and(|written| values.contains(&written.as_str())) {
                        refuse(visit.key, sentence(planned.key()));
                    }
                    Keep::No
                }
                Values(values) => match choice(visit.value.get_ref()) {
                    Some(choice) if values.contains(&choice) => {
                        refuse(visit.value.span(), sentence(choice));
                        Keep::No
                    }
                    Some(_) | None => Keep::Yes,
                },
                TableWith(keys) => {
                    let table = visit.value.get_ref().as_table();
                    let mut kinds = table.into_iter().flat_map(DeTable::keys);
                    match kinds.find(|kind| keys.contains(&kind.get_ref().as_ref())) {
                        Some(kind) => {
                            refuse(kind.span(), sentence(kind.get_ref()));
                            Keep::No
                        }
                        None => Keep::Yes,
                    }
                }
                #[cfg(not(feature = "kubernetes"))]
                Feature(name) if choice(visit.value.get_ref()) == Some(name) => {
                    refuse(visit.value.span(), lacking(name));
                    Keep::No
                }
                #[cfg(not(feature = "kubernetes"))]
                Feature(_) => Keep::Yes,
            }
        });
    }
    refused
}

#[cfg(not(feature = "kubernetes"))]
fn lacking(feature: &str) -> String {
    format!(
        "this binary was built without `{feature}`; `cargo build --release --features {feature}` has it, and so have releases"
    )
}

fn sentence(what: &str) -> String {
    format!("`{what}` is part of the configuration contract but does not work in this version yet")
}

/// Planned keys of the table at this path, to be thought of when a key is mistyped.
pub(super) fn keys_in(table: &[&str]) -> impl Iterator<Item = &'static str> {
    PLANNED.iter().filter_map(|planned| match planned.path.rsplit_once('.') {
        Some((parent, key)) => matches(parent, table).then_some(key),
        None => table.is_empty().then_some(planned.path),
    })
}

/// Every planned key and value by its own name.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    PLANNED.iter().flat_map(|planned| match planned.rule {
        KeyUnless(_) => vec![planned.key()],
        Values(names) | TableWith(names) => names.to_vec(),
        #[cfg(not(feature = "kubernetes"))]
        Feature(_) => Vec::new(),
    })
}

fn matches(pattern: &str, path: &[&str]) -> bool {
    let mut keys = path.iter();
    let all = pattern.split('.').all(|part| keys.next().is_some_and(|key| part == "*" || part == *key));
    all && keys.next().is_none()
}

/// A plain value as it is written in the list above.
fn text_of(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Array(items) if items.is_empty() => Some("[]".to_owned()),
        DeValue::Array(_) | DeValue::Table(_) | DeValue::Float(_) | DeValue::Datetime(_) => None,
    }
}

/// The name of a choice, short or with options.
fn choice<'v>(value: &'v DeValue<'_>) -> Option<&'v str> {
    match value {
        DeValue::String(text) => Some(text),
        DeValue::Table(table) => table.keys().next().map(|key| key.get_ref().as_ref()),
        DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Array(_) => None,
    }
}
