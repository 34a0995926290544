//! Sockets: listening, byte streams with pooled buffers, TLS and its certificates.

pub mod buffer;
pub mod certs;
pub mod client_hello;
pub mod connector;
pub mod defer;
pub mod dns;
pub mod flood;
pub mod frames;
pub mod inherit;
pub mod listen;
pub mod metered;
pub mod pipe;
mod plain;
pub mod prefixed;
pub mod proxy_protocol;
pub mod secure;
pub mod stream;
pub mod tls;
pub mod turn;
pub mod vault;
pub mod wire;

pub use buffer::Buffer;
pub use connector::Connector;
pub use metered::{Gauge, Metered};
pub use pipe::Pipe;
pub use prefixed::Prefixed;
pub use stream::Stream;
pub use wire::Wire;
