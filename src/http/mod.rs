//! HTTP messages and the rules that hold for both versions: heads, framing, the canonical
//! target, strict validation, forwarding fields, and the closed list of reasons.

pub mod accept;
pub mod exchange;
pub mod fields;
pub mod find;
pub mod forwarded;
pub mod framing;
pub mod grpc;
pub mod head;
pub mod identity;
pub mod name;
pub mod path;
pub mod put;
pub mod reason;
pub mod recode;
pub mod upgrade;
pub mod validate;

pub use exchange::{Client, Exchange, Scheme, TlsVersion};
pub use fields::{Field, Fields, Span};
pub use framing::Framing;
pub use head::{Authority, Method, RequestHead, ResponseHead, Version};
pub use identity::Identity;
pub use name::Name;
pub use put::Put;
pub use reason::Reason;
