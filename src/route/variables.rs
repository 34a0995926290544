//! What the `{variables}` of `rewrite` and `redirect` stand for.

use toml::Spanned;

use super::settings::PathPattern;
use crate::http::path::PathError;

/// Why a template of a rewrite or a redirect is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A variable that stands for nothing here, or a capture that not every path of the route has.
    #[error("`{{{name}}}` stands for nothing here; known are {known}")]
    Unknown {
        /// The name as written.
        name: String,
        /// The names that would be right.
        known: String,
    },
    /// A new path that does not start with a slash.
    #[error("a path starts with `/` or `{{path}}`")]
    NoSlash,
    /// `/{path}`, which makes two slashes of one.
    #[error("`{{path}}` starts with a slash itself; write `/v2{{path}}`, not `/v2/{{path}}`")]
    DoubleSlash,
    /// `.` or `..` as a segment.
    #[error("a path may not have `.` or `..` as a segment")]
    DotSegment,
    /// `?` or `#`: only the path is written anew.
    #[error("a path has no `{0}`; the query of the request goes on as it came")]
    NotPath(char),
    /// The text itself is no path.
    #[error(transparent)]
    Path(PathError),
    /// A redirect that goes neither to a URL nor to a path.
    #[error("`{0}` is neither an http or https URL nor a path that starts with one `/`")]
    Location(String),
    /// Something of the path in the host of a redirect, which would let clients choose where to.
    #[error("`{{{0}}}` can not be part of the host; a client could choose it")]
    Host(String),
}

/// The captures that every path of a route has, in the order of the first path.
pub(super) fn common(paths: &[Spanned<PathPattern>]) -> Vec<&str> {
    let Some((first, others)) = paths.split_first() else { return Vec::new() };
    let mut names = first.get_ref().captures();
    names.retain(|name| others.iter().all(|path| path.get_ref().captures().contains(name)));
    names
}

/// The number of a common capture by its name.
pub(super) fn capture(
    name: &str,
    variables: &[&str],
    paths: &[Spanned<PathPattern>],
) -> Result<usize, TemplateError> {
    let common = common(paths);
    if let Some(number) = common.iter().position(|capture| *capture == name) {
        return Ok(number);
    }
    let known: Vec<_> = variables.iter().chain(&common).map(|known| format!("`{{{known}}}`")).collect();
    Err(TemplateError::Unknown { name: name.to_owned(), known: known.join(", ") })
}
