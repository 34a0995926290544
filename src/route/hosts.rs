//! Finds what belongs to a host: the exact name, then the longest `*.suffix`, then any host.

use memchr::{memchr, memchr_iter, memrchr};
use rustc_hash::FxHashMap;

use super::work;
use crate::http::head::split_port;

/// One value per host pattern, found by a few hash probes however many patterns there are.
///
/// The hash is not keyed: which names are in the maps is the operator's choice, and a peer that
/// knows the hash can only pick which of them it asks for.
#[derive(Debug, Default)]
pub(super) struct HostIndex<V> {
    exact: FxHashMap<Box<[u8]>, V>,
    /// Keys start with the dot: `.example.com`, `.example.com:8080`.
    suffixes: FxHashMap<Box<[u8]>, V>,
    any: Option<V>,
    /// Whether a pattern names a port, so that authorities are looked up with theirs, too.
    has_ports: bool,
    /// Dots in the longest suffix. A peer chooses the length of its host, but no probe is made
    /// for more labels than a pattern has.
    max_dots: usize,
}

/// Which hosts a value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostKey<'a> {
    /// Every host.
    Any,
    /// This lower-case name or address, with a port or for every port.
    Exact(&'a str),
    /// Every name that ends in this lower-case text, which starts with a dot.
    Suffix(&'a str),
}

impl<V: Default> HostIndex<V> {
    /// The value of a pattern, made when there is none.
    pub(super) fn entry(&mut self, key: HostKey<'_>) -> &mut V {
        let (map, text) = match key {
            HostKey::Any => return self.any.get_or_insert_default(),
            HostKey::Exact(text) => (&mut self.exact, text.as_bytes()),
            HostKey::Suffix(text) => {
                self.max_dots = self.max_dots.max(memchr_iter(b'.', text.as_bytes()).count());
                (&mut self.suffixes, text.as_bytes())
            }
        };
        self.has_ports |= split_port(text).1.is_some();
        map.entry(text.into()).or_default()
    }
}

impl<V> HostIndex<V> {
    /// Visits the values for an authority from the most specific one, until one gives an answer.
    /// At the same specificity a pattern with a port comes before one without.
    pub(super) fn find<R>(&self, authority: &[u8], mut visit: impl FnMut(&V) -> Option<R>) -> Option<R> {
        let (host, port) = split_port(authority);
        // The root label of a fully qualified name is no difference.
        let host = host.strip_suffix(b".").unwrap_or(host);
        let authority = if self.has_ports && port.is_some() { Some(authority) } else { None };
        for name in authority.into_iter().chain([host]) {
            if let Some(found) = probe(&self.exact, name).and_then(&mut visit) {
                return Some(found);
            }
        }
        self.find_suffix(host, authority, &mut visit).or_else(|| self.any.as_ref().and_then(visit))
    }

    fn find_suffix<R>(
        &self,
        host: &[u8],
        authority: Option<&[u8]>,
        visit: &mut impl FnMut(&V) -> Option<R>,
    ) -> Option<R> {
        if self.max_dots == 0 {
            return None;
        }
        let mut start = first_suffix(host, self.max_dots);
        while let Some(at) = start {
            let texts = [authority.and_then(|text| text.get(at..)), host.get(at..)];
            for text in texts.into_iter().flatten() {
                if let Some(found) = probe(&self.suffixes, text).and_then(&mut *visit) {
                    return Some(found);
                }
            }
            start = host.get(at + 1..).and_then(|rest| memchr(b'.', rest)).map(|dot| at + 1 + dot);
        }
        None
    }
}

fn probe<'a, V>(map: &'a FxHashMap<Box<[u8]>, V>, key: &[u8]) -> Option<&'a V> {
    if map.is_empty() {
        return None;
    }
    work::step();
    map.get(key)
}

/// Where the longest suffix of at most that many dots starts; a suffix is shorter than its host.
fn first_suffix(host: &[u8], dots: usize) -> Option<usize> {
    let mut start = None;
    let mut end = host.len();
    for _ in 0..dots {
        match memrchr(b'.', host.get(..end)?) {
            Some(at) if at > 0 => (start, end) = (Some(at), at),
            Some(_) | None => break,
        }
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(patterns: &[HostKey<'_>], authority: &str) -> Vec<usize> {
        let mut index: HostIndex<Vec<usize>> = HostIndex::default();
        for (number, key) in patterns.iter().enumerate() {
            index.entry(*key).push(number);
        }
        let mut seen = Vec::new();
        let answer = index.find(authority.as_bytes(), |numbers| -> Option<()> {
            seen.extend(numbers);
            None
        });
        assert_eq!(answer, None);
        seen
    }

    #[test]
    fn hosts_are_visited_from_the_most_specific() {
        let patterns = [
            HostKey::Any,
            HostKey::Suffix(".example.com"),
            HostKey::Exact("a.b.example.com"),
            HostKey::Suffix(".b.example.com"),
            HostKey::Suffix(".com"),
        ];
        assert_eq!(order(&patterns, "a.b.example.com"), [2, 3, 1, 4, 0]);
        assert_eq!(order(&patterns, "c.b.example.com:8080"), [3, 1, 4, 0]);
        assert_eq!(order(&patterns, "b.example.com"), [1, 4, 0]);
        assert_eq!(order(&patterns, "example.com"), [4, 0]);
        assert_eq!(order(&patterns, "com"), [0]);
        assert_eq!(order(&patterns, ""), [0]);
    }

    #[test]
    fn a_suffix_does_not_match_its_own_name_nor_an_empty_label() {
        assert_eq!(order(&[HostKey::Suffix(".example.com")], "example.com"), [0; 0]);
        assert_eq!(order(&[HostKey::Suffix(".example.com")], ".example.com"), [0; 0]);
    }

    #[test]
    fn a_pattern_with_a_port_matches_only_that_port_and_comes_first() {
        let patterns = [
            HostKey::Exact("a.example"),
            HostKey::Exact("a.example:81"),
            HostKey::Suffix(".example:81"),
            HostKey::Suffix(".example"),
            HostKey::Exact("[::1]:81"),
        ];
        assert_eq!(order(&patterns, "a.example:81"), [1, 0, 2, 3]);
        assert_eq!(order(&patterns, "a.example:82"), [0, 3]);
        assert_eq!(order(&patterns, "a.example"), [0, 3]);
        assert_eq!(order(&patterns, "[::1]:81"), [4]);
        assert_eq!(order(&patterns, "[::1]"), [0; 0]);
    }

    #[test]
    fn the_root_label_is_no_difference() {
        assert_eq!(order(&[HostKey::Exact("a.example")], "a.example."), [0]);
    }

    #[test]
    fn a_host_of_many_labels_costs_no_more_probes_than_patterns_have_labels() {
        let mut index: HostIndex<()> = HostIndex::default();
        index.entry(HostKey::Suffix(".b.example"));
        let host = "a.".repeat(4000) + "b.example";
        let steps = work::steps_of(|| index.find(host.as_bytes(), |()| None::<()>));
        assert_eq!(steps, 2);
    }
}
