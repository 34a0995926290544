//! Sockets: listening, byte streams with pooled buffers, TLS and its certificates.

pub mod buffer;
pub mod certs;
pub mod client_hello;
pub mod inherit;
pub mod listen;
pub mod prefixed;
pub mod stream;
pub mod tls;
pub mod turn;
pub mod vault;
pub mod wire;

pub use buffer::Buffer;
pub use prefixed::Prefixed;
pub use stream::Stream;
pub use wire::Wire;
