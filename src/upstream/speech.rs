//! Endpoints whose source says what they speak, where the upstream speaks something else.
//!
//! One upstream speaks one version of HTTP. A source that knows better, such as a record of go-micro
//! with `protocol=grpc`, can not change that, but is not passed over in silence.

use tracing::warn;

use crate::config::upstream::Protocol;
use crate::discovery::{Found, Set};

/// What registries call what is spoken over HTTP/2 only.
const OVER_HTTP2: [&str; 3] = ["grpc", "h2", "h2c"];

/// Remembers whether it has been said.
#[derive(Debug, Default)]
pub(super) struct Speech {
    is_told: bool,
}

impl Speech {
    /// Says it once, and again when it has been put right in between.
    pub(super) fn compare(&mut self, upstream: &str, protocol: Protocol, set: &Set) {
        let Some(found) = misled(protocol, set) else {
            self.is_told = false;
            return;
        };
        if !std::mem::replace(&mut self.is_told, true) {
            let endpoint = &found.location;
            let says = found.metadata.get("protocol").map(String::as_str);
            warn!(
                upstream,
                %endpoint,
                says,
                "the upstream speaks HTTP/1.1 with an endpoint that wants HTTP/2; it needs protocol = \"h2\""
            );
        }
    }
}

/// An endpoint that can not understand what the upstream speaks.
fn misled(protocol: Protocol, set: &Set) -> Option<&Found> {
    match protocol {
        Protocol::H1 => set.found().iter().find(|found| {
            found.metadata.get("protocol").is_some_and(|says| OVER_HTTP2.contains(&says.as_str()))
        }),
        Protocol::H2 | Protocol::Auto => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Draft;

    fn set(says: &str) -> Set {
        let mut found = Found::at("10.0.0.1:80".parse().expect("it is a place"));
        found.metadata.insert("protocol".to_owned(), says.to_owned());
        let mut draft = Draft::default();
        draft.add(found);
        draft.finish().expect("it is a set")
    }

    #[test]
    fn only_http1_misleads_an_endpoint_that_speaks_grpc() {
        assert!(misled(Protocol::H1, &set("grpc")).is_some());
        assert!(misled(Protocol::H2, &set("grpc")).is_none());
        assert!(misled(Protocol::H1, &set("http")).is_none());
        assert!(misled(Protocol::H1, &Set::default()).is_none());
    }

    #[test]
    fn it_is_said_once_until_it_was_put_right() {
        let mut speech = Speech::default();
        speech.compare("users", Protocol::H1, &set("grpc"));
        assert!(speech.is_told);
        speech.compare("users", Protocol::H1, &set("http"));
        assert!(!speech.is_told);
    }
}
