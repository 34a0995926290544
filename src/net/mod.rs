//! Sockets: byte streams, pooled buffers and the wire that joins them.

pub mod buffer;
pub mod inherit;
pub mod listen;
pub mod prefixed;
pub mod stream;
pub mod tls;
pub mod wire;

pub use buffer::Buffer;
pub use prefixed::Prefixed;
pub use stream::Stream;
pub use wire::Wire;
