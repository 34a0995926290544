//! One request and its response, as middlewares see them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::head::{RequestHead, ResponseHead};

/// The scheme that the client used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// Who asks: facts of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The address of the peer; `0.0.0.0:0` for a unix socket.
    pub address: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// Plain or TLS.
    pub scheme: Scheme,
    /// Number of the listener in the snapshot, for routes that name listeners.
    pub listener: u32,
    /// Whether the peer is in `trusted_proxies`, so that its forwarding fields are believed.
    pub trusted: bool,
}

impl Default for Client {
    fn default() -> Client {
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Client { address: nobody, local: nobody, scheme: Scheme::Http, listener: 0, trusted: false }
    }
}

/// One request and its response.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Who asks.
    pub client: Client,
    /// What is asked; after validation, canonical.
    pub request: RequestHead,
    /// What is answered; filled by the endpoint or by a middleware.
    pub response: ResponseHead,
}
