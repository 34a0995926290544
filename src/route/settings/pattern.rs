//! The small languages inside a route: path, host and value patterns, methods, templates.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::tagged;
use crate::units::UnitError;

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

/// Which paths a route takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// "/a": this path only.
    Exact(String),
    /// "/a/*": "/a" and all below, by whole elements; kept without a slash at its end, so "/*" is
    /// the empty text.
    Prefix(String),
    /// "/a/{id}/b" or "/a/{id}/*": elements that are captured by a name.
    Template(Vec<Segment>),
    /// "~^/v[0-9]+/": a regular expression on the canonical path.
    Regex(Pattern),
}

/// One element of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// This element.
    Literal(String),
    /// Any element that is not empty, kept under this name.
    Capture(String),
    /// "*" at the end: whatever follows, nothing too.
    Rest,
}

impl PathPattern {
    /// Names that a template of the same route may use: `{id}` or `(?<id>…)`.
    pub fn captures(&self) -> Vec<&str> {
        match self {
            PathPattern::Exact(_) | PathPattern::Prefix(_) => Vec::new(),
            PathPattern::Template(segments) => segments.iter().filter_map(Segment::capture).collect(),
            PathPattern::Regex(pattern) => pattern.regex().capture_names().flatten().collect(),
        }
    }

    /// Checks a path that stands for itself.
    ///
    /// # Errors
    /// When no canonical path can ever be equal to it.
    pub fn exact(text: &str) -> Result<&str, UnitError> {
        if !text.starts_with('/') {
            return Err(UnitError::new(format!("a path begins with `/`: \"/{text}\"")));
        }
        if let Some(sign) = text.chars().find(|c| matches!(c, '?' | '#' | ' ' | '\\') || c.is_control()) {
            return Err(UnitError::new(match sign {
                '?' => "a path has no query; write conditions on it in `query`".to_owned(),
                _ => format!("a path can not hold {sign:?}; write it percent-encoded"),
            }));
        }
        if !text.is_ascii() {
            return Err(UnitError::new("a path has ASCII only; write other letters percent-encoded"));
        }
        if text.split('/').any(|element| matches!(element, "." | "..")) {
            return Err(UnitError::new(
                "`.` and `..` never match: paths are resolved before they are routed",
            ));
        }
        Ok(text)
    }

    fn template(text: &str) -> Result<PathPattern, UnitError> {
        let mut segments = Vec::new();
        let mut elements = text.split('/').skip(1).peekable();
        while let Some(element) = elements.next() {
            let segment = Segment::read(element, elements.peek().is_none())?;
            let again = segment
                .capture()
                .is_some_and(|name| segments.iter().any(|earlier: &Segment| earlier.capture() == Some(name)));
            if again {
                return Err(UnitError::new(format!(
                    "`{element}` stands twice in the path; give each its own name"
                )));
            }
            segments.push(segment);
        }
        Ok(PathPattern::Template(segments))
    }
}

impl Segment {
    fn capture(&self) -> Option<&str> {
        match self {
            Segment::Capture(name) => Some(name),
            Segment::Literal(_) | Segment::Rest => None,
        }
    }

    fn read(element: &str, is_last: bool) -> Result<Segment, UnitError> {
        let inside = element.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match inside {
            Some(name) if is_name(name) => Ok(Segment::Capture(name.to_owned())),
            Some(name) => Err(UnitError::new(format!(
                "`{{{name}}}` is not a capture; its name has letters, digits and `_`, such as `{{id}}`"
            ))),
            None if element == "*" && is_last => Ok(Segment::Rest),
            None if element.contains('*') => {
                Err(UnitError::new("`*` stands only at the end of a path, as its own element: \"/users/*\""))
            }
            None if element.contains(['{', '}']) => {
                Err(UnitError::new("a capture is a whole element of the path: \"/users/{id}\""))
            }
            None => Ok(Segment::Literal(element.to_owned())),
        }
    }
}

impl FromStr for PathPattern {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<PathPattern, UnitError> {
        if let Some(regex) = text.strip_prefix('~') {
            return Pattern::new(regex).map(PathPattern::Regex);
        }
        let path = PathPattern::exact(text)?;
        if path.contains(['{', '}']) {
            return PathPattern::template(path);
        }
        let (fixed, prefix) = match path.strip_suffix("/*") {
            Some(fixed) => (fixed, true),
            None => (path, false),
        };
        match fixed.contains('*') {
            true => {
                Err(UnitError::new("`*` stands only at the end of a path, as its own element: \"/users/*\""))
            }
            false if prefix => Ok(PathPattern::Prefix(fixed.to_owned())),
            false => Ok(PathPattern::Exact(fixed.to_owned())),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathPattern::Exact(path) => f.write_str(path),
            PathPattern::Prefix(path) => write!(f, "{path}/*"),
            PathPattern::Template(segments) => segments.iter().try_for_each(|segment| match segment {
                Segment::Literal(element) => write!(f, "/{element}"),
                Segment::Capture(name) => write!(f, "/{{{name}}}"),
                Segment::Rest => f.write_str("/*"),
            }),
            PathPattern::Regex(pattern) => write!(f, "~{}", pattern.regex()),
        }
    }
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PathPattern, D::Error> {
        tagged::text(deserializer, "a path such as \"/users/*\"")
    }
}

/// Which hosts a route takes, in lower case and without a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// "api.example.com".
    Exact(String),
    /// "*.example.com": every name below; kept as "example.com".
    Below(String),
}

impl FromStr for HostPattern {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<HostPattern, UnitError> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if text == "*" {
            return Err(UnitError::new("any host is meant by leaving `host` away"));
        }
        if name.contains('*') {
            return Err(UnitError::new("`*` stands only for the first labels of a host: \"*.example.com\""));
        }
        if text.contains("//") {
            return Err(UnitError::new(format!("`{text}` is a URL; write its host only")));
        }
        let is_address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = is_address.filter(|_| !below) {
            let address: std::net::Ipv6Addr =
                address.parse().map_err(|_| UnitError::new(format!("`{text}` is not an IPv6 address")))?;
            return Ok(HostPattern::Exact(format!("[{address}]")));
        }
        if name.contains(':') {
            return Err(UnitError::new("a host has no port here; the port is that of the listener"));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(UnitError::new(format!(
                "`{text}` is not a host; write \"api.example.com\" or \"*.example.com\" (other letters as punycode)"
            )));
        }
        let name = name.to_ascii_lowercase();
        Ok(if below { HostPattern::Below(name) } else { HostPattern::Exact(name) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Exact(name) => f.write_str(name),
            HostPattern::Below(name) => write!(f, "*.{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for HostPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<HostPattern, D::Error> {
        tagged::text(deserializer, "a host such as \"api.example.com\"")
    }
}

/// A condition on a header field or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
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
        tagged::text(deserializer, "a value, \"*\" or \"~regex\"")
    }
}

/// A request method: a token in capitals (RFC 9110 §9.1 makes them case-sensitive).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
        tagged::text(deserializer, "a method such as \"GET\"")
    }
}

/// A text with variables: "https://{host}{path}{query}".
///
/// `{host}` is the host without its port, `{path}` the canonical path, `{query}` the query with its
/// `?` or nothing, `{scheme}` http or https; every capture of the route's path has its own name.
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
    /// Variables that every request has.
    pub const VARIABLES: [&str; 4] = ["host", "path", "query", "scheme"];

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
        tagged::text(deserializer, "a text with variables, such as \"https://{host}{path}\"")
    }
}

fn is_name(text: &str) -> bool {
    let is_start = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    text.as_bytes().first().is_some_and(is_start)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
