//! The path that an endpoint sees: a prefix cut off, a template filled in.

use super::captures::Captures;
use super::settings::{Part, PathPattern, Settings, Template};
use super::variables::{TemplateError, capture};
use crate::http::path::{Canonical, EncodedSlashes, PathError, canonical};
use toml::Spanned;

/// What a route does to the canonical path; the default is nothing. The result is canonical, too.
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
    /// Compiles `strip_prefix` and `rewrite` of a route. In the template `{path}` is what the cut
    /// leaves, and every capture of the route's path is what it was in the path before the cut.
    ///
    /// # Errors
    /// [`TemplateError`] when a variable is unknown or the text can not be that of a path.
    pub fn new(settings: &Settings) -> Result<Rewrite, TemplateError> {
        let strip =
            settings.strip_prefix.as_ref().map(|prefix| prefix.get_ref().as_str()).unwrap_or_default();
        let pieces = match &settings.rewrite {
            Some(template) if !template.get_ref().parts.is_empty() => {
                pieces(template.get_ref(), &settings.path)?
            }
            Some(_) | None => Box::default(),
        };
        Ok(Rewrite { strip: strip.as_bytes().into(), pieces })
    }

    /// Whether every path stays as it is, so that nothing needs to be rendered.
    pub fn is_identity(&self) -> bool {
        self.strip.is_empty() && self.pieces.is_empty()
    }

    /// Appends the new path. The `*` of OPTIONS stays what it is.
    ///
    /// # Errors
    /// When the captures of a client make a path that no endpoint may see; nothing is appended.
    pub fn render(&self, path: &[u8], captures: &Captures, out: &mut Vec<u8>) -> Result<(), PathError> {
        let start = out.len();
        if path.first() != Some(&b'/') {
            out.extend_from_slice(path);
            return Ok(());
        }
        let rest = self.cut(path);
        if self.pieces.is_empty() {
            out.extend_from_slice(rest);
            return Ok(());
        }
        for piece in &self.pieces {
            out.extend_from_slice(match piece {
                Piece::Text(text) => text,
                Piece::Path => rest,
                Piece::Capture(number) => captures.text(*number, path),
            });
        }
        settle(start, out)
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

/// Makes the path after `start` canonical again. It nearly always is; but a capture next to a text
/// may complete a dot segment, and an expression may capture half an escape.
fn settle(start: usize, out: &mut Vec<u8>) -> Result<(), PathError> {
    let mut resolved = Vec::new();
    match canonical(out.get(start..).unwrap_or_default(), EncodedSlashes::Keep, &mut resolved) {
        Ok(Canonical::Unchanged) => {}
        Ok(Canonical::Rewritten) => {
            out.truncate(start);
            out.append(&mut resolved);
        }
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    }
    Ok(())
}

fn pieces(template: &Template, paths: &[Spanned<PathPattern>]) -> Result<Box<[Piece]>, TemplateError> {
    check(&template.parts)?;
    let piece = |part: &Part| match part {
        Part::Text(text) => Ok(Piece::Text(text.as_bytes().into())),
        Part::Variable(name) if name == "path" => Ok(Piece::Path),
        Part::Variable(name) => capture(name, &["path"], paths).map(Piece::Capture),
    };
    template.parts.iter().map(piece).collect()
}

/// Refuses templates that make no canonical path of harmless values.
fn check(parts: &[Part]) -> Result<(), TemplateError> {
    let starts_with_slash = match parts.first() {
        Some(Part::Text(text)) => text.starts_with('/'),
        Some(Part::Variable(name)) => name == "path",
        None => false,
    };
    if !starts_with_slash {
        return Err(TemplateError::NoSlash);
    }
    let mut sample = String::new();
    for part in parts {
        match part {
            Part::Text(text) => {
                if let Some(sign) = text.chars().find(|sign| matches!(sign, '?' | '#')) {
                    return Err(TemplateError::NotPath(sign));
                }
                sample.push_str(text);
            }
            Part::Variable(name) if name == "path" && sample.ends_with('/') => {
                return Err(TemplateError::DoubleSlash);
            }
            Part::Variable(name) => sample.push_str(if name == "path" { "/x" } else { "x" }),
        }
    }
    match canonical(sample.as_bytes(), EncodedSlashes::Keep, &mut Vec::new()) {
        Ok(Canonical::Unchanged) => Ok(()),
        Ok(Canonical::Rewritten) => Err(TemplateError::DotSegment),
        Err(error) => Err(TemplateError::Path(error)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::paths::PathIndex;
    use super::*;

    const PATH: &str = "~^/(?<a>.*?)/(?<b>.*)$";

    fn captures(pattern: &str, path: &str) -> Captures {
        let mut index = PathIndex::default();
        index.add(Some(&pattern.parse().expect("a pattern")), 0);
        index.find(path.as_bytes(), &mut |_| true).map(|(_, captures)| captures).unwrap_or_default()
    }

    fn render(rewrite: &Rewrite, path: &str) -> Result<String, PathError> {
        let mut out = b"kept".to_vec();
        let answer = rewrite.render(path.as_bytes(), &captures(PATH, path), &mut out);
        let text = String::from_utf8(out).expect("ASCII").strip_prefix("kept").expect("appended").to_owned();
        assert!(answer.is_ok() || text.is_empty());
        answer.map(|()| text)
    }

    fn rendered(rewrite: &Rewrite, path: &str) -> String {
        render(rewrite, path).expect("a path")
    }

    fn rewrite(strip: &str, template: Option<&str>) -> Result<Rewrite, TemplateError> {
        let mut text = format!("path = {PATH:?}\nstrip_prefix = {strip:?}\n");
        if let Some(template) = template {
            text += &format!("rewrite = {template:?}\n");
        }
        Rewrite::new(&toml::from_str(&text).expect("settings"))
    }

    #[test]
    fn a_prefix_is_cut_off_by_whole_elements() {
        let rewrite = rewrite("/users", None).expect("no template");
        for (path, expected) in [
            ("/users/1", "/1"),
            ("/users", "/"),
            ("/users/", "/"),
            ("/users2", "/users2"),
            ("/x/users", "/x/users"),
        ] {
            assert_eq!(rendered(&rewrite, path), expected);
        }
    }

    #[test]
    fn a_template_is_filled_with_what_the_cut_leaves_and_with_captures() {
        let of = |strip, template| rewrite(strip, Some(template)).expect("a valid template");
        assert_eq!(rendered(&of("/", "/v2{path}"), "/users/1"), "/v2/users/1");
        assert_eq!(rendered(&of("/users", "/v2{path}"), "/users/1"), "/v2/1");
        assert_eq!(rendered(&of("/", "/{b}.json/{a}"), "/users/1%2F2"), "/1%2F2.json/users");
        assert_eq!(rendered(&of("/", "/fixed"), "/users/1"), "/fixed");
        assert_eq!(rendered(&of("/", "{path}/x"), "/users/1"), "/users/1/x");
    }

    #[test]
    fn the_asterisk_of_options_is_not_a_path_to_rewrite() {
        let rewrite = rewrite("/users", Some("/v2{path}")).expect("a valid template");
        assert_eq!(rendered(&rewrite, "*"), "*");
    }

    #[test]
    fn a_rewrite_without_settings_changes_nothing() {
        assert!(Rewrite::default().is_identity());
        assert!(rewrite("/", Some("")).expect("nothing").is_identity());
        assert!(!rewrite("/a", None).expect("a prefix").is_identity());
    }

    #[test]
    fn captures_can_not_climb_out_of_the_template() {
        let rewrite = rewrite("/", Some("/public/.{a}/{b}")).expect("a valid template");
        assert_eq!(rendered(&rewrite, "/x/y"), "/public/.x/y");
        assert_eq!(rendered(&rewrite, "//y"), "/public/y");
        assert_eq!(render(&rewrite, "/%2Fx/y"), Err(PathError::HiddenDotSegment));
    }

    #[test]
    fn a_capture_must_be_in_every_path_of_the_route() {
        let new = |text: &str| Rewrite::new(&toml::from_str(text).expect("settings"));
        assert!(new("path = ['/u/{id}', '/g/{group}/{id}']\nrewrite = '/x/{id}'").is_ok());
        let error = new("path = ['/u/{id}', '/g/{group}/{id}']\nrewrite = '/x/{group}'").err();
        let expected = "`{group}` stands for nothing here; known are `{path}`, `{id}`";
        assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(expected));
    }

    #[test]
    fn a_template_that_makes_no_canonical_path_is_refused() {
        for template in [
            "v2{path}",
            "{a}/x",
            "/v2/{path}",
            "/a?x=1",
            "/a#x",
            "/%zz",
            "/%2{a}",
            "/%{path}",
            "/../x",
            "/./{a}",
            "/x%2f..",
            "/\\{a}",
        ] {
            assert!(rewrite("/", Some(template)).is_err(), "{template:?}");
        }
    }

    #[test]
    fn an_unknown_variable_is_named_with_those_that_exist() {
        let error = rewrite("/", Some("/{id}")).err().map(|error| error.to_string());
        assert_eq!(
            error.as_deref(),
            Some("`{id}` stands for nothing here; known are `{path}`, `{a}`, `{b}`")
        );
    }

    fn texts(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(pieces), 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn a_canonical_path_stays_canonical(
            strip in texts(&["/", "a", "b"]),
            template in texts(&["/", ".", "%2e", "%2F", "{a}", "{b}", "{path}", "x", "2e"]),
            path in texts(&["/", ".", "%2e", "%2F", "%5c", "a", "2e"]),
        ) {
            let (strip, path) = (format!("/{strip}"), format!("/{path}"));
            let Ok(rewrite) = rewrite(&strip, Some(&template)) else { return Ok(()) };
            let clean = canonical(path.as_bytes(), EncodedSlashes::Keep, &mut Vec::new());
            prop_assume!(clean == Ok(Canonical::Unchanged));
            if let Ok(new) = render(&rewrite, &path) {
                let found = canonical(new.as_bytes(), EncodedSlashes::Keep, &mut Vec::new());
                prop_assert_eq!(found, Ok(Canonical::Unchanged), "{}", new);
            }
        }
    }
}
