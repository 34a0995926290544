//! What the `{variables}` of `rewrite` and `redirect` stand for.

use toml::Spanned;

use super::captures::MAX_CAPTURES;
use super::settings::PathPattern;
use crate::http::path::PathError;

/// Why a template of a rewrite or a redirect is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A variable that stands for nothing here.
    #[error("`{{{name}}}` stands for nothing here; known are {known}")]
    Unknown {
        /// The name as written.
        name: String,
        /// The names that would be right.
        known: String,
    },
    /// A capture that not every path of the route has at the same place.
    #[error(
        "`{{{0}}}` is not the same capture in every path of the route; name them alike, in the same order"
    )]
    Ambiguous(String),
    /// A new path that does not start with a slash.
    #[error("a path starts with `/` or `{{path}}`")]
    NoSlash,
    /// `/{path}`, which makes two slashes of one.
    #[error("`{{path}}` starts with a slash itself; write `/v2{{path}}`, not `/v2/{{path}}`")]
    DoubleSlash,
    /// `.` or `..` as a segment.
    #[error("a path may not have `.` or `..` as a segment")]
    DotSegment,
    /// The text itself is no path.
    #[error("the template makes no path")]
    Path(#[source] PathError),
    /// A redirect that goes neither to a URL nor to a path.
    #[error("`{0}` is neither an http or https URL nor a path that starts with one `/`")]
    Location(String),
    /// Something of the path in the host of a redirect, which would let clients choose where to.
    #[error("`{{{0}}}` can not be part of the host; a client could choose it")]
    Host(String),
}

/// The number of a capture by its name, or `None` when no path of the route has such a capture.
pub(super) fn capture(name: &str, paths: &[Spanned<PathPattern>]) -> Result<Option<usize>, TemplateError> {
    let number = |path: &Spanned<PathPattern>| {
        path.get_ref()
            .captures()
            .iter()
            .position(|capture| *capture == name)
            .filter(|number| *number < MAX_CAPTURES)
    };
    let mut numbers = paths.iter().map(number);
    let first = numbers.next().flatten();
    if numbers.all(|other| other == first) {
        Ok(first)
    } else {
        Err(TemplateError::Ambiguous(name.to_owned()))
    }
}

/// The error for a variable that is none of these and no capture.
pub(super) fn unknown(name: &str, variables: &[&str], paths: &[Spanned<PathPattern>]) -> TemplateError {
    let captures = paths.first().map(|path| path.get_ref().captures()).unwrap_or_default();
    let known: Vec<_> = variables.iter().chain(&captures).map(|known| format!("`{{{known}}}`")).collect();
    TemplateError::Unknown { name: name.to_owned(), known: known.join(", ") }
}
