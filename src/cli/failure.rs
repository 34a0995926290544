//! How a command says that it failed: one line, and a hint where there is one.

use std::error::Error;
use std::io;

use crate::app::RunError;
use crate::config::Report;
use crate::demo::BoxError;
use crate::terminal::Paint;

/// Why a command failed. Not an [`Error`] itself, so that every error can become one.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    hint: Option<String>,
    /// What stands before the message, in lines of its own.
    details: Details,
}

#[derive(Debug)]
enum Details {
    None,
    Report(Report),
    Text(String),
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), hint: None, details: Details::None }
    }

    /// What would help.
    pub(super) fn hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// Text of several lines that says it all.
    pub(super) fn details(self, text: impl Into<String>) -> Failure {
        Failure { details: Details::Text(text.into()), ..self }
    }

    fn of(error: BoxError) -> Failure {
        let error = match error.downcast::<RunError>() {
            Ok(error) => match *error {
                RunError::Config(report) => return Failure::of_report(report),
                other => other.into(),
            },
            Err(error) => error,
        };
        match error.downcast::<Report>() {
            Ok(report) => Failure::of_report(*report),
            Err(error) => {
                let hint = hint_for(error.as_ref()).map(str::to_owned);
                Failure { hint, ..Failure::new(chain(error.as_ref())) }
            }
        }
    }

    fn of_report(report: Report) -> Failure {
        let is_unread = report.errors().iter().all(|error| error.position().is_none());
        let message = match report.len() {
            _ if is_unread => "there is no configuration to work with".to_owned(),
            1 => "the configuration has a mistake".to_owned(),
            count => format!("the configuration has {count} mistakes"),
        };
        Failure { message, hint: None, details: Details::Report(report) }
    }

    /// The mistakes of a configuration, the message, the hint.
    pub(super) fn text(&self, paint: Paint) -> String {
        let mut lines = Vec::new();
        match (&self.details, paint) {
            (Details::Report(report), Paint::Colored) => lines.push(report.colored().to_string()),
            (Details::Report(report), Paint::Plain) => lines.push(report.to_string()),
            (Details::Text(text), _) => lines.push(text.clone()),
            (Details::None, _) => {}
        }
        lines.push(format!("{} {}", paint.red("error:"), self.message));
        lines.extend(self.hint.iter().map(|hint| format!("{} {hint}", paint.cyan("hint:"))));
        lines.join("\n")
    }
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::of(error.into())
    }
}

/// The error and its sources in one line; a source that its error already quotes is left out.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let level = error.to_string();
        if !text.contains(&level) {
            text.push_str(": ");
            text.push_str(&level);
        }
        source = error.source();
    }
    text.replace('\n', " ")
}

fn hint_for(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut level = Some(error);
    while let Some(error) = level {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::AddrInUse => {
                    Some("another program listens there, perhaps another tidegate; `ss -ltnp` shows which")
                }
                io::ErrorKind::AddrNotAvailable => Some("`ip address` lists the addresses of this machine"),
                io::ErrorKind::PermissionDenied => {
                    Some("a port below 1024 needs CAP_NET_BIND_SERVICE, a file the right to read it")
                }
                _ => None,
            };
        }
        level = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[derive(Debug, thiserror::Error)]
    #[error("listener `web` can not be bound")]
    struct Outer(#[source] io::Error);

    #[test]
    fn an_error_is_one_line_and_a_hint() {
        let source = io::Error::new(io::ErrorKind::AddrInUse, "address\nin use");
        let text = Failure::from(Outer(source)).text(Paint::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "error: listener `web` can not be bound: address in use");
        assert!(lines[1].starts_with("hint: another program"), "{text}");
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn the_mistakes_of_a_configuration_are_shown_as_they_are() {
        let report = config::parse("nonsense = 1\n", Path::new("proxy.toml"), &|_| None).unwrap_err();
        let mistakes = report.to_string();
        let text = Failure::from(report.clone()).text(Paint::Plain);
        assert!(text.starts_with(&mistakes), "{text}");
        assert!(text.contains("\nerror: the configuration has"), "{text}");
        assert_eq!(Failure::from(RunError::Config(report.clone())).text(Paint::Plain), text);
        assert!(Failure::from(report).text(Paint::Colored).contains("\x1b["));
    }

    #[test]
    fn other_errors_have_no_hint() {
        assert_eq!(Failure::from("no").text(Paint::Plain), "error: no");
    }
}
