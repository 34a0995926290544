//! Sockets: byte streams, pooled buffers and the wire that joins them.

pub mod certs;
pub mod inherit;
pub mod listen;
pub mod tls;
pub mod vault;
