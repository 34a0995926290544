//! http/forwarded
