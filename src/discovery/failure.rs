//! Why a source gave no answer.

use std::error::Error;
use std::fmt;

/// Why a source gave no answer.
#[derive(Debug)]
pub struct Failure {
    /// What sort of failure; the metric counts by it.
    pub kind: Kind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The sorts of failures: a closed set, the label `reason` of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Nobody listens, the name is unknown, the connection broke.
    Unreachable,
    /// No TLS connection: a wrong authority, a wrong name, our certificate is refused.
    Tls,
    /// No answer in time.
    Timeout,
    /// We are not allowed to ask: a wrong or missing token.
    Denied,
    /// The file or the service does not exist.
    Missing,
    /// An answer that says that the source itself has a fault, such as 500.
    Refused,
    /// An answer that can not be read, or is too large.
    Invalid,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::Unreachable,
        Kind::Tls,
        Kind::Timeout,
        Kind::Denied,
        Kind::Missing,
        Kind::Refused,
        Kind::Invalid,
    ];

    /// The word in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Unreachable => "unreachable",
            Kind::Tls => "tls",
            Kind::Timeout => "timeout",
            Kind::Denied => "denied",
            Kind::Missing => "missing",
            Kind::Refused => "refused",
            Kind::Invalid => "invalid",
        }
    }
}

/// Longest text of a failure: what a source says goes to logs and status.
const LONGEST: usize = 300;

impl Failure {
    /// A failure in our own words.
    pub fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), source: None }
    }

    /// The same with what it comes from.
    pub fn because(
        kind: Kind,
        message: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Failure {
        Failure { kind, message: message.into(), source: Some(source.into()) }
    }

    /// The message and its causes in one line of a bounded length.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let level = error.to_string();
            if !text.contains(&level) {
                text = format!("{text}: {level}");
            }
            cause = error.source();
        }
        let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        plain.take(LONGEST).collect()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_one_line_of_a_bounded_length() {
        let cause = std::io::Error::other("refused\n\u{1b}[31mred");
        let failure = Failure::because(Kind::Unreachable, "127.0.0.1:1", cause);
        assert_eq!(failure.chain(), "127.0.0.1:1: refused  [31mred");
        assert_eq!(Failure::new(Kind::Invalid, "x".repeat(5000)).chain().len(), LONGEST);
    }
}
