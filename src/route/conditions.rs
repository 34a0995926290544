//! What a request must fulfil besides its host and path.

use std::borrow::Cow;

use super::Subject;
use super::settings::{Condition, Settings};
use super::work;
use crate::http::Method;
use crate::units::Network;

/// The conditions of one route.
#[derive(Debug)]
pub(super) struct Conditions {
    /// Numbers of listeners; empty is all. It tells where a route is, not how specific it is.
    listeners: Box<[u32]>,
    /// Empty is any but CONNECT, which opens a tunnel and must be asked for.
    methods: Box<[Box<[u8]>]>,
    headers: Box<[(Box<[u8]>, Condition)]>,
    query: Box<[(Box<[u8]>, Condition)]>,
    client: Box<[Network]>,
}

impl Conditions {
    pub(super) fn new(settings: &Settings, listeners: &[u32]) -> Conditions {
        let bytes = |text: &str| -> Box<[u8]> { text.as_bytes().into() };
        let headers = settings.headers.iter();
        let query = settings.query.iter();
        Conditions {
            listeners: listeners.into(),
            methods: settings.methods.iter().map(|method| bytes(method.get_ref().as_str())).collect(),
            headers: headers.map(|(name, condition)| (bytes(name.as_str()), condition.clone())).collect(),
            query: query.map(|(name, condition)| (bytes(name), condition.clone())).collect(),
            client: settings.client.as_slice().into(),
        }
    }

    /// How many there are; of two routes with the same host and path the one with more comes first.
    pub(super) fn count(&self) -> usize {
        let lists = [!self.methods.is_empty(), !self.client.is_empty()];
        lists.into_iter().filter(|given| *given).count() + self.headers.len() + self.query.len()
    }

    /// Whether the request fulfils all of them.
    pub(super) fn hold(&self, subject: &Subject<'_>) -> bool {
        work::step();
        (self.listeners.is_empty() || self.listeners.contains(&subject.listener))
            && self.allow_method(subject)
            && (self.client.is_empty() || self.client.iter().any(|network| network.contains(subject.client)))
            && self.headers.iter().all(|(name, condition)| header_holds(subject, name, condition))
            && self.query.iter().all(|(name, condition)| query_holds(subject, name, condition))
    }

    fn allow_method(&self, subject: &Subject<'_>) -> bool {
        if self.methods.is_empty() {
            return subject.request.method != Method::Connect;
        }
        let method = subject.request.method_text();
        self.methods.iter().any(|allowed| **allowed == *method)
    }
}

/// Whether one of the lines with that name fulfils the condition.
fn header_holds(subject: &Subject<'_>, name: &[u8], condition: &Condition) -> bool {
    let mut lines = subject.request.fields.iter();
    lines.any(|(_, line, value)| line.eq_ignore_ascii_case(name) && value_holds(value, condition))
}

/// Whether one of the parameters with that name fulfils the condition, both decoded.
fn query_holds(subject: &Subject<'_>, name: &[u8], condition: &Condition) -> bool {
    let query = subject.request.query().unwrap_or_default();
    query.split(|byte| *byte == b'&').any(|parameter| {
        let at = memchr::memchr(b'=', parameter).unwrap_or(parameter.len());
        let (key, value) = parameter.split_at_checked(at).unwrap_or_default();
        let value = value.strip_prefix(b"=").unwrap_or_default();
        !parameter.is_empty() && *decoded(key) == *name && value_holds(&decoded(value), condition)
    })
}

fn value_holds(value: &[u8], condition: &Condition) -> bool {
    match condition {
        Condition::Present => true,
        Condition::Equals(text) => value == text.as_bytes(),
        Condition::Matches(pattern) => {
            std::str::from_utf8(value).is_ok_and(|value| pattern.regex().is_match(value))
        }
    }
}

/// Form decoding: `+` is a space, an escape is its byte, and what is no escape stays as it is.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return Cow::Borrowed(text);
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (*byte, after) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (byte, _) => out.push(byte),
        }
    }
    Cow::Owned(out)
}
