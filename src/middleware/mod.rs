//! Middlewares: steps that see an exchange on its way in and on its way out.
//!
//! Adding one: its file with the options' doc in `settings.rs`, and a line in [`build`].

use std::fmt::Debug;

use crate::http::Exchange;

mod headers;
pub mod settings;

pub use settings::Settings;

/// A step that a route lists in `use`. Requests pass the list from the front, responses from the
/// back; a middleware whose `on_request` was not reached does not see the response either.
///
/// Both hooks run on the hot path: they neither block nor allocate beyond the growth of the heads.
pub trait Middleware: Debug + Send + Sync {
    /// Sees the request before an endpoint is chosen.
    fn on_request(&self, _exchange: &mut Exchange) -> Step {
        Step::Next
    }

    /// Sees the head of the response before it goes to the client, whoever made it.
    fn on_response(&self, _exchange: &mut Exchange) -> Step {
        Step::Next
    }
}

/// What happens after a middleware. Callers match it exhaustively, so that a further way to go on
/// (waiting for another service) shows every place that has to learn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// The exchange goes on.
    Next,
    /// The middleware has filled in `exchange.response`, which is the answer from here on.
    Reply,
}

/// Why a middleware can not be made from its settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// A field that frames the message or belongs to the connection, which the proxy itself rules.
    #[error("`{0}` frames the message or belongs to the connection; the proxy sets it itself")]
    OwnField(String),
    /// The Host field.
    #[error("Host can not be changed by a middleware; use `host_header` of the route")]
    Host,
}

/// Makes the middleware that the settings describe.
///
/// # Errors
/// [`BuildError`] when the settings ask for what no middleware may do.
pub fn build(settings: &Settings) -> Result<Box<dyn Middleware>, BuildError> {
    match settings {
        Settings::Headers(settings) => Ok(Box::new(headers::Headers::new(settings)?)),
    }
}
