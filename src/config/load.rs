//! From files to a checked [`Config`], or to a [`Report`] of everything that is wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::check;
use super::message;
use super::planned;
use super::prepare::{self, Environment};
use super::read::{self, Holes, Wrong};
use super::report::{ConfigError, Report};
use super::source::{SourceFile, Sources};
use super::tree;
use super::{Config, include};

/// Reads a configuration and the files that it includes, with the environment of the process.
///
/// # Errors
/// All errors of all files; a configuration with an error is never returned.
pub fn load(path: &Path) -> Result<Config, Report> {
    let bytes = std::fs::read(path).map_err(|error| {
        let message = format!("the file can not be read: {error}");
        Report::from(ConfigError::new(path, None, 0, message))
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, path, &|name| std::env::var(name).ok()),
        Err(error) => Err(Report::from(not_text(path, &error))),
    }
}

/// TOML is UTF-8; an editor with another encoding is the usual cause.
fn not_text(path: &Path, error: &std::string::FromUtf8Error) -> ConfigError {
    let at = error.utf8_error().valid_up_to();
    let mut sources = Sources::default();
    sources.push(path.to_owned(), String::from_utf8_lossy(error.as_bytes()).into_owned());
    sources.error(at..at + 1, "the file is not UTF-8 text from here on; save it in that encoding")
}

/// Reads a configuration from its text; relative paths and includes start from the directory of
/// `file`, which need not exist itself.
///
/// # Errors
/// All errors of all files; a configuration with an error is never returned.
pub fn parse(text: &str, file: &Path, env: &Environment<'_>) -> Result<Config, Report> {
    let text: Arc<str> = text.into();
    let mut sources = Sources::default();
    sources.push(file.to_owned(), text.clone());
    let (mut wrong, mut syntax) = (Vec::new(), Vec::new());
    let main = parse_file(&text, 0, &mut syntax);
    include::read_included(&main, file, &mut sources, env, &mut wrong);
    let included = sources.files().iter().skip(1);
    let included = included.map(|file| parse_file(&file.text, file.base, &mut syntax));
    let trees: Vec<DeTable<'_>> = std::iter::once(main).chain(included).collect();
    if !syntax.is_empty() {
        wrong.append(&mut syntax);
        return Err(report(&sources, wrong));
    }

    let mut holes = Holes::default();
    let names = names(&trees);
    let mut tree = prepare_files(trees, &sources, env, &mut wrong, &mut holes);
    let as_written = || -> Vec<DeTable<'_>> {
        let files = sources.files().iter();
        files.map(|file| parse_file(&file.text, file.base, &mut Vec::new())).collect()
    };
    let again = || prepare_files(as_written(), &sources, env, &mut Vec::new(), &mut Holes::default());
    let config = read::read(&mut tree, &again, &as_written, &mut wrong, &mut holes);
    if let Some(config) = &config {
        check::check(
            config,
            &check::Context { tree: &tree, names: &names, holes: &holes, sources: &sources },
            &mut wrong,
        );
    }
    match config {
        Some(config) if wrong.is_empty() => Ok(Config { sources: Arc::new(sources), ..config }),
        _ => Err(report(&sources, wrong)),
    }
}

fn report(sources: &Sources, wrong: Vec<Wrong>) -> Report {
    Report::new(wrong.into_iter().map(|(span, message)| sources.error(span, message)).collect())
}

/// The tree of a file, with spans that count over all files; of a file that is no TOML what can be read.
fn parse_file<'s>(text: &'s str, base: usize, syntax: &mut Vec<Wrong>) -> DeTable<'s> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    syntax.extend(syntax_errors(&errors, text, base));
    tree::shift(tree.into_inner(), base)
}

/// One error for each line: what follows a mistake on its line only repeats it.
fn syntax_errors(errors: &[toml::de::Error], text: &str, base: usize) -> Vec<Wrong> {
    let mut lines = std::collections::BTreeSet::new();
    let mut wrong = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let line = text.as_bytes().iter().take(span.start).filter(|byte| **byte == b'\n').count();
        if lines.insert(line) {
            wrong
                .push((span.start + base..span.end + base, message::syntax(error.message(), text.get(span))));
        }
    }
    wrong
}

/// The names that are defined in any file, before anything is taken out.
fn names(trees: &[DeTable<'_>]) -> check::Names {
    let mut names = check::Names::new();
    for (table, value) in trees.iter().flatten() {
        let defined = value.get_ref().as_table().into_iter().flat_map(DeTable::keys);
        let defined = defined.map(|name| name.get_ref().to_string());
        names.entry(table.get_ref().to_string()).or_default().extend(defined);
    }
    names
}

/// From the trees of the files to the one that is read.
fn prepare_files<'s>(
    mut trees: Vec<DeTable<'s>>,
    sources: &Sources,
    env: &Environment<'_>,
    wrong: &mut Vec<Wrong>,
    holes: &mut Holes,
) -> DeTable<'s> {
    for (file, tree) in sources.files().iter().zip(&mut trees) {
        prepare_file(tree, file, env, wrong, holes);
    }
    merge(trees, sources, wrong)
}

/// Everything that happens to a file on its own.
fn prepare_file(
    tree: &mut DeTable<'_>,
    file: &SourceFile,
    env: &Environment<'_>,
    wrong: &mut Vec<Wrong>,
    holes: &mut Holes,
) {
    if prepare::may_have_variables(&file.text) {
        for (span, owner, message) in prepare::expand(tree, env) {
            holes.anywhere(owner);
            wrong.push((span, message));
        }
    }
    prepare::resolve_paths(tree, &directory_of(&file.path));
    for refused in planned::refuse(tree) {
        holes.anywhere(refused.owner);
        wrong.push((refused.span, refused.message));
    }
}

/// Tables that an included file may have.
const MERGED: [&str; 4] = ["listener", "route", "upstream", "middleware"];

/// Adds the tables of included files to the main one.
fn merge<'s>(trees: Vec<DeTable<'s>>, sources: &Sources, wrong: &mut Vec<Wrong>) -> DeTable<'s> {
    let mut trees = trees.into_iter();
    let mut merged = trees.next().unwrap_or_default();
    for (key, value) in trees.flatten() {
        let name = key.get_ref().to_string();
        if !MERGED.contains(&name.as_str()) {
            wrong.push((key.span(), format!("`{name}` stands in the main file; an included one has listeners, routes, upstreams and middlewares")));
            continue;
        }
        match merged.get_mut(name.as_str()).map(Spanned::get_mut) {
            None => {
                merged.insert(key, value);
            }
            Some(DeValue::Table(into)) => match value.into_inner() {
                DeValue::Table(from) => merge_names(&name, into, from, sources, wrong),
                _ => wrong.push((key.span(), message::shape(&name))),
            },
            Some(DeValue::Array(into)) => match value.into_inner() {
                DeValue::Array(from) => append(into, from),
                _ => wrong.push((key.span(), message::shape(&name))),
            },
            // The main file has it in a wrong shape, which the reader will say.
            Some(_) => {}
        }
    }
    merged
}

fn append<'s>(into: &mut DeArray<'s>, from: DeArray<'s>) {
    for item in from {
        into.push(item);
    }
}

fn merge_names<'s>(
    table: &str,
    into: &mut DeTable<'s>,
    from: DeTable<'s>,
    sources: &Sources,
    wrong: &mut Vec<Wrong>,
) {
    for (key, value) in from {
        match into.get_key_value(key.get_ref().as_ref()) {
            Some((first, _)) => {
                let place = sources.place(first.span());
                wrong
                    .push((key.span(), format!("{table} `{}` is already defined at {place}", key.get_ref())));
            }
            None => {
                into.insert(key, value);
            }
        }
    }
}

/// The directory that a path of a file starts from.
pub(super) fn directory_of(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).to_owned()
}
