//! placeholder
/// placeholder
#[derive(Debug)]
pub struct Acceptor;
/// placeholder
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct TlsError;
