//! balance/mod

pub mod settings;
