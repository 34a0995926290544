//! middleware/mod

pub mod settings;
