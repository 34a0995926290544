//! health/mod
