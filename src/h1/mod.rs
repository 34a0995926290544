//! h1/mod
