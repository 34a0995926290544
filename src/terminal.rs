//! Text for people: coloured where it is shown, plain where it is piped.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// With escape sequences.
    Colored,
    /// Without.
    Plain,
}

impl Paint {
    /// What fits the standard output.
    pub fn of_stdout() -> Paint {
        Paint::choose(io::stdout().is_terminal(), |name| std::env::var(name).ok())
    }

    /// What fits the standard error.
    pub fn of_stderr() -> Paint {
        Paint::choose(io::stderr().is_terminal(), |name| std::env::var(name).ok())
    }

    /// Colours for a terminal, unless NO_COLOR (<https://no-color.org>) or TERM says that they are
    /// not wanted.
    fn choose(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Paint {
        let is_refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let is_dumb = variable("TERM").is_some_and(|term| term == "dumb");
        match is_terminal && !is_refused && !is_dumb {
            true => Paint::Colored,
            false => Paint::Plain,
        }
    }

    /// Stands out.
    pub fn bold(self, text: impl Display) -> String {
        self.wrap("1", text)
    }

    /// Stands back.
    pub fn dim(self, text: impl Display) -> String {
        self.wrap("2", text)
    }

    /// Is good.
    pub fn green(self, text: impl Display) -> String {
        self.wrap("32", text)
    }

    /// Is bad.
    pub fn red(self, text: impl Display) -> String {
        self.wrap("1;31", text)
    }

    /// Is to be typed.
    pub fn cyan(self, text: impl Display) -> String {
        self.wrap("36", text)
    }

    fn wrap(self, code: &str, text: impl Display) -> String {
        match self {
            Paint::Colored => format!("\x1b[{code}m{text}\x1b[0m"),
            Paint::Plain => text.to_string(),
        }
    }
}

/// A line on the standard output; a reader that has gone is no error.
pub fn say(text: impl Display) {
    let _reader_gone = writeln!(io::stdout().lock(), "{text}");
}

/// A line on the standard error; a reader that has gone is no error.
pub fn complain(text: impl Display) {
    let _reader_gone = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_that_wants_them_gets_colours() {
        let choose = |is_terminal, variables: &[(&str, &str)]| {
            let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
            Paint::choose(is_terminal, |name| find(name).map(|(_, value)| value.to_string()))
        };
        assert_eq!(choose(true, &[("TERM", "xterm")]), Paint::Colored);
        assert_eq!(choose(true, &[("NO_COLOR", "")]), Paint::Colored);
        assert_eq!(choose(true, &[("NO_COLOR", "1")]), Paint::Plain);
        assert_eq!(choose(true, &[("TERM", "dumb")]), Paint::Plain);
        assert_eq!(choose(false, &[("TERM", "xterm")]), Paint::Plain);
    }

    #[test]
    fn plain_text_has_no_escape_sequences() {
        assert_eq!(Paint::Plain.red("no"), "no");
        assert_eq!(Paint::Colored.green("yes"), "\x1b[32myes\x1b[0m");
    }
}
