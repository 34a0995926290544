//! Finds what belongs to a host: the exact name, then the longest `*.suffix`, then any host.

use memchr::{memchr, memchr_iter, memrchr};
use rustc_hash::FxHashMap;

use super::settings::HostPattern;
use super::work;

/// One value per host pattern, found by a few hash probes however many patterns there are.
///
/// The hash is not keyed: which names are in the maps is the operator's choice, and a peer that
/// knows the hash can only pick which of them it asks for.
#[derive(Debug, Default)]
pub(super) struct HostIndex<V> {
    exact: FxHashMap<Box<[u8]>, V>,
    /// By what follows the star and its dot.
    below: FxHashMap<Box<[u8]>, V>,
    any: Option<V>,
    /// Labels of the longest suffix. A peer chooses the length of its host, but no probe is made
    /// for more labels than a pattern has.
    max_labels: usize,
}

impl<V: Default> HostIndex<V> {
    /// The value of a pattern, or of every host for `None`; made when there is none yet.
    pub(super) fn entry(&mut self, pattern: Option<&HostPattern>) -> &mut V {
        match pattern {
            None => self.any.get_or_insert_default(),
            Some(HostPattern::Exact(name)) => self.exact.entry(name.as_bytes().into()).or_default(),
            Some(HostPattern::Below(name)) => {
                let labels = memchr_iter(b'.', name.as_bytes()).count() + 1;
                self.max_labels = self.max_labels.max(labels);
                self.below.entry(name.as_bytes().into()).or_default()
            }
        }
    }
}

impl<V> HostIndex<V> {
    /// Visits the values for a host without a port, from the most specific one, until one gives an
    /// answer.
    pub(super) fn find<R>(&self, host: &[u8], mut visit: impl FnMut(&V) -> Option<R>) -> Option<R> {
        // The root label of a fully qualified name is no difference.
        let host = host.strip_suffix(b".").unwrap_or(host);
        let exact = probe(&self.exact, host).and_then(&mut visit);
        exact.or_else(|| self.find_below(host, &mut visit)).or_else(|| self.any.as_ref().and_then(visit))
    }

    fn find_below<R>(&self, host: &[u8], visit: &mut impl FnMut(&V) -> Option<R>) -> Option<R> {
        let mut suffix = longest_suffix(host, self.max_labels);
        while let Some(name) = suffix {
            if let Some(found) = probe(&self.below, name).and_then(&mut *visit) {
                return Some(found);
            }
            suffix = memchr(b'.', name).and_then(|dot| name.get(dot + 1..));
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

/// The end of a host that has at most so many labels and leaves at least one before it.
fn longest_suffix(host: &[u8], labels: usize) -> Option<&[u8]> {
    let mut start = None;
    let mut end = host.len();
    for _ in 0..labels {
        match host.get(..end).and_then(|front| memrchr(b'.', front)) {
            Some(dot) if dot > 0 => (start, end) = (Some(dot + 1), dot),
            Some(_) | None => break,
        }
    }
    start.and_then(|start| host.get(start..))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the patterns that match, in the order in which they are visited.
    fn order(patterns: &[&str], host: &str) -> Vec<usize> {
        let mut index: HostIndex<Vec<usize>> = HostIndex::default();
        for (number, pattern) in patterns.iter().enumerate() {
            let pattern = (*pattern != "*").then(|| pattern.parse().expect("a host pattern"));
            index.entry(pattern.as_ref()).push(number);
        }
        let mut seen = Vec::new();
        let answer = index.find(host.as_bytes(), |numbers| -> Option<()> {
            seen.extend(numbers);
            None
        });
        assert_eq!(answer, None);
        seen
    }

    #[test]
    fn hosts_are_visited_from_the_most_specific() {
        let patterns = ["*", "*.example.com", "a.b.example.com", "*.b.example.com", "*.com"];
        assert_eq!(order(&patterns, "a.b.example.com"), [2, 3, 1, 4, 0]);
        assert_eq!(order(&patterns, "c.b.example.com"), [3, 1, 4, 0]);
        assert_eq!(order(&patterns, "b.example.com"), [1, 4, 0]);
        assert_eq!(order(&patterns, "example.com"), [4, 0]);
        assert_eq!(order(&patterns, "com"), [0]);
        assert_eq!(order(&patterns, ""), [0]);
    }

    #[test]
    fn a_suffix_does_not_match_its_own_name_nor_an_empty_label() {
        assert_eq!(order(&["*.example.com"], "example.com"), [0; 0]);
        assert_eq!(order(&["*.example.com"], ".example.com"), [0; 0]);
    }

    #[test]
    fn an_address_is_a_host() {
        assert_eq!(order(&["[::1]", "127.0.0.1", "*"], "[::1]"), [0, 2]);
        assert_eq!(order(&["[::1]", "127.0.0.1", "*"], "127.0.0.1"), [1, 2]);
    }

    #[test]
    fn the_root_label_is_no_difference() {
        assert_eq!(order(&["a.example", "*.example"], "a.example."), [0, 1]);
    }

    #[test]
    fn a_host_of_many_labels_costs_no_more_probes_than_patterns_have_labels() {
        let mut index: HostIndex<()> = HostIndex::default();
        index.entry(Some(&"*.b.example".parse().expect("a host pattern")));
        let host = "a.".repeat(4000) + "b.example";
        let steps = work::steps_of(|| index.find(host.as_bytes(), |()| None::<()>));
        assert_eq!(steps, 2);
    }
}
