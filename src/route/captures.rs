//! What the placeholders of a path template stood for.

use crate::http::Span;

/// Placeholders that one template may have; more is an error when the table is built.
pub const MAX_CAPTURES: usize = 8;

/// The captured segments of one match, as ranges of the canonical path that was matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captures {
    spans: [Span; MAX_CAPTURES],
    count: usize,
}

impl Captures {
    /// The text of the placeholder with that number, counted from 0 and from the left; empty when
    /// there is none.
    pub fn text<'a>(&self, number: usize, path: &'a [u8]) -> &'a [u8] {
        let spans = self.spans.get(..self.count).unwrap_or_default();
        spans
            .get(number)
            .and_then(|span| path.get(span.start as usize..span.end as usize))
            .unwrap_or_default()
    }

    /// How many placeholders were captured.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nothing was captured, as for every path that is not a template.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The captures with these numbers, in this order.
    pub(super) fn select(&self, numbers: &[u8]) -> Captures {
        let mut selected = Captures::default();
        for number in numbers {
            selected.push(self.spans.get(usize::from(*number)).copied().unwrap_or_default());
        }
        selected
    }

    /// Remembers the next segment. Templates are bounded when the table is built, so that none is lost.
    pub(super) fn push(&mut self, span: Span) {
        debug_assert!(self.count < MAX_CAPTURES);
        if let Some(slot) = self.spans.get_mut(self.count) {
            *slot = span;
            self.count += 1;
        }
    }

    /// Forgets the last segment.
    pub(super) fn pop(&mut self) {
        self.count = self.count.saturating_sub(1);
        if let Some(slot) = self.spans.get_mut(self.count) {
            *slot = Span::default();
        }
    }
}
