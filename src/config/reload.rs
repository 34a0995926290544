//! `[reload]`: when the configuration is read again.

use serde::Deserialize;

/// What triggers a reload besides SIGHUP, the admin API and `tidegate reload`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// Whether a change of the files' content does. Default: true.
    pub watch: bool,
}

impl Default for Reload {
    fn default() -> Reload {
        Reload { watch: true }
    }
}
