//! `[server]`: the process.

use std::path::PathBuf;

use serde::Deserialize;

use crate::http::forwarded::Forwarded;
use crate::units::{Auto, Duration, Network};

/// What holds for the whole process.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Threads that serve traffic. Default: 0 = one per CPU that the process may use.
    pub workers: Auto<u16>,
    /// Client connections at one time. Default: 0 = derived from the open-file limit.
    pub max_connections: Auto<u32>,
    /// After SIGTERM: not ready any more, but still accepting, for this long. Default: 0s.
    pub drain_delay: Duration,
    /// Then: time for what runs to finish. Default: 30s; 0 = end at once.
    pub drain_timeout: Duration,
    /// Networks whose X-Forwarded-*, Forwarded and X-Request-Id are believed. Default: none.
    pub trusted_proxies: Vec<Network>,
    /// Directory for what outlives the process: the last endpoints of every source. Default: "" =
    /// $STATE_DIRECTORY (systemd's `StateDirectory=`) if set, else nothing is kept.
    pub state_dir: PathBuf,
    /// Which requests get the field Forwarded (RFC 7239). Default: continue.
    pub forwarded: Forwarded,
}

impl Default for Server {
    fn default() -> Server {
        Server {
            workers: Auto::Auto,
            max_connections: Auto::Auto,
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(30),
            trusted_proxies: Vec::new(),
            state_dir: PathBuf::new(),
            forwarded: Forwarded::Continue,
        }
    }
}
