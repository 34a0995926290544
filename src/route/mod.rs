//! Which route takes a request, and what the route does to its target.
//!
//! All routes are candidates; the most specific one that takes the request wins. In this order:
//!
//! 1. `priority`, larger first;
//! 2. the host: exact, then the longest `*.suffix`, then any;
//! 3. the path: exact, then template (a literal before a placeholder, at the first difference),
//!    then the longest prefix, then regular expression, then any;
//! 4. more conditions on method, header fields, query parameters and client;
//! 5. the order of the configuration.
//!
//! The cost of a lookup depends on how many elements the patterns have and on how many routes
//! share one host and path, not on how many routes there are.

mod captures;
mod conditions;
mod hosts;
mod names;
mod paths;
pub mod redirect;
pub mod rewrite;
pub mod settings;
pub mod split;
mod templates;
mod variables;
mod work;

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use toml::Spanned;

pub use captures::{Captures, MAX_CAPTURES};
pub use names::ServerNames;
pub use redirect::Redirect;
pub use rewrite::Rewrite;
pub use settings::Settings;
pub use split::Split;
pub use variables::TemplateError;

use crate::http::RequestHead;
use conditions::Conditions;
use hosts::HostIndex;
use paths::PathIndex;
use settings::PathPattern;

/// What a route is found by: a validated request and where it came from.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The head; its path is canonical and its authority in lower case.
    pub request: &'a RequestHead,
    /// The number of the listener.
    pub listener: u32,
    /// The address of the client, after trusted proxies.
    pub client: IpAddr,
}

/// The route that takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its number in the list that the table was built from.
    pub route: u32,
    /// What those placeholders stand for that all of its paths have, in the order of the first.
    pub captures: Captures,
}

/// One route of a table: its settings, and its listeners as numbers.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What the route serves; a table finds those for requests only.
    pub serves: Serves,
    /// The conditions are taken from here.
    pub settings: &'a Settings,
    /// Numbers of the listeners that `settings.listeners` names; empty is all.
    pub listeners: &'a [u32],
}

/// What a route serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// Requests of HTTP.
    Requests,
    /// Whole connections, which are passed through.
    Connections,
}

/// Why no table can be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// A path with more placeholders than [`MAX_CAPTURES`].
    #[error("`{path}` has more than {MAX_CAPTURES} captures")]
    TooManyCaptures {
        /// The number of the route.
        route: u32,
        /// The pattern as written.
        path: String,
    },
}

/// All routes of a configuration, compiled; immutable and shared by all workers.
#[derive(Debug, Default)]
pub struct Table {
    conditions: Box<[Conditions]>,
    candidates: Box<[Candidate]>,
    /// One index for each priority, the largest first.
    tiers: Box<[HostIndex<PathIndex>]>,
}

/// One path of one route; its number is what the indexes hold.
#[derive(Debug)]
struct Candidate {
    route: u32,
    /// Which captures of this path are the captures of the route; `None` if all, in this order.
    captures: Option<Box<[u8]>>,
}

impl Table {
    /// Compiles routes, numbered from 0 in the order of the configuration.
    ///
    /// # Errors
    /// [`TableError`] when a pattern is past a limit.
    pub fn new<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Result<Table, TableError> {
        let entries = entries.into_iter();
        let count = entries.size_hint().0;
        let mut routes = Vec::with_capacity(count);
        let mut conditions = Vec::with_capacity(count);
        for (number, entry) in (0..).zip(entries) {
            Table::check(number, entry.settings)?;
            let own = Conditions::new(entry.settings, entry.listeners);
            if entry.serves == Serves::Requests {
                routes.push((Reverse(own.count()), number, entry.settings));
            }
            conditions.push(own);
        }
        // Each list in an index then has the routes with more conditions first.
        routes.sort_by_key(|(count, number, _)| (*count, *number));
        let mut candidates = Vec::with_capacity(count);
        let mut tiers: BTreeMap<Reverse<i32>, HostIndex<PathIndex>> = BTreeMap::new();
        for (_, route, settings) in routes {
            let hosts = tiers.entry(Reverse(settings.priority)).or_default();
            for path in or_any(&settings.path) {
                let number = candidates.len() as u32;
                candidates.push(Candidate { route, captures: selection(path, &settings.path) });
                for host in or_any(&settings.host) {
                    hosts.entry(host).add(path, number);
                }
            }
        }
        let tiers = tiers.into_values().collect();
        Ok(Table { conditions: conditions.into(), candidates: candidates.into(), tiers })
    }

    /// Whether a route is within the limits of a table.
    ///
    /// # Errors
    /// [`TableError`] when it is not.
    pub fn check(route: u32, settings: &Settings) -> Result<(), TableError> {
        let mut paths = settings.path.iter().map(Spanned::get_ref);
        match paths.find(|path| path.captures().len() > MAX_CAPTURES) {
            Some(path) => Err(TableError::TooManyCaptures { route, path: path.to_string() }),
            None => Ok(()),
        }
    }

    /// Whether any route is for this host, whatever else it asks for.
    pub fn knows_host(&self, host: &[u8]) -> bool {
        self.tiers.iter().any(|hosts| hosts.find(host, |_| Some(())).is_some())
    }

    /// The most specific route that takes the request.
    pub fn find(&self, subject: &Subject<'_>) -> Option<Match> {
        let (host, path) = (subject.request.host(), subject.request.path());
        let mut takes = |number: u32| {
            let candidate = self.candidates.get(number as usize);
            let conditions = candidate.and_then(|candidate| self.conditions.get(candidate.route as usize));
            conditions.is_some_and(|conditions| conditions.hold(subject))
        };
        let mut tiers = self.tiers.iter();
        let (number, captures) =
            tiers.find_map(|hosts| hosts.find(host, |paths| paths.find(path, &mut takes)))?;
        let candidate = self.candidates.get(number as usize)?;
        let captures = match &candidate.captures {
            Some(numbers) => captures.select(numbers),
            None => captures,
        };
        Some(Match { route: candidate.route, captures })
    }
}

/// Which captures of a path are those that all paths of the route have; `None` if all, in order.
fn selection(path: Option<&PathPattern>, paths: &[Spanned<PathPattern>]) -> Option<Box<[u8]>> {
    let own = path?.captures();
    let common = variables::common(paths);
    let number = |name: &&str| (0..).zip(&own).find(|(_, own)| *own == name).map(|(number, _)| number);
    (own != common).then(|| common.iter().filter_map(number).collect())
}

/// The patterns of a list, or once `None` for an empty list, which means any.
fn or_any<T>(patterns: &[Spanned<T>]) -> impl Iterator<Item = Option<&T>> {
    let any = patterns.is_empty().then_some(None);
    any.into_iter().chain(patterns.iter().map(|pattern| Some(pattern.get_ref())))
}
