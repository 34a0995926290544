//! Conditions on texts: values, regular expressions, methods.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::units::{self, UnitError};

/// A regular expression (syntax of the `regex` crate, linear time), equal by its text.
#[derive(Clone, Debug)]
pub struct Pattern(regex::Regex);

impl Pattern {
    /// Compiles the text after the `~`.
    ///
    /// # Errors
    /// When it is no regular expression; the message says why.
    pub fn new(text: &str) -> Result<Pattern, UnitError> {
        regex::Regex::new(text).map(Pattern).map_err(|error| {
            // The crate draws the pattern over several lines; its last line says what is wrong.
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
            UnitError::new(format!("`{text}` is not a regular expression: {reason}"))
        })
    }

    /// The compiled expression; it matches anywhere in a text unless it is anchored.
    pub fn regex(&self) -> &regex::Regex {
        &self.0
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Pattern) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Pattern) -> Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

/// A condition on a header field or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// "canary": exactly this value.
    Equals(String),
    /// "*": present, whatever its value.
    Present,
    /// "~Mobile": a regular expression matches somewhere in the value.
    Matches(Pattern),
}

impl FromStr for Condition {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Condition, UnitError> {
        match text.strip_prefix('~') {
            Some(regex) => Pattern::new(regex).map(Condition::Matches),
            None if text == "*" => Ok(Condition::Present),
            None => Ok(Condition::Equals(text.to_owned())),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Equals(value) => f.write_str(value),
            Condition::Present => f.write_str("*"),
            Condition::Matches(pattern) => write!(f, "~{}", pattern.regex()),
        }
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Condition, D::Error> {
        units::text(deserializer, "a value, \"*\" or \"~regex\"")
    }
}

/// A request method: a token in capitals (RFC 9110 §9.1 makes them case-sensitive).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MethodName(String);

impl MethodName {
    /// The method.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MethodName {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<MethodName, UnitError> {
        if text.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let capitals = text.to_ascii_uppercase();
            return Err(UnitError::new(format!("methods are written in capitals: \"{capitals}\"")));
        }
        match http::Method::from_bytes(text.as_bytes()) {
            Ok(_) => Ok(MethodName(text.to_owned())),
            Err(_) => Err(UnitError::new(format!("`{text}` is not a method, such as \"GET\""))),
        }
    }
}

impl<'de> Deserialize<'de> for MethodName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MethodName, D::Error> {
        units::text(deserializer, "a method such as \"GET\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_a_value_any_value_or_a_regex() {
        assert_eq!("canary".parse(), Ok(Condition::Equals("canary".to_owned())));
        assert_eq!("*".parse(), Ok(Condition::Present));
        let regex: Condition = "~Mobile|Tablet".parse().expect("a regular expression");
        assert!(matches!(regex, Condition::Matches(pattern) if pattern.regex().is_match("a Tablet")));
        assert!("~(".parse::<Condition>().is_err());
    }

    #[test]
    fn a_method_is_written_in_capitals() {
        assert_eq!("PURGE".parse::<MethodName>().expect("a method").as_str(), "PURGE");
        let error = "get".parse::<MethodName>().expect_err("methods are case-sensitive");
        assert!(error.to_string().contains("\"GET\""), "{error}");
        assert!("A B".parse::<MethodName>().is_err());
    }
}
