//! health/mod

pub mod settings;
