//! Paths of a route: fixed, below a prefix, with captures, by expression.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::pattern::Pattern;
use crate::units::{self, UnitError};

/// Which paths a route takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathPattern {
    /// "/a": this path only.
    Exact(String),
    /// "/a/*": "/a" and all below, by whole elements; kept without a slash at its end, so "/*" is
    /// the empty text.
    Prefix(String),
    /// "/a/{id}/b" or "/a/{id}/*": elements that are captured by a name.
    Template(Vec<Segment>),
    /// "~^/v[0-9]+/": a regular expression on the canonical path.
    Regex(Pattern),
}

/// One element of a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// This element.
    Literal(String),
    /// Any element that is not empty, kept under this name.
    Capture(String),
    /// "*" at the end: whatever follows, nothing too.
    Rest,
}

impl PathPattern {
    /// Names that a template of the same route may use: `{id}` or `(?<id>…)`.
    pub fn captures(&self) -> Vec<&str> {
        match self {
            PathPattern::Exact(_) | PathPattern::Prefix(_) => Vec::new(),
            PathPattern::Template(segments) => segments.iter().filter_map(Segment::capture).collect(),
            PathPattern::Regex(pattern) => pattern.regex().capture_names().flatten().collect(),
        }
    }

    /// Checks a path that stands for itself.
    ///
    /// # Errors
    /// When no canonical path can ever be equal to it.
    pub fn exact(text: &str) -> Result<&str, UnitError> {
        if !text.starts_with('/') {
            return Err(UnitError::new(format!("a path begins with `/`: \"/{text}\"")));
        }
        if let Some(sign) = text.chars().find(|c| matches!(c, '?' | '#' | ' ' | '\\') || c.is_control()) {
            return Err(UnitError::new(match sign {
                '?' => "a path has no query; write conditions on it in `query`".to_owned(),
                _ => format!("a path can not hold {sign:?}; write it percent-encoded"),
            }));
        }
        if !text.is_ascii() {
            return Err(UnitError::new("a path has ASCII only; write other letters percent-encoded"));
        }
        if text.split('/').any(|element| matches!(element, "." | "..")) {
            return Err(UnitError::new(
                "`.` and `..` never match: paths are resolved before they are routed",
            ));
        }
        Ok(text)
    }

    fn template(text: &str) -> Result<PathPattern, UnitError> {
        let mut segments = Vec::new();
        let mut elements = text.split('/').skip(1).peekable();
        while let Some(element) = elements.next() {
            let segment = Segment::read(element, elements.peek().is_none())?;
            let again = segment
                .capture()
                .is_some_and(|name| segments.iter().any(|earlier: &Segment| earlier.capture() == Some(name)));
            if again {
                return Err(UnitError::new(format!(
                    "`{element}` stands twice in the path; give each its own name"
                )));
            }
            segments.push(segment);
        }
        Ok(PathPattern::Template(segments))
    }
}

impl Segment {
    fn capture(&self) -> Option<&str> {
        match self {
            Segment::Capture(name) => Some(name),
            Segment::Literal(_) | Segment::Rest => None,
        }
    }

    fn read(element: &str, is_last: bool) -> Result<Segment, UnitError> {
        let inside = element.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match inside {
            Some(name) if is_name(name) => Ok(Segment::Capture(name.to_owned())),
            Some(name) => Err(UnitError::new(format!(
                "`{{{name}}}` is not a capture; its name has letters, digits and `_`, such as `{{id}}`"
            ))),
            None if element == "*" && is_last => Ok(Segment::Rest),
            None if element.contains('*') => {
                Err(UnitError::new("`*` stands only at the end of a path, as its own element: \"/users/*\""))
            }
            None if element.contains(['{', '}']) => {
                Err(UnitError::new("a capture is a whole element of the path: \"/users/{id}\""))
            }
            None => Ok(Segment::Literal(element.to_owned())),
        }
    }
}

impl FromStr for PathPattern {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<PathPattern, UnitError> {
        if let Some(regex) = text.strip_prefix('~') {
            return Pattern::new(regex).map(PathPattern::Regex);
        }
        let path = PathPattern::exact(text)?;
        if path.contains(['{', '}']) {
            return PathPattern::template(path);
        }
        let (fixed, prefix) = match path.strip_suffix("/*") {
            Some(fixed) => (fixed, true),
            None => (path, false),
        };
        match fixed.contains('*') {
            true => {
                Err(UnitError::new("`*` stands only at the end of a path, as its own element: \"/users/*\""))
            }
            false if prefix => Ok(PathPattern::Prefix(fixed.to_owned())),
            false => Ok(PathPattern::Exact(fixed.to_owned())),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathPattern::Exact(path) => f.write_str(path),
            PathPattern::Prefix(path) => write!(f, "{path}/*"),
            PathPattern::Template(segments) => segments.iter().try_for_each(|segment| match segment {
                Segment::Literal(element) => write!(f, "/{element}"),
                Segment::Capture(name) => write!(f, "/{{{name}}}"),
                Segment::Rest => f.write_str("/*"),
            }),
            PathPattern::Regex(pattern) => write!(f, "~{}", pattern.regex()),
        }
    }
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PathPattern, D::Error> {
        units::text(deserializer, "a path such as \"/users/*\"")
    }
}

/// Whether the text can name a capture or a variable.
pub(super) fn is_name(text: &str) -> bool {
    let is_start = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    text.as_bytes().first().is_some_and(is_start)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<PathPattern, String> {
        text.parse().map_err(|error: UnitError| error.to_string())
    }

    #[test]
    fn a_path_is_exact_a_prefix_a_template_or_a_regex() {
        assert_eq!(path("/a"), Ok(PathPattern::Exact("/a".to_owned())));
        assert_eq!(path("/a/"), Ok(PathPattern::Exact("/a/".to_owned())));
        assert_eq!(path("/a/*"), Ok(PathPattern::Prefix("/a".to_owned())));
        assert_eq!(path("/*"), Ok(PathPattern::Prefix(String::new())));
        let template = path("/a/{id}/*").expect("a template");
        assert_eq!(template.captures(), ["id"]);
        assert!(
            matches!(template, PathPattern::Template(segments) if segments.last() == Some(&Segment::Rest))
        );
        let regex = path("~^/(?<version>v[0-9]+)/").expect("a regular expression");
        assert_eq!(regex.captures(), ["version"]);
    }

    #[test]
    fn a_path_that_can_never_match_is_refused() {
        for wrong in
            ["", "a", "*", "/a*", "/*/a", "/a?b", "/a#b", "/a b", "/a\\b", "/a/../b", "/./a", "/é", "/a\0"]
        {
            assert!(path(wrong).is_err(), "{wrong:?} is refused");
        }
        for wrong in ["/{}", "/{1}", "/x{id}", "/{id", "/id}", "/{id}/{id}", "/{a}/*/b", "~(", "/{a-b}"] {
            assert!(path(wrong).is_err(), "{wrong:?} is refused");
        }
    }
}
