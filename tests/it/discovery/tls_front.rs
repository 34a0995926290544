//! TLS before a registry that speaks clear text: a proxy of ours, with a certificate of the test.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::harness::{Proxy, Signed, free_address};

/// Ends TLS and hands everything on.
pub struct TlsFront {
    pub address: SocketAddr,
    _proxy: Proxy,
}

impl TlsFront {
    /// Shows this certificate.
    pub fn before(target: SocketAddr, certificate: &Signed) -> TlsFront {
        let directory = TempDir::new().expect("a directory");
        certificate.write(directory.path(), "front");
        let address = free_address();
        let text = format!(
            "[[route]]\nlisteners = [\"front\"]\nto = \"registry\"\n[upstream.registry]\nendpoints = [\"{target}\"]\n\
             [listener.front]\nbind = \"{address}\"\n\
             tls = {{ certificates = [{{ cert = \"front.pem\", key = \"front.key\" }}] }}\n"
        );
        TlsFront { address, _proxy: Proxy::start_in(directory, &text) }
    }
}
