//! proxy.toml as written: plain structs, one file per table, with the place of every reference.

use std::collections::BTreeMap;
use std::sync::Arc;

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

mod check;
mod include;
mod load;
mod message;
mod planned;
mod prepare;
mod read;
mod report;
mod source;
mod tree;

pub use admin::Admin;
pub use listener::Listener;
pub use load::{load, parse};
pub use log::Log;
pub use prepare::Environment;
pub use reload::Reload;
pub use report::{ConfigError, Report};
pub use server::Server;
pub use source::Sources;
pub use upstream::Upstream;

/// A whole configuration: one file and those that it includes.
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
    /// The files that were read and their texts.
    #[serde(skip)]
    pub sources: Arc<Sources>,
}

#[cfg(test)]
mod tests;
