//! The HTTP/1.1 codec: bytes in, heads and body pieces out, and back. It owns no socket and reads
//! no clock, so it is tested and fuzzed on byte strings (RFC 9112).

pub mod body;
mod lines;
pub use lines::{Ends, is_token_byte};
pub mod request;
pub mod response;
pub mod scan;
pub mod write;
