//! The path that an endpoint sees: a prefix cut off, a template filled in.

use super::captures::Captures;
use super::variables::{Part, TemplateError, parts};
use crate::http::path::{Canonical, EncodedSlashes, canonical};

/// What a route does to the canonical path; the default is nothing.
///
/// Whatever canonical path goes in, a canonical path comes out: templates in which a literal text
/// and a captured one could meet to form a dot segment are refused when they are compiled.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// Without a slash at its end; empty cuts nothing.
    strip: Box<[u8]>,
    /// Empty keeps the path.
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(Box<[u8]>),
    Path,
    Capture(usize),
}

impl Rewrite {
    /// Compiles `strip_prefix` and `rewrite`. In the template `{path}` is what the cut leaves, and
    /// each of `captures`, the placeholders of the route's path, stands for its segment.
    ///
    /// # Errors
    /// [`TemplateError`] when a variable is unknown or the result might not be a canonical path.
    pub fn new(strip: Option<&str>, template: Option<&str>, captures: &[&str]) -> Result<Rewrite, TemplateError> {
        let strip = strip.unwrap_or_default().trim_end_matches('/').as_bytes().into();
        let Some(template) = template else { return Ok(Rewrite { strip, pieces: Box::default() }) };
        let parts = parts(template)?;
        check(template, &parts)?;
        let piece = |part: &Part<'_>| match part {
            Part::Text(text) => Ok(Piece::Text(text.as_bytes().into())),
            Part::Variable("path") => Ok(Piece::Path),
            Part::Variable(name) => match captures.iter().position(|capture| capture == name) {
                Some(number) => Ok(Piece::Capture(number)),
                None => Err(TemplateError::unknown(name, &["path"], captures)),
            },
        };
        Ok(Rewrite { strip, pieces: parts.iter().map(piece).collect::<Result<_, _>>()? })
    }

    /// Whether every path stays as it is, so that nothing needs to be rendered.
    pub fn is_identity(&self) -> bool {
        self.strip.is_empty() && self.pieces.is_empty()
    }

    /// Appends the new path. The `*` of OPTIONS stays what it is.
    pub fn render(&self, path: &[u8], captures: &Captures, out: &mut Vec<u8>) {
        if path.first() != Some(&b'/') {
            return out.extend_from_slice(path);
        }
        let rest = self.cut(path);
        if self.pieces.is_empty() {
            return out.extend_from_slice(rest);
        }
        for piece in &self.pieces {
            out.extend_from_slice(match piece {
                Piece::Text(text) => text,
                Piece::Path => rest,
                Piece::Capture(number) => captures.text(*number, path),
            });
        }
    }

    /// The path without the prefix, if the prefix is made of whole elements of it.
    fn cut<'a>(&self, path: &'a [u8]) -> &'a [u8] {
        match path.strip_prefix(&*self.strip) {
            Some([]) => b"/",
            Some(rest @ [b'/', ..]) => rest,
            Some(_) | None => path,
        }
    }
}

/// Refuses templates whose result might not be a canonical path.
fn check(template: &str, parts: &[Part<'_>]) -> Result<(), TemplateError> {
    let starts_with_slash = match parts.first() {
        Some(Part::Text(text)) => text.starts_with('/'),
        Some(Part::Variable(name)) => *name == "path",
        None => false,
    };
    if !starts_with_slash {
        return Err(TemplateError::NoSlash);
    }
    let sample: String = parts
        .iter()
        .map(|part| match part {
            Part::Text(text) => text,
            Part::Variable("path") => "/x",
            Part::Variable(_) => "x",
        })
        .collect();
    match canonical(sample.as_bytes(), EncodedSlashes::Keep, &mut Vec::new()) {
        Ok(Canonical::Unchanged) => {}
        Ok(Canonical::Rewritten) => return Err(TemplateError::DotSegment),
        Err(error) => return Err(TemplateError::Path { template: template.to_owned(), source: error }),
    }
    for pair in parts.windows(2) {
        match pair {
            [Part::Text(text), Part::Variable("path")] if text.ends_with('/') => {
                return Err(TemplateError::DoubleSlash);
            }
            [Part::Text(text), Part::Variable(_)] if is_dots(text, Edge::Back) => {
                return Err(TemplateError::DotSegment);
            }
            [Part::Variable(_), Part::Text(text)] if is_dots(text, Edge::Front) => {
                return Err(TemplateError::DotSegment);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the edge of a text that touches a variable is nothing but the dots of a dot segment.
fn is_dots(text: &str, edge: Edge) -> bool {
    let plain = text.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
    let edge = match edge {
        Edge::Front => plain.split('/').next(),
        Edge::Back => plain.rsplit('/').next(),
    };
    matches!(edge, Some("." | ".."))
}

#[derive(Clone, Copy)]
enum Edge {
    Front,
    Back,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::templates::{Segment, Templates};
    use super::*;

    /// Matches `/{a}/{b}` and renders.
    fn rendered(rewrite: &Rewrite, path: &str) -> String {
        let mut templates = Templates::default();
        templates.add([Segment::Placeholder, Segment::Placeholder].into_iter(), 0).expect("two placeholders");
        let captures = templates.find(path.as_bytes(), &mut |_| true).map(|(_, captures)| captures);
        let mut out = Vec::new();
        rewrite.render(path.as_bytes(), &captures.unwrap_or_default(), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    fn rewrite(strip: &str, template: Option<&str>) -> Result<Rewrite, TemplateError> {
        Rewrite::new(Some(strip), template, &["a", "b"])
    }

    #[test]
    fn a_prefix_is_cut_off_by_whole_elements() {
        let rewrite = rewrite("/users", None).expect("no template");
        for (path, expected) in
            [("/users/1", "/1"), ("/users", "/"), ("/users/", "/"), ("/users2", "/users2"), ("/x/users", "/x/users")]
        {
            assert_eq!(rendered(&rewrite, path), expected);
        }
    }

    #[test]
    fn a_template_is_filled_with_what_the_cut_leaves_and_with_captures() {
        let of = |strip, template| rewrite(strip, Some(template)).expect("a valid template");
        assert_eq!(rendered(&of("", "/v2{path}"), "/users/1"), "/v2/users/1");
        assert_eq!(rendered(&of("/users", "/v2{path}"), "/users/1"), "/v2/1");
        assert_eq!(rendered(&of("", "/{b}.json/{a}"), "/users/1%2F2"), "/1%2F2.json/users");
        assert_eq!(rendered(&of("", "/fixed"), "/users/1"), "/fixed");
        assert_eq!(rendered(&of("", "{path}/x"), "/users/1"), "/users/1/x");
    }

    #[test]
    fn the_asterisk_of_options_is_not_a_path_to_rewrite() {
        let rewrite = rewrite("/users", Some("/v2{path}")).expect("a valid template");
        assert_eq!(rendered(&rewrite, "*"), "*");
    }

    #[test]
    fn a_rewrite_without_settings_changes_nothing() {
        assert!(Rewrite::default().is_identity());
        assert!(rewrite("", None).expect("nothing").is_identity());
        assert!(!rewrite("/a", None).expect("a prefix").is_identity());
    }

    #[test]
    fn a_template_that_could_leave_the_canonical_form_is_refused() {
        for template in [
            "", "v2{path}", "{a}/x", "/v2/{path}", "/a b", "/a?x=1", "/a#x", "/a\r\nx: y", "/%zz", "/%2{a}", "/%{path}",
            "/../x", "/./{a}", "/..{a}", "/{a}..", "/{a}.{b}", "/{a}%2E/x", "/x%2f.{a}", "{path}.", "/x%2f..", "/\\{a}",
        ] {
            assert!(rewrite("", Some(template)).is_err(), "{template:?}");
        }
    }

    #[test]
    fn an_unknown_variable_is_named_with_those_that_exist() {
        let error = rewrite("", Some("/{id}")).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("`{id}` stands for nothing here; known are `{path}`, `{a}`, `{b}`"));
    }

    fn texts(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(pieces), 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_canonical_path_stays_canonical(
            strip in texts(&["/", "a", "."]),
            template in texts(&["/", ".", "%2e", "%2F", "{a}", "{b}", "{path}", "x", "2e"]),
            path in texts(&["/", ".", "%2e", "%2F", "%5c", "a", "2e"]),
        ) {
            let Ok(rewrite) = rewrite(&strip, Some(&template)) else { return Ok(()) };
            let path = format!("/{path}");
            let clean = canonical(path.as_bytes(), EncodedSlashes::Keep, &mut Vec::new());
            prop_assume!(clean == Ok(Canonical::Unchanged));
            // A route whose rewrite names captures has templates only.
            prop_assume!(path.split('/').count() == 3 && path.split('/').skip(1).all(|part| !part.is_empty()));
            let new = rendered(&rewrite, &path);
            let found = canonical(new.as_bytes(), EncodedSlashes::Keep, &mut Vec::new());
            prop_assert_eq!(found, Ok(Canonical::Unchanged), "{}", new);
        }
    }
}
