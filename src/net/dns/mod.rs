//! Names in the DNS, asked for again and again: [`Host`] for addresses, [`Service`] for SRV records.
//!
//! hickory-proto reads and writes the messages. Which server is asked and under which full names
//! stands in `setup`, one question to one server in `exchange`, what a message means in `answer`, and
//! what stays when a part of an answer is missing in `question`.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::ResponseCode;

mod answer;
mod exchange;
mod host;
mod question;
mod service;
mod setup;

pub use host::Host;
pub use service::{Service, Target};
pub use setup::{QueryName, Resolver, Server};

/// What a name stands for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// Each once, in order; empty when the name does not exist or has no such records.
    pub records: Vec<T>,
    /// How long that holds: the shortest time to live of all records on the way, as they say it.
    pub ttl: Duration,
    /// Whether the name exists at all; NXDOMAIN says that it does not.
    pub exists: bool,
}

/// A name is asked for again after its time to live, but not sooner and not later than that.
pub const SHORTEST: Duration = Duration::from_secs(1);
/// See [`SHORTEST`].
pub const LONGEST: Duration = Duration::from_secs(60);
/// Most of the time by which questions come later, so that those of many proxies spread out.
const SPREAD: Duration = Duration::from_millis(100);

/// The pause until a name is asked for again; `random` from 0 to 1.
pub fn pause(ttl: Duration, shortest: Duration, longest: Duration, random: f64) -> Duration {
    ttl.min(longest).max(shortest) + SPREAD.mul_f64(random)
}

/// Why a name got no answer; what it stood for last still counts.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// Not a name.
    #[error("`{0}` is no name that can be asked for")]
    Name(String),
    /// Nobody to ask.
    #[error("the address of the resolver {0} is not known")]
    Resolver(String, #[source] io::Error),
    /// Silence.
    #[error("no answer in time from {0}")]
    Timeout(SocketAddr),
    /// Nobody listens.
    #[error("{0} can not be reached")]
    Unreachable(SocketAddr, #[source] io::Error),
    /// REFUSED: it does not answer us, or not about this name.
    #[error("{0} refuses to answer")]
    Denied(SocketAddr),
    /// SERVFAIL and the like.
    #[error("{0} answers \"{1}\"")]
    Refused(SocketAddr, ResponseCode),
    /// What is no answer to the question.
    #[error("{0} {1}")]
    Invalid(SocketAddr, &'static str),
}

impl LookupError {
    /// Whether the server itself said so, about this name.
    fn is_about_the_name(&self) -> bool {
        match self {
            LookupError::Denied(_)
            | LookupError::Refused(..)
            | LookupError::Invalid(..)
            | LookupError::Name(_) => true,
            LookupError::Resolver(..) | LookupError::Timeout(_) | LookupError::Unreachable(..) => false,
        }
    }
}

#[cfg(test)]
mod tests;
