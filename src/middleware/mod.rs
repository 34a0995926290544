//! Middlewares: steps that see an exchange on its way in and on its way out.
//!
//! Adding one: its file with the options' doc in `settings.rs`, and a line in [`build`].

use std::fmt::Debug;

use crate::http::Exchange;
use crate::units::FieldName;

mod grpc_web;
mod headers;
pub mod settings;

pub use settings::Settings;

/// A step that a route lists in `use`. Requests pass the list from the front, responses from the
/// back; a middleware whose `on_request` was not reached does not see the response either.
///
/// Both hooks run on the hot path: they neither block nor allocate beyond the growth of the heads.
/// One that changes a body as well puts a [`Recoder`](crate::http::recode::Recoder) into the
/// exchange and sets the framing that the changed body has.
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

/// Something that no middleware may do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` can not be changed here: {why}")]
pub struct BuildError {
    /// The keys that lead to it from `[middleware.NAME]`: `["headers", "request", "set"]`.
    pub keys: [&'static str; 3],
    /// The last key or the item of the list.
    pub field: FieldName,
    /// Why it is refused.
    pub why: Forbidden,
}

/// Why a header field is not the configuration's to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Frames the body; a change of that is request smuggling.
    #[error("it frames the body, which the proxy does itself")]
    Framing,
    /// Speaks of one connection only (RFC 9110 §7.6.1).
    #[error("it speaks of one connection, which the proxy manages")]
    Connection,
    /// Says which site is asked for.
    #[error("the route's `host_header` says it")]
    Host,
}

/// Makes the middleware that the settings describe.
///
/// # Errors
/// All that the settings ask for and no middleware may do.
pub fn build(settings: &Settings) -> Result<Box<dyn Middleware>, Vec<BuildError>> {
    match settings {
        Settings::GrpcWeb(settings::GrpcWeb {}) => Ok(Box::new(grpc_web::GrpcWeb)),
        Settings::Headers(settings) => Ok(Box::new(headers::Headers::new(settings)?)),
    }
}
