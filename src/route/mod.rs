//! route/mod

pub mod settings;
