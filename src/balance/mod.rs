//! balance/mod
