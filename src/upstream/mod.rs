//! upstream/mod
