//! Lines of one worker on their way to the writer.

use std::sync::Arc;

use super::{Attempt, Format, Formatter, Line};
use crate::observe::writer::Writer;

/// A batch of this many bytes goes to the writer at once.
const FULL: usize = 16 << 10;

/// Collects the lines of a worker, so that it hands over many at a time. Its owner calls
/// [`Batch::flush`] now and then, or the lines of a quiet worker are seen late.
#[derive(Debug)]
pub struct Batch {
    writer: Arc<Writer>,
    formatter: Formatter,
    text: Vec<u8>,
    lines: u32,
}

impl Batch {
    /// An empty batch for that writer.
    pub fn new(writer: Arc<Writer>) -> Batch {
        Batch { writer, formatter: Formatter::default(), text: Vec::new(), lines: 0 }
    }

    /// Whether lines are wanted; ask before gathering their facts.
    pub fn is_on(&self) -> bool {
        self.writer.is_on()
    }

    /// Adds a line; as [`Formatter::line`].
    pub fn line<'a>(
        &mut self,
        format: Format,
        line: &Line<'_>,
        attempts: impl IntoIterator<Item = Attempt<'a>>,
    ) {
        self.formatter.line(format, line, attempts, &mut self.text);
        self.lines += 1;
        if self.text.len() >= FULL {
            self.flush();
        }
    }

    /// Hands over what is there. Does not wait for the output.
    pub fn flush(&mut self) {
        if self.lines > 0 {
            self.writer.submit(&mut self.text, std::mem::take(&mut self.lines));
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.flush();
    }
}
