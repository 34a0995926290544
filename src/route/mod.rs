//! route/mod
