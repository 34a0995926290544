//! Finds what belongs to a path: exact, then template, then the longest prefix, then regex, then
//! what is there for any path.

use memchr::{memchr_iter, memrchr};
use regex::Regex;
use rustc_hash::FxHashMap;

use super::captures::Captures;
use super::settings::PathPattern;
use super::templates::Templates;
use super::work;
use crate::http::Span;

/// Asks whether the route with that number takes the request.
pub(super) trait Accept: FnMut(u32) -> bool {}

impl<F: FnMut(u32) -> bool> Accept for F {}

/// Numbers of routes by path pattern. Routes with the same pattern are tried in the order in which
/// they were added.
#[derive(Debug, Default)]
pub(super) struct PathIndex {
    exact: FxHashMap<Box<[u8]>, Vec<u32>>,
    templates: Templates,
    prefixes: Prefixes,
    regexes: Vec<(Regex, u32)>,
    any: Vec<u32>,
}

impl PathIndex {
    /// Adds a route for a pattern, or for every path.
    pub(super) fn add(&mut self, pattern: Option<&PathPattern>, route: u32) {
        match pattern {
            None => self.any.push(route),
            Some(PathPattern::Exact(path)) => {
                self.exact.entry(path.as_bytes().into()).or_default().push(route);
            }
            Some(PathPattern::Template(segments)) => self.templates.add(segments, route),
            Some(PathPattern::Prefix(prefix)) => self.prefixes.add(prefix.as_bytes(), route),
            Some(PathPattern::Regex(pattern)) => self.regexes.push((pattern.regex().clone(), route)),
        }
    }

    /// The first route in order of specificity that accepts the request, with its captures.
    pub(super) fn find(&self, path: &[u8], accept: &mut impl Accept) -> Option<(u32, Captures)> {
        // The target `*` of OPTIONS is not a path; only what takes every path takes it.
        let is_path = path.first() == Some(&b'/');
        let plain = |route| (route, Captures::default());
        if is_path {
            if let Some(route) = self.find_exact(path, accept) {
                return Some(plain(route));
            }
            if let Some(found) = self.templates.find(path, accept) {
                return Some(found);
            }
        }
        if let Some(route) = self.prefixes.find(path, accept) {
            return Some(plain(route));
        }
        if is_path && let Some(found) = self.find_regex(path, accept) {
            return Some(found);
        }
        first(&self.any, accept).map(plain)
    }

    fn find_exact(&self, path: &[u8], accept: &mut impl Accept) -> Option<u32> {
        if self.exact.is_empty() {
            return None;
        }
        work::step();
        first(self.exact.get(path)?, accept)
    }

    fn find_regex(&self, path: &[u8], accept: &mut impl Accept) -> Option<(u32, Captures)> {
        if self.regexes.is_empty() {
            return None;
        }
        // A canonical path is ASCII.
        let path = std::str::from_utf8(path).ok()?;
        let takes = |(regex, route): &&(Regex, u32)| {
            work::step();
            // Conditions are cheaper than most expressions.
            accept(*route) && regex.is_match(path)
        };
        let (regex, route) = self.regexes.iter().find(takes)?;
        Some((*route, named_groups(regex, path)))
    }
}

/// What the named groups of an expression matched. Groups are the only part of a lookup that allocates.
fn named_groups(regex: &Regex, path: &str) -> Captures {
    let mut captures = Captures::default();
    let names = regex.capture_names().flatten();
    if names.clone().next().is_none() {
        return captures;
    }
    if let Some(groups) = regex.captures(path) {
        for name in names {
            captures.push(
                groups.name(name).map_or(Span::default(), |group| Span::new(group.start(), group.end())),
            );
        }
    }
    captures
}

/// The first route of a list that accepts the request.
pub(super) fn first(routes: &[u32], accept: &mut impl Accept) -> Option<u32> {
    routes.iter().copied().find(|route| {
        work::step();
        accept(*route)
    })
}

/// Prefixes by element, found by one probe for each depth that some prefix has.
#[derive(Debug, Default)]
struct Prefixes {
    routes: FxHashMap<Box<[u8]>, Vec<u32>>,
    /// For each number of elements, whether there is a prefix of so many.
    depths: Vec<bool>,
    /// Bytes of the longest prefix; a longer beginning of a path is not worth hashing.
    longest: usize,
}

impl Prefixes {
    fn add(&mut self, prefix: &[u8], route: u32) {
        let depth = memchr_iter(b'/', prefix).count();
        if self.depths.len() <= depth {
            self.depths.resize(depth + 1, false);
        }
        if let Some(known) = self.depths.get_mut(depth) {
            *known = true;
        }
        self.longest = self.longest.max(prefix.len());
        self.routes.entry(prefix.into()).or_default().push(route);
    }

    fn find(&self, path: &[u8], accept: &mut impl Accept) -> Option<u32> {
        let deepest = self.depths.len().checked_sub(1)?;
        let (mut depth, mut end) = beginning(path, deepest);
        loop {
            if self.depths.get(depth) == Some(&true) && end <= self.longest {
                work::step();
                let routes = path.get(..end).and_then(|prefix| self.routes.get(prefix));
                if let Some(route) = routes.and_then(|routes| first(routes, accept)) {
                    return Some(route);
                }
            }
            depth = depth.checked_sub(1)?;
            end = path.get(..end).and_then(|text| memrchr(b'/', text)).unwrap_or(0);
        }
    }
}

/// The depth and the end of the beginning of a path that has at most `deepest` elements.
fn beginning(path: &[u8], deepest: usize) -> (usize, usize) {
    let mut slashes = memchr_iter(b'/', path);
    let mut depth = 0;
    for slash in slashes.by_ref() {
        if depth == deepest {
            return (depth, slash);
        }
        depth += 1;
    }
    // Without a slash it is the `*` of OPTIONS, which has no elements.
    if depth == 0 { (0, 0) } else { (depth, path.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `any` stands for no pattern.
    fn index(patterns: &[&str]) -> PathIndex {
        let mut index = PathIndex::default();
        for (number, pattern) in (0..).zip(patterns) {
            let pattern = (*pattern != "any").then(|| pattern.parse().expect("a pattern"));
            index.add(pattern.as_ref(), number);
        }
        index
    }

    /// The numbers of the patterns that match, in the order in which they are tried.
    fn order(patterns: &[&str], path: &str) -> Vec<u32> {
        let index = index(patterns);
        let mut tried = Vec::new();
        let found = index.find(path.as_bytes(), &mut |route| {
            tried.push(route);
            false
        });
        assert_eq!(found, None);
        tried
    }

    #[test]
    fn a_prefix_matches_the_element_and_all_below_but_not_half_an_element() {
        let prefixes = ["/a/*"];
        assert_eq!(order(&prefixes, "/a"), [0]);
        assert_eq!(order(&prefixes, "/a/"), [0]);
        assert_eq!(order(&prefixes, "/a/b/c"), [0]);
        assert_eq!(order(&prefixes, "/ab"), [0; 0]);
        assert_eq!(order(&prefixes, "/"), [0; 0]);
    }

    #[test]
    fn the_longest_prefix_comes_first() {
        let prefixes = ["/*", "/a/*", "/a/b/c/*", "/a/b/*", "/x/*"];
        assert_eq!(order(&prefixes, "/a/b/c/d"), [2, 3, 1, 0]);
        assert_eq!(order(&prefixes, "/a/b"), [3, 1, 0]);
        assert_eq!(order(&prefixes, "/a//b"), [1, 0]);
        assert_eq!(order(&prefixes, "/"), [0]);
    }

    #[test]
    fn exact_comes_before_template_prefix_regex_and_any() {
        let patterns = ["any", "~^/a", "/*", "/a/*", "/a/{x}", "/a/b"];
        let index = index(&patterns);
        let mut tried = Vec::new();
        index.find(b"/a/b", &mut |route| {
            tried.push(route);
            false
        });
        assert_eq!(tried, [5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn only_what_takes_every_path_takes_the_asterisk() {
        assert_eq!(order(&["~.*", "/", "/*", "/{a}", "any"], "*"), [2, 4]);
    }

    #[test]
    fn a_path_of_many_elements_costs_no_more_probes_than_prefixes_have_elements() {
        let index = index(&["/a/b/*", "/a/*"]);
        let path = "/a".repeat(4000);
        assert_eq!(work::steps_of(|| index.find(path.as_bytes(), &mut |_| false)), 3);
    }

    #[test]
    fn an_expression_that_does_not_match_gives_way_to_the_next() {
        let index = index(&["~^/v[0-9]+/", "~b$"]);
        let find = |path: &[u8]| index.find(path, &mut |_| true).map(|(route, _)| route);
        assert_eq!(find(b"/v1/b"), Some(0));
        assert_eq!(find(b"/b"), Some(1));
        assert_eq!(find(b"/c"), None);
    }

    #[test]
    fn named_groups_of_an_expression_are_captures() {
        let index = index(&["~^/(?<a>[a-z]+)(/x)?/(?<b>[0-9]*)"]);
        let path = b"/users/7";
        let (_, captures) = index.find(path, &mut |_| true).expect("a match");
        assert_eq!((captures.text(0, path), captures.text(1, path)), (&b"users"[..], &b"7"[..]));
    }
}
