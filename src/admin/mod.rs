//! The admin listener: metrics, health, status and reload for the operator.
//!
//! It runs on the control runtime, away from the workers, and sees the process through [`View`]
//! alone. Who can reach it may reload and change endpoints; nothing else. A web page must not be able to
//! use it through the operator's browser: see `guard.rs`.

mod answer;
pub mod client;
mod endpoints;
mod guard;
mod server;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use server::Server;

use crate::units::Generation;
use crate::upstream::Upstream;

/// A future of a trait's method.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Whether a load balancer in front should send requests here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet.
    Starting,
    /// Yes.
    Serving,
    /// Not any more.
    Draining,
}

impl Readiness {
    /// The text of `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Readiness::Starting => "starting",
            Readiness::Serving => "serving",
            Readiness::Draining => "draining",
        }
    }
}

/// The process, as the admin listener sees it.
pub trait View: Send + Sync + 'static {
    /// Whether requests are welcome.
    fn readiness(&self) -> Readiness;

    /// All metrics, in the format of [`crate::observe::metrics::CONTENT_TYPE`].
    fn metrics(&self) -> String;

    /// The state of listeners, routes and upstreams.
    fn status(&self) -> serde_json::Value;

    /// Reads the configuration again and makes it current; the number of the new one, or why the
    /// old one stays. The future is dropped when the client leaves, so it must be cancel-safe:
    /// ask a task that does the work, and wait for its answer.
    fn reload(&self) -> BoxFuture<'_, Result<Generation, String>>;

    /// The upstream of that name.
    ///
    /// # Errors
    /// A sentence that names those that there are.
    fn upstream(&self, name: &str) -> Result<Arc<Upstream>, String>;
}
