//! `[admin]`: metrics, status page and API for the operator.

use serde::Deserialize;
use toml::Spanned;

use super::listener::Bind;
use crate::tagged;

/// Where the admin listener is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// "127.0.0.1:9901" or "unix:/run/tidegate/admin.sock". Default: "" = off.
    #[serde(deserialize_with = "tagged::unless_empty")]
    pub bind: Option<Spanned<Bind>>,
}
