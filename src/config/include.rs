//! `include = ["conf.d/*.toml"]`: which files belong to a configuration.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::load::directory_of;
use super::prepare::{self, Environment};
use super::read::Wrong;
use super::source::Sources;

/// Reads the files that the main file, whose tree this is, includes, in the order of their names.
pub(super) fn read_included(
    tree: &DeTable<'_>,
    main_path: &Path,
    sources: &mut Sources,
    env: &Environment<'_>,
    wrong: &mut Vec<Wrong>,
) {
    let directory = directory_of(main_path);
    let mut paths: Vec<(PathBuf, Spanned<()>)> = Vec::new();
    for pattern in patterns(tree) {
        let span = pattern.span();
        // A variable that is not set is reported when the whole file is prepared.
        let Ok(text) = prepare::expand_text(pattern.get_ref(), env) else { continue };
        match files_of(&directory, &text) {
            Ok(found) => paths.extend(found.into_iter().map(|path| (path, Spanned::new(span.clone(), ())))),
            Err(error) => wrong.push((span, format!("`{text}` can not be included: {error}"))),
        }
    }
    paths.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut seen = HashSet::from([identity(main_path)]);
    for (path, span) in paths.into_iter().filter(|(path, _)| seen.insert(identity(path))) {
        match std::fs::read_to_string(&path) {
            Ok(text) => sources.push(path, text),
            Err(error) => wrong.push((span.span(), format!("`{}` can not be read: {error}", path.display()))),
        }
    }
}

/// What tells that two paths lead to one file: the way without links and dots, if there is one.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The strings of the main file's `include`; anything else there is an error of the reader.
fn patterns<'t>(tree: &'t DeTable<'_>) -> impl Iterator<Item = Spanned<&'t str>> {
    let items = tree.get("include").and_then(|value| value.get_ref().as_array());
    let strings = |item: &'t Spanned<DeValue<'_>>| Some(Spanned::new(item.span(), item.get_ref().as_str()?));
    items.into_iter().flat_map(|items| items.iter()).filter_map(strings)
}

/// The files of one pattern; `*` stands for any text within the file name, not for its first dot.
fn files_of(directory: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let whole = directory.join(pattern);
    let name = whole.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let parent = directory_of(&whole);
    if parent.to_string_lossy().contains('*') {
        return Err(io::Error::other("`*` may stand in the file's name only, not in a directory"));
    }
    if !name.contains('*') {
        return Ok(vec![whole]);
    }
    let listed = if parent.as_os_str().is_empty() { Path::new(".") } else { &parent };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(listed)? {
        let file_name = entry?.file_name();
        if file_name.to_str().is_some_and(|file| !file.starts_with('.') && matches(&name, file)) {
            found.push(parent.join(file_name));
        }
    }
    Ok(found)
}

/// Whether a name fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut tail) = name.strip_prefix(start) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return tail.ends_with(part);
        }
        match tail.split_once(part) {
            Some((_, after)) => tail = after,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn a_star_stands_for_any_text() {
        assert!(matches("*.toml", "a.toml"));
        assert!(matches("10-*-b*.toml", "10-x-bc.toml"));
        assert!(matches("*", "anything"));
        assert!(!matches("*.toml", "a.toml.bak"));
        assert!(!matches("a*a", "a"));
    }
}
