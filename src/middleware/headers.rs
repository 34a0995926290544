//! Sets, adds and removes header fields of requests and responses.

use super::settings::{self, HeaderChanges};
use super::{BuildError, Forbidden, Middleware, Step};
use crate::http::{Exchange, Fields, Name};

/// The changes of both heads.
#[derive(Debug)]
pub(super) struct Headers {
    request: Changes,
    response: Changes,
}

impl Headers {
    /// # Errors
    /// One [`BuildError`] for each change of a field that the proxy itself rules.
    pub(super) fn new(settings: &settings::Headers) -> Result<Headers, Vec<BuildError>> {
        let settings::Headers { request, response } = settings;
        let mut errors = refusals("request", request, |name| match name {
            Name::Host => Some(Forbidden::Host),
            name => forbidden(name),
        });
        // A response has no Host that could mislead anyone.
        errors.extend(refusals("response", response, forbidden));
        match errors.is_empty() {
            true => Ok(Headers { request: Changes(request.clone()), response: Changes(response.clone()) }),
            false => Err(errors),
        }
    }
}

fn refusals(
    head: &'static str,
    changes: &HeaderChanges,
    forbidden: impl Fn(Name) -> Option<Forbidden>,
) -> Vec<BuildError> {
    let HeaderChanges { set, add, remove } = changes;
    let (set, add) = (set.keys().map(|field| ("set", field)), add.keys().map(|field| ("add", field)));
    let all = set.chain(add).chain(remove.iter().map(|field| ("remove", field)));
    all.filter_map(|(list, field)| {
        let why = forbidden(Name::of(field.as_str().as_bytes()))?;
        Some(BuildError { keys: ["headers", head, list], field: field.clone(), why })
    })
    .collect()
}

/// Why neither head may have the field changed.
fn forbidden(name: Name) -> Option<Forbidden> {
    match name {
        Name::ContentLength | Name::TransferEncoding | Name::Trailer => Some(Forbidden::Framing),
        name if name.is_hop_by_hop() => Some(Forbidden::Connection),
        _ => None,
    }
}

impl Middleware for Headers {
    fn on_request(&self, exchange: &mut Exchange) -> Step {
        self.request.apply(&mut exchange.request.fields);
        Step::Next
    }

    fn on_response(&self, exchange: &mut Exchange) -> Step {
        self.response.apply(&mut exchange.response.fields);
        Step::Next
    }
}

/// Checked changes of one head.
#[derive(Debug)]
struct Changes(HeaderChanges);

impl Changes {
    /// Removes first, so that a field may be removed from the peer and added anew; adds last, so
    /// that a line may be added to one that was set.
    fn apply(&self, fields: &mut Fields) {
        for name in &self.0.remove {
            fields.remove(name.as_str().as_bytes());
        }
        for (name, value) in &self.0.set {
            fields.set(name.as_str().as_bytes(), value.as_str().as_bytes());
        }
        for (name, value) in &self.0.add {
            fields.push(name.as_str().as_bytes(), value.as_str().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, build};
    use super::*;

    fn settings(text: &str) -> settings::Headers {
        toml::from_str(text).expect("valid settings")
    }

    fn lines(fields: &Fields) -> Vec<String> {
        let line = |(_, name, value): (Name, &[u8], &[u8])| {
            format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
        };
        fields.iter().map(line).collect()
    }

    fn sample() -> Exchange {
        let mut exchange = Exchange::default();
        for fields in [&mut exchange.request.fields, &mut exchange.response.fields] {
            fields.push(b"X-Env", b"client");
            fields.push(b"x-env", b"twice");
            fields.push(b"Cookie2", b"1");
            fields.push(b"X-Kept", b"1");
        }
        exchange
    }

    #[test]
    fn fields_are_removed_then_set_then_added_in_any_letter_case() {
        let settings = settings(
            r#"request = { set = { x-ENV = "prod" }, add = { x-env = "more", X-New = "1" }, remove = ["cookie2"] }"#,
        );
        let headers = build(&Settings::Headers(settings)).expect("allowed names");
        let mut exchange = sample();
        assert_eq!(headers.on_request(&mut exchange), Step::Next);
        let expected = ["X-Kept: 1", "x-ENV: prod", "x-env: more", "X-New: 1"];
        assert_eq!(lines(&exchange.request.fields), expected);
        assert_eq!(lines(&exchange.response.fields).len(), 4, "the response is untouched");
    }

    #[test]
    fn the_response_has_its_own_changes() {
        let settings =
            settings(r#"response = { set = { X-Frame-Options = "DENY" }, remove = ["x-env", "cookie2"] }"#);
        let headers = build(&Settings::Headers(settings)).expect("allowed names");
        let mut exchange = sample();
        assert_eq!(headers.on_response(&mut exchange), Step::Next);
        assert_eq!(lines(&exchange.response.fields), ["X-Kept: 1", "X-Frame-Options: DENY"]);
        assert_eq!(lines(&exchange.request.fields).len(), 4, "the request is untouched");
    }

    /// What is wrong with a change, which is one thing.
    fn error(change: &str) -> BuildError {
        let mut errors = build(&Settings::Headers(settings(change))).expect_err("it is refused");
        assert_eq!(errors.len(), 1, "{change}");
        errors.remove(0)
    }

    #[test]
    fn fields_of_framing_and_connection_are_refused() {
        let framing = ["Content-Length", "transfer-encoding", "trailer"];
        let connection = ["Connection", "upgrade", "TE", "Keep-Alive"];
        let framing = framing.map(|name| (name, Forbidden::Framing));
        for (name, why) in framing.into_iter().chain(connection.map(|name| (name, Forbidden::Connection))) {
            for (head, list, fields) in [
                ("request", "set", format!("{{ {name} = \"1\" }}")),
                ("request", "add", format!("{{ {name} = \"1\" }}")),
                ("response", "remove", format!("[\"{name}\"]")),
            ] {
                let found = error(&format!("{head} = {{ {list} = {fields} }}"));
                let field = name.parse().expect("a field name");
                assert_eq!(found, BuildError { keys: ["headers", head, list], field, why });
            }
        }
    }

    #[test]
    fn host_is_refused_with_the_place_where_it_is_set() {
        let error = error(r#"request = { set = { host = "a" } }"#);
        assert!(error.to_string().contains("host_header"), "{error}");
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let wrong =
            settings(r#"request = { set = { host = "a", TE = "b", x-c = "d" }, remove = ["trailer"] }"#);
        let errors = build(&Settings::Headers(wrong)).expect_err("they are refused");
        let fields: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["host", "TE", "trailer"]);
    }
}
