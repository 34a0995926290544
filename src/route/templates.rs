//! Path templates: `/users/{id}/posts` in one tree, where a literal segment comes before a
//! placeholder at the first place in which two templates differ.

use memchr::memchr;
use rustc_hash::FxHashMap;

use super::captures::{Captures, MAX_CAPTURES};
use super::paths::{Accept, first};
use super::work;
use crate::http::Span;

/// One segment of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment<'a> {
    /// This text; empty after a slash at the end.
    Literal(&'a str),
    /// Exactly one segment that is not empty.
    Placeholder,
}

/// A template has more placeholders than [`MAX_CAPTURES`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyPlaceholders;

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
    routes: Vec<u32>,
}

impl Templates {
    /// Adds a route for a template.
    ///
    /// # Errors
    /// [`TooManyPlaceholders`]
    pub(super) fn add<'a>(
        &mut self,
        segments: impl Iterator<Item = Segment<'a>>,
        route: u32,
    ) -> Result<(), TooManyPlaceholders> {
        let mut node = &mut self.root;
        let mut placeholders = 0;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.as_bytes().into()).or_default(),
                Segment::Placeholder => {
                    placeholders += 1;
                    node.placeholder.get_or_insert_default()
                }
            };
        }
        if placeholders > MAX_CAPTURES {
            return Err(TooManyPlaceholders);
        }
        node.routes.push(route);
        Ok(())
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
        let Some(rest) = path.get(start..) else { return first(&self.routes, accept) };
        let end = memchr(b'/', rest).map_or(path.len(), |slash| start + slash);
        let segment = path.get(start..end)?;
        if !self.literals.is_empty() {
            work::step();
            let node = self.literals.get(segment);
            if let Some(route) = node.and_then(|node| node.find(path, end + 1, captures, accept)) {
                return Some(route);
            }
        }
        let node = self.placeholder.as_deref().filter(|_| !segment.is_empty())?;
        captures.push(Span::new(start, end));
        let found = node.find(path, end + 1, captures, accept);
        if found.is_none() {
            captures.pop();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(template: &str) -> impl Iterator<Item = Segment<'_>> {
        let of = |text| if text == "*" { Segment::Placeholder } else { Segment::Literal(text) };
        template.split('/').skip(1).map(of)
    }

    fn templates(list: &[&str]) -> Templates {
        let mut templates = Templates::default();
        for (number, template) in (0..).zip(list) {
            templates.add(segments(template), number).expect("few placeholders");
        }
        templates
    }

    #[test]
    fn a_placeholder_stands_for_exactly_one_segment_that_is_not_empty() {
        let templates = templates(&["/users/*/posts/*"]);
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
        let templates = templates(&["/a/*/"]);
        assert!(templates.find(b"/a/b/", &mut |_| true).is_some());
        assert!(templates.find(b"/a/b", &mut |_| true).is_none());
    }

    #[test]
    fn literals_come_first_and_a_dead_end_is_left_again() {
        let templates = templates(&["/*/x/*", "/a/*/c", "/a/x/*", "/*/*/*"]);
        let mut tried = Vec::new();
        let found = templates.find(b"/a/x/c", &mut |route| {
            tried.push(route);
            false
        });
        assert_eq!((found, tried), (None, vec![2, 1, 0, 3]));
        let path = b"/a/x/c";
        let (_, captures) = templates.find(path, &mut |route| route == 0).expect("a match");
        assert_eq!((captures.text(0, path), captures.text(1, path)), (&b"a"[..], &b"c"[..]));
    }

    #[test]
    fn placeholders_are_bounded() {
        let mut templates = Templates::default();
        let many = std::iter::repeat_n(Segment::Placeholder, MAX_CAPTURES + 1);
        assert_eq!(templates.add(many, 0), Err(TooManyPlaceholders));
    }
}
