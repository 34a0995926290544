//! Start, reload, drain: the composition root and what it listens to.

pub mod notify;
pub mod signals;
pub mod watch;
