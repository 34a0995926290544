//! The words that the tests are written in: a proxy, an origin, a client, and waiting.

mod authority;
mod client;
mod curl;
mod http;
mod issuer;
mod openssl;
mod origin;
mod ports;
mod proxy;
mod secure;
pub mod services;

use std::time::{Duration, Instant};

pub use authority::{Authority, Signed, replace};
pub use client::Client;
pub use curl::{Curl, curl};
pub use http::{Request, Response, ok};
pub use issuer::Issuer;
pub use openssl::{Session, openssl};
pub use origin::Origin;
pub use ports::free_address;
pub use proxy::{Proxy, run};
pub use secure::{After, SecureOrigin, Site};

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A route that takes everything and forwards it to the upstream of [`upstream`].
pub const ALL: &str = "[[route]]\nname = \"all\"\nto = \"origin\"\n";

/// The upstream `origin` of these endpoints. It is the last table, so that keys can be added.
pub fn upstream(origins: &[&Origin]) -> String {
    upstream_named("origin", origins)
}

/// The same under another name.
pub fn upstream_named(name: &str, origins: &[&Origin]) -> String {
    let endpoints: Vec<_> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    format!("[upstream.{name}]\nendpoints = [{}]\n", endpoints.join(", "))
}

/// Waits until the condition holds, and fails with the sentence when it does not come true.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_true(PATIENCE, condition), "it did not come true: {what}");
}

/// Whether the condition holds within so long.
pub fn comes_true(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Passes that much time; only for tests that show that something does *not* happen, or that make
/// a peer slow.
pub fn pass(time: Duration) {
    comes_true(time, || false);
}
