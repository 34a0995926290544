//! Accepts connections and speaks to clients: one thread a worker, each on its own.

pub mod accept;
pub mod h1;
pub mod h2;
pub mod opening;
mod proxied;
mod rest;
mod tcp;
pub mod team;
pub mod thread;
mod visit;

pub use team::{Command, Gate, Team};
