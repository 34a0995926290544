//! proxy.toml as written: plain structs, one file per table, with the place of every reference.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use self::listener::Mode;
use crate::middleware;
use crate::route;

pub mod admin;
pub mod listener;
pub mod log;
pub mod reload;
pub mod server;
pub mod upstream;

mod check;
mod glance;
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
pub use glance::admin_address;
pub use listener::Listener;
pub use load::{load, parse};
pub use log::Log;
pub use message::nearest;
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

impl Config {
    /// What a route serves: whole connections when it has server names or stands at a listener in
    /// tcp mode by name.
    pub fn serves(&self, route: &route::settings::Settings) -> route::Serves {
        let is_tcp = |name: &Spanned<String>| {
            self.listeners.get(name.get_ref().as_str()).is_some_and(|listener| listener.mode == Mode::Tcp)
        };
        if !route.sni.is_empty() || route.listeners.iter().any(is_tcp) {
            route::Serves::Connections
        } else {
            route::Serves::Requests
        }
    }

    /// The name of the route at this place of the list: its own, or `route-N` counted from 1.
    pub fn route_name(&self, index: usize) -> Cow<'_, str> {
        let own = self.routes.get(index).and_then(|route| route.get_ref().name.as_ref());
        own.map_or_else(|| format!("route-{}", index + 1).into(), |name| name.get_ref().into())
    }
}

#[cfg(test)]
mod tests;
