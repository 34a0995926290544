//! proxy.toml as written: plain structs, one file per table, with the place of every reference.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::middleware;
use crate::route;

pub mod admin;
pub mod listener;
pub mod log;
pub mod reload;
pub mod server;
pub mod upstream;

pub use admin::Admin;
pub use listener::Listener;
pub use log::Log;
pub use reload::Reload;
pub use server::Server;
pub use upstream::Upstream;

/// A whole configuration: one file and those that it includes.
///
/// Two are equal when they say the same, wherever it stands in the files.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Patterns of further files, "conf.d/*.toml". Default: none.
    pub include: Vec<Spanned<String>>,
    /// `[server]`.
    pub server: Server,
    /// `[admin]`.
    pub admin: Admin,
    /// `[log]`.
    pub log: Log,
    /// `[reload]`.
    pub reload: Reload,
    /// `[listener.NAME]`.
    #[serde(rename = "listener")]
    pub listeners: BTreeMap<Spanned<String>, Listener>,
    /// `[[route]]`, in the order of the files.
    #[serde(rename = "route")]
    pub routes: Vec<Spanned<route::settings::Settings>>,
    /// `[middleware.NAME.KIND]`.
    #[serde(rename = "middleware")]
    pub middlewares: BTreeMap<Spanned<String>, middleware::settings::Settings>,
    /// `[upstream.NAME]`.
    #[serde(rename = "upstream")]
    pub upstreams: BTreeMap<Spanned<String>, Upstream>,
}
