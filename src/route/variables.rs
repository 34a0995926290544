//! Texts with `{variables}`, as routes write them in `rewrite` and `redirect`.

use crate::http::path::PathError;

/// A piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// As it stands; never empty.
    Text(&'a str),
    /// The name between the braces.
    Variable(&'a str),
}

/// Why a template of a rewrite or a redirect is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its counterpart, or nothing between them.
    #[error("a brace in `{0}` has no counterpart or no name inside")]
    Braces(String),
    /// A variable that stands for nothing here.
    #[error("`{{{name}}}` stands for nothing here; known are {known}")]
    Unknown {
        /// The name as written.
        name: String,
        /// The names that would be right, in braces.
        known: String,
    },
    /// A new path that does not start with a slash.
    #[error("a path starts with `/` or `{{path}}`")]
    NoSlash,
    /// `/{path}`, which makes two slashes of one.
    #[error("`{{path}}` starts with a slash itself; write `/v2{{path}}`, not `/v2/{{path}}`")]
    DoubleSlash,
    /// A text that is, or beside a variable may become, a dot segment.
    #[error("a path may not have `.` or `..` as a segment, nor next to a variable as all of its text")]
    DotSegment,
    /// The text itself is no path.
    #[error("`{template}` is not a path")]
    Path {
        /// The template as written.
        template: String,
        /// What is wrong with it.
        source: PathError,
    },
    /// A redirect that goes neither to a URL nor to a path.
    #[error("`{0}` is neither an http or https URL nor a path that starts with one `/`")]
    Location(String),
}

impl TemplateError {
    pub(super) fn unknown(name: &str, variables: &[&str], captures: &[&str]) -> TemplateError {
        let known: Vec<_> = variables.iter().chain(captures).map(|known| format!("`{{{known}}}`")).collect();
        TemplateError::Unknown { name: name.to_owned(), known: known.join(", ") }
    }
}

/// Splits a template into its parts.
pub(super) fn parts(template: &str) -> Result<Vec<Part<'_>>, TemplateError> {
    let wrong = || TemplateError::Braces(template.to_owned());
    let mut parts = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let text = rest.find(['{', '}']).map_or(rest, |brace| rest.split_at(brace).0);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let Some(tail) = rest.strip_prefix(text).filter(|tail| !tail.is_empty()) else { break };
        let (name, after) = tail.strip_prefix('{').and_then(|tail| tail.split_once('}')).ok_or_else(wrong)?;
        if name.is_empty() || name.contains('{') {
            return Err(wrong());
        }
        parts.push(Part::Variable(name));
        rest = after;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_texts_and_variables() {
        let expected = [Part::Text("/a/"), Part::Variable("id"), Part::Variable("path"), Part::Text("x")];
        assert_eq!(parts("/a/{id}{path}x"), Ok(expected.to_vec()));
        assert_eq!(parts(""), Ok(Vec::new()));
    }

    #[test]
    fn a_brace_without_its_counterpart_is_refused() {
        for template in ["/{", "/}", "/{a", "/a}", "/{a{b}}", "/{}"] {
            assert_eq!(parts(template), Err(TemplateError::Braces(template.to_owned())), "{template}");
        }
    }
}
