//! http/path
