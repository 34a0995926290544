//! Path templates: `/users/{id}/posts` in one tree, where a literal segment comes before a
//! placeholder at the first place in which two templates differ.

use memchr::memchr;
use rustc_hash::FxHashMap;

use super::captures::Captures;
use super::paths::{Accept, first};
use super::settings::Segment;
use super::work;
use crate::http::Span;

/// Routes by template, found by walking the segments of the path once; only where a template with
/// a literal and one with a placeholder share a beginning, both are walked.
#[derive(Debug, Default)]
pub(super) struct Templates {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: FxHashMap<Box<[u8]>, Node>,
    placeholder: Option<Box<Node>>,
    /// Routes of templates that end here.
    routes: Vec<u32>,
    /// Routes of templates that end in `/*` after this.
    below: Vec<u32>,
}

impl Templates {
    /// Adds a route for a template.
    pub(super) fn add(&mut self, segments: &[Segment], route: u32) {
        let mut node = &mut self.root;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.as_bytes().into()).or_default(),
                Segment::Capture(_) => node.placeholder.get_or_insert_default(),
                // Stands at the end only.
                Segment::Rest => return node.below.push(route),
            };
        }
        node.routes.push(route);
    }

    /// The first route that accepts the request, with what its placeholders stand for.
    pub(super) fn find(&self, path: &[u8], accept: &mut impl Accept) -> Option<(u32, Captures)> {
        if self.root.literals.is_empty() && self.root.placeholder.is_none() {
            return None;
        }
        let mut captures = Captures::default();
        let route = self.root.find(path, 1, &mut captures, accept)?;
        Some((route, captures))
    }
}

impl Node {
    /// Walks on with the segment that starts at `start`. The depth is that of the tree at most.
    fn find(
        &self,
        path: &[u8],
        start: usize,
        captures: &mut Captures,
        accept: &mut impl Accept,
    ) -> Option<u32> {
        let Some(rest) = path.get(start..) else {
            return first(&self.routes, accept).or_else(|| first(&self.below, accept));
        };
        let end = memchr(b'/', rest).map_or(path.len(), |slash| start + slash);
        let segment = path.get(start..end)?;
        if !self.literals.is_empty() {
            work::step();
            let node = self.literals.get(segment);
            if let Some(route) = node.and_then(|node| node.find(path, end + 1, captures, accept)) {
                return Some(route);
            }
        }
        if let Some(node) = self.placeholder.as_deref().filter(|_| !segment.is_empty()) {
            captures.push(Span::new(start, end));
            if let Some(route) = node.find(path, end + 1, captures, accept) {
                return Some(route);
            }
            captures.pop();
        }
        first(&self.below, accept)
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::PathPattern;
    use super::*;

    fn templates(list: &[&str]) -> Templates {
        let mut templates = Templates::default();
        for (number, template) in (0..).zip(list) {
            let PathPattern::Template(segments) = template.parse().expect("a pattern") else { continue };
            templates.add(&segments, number);
        }
        templates
    }

    /// The numbers of the templates that match, in the order in which they are tried.
    fn order(list: &[&str], path: &str) -> Vec<u32> {
        let mut tried = Vec::new();
        let found = templates(list).find(path.as_bytes(), &mut |route| {
            tried.push(route);
            false
        });
        assert_eq!(found, None);
        tried
    }

    #[test]
    fn a_placeholder_stands_for_exactly_one_segment_that_is_not_empty() {
        let templates = templates(&["/users/{id}/posts/{post}"]);
        let path = b"/users/7/posts/x%2Fy";
        let (route, captures) = templates.find(path, &mut |_| true).expect("a match");
        assert_eq!((route, captures.len()), (0, 2));
        assert_eq!((captures.text(0, path), captures.text(1, path)), (&b"7"[..], &b"x%2Fy"[..]));
        assert_eq!(captures.text(2, path), b"");
        for path in ["/users//posts/1", "/users/7/posts/", "/users/7/posts", "/users/7/posts/1/", "/"] {
            assert_eq!(templates.find(path.as_bytes(), &mut |_| true), None, "{path}");
        }
    }

    #[test]
    fn a_slash_at_the_end_of_a_template_is_part_of_it() {
        assert_eq!(order(&["/a/{x}/"], "/a/b/"), [0]);
        assert_eq!(order(&["/a/{x}/"], "/a/b"), [0; 0]);
    }

    #[test]
    fn literals_come_first_and_a_dead_end_is_left_again() {
        let list = ["/{a}/x/{b}", "/a/{a}/c", "/a/x/{b}", "/{a}/{b}/{c}"];
        assert_eq!(order(&list, "/a/x/c"), [2, 1, 0, 3]);
        let path = b"/a/x/c";
        let (_, captures) = templates(&list).find(path, &mut |route| route == 0).expect("a match");
        assert_eq!((captures.text(0, path), captures.text(1, path)), (&b"a"[..], &b"c"[..]));
    }

    #[test]
    fn a_star_at_the_end_takes_what_follows_and_nothing_too() {
        let list = ["/u/{id}/*", "/u/{id}/x/*", "/u/{id}", "/u/{id}/{part}"];
        assert_eq!(order(&list, "/u/1"), [2, 0]);
        assert_eq!(order(&list, "/u/1/"), [0]);
        assert_eq!(order(&list, "/u/1/y"), [3, 0]);
        assert_eq!(order(&list, "/u/1/x/y/z"), [1, 0]);
        assert_eq!(order(&list, "/u"), [0; 0]);
    }
}
