//! What is wrong with a configuration: every error with file, line, column and the line itself.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// All errors of a configuration, in the order of the files; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    errors: Vec<ConfigError>,
}

impl Report {
    /// A report of these errors; those at one place with one message are one.
    pub fn new(mut errors: Vec<ConfigError>) -> Report {
        errors.sort_by(|a, b| (a.offset, &a.message).cmp(&(b.offset, &b.message)));
        errors.dedup_by(|a, b| a.offset == b.offset && a.message == b.message);
        Report { errors }
    }

    /// The errors.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.errors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// The report with the colours of a terminal; the plain one is its `Display`.
    pub fn colored(&self) -> impl fmt::Display + '_ {
        Styled { report: self, style: &COLORED }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Styled { report: self, style: &PLAIN }.fmt(f)
    }
}

impl std::error::Error for Report {}

impl From<ConfigError> for Report {
    fn from(error: ConfigError) -> Report {
        Report { errors: vec![error] }
    }
}

/// One error: where it is, what is wrong, what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    file: PathBuf,
    excerpt: Option<Excerpt>,
    offset: usize,
    message: String,
}

impl ConfigError {
    pub(super) fn new(file: &Path, excerpt: Option<Excerpt>, offset: usize, message: String) -> ConfigError {
        ConfigError { file: file.to_owned(), excerpt, offset, message }
    }

    /// The file as it was named.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Line and column, both from 1; columns count characters. Absent when the file could not be read.
    pub fn position(&self) -> Option<(usize, usize)> {
        self.excerpt.as_ref().map(|excerpt| (excerpt.line, excerpt.column))
    }

    /// What is wrong and what would be right.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// `file:line`.
    pub(super) fn place(&self) -> String {
        match self.position() {
            Some((line, _)) => format!("{}:{line}", self.file.display()),
            None => self.file.display().to_string(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &PLAIN)
    }
}

impl std::error::Error for ConfigError {}

/// The line of an error and what of it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    line: usize,
    column: usize,
    /// The part of the line that is shown; no control characters.
    text: String,
    /// Characters before the wrong part within `text`.
    indent: usize,
    /// Characters of the wrong part, at least one.
    width: usize,
}

impl Excerpt {
    /// Characters of a line that are shown; longer lines are cut around the error.
    const SHOWN: usize = 120;

    /// The line of `text` in which `span` begins.
    pub(super) fn of(text: &str, span: Range<usize>) -> Excerpt {
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end).max(start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line = text[..line_start].matches('\n').count() + 1;
        let before = text[line_start..start].chars().count();
        let width = text[start..end.min(line_end).max(start)].chars().count().max(1);

        let skipped = before.saturating_sub(Excerpt::SHOWN * 2 / 3);
        let visible = |c: char| if c == '\t' { ' ' } else { c };
        let shown = text[line_start..line_end].trim_end_matches('\r').chars().skip(skipped).take(Excerpt::SHOWN);
        let shown: String =
            shown.map(|c| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { visible(c) }).collect();
        let indent = before - skipped;
        let room = shown.chars().count().saturating_sub(indent).max(1);
        Excerpt { line, column: before + 1, text: shown, indent, width: width.min(room) }
    }
}

/// The nearest character boundary at or before the byte.
fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|byte| text.is_char_boundary(*byte)).unwrap_or(0)
}

/// Escape sequences around the parts of an error.
struct Style {
    place: &'static str,
    gutter: &'static str,
    caret: &'static str,
    end: &'static str,
}

const PLAIN: Style = Style { place: "", gutter: "", caret: "", end: "" };
const COLORED: Style =
    Style { place: "\x1b[1m", gutter: "\x1b[34m", caret: "\x1b[1;31m", end: "\x1b[0m" };

struct Styled<'a> {
    report: &'a Report,
    style: &'static Style,
}

impl fmt::Display for Styled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.report.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            error.write(f, self.style)?;
        }
        Ok(())
    }
}

impl ConfigError {
    fn write(&self, f: &mut fmt::Formatter<'_>, style: &Style) -> fmt::Result {
        let Style { place, gutter, caret, end } = style;
        let file = self.file.display();
        let Some(excerpt) = &self.excerpt else {
            return write!(f, "{place}{file}{end}: {}", self.message);
        };
        let Excerpt { line, column, text, indent, width } = excerpt;
        writeln!(f, "{place}{file}:{line}:{column}:{end} {}", self.message)?;
        writeln!(f, "{gutter}{line:>5} |{end} {text}")?;
        write!(f, "{gutter}      |{end} {:indent$}{caret}{}{end}", "", "^".repeat(*width))
    }
}
