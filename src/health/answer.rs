//! What an answer to a check over HTTP must be, whatever the version.

use http::StatusCode;
use memchr::memmem;

use super::{Check, ProbeError};

/// Bytes of a body that are searched for the expected text.
const MAX_BODY: usize = 64 << 10;

/// Refuses a status that is not expected.
pub fn expect_status(settings: &Check, status: StatusCode) -> Result<(), ProbeError> {
    let status = status.as_u16();
    match settings.expect.iter().any(|range| range.contains(status)) {
        true => Ok(()),
        false => Err(ProbeError::Status(status)),
    }
}

/// The search for the expected text in a body that comes in pieces.
#[derive(Debug)]
pub struct BodySearch<'a> {
    wanted: &'a [u8],
    seen: Vec<u8>,
    found: bool,
}

/// Whether more of the body is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not found yet.
    Searching,
    /// Found, nothing to be found, or enough seen. A body that never ends needs no end.
    Over,
}

impl<'a> BodySearch<'a> {
    /// A search for the text of these settings; over at once when there is none.
    pub fn new(settings: &'a Check) -> BodySearch<'a> {
        BodySearch { wanted: settings.body.as_bytes(), seen: Vec::new(), found: settings.body.is_empty() }
    }

    /// Whether more of the body is needed.
    pub fn progress(&self) -> Progress {
        match self.found || self.seen.len() >= MAX_BODY {
            true => Progress::Over,
            false => Progress::Searching,
        }
    }

    /// Takes a piece of the body, no more of it than the limit.
    pub fn feed(&mut self, data: &[u8]) {
        let room = MAX_BODY.saturating_sub(self.seen.len()).min(data.len());
        // The text may begin in what came before.
        let from = self.seen.len().saturating_sub(self.wanted.len());
        self.seen.extend(data.iter().take(room));
        self.found |= self.seen.get(from..).is_some_and(|seen| memmem::find(seen, self.wanted).is_some());
    }

    /// The result, when the search or the body is over.
    pub fn finish(self) -> Result<(), ProbeError> {
        if self.found { Ok(()) } else { Err(ProbeError::Body) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(wanted: &str, pieces: &[&str]) -> (Progress, bool) {
        let settings = Check { body: wanted.to_owned(), ..Check::default() };
        let mut search = BodySearch::new(&settings);
        pieces.iter().for_each(|piece| search.feed(piece.as_bytes()));
        (search.progress(), search.finish().is_ok())
    }

    #[test]
    fn a_text_is_found_over_the_borders_of_pieces() {
        assert_eq!(search("all well", &["we are a", "ll we", "ll"]), (Progress::Over, true));
        assert_eq!(search("all well", &["we are a", "ll wel"]), (Progress::Searching, false));
    }

    #[test]
    fn without_a_text_no_body_is_needed() {
        assert_eq!(search("", &[]), (Progress::Over, true));
    }

    #[test]
    fn no_more_of_a_body_is_searched_than_the_limit() {
        let body = "x".repeat(MAX_BODY - 2);
        assert_eq!(search("well", &[&body, "well"]), (Progress::Over, false));
        assert_eq!(search("we", &[&body, "well"]), (Progress::Over, true));
    }

    #[test]
    fn a_status_is_expected_when_a_range_has_it() {
        let settings =
            Check { expect: vec!["200".parse().unwrap(), "300-399".parse().unwrap()], ..Check::default() };
        let is_expected =
            |status: u16| expect_status(&settings, StatusCode::from_u16(status).unwrap()).is_ok();
        assert!(is_expected(200) && is_expected(301) && is_expected(399));
        assert!(!is_expected(204) && !is_expected(400));
    }
}
