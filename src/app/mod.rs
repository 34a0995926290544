//! app/mod
