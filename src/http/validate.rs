//! http/validate
