//! Sets, adds and removes header fields of requests and responses.

use super::settings::{self, HeaderChanges};
use super::{BuildError, Middleware, Step};
use crate::http::{Exchange, Fields, Name};

/// The changes of both heads.
#[derive(Debug)]
pub(super) struct Headers {
    request: Changes,
    response: Changes,
}

impl Headers {
    /// # Errors
    /// [`BuildError`] when a change names a field that the proxy itself rules.
    pub(super) fn new(settings: &settings::Headers) -> Result<Headers, BuildError> {
        let request = Changes::new(&settings.request)?;
        // A response has no Host that could mislead anyone.
        if request.field_names().any(|name| Name::of(name.as_bytes()) == Name::Host) {
            return Err(BuildError::Host);
        }
        Ok(Headers { request, response: Changes::new(&settings.response)? })
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
    fn new(changes: &HeaderChanges) -> Result<Changes, BuildError> {
        let is_own =
            |name: &Name| matches!(name, Name::ContentLength | Name::Trailer) || name.is_hop_by_hop();
        let changes = Changes(changes.clone());
        if let Some(name) = changes.field_names().find(|name| is_own(&Name::of(name.as_bytes()))) {
            return Err(BuildError::OwnField(name.to_owned()));
        }
        Ok(changes)
    }

    fn field_names(&self) -> impl Iterator<Item = &str> {
        let HeaderChanges { remove, set, add } = &self.0;
        remove.iter().chain(set.keys()).chain(add.keys()).map(|name| name.as_str())
    }

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

    #[test]
    fn fields_of_framing_and_connection_are_refused() {
        for name in
            ["Content-Length", "transfer-encoding", "Connection", "upgrade", "TE", "trailer", "Keep-Alive"]
        {
            for change in [
                format!("request = {{ set = {{ {name} = \"1\" }} }}"),
                format!("request = {{ add = {{ {name} = \"1\" }} }}"),
                format!("response = {{ remove = [\"{name}\"] }}"),
            ] {
                let found = build(&Settings::Headers(settings(&change)));
                assert_eq!(found.err(), Some(BuildError::OwnField(name.to_owned())), "{change}");
            }
        }
    }

    #[test]
    fn host_is_refused_with_the_place_where_it_is_set() {
        let error = build(&Settings::Headers(settings(r#"request = { set = { host = "a" } }"#))).err();
        assert!(error.is_some_and(|error| error.to_string().contains("host_header")));
    }
}
