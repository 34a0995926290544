//! Sockets: byte streams, pooled buffers and the wire that joins them.

pub mod buffer;
pub mod stream;
pub mod wire;

pub use buffer::Buffer;
pub use stream::Stream;
pub use wire::Wire;
