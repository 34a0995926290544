//! Texts with variables: where a redirection leads, what a rewritten path is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::path::is_name;
use crate::units::{self, UnitError};

/// A text with variables: "https://{host}{path}{query}".
///
/// What its variables stand for is the business of those who compile it:
/// [`Rewrite`](crate::route::Rewrite) and [`Redirect`](crate::route::Redirect).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// What follows each other.
    pub parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Itself.
    Text(String),
    /// The value of this variable.
    Variable(String),
}

impl Template {
    /// The names of its variables.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }
}

impl FromStr for Template {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Template, UnitError> {
        if let Some(sign) = text.chars().find(|c| c.is_control() || *c == ' ' || !c.is_ascii()) {
            return Err(UnitError::new(format!("{sign:?} can not stand in a URL; write it percent-encoded")));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let plain = rest.find(['{', '}']).unwrap_or(rest.len());
            let (before, tail) = rest.split_at(plain);
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let Some(inside) = tail.strip_prefix('{') else {
                if !tail.is_empty() {
                    return Err(UnitError::new("`}` without its `{`; as a plain sign it is written %7D"));
                }
                break;
            };
            let (name, tail) = inside
                .split_once('}')
                .ok_or_else(|| UnitError::new("`{` without its `}`; as a plain sign it is written %7B"))?;
            if !is_name(name) {
                return Err(UnitError::new(format!("`{{{name}}}` is not a variable, such as `{{path}}`")));
            }
            parts.push(Part::Variable(name.to_owned()));
            rest = tail;
        }
        Ok(Template { parts })
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Variable(name) => write!(f, "{{{name}}}"),
        })
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Template, D::Error> {
        units::text(deserializer, "a text with variables, such as \"https://{host}{path}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_has_text_and_variables() {
        let template: Template = "https://{host}/v2{path}".parse().expect("a template");
        assert_eq!(template.variables().collect::<Vec<_>>(), ["host", "path"]);
        assert_eq!(template.to_string(), "https://{host}/v2{path}");
        for wrong in ["{", "}", "{}", "{a b}", "/a{path", "a}b", "/a\r\nset-cookie: x", "/a b", "/é"] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong:?} is refused");
        }
    }
}
