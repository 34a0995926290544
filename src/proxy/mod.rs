//! proxy/mod
