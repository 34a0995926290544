//! The text of every file that was read, as one row of bytes, so that a span names file and line.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::report::{ConfigError, Excerpt};

/// The files of a configuration in the order in which they were read, the main file first.
///
/// A span in a [`super::Config`] counts over all of them: each file begins where the one before it
/// ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    files: Vec<SourceFile>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceFile {
    pub(super) path: PathBuf,
    pub(super) text: Arc<str>,
    pub(super) base: usize,
}

impl Sources {
    /// Adds a file behind the others.
    pub(super) fn push(&mut self, path: PathBuf, text: impl Into<Arc<str>>) {
        let text = text.into();
        // One byte between two files keeps "end of one" and "start of the next" apart.
        let base = self.files.last().map_or(0, |file| file.base + file.text.len() + 1);
        self.files.push(SourceFile { path, text, base });
    }

    pub(super) fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The files that were read; a change of any of them is worth a reload.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// A fingerprint of names and texts: equal for equal files, in one build of the program.
    /// Environment variables and files that the text names are not part of it.
    pub fn content_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for file in &self.files {
            (&file.path, &file.text).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// How many bytes of text there are.
    pub fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.text.len()).sum()
    }

    /// An error at a span of the configuration, for what only a later step can find out.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> ConfigError {
        let message = message.into();
        match self.file_of(span.start) {
            Some(file) => {
                let local = span.start - file.base..span.end.saturating_sub(file.base);
                ConfigError::new(&file.path, Some(Excerpt::of(&file.text, local)), span.start, message)
            }
            None => ConfigError::new(Path::new(""), None, span.start, message),
        }
    }

    /// Where a span begins, as `file:line`.
    pub(super) fn place(&self, span: Range<usize>) -> String {
        self.error(span, "").place()
    }

    /// The file that holds the byte.
    pub(super) fn file_of(&self, offset: usize) -> Option<&SourceFile> {
        let after = self.files.partition_point(|file| file.base <= offset);
        after.checked_sub(1).and_then(|index| self.files.get(index))
    }
}
