//! Names and values of header fields.

use std::cmp::Ordering;
use std::fmt::{self, Display};
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer};

use super::{UnitError, text};

/// The name of a header field, a token of RFC 9110 §5.6.2, in the letter case that was written.
#[derive(Clone, Debug)]
pub struct FieldName(String);

impl FieldName {
    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FieldName {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<FieldName, UnitError> {
        match http::HeaderName::from_bytes(text.as_bytes()) {
            Ok(_) => Ok(FieldName(text.to_owned())),
            Err(_) => Err(UnitError::new(format!(
                "`{text}` is not a header name; it has letters, digits and signs such as `-` only"
            ))),
        }
    }
}

impl PartialEq for FieldName {
    fn eq(&self, other: &FieldName) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for FieldName {}

impl Ord for FieldName {
    fn cmp(&self, other: &FieldName) -> Ordering {
        let lower = |name: &FieldName| name.0.to_ascii_lowercase();
        lower(self).cmp(&lower(other))
    }
}

impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &FieldName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for FieldName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FieldName, D::Error> {
        text(deserializer, "a header name")
    }
}

/// The value of a header field: visible characters, spaces and tabs inside (RFC 9110 §5.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldValue(String);

impl FieldValue {
    /// The value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FieldValue {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<FieldValue, UnitError> {
        if text.trim_matches([' ', '\t']) != text {
            return Err(UnitError::new("a header value has no space at its ends"));
        }
        // RFC 9110 §5.5 lets other bytes pass for old senders' sake; what we write ourselves has none.
        match text.bytes().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t')) {
            true => Ok(FieldValue(text.to_owned())),
            false => Err(UnitError::new(
                "a header value has visible ASCII characters and spaces only, no line break",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for FieldValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FieldValue, D::Error> {
        text(deserializer, "a string, the value of a header")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_equal_in_any_letter_case_and_keep_their_own() {
        let name = |text: &str| text.parse::<FieldName>().expect("a name");
        assert_eq!(name("X-Env"), name("x-env"));
        assert_eq!(name("X-Env").as_str(), "X-Env");
        assert!("x env".parse::<FieldName>().is_err());
        assert!("".parse::<FieldName>().is_err());
    }

    #[test]
    fn a_value_can_not_break_out_of_its_line() {
        for wrong in ["a\r\nb: c", "a\nb", "a\0", " a", "a\t", "é"] {
            assert!(wrong.parse::<FieldValue>().is_err(), "{wrong:?} is refused");
        }
        assert_eq!(
            "max-age=1, private".parse::<FieldValue>().expect("a value").as_str(),
            "max-age=1, private"
        );
    }
}
