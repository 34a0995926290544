//! What an operator sees: metrics, the access log and the proxy's own log.
//!
//! Nothing here may ever hold up a request: counters are plain stores into memory of the worker's
//! own, and both logs go through a bounded queue to a thread that may block in their place.

pub mod access;
pub mod log;
pub mod metrics;
pub mod writer;
