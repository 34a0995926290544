//! Where endpoints come from, besides the configuration: one trait, one file per source.
//!
//! A [`Source`] tells the full state of its world, again and again; the latest answer wins. All the
//! rest is the same for every source and stands here once: [`Set`] makes answers comparable,
//! the keeper decides what an answer is worth, [`Feed`] runs a source with pauses after failures,
//! keeps the last good set, also on disk, and tells how old it is. Who uses the set is `upstream`.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use serde::Deserialize;

pub mod client;
mod failure;
mod feed;
mod keeper;
pub mod list;
mod pause;
mod pushed;
mod reports;
mod set;
mod store;

pub mod consul;
pub mod dns;
pub mod docker;
pub mod etcd;
pub mod file;
pub mod http;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;

pub use failure::{Failure, Kind};
pub use feed::Feed;
pub use keeper::DOUBT;
pub use pushed::{Kept, Push, Pushed};
pub use reports::{Reports, Status};
pub use set::{Draft, Found, Set};
pub use store::{Store, StoreError};

use keeper::Keeper;

/// A future that a trait object returns.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One kind of place that knows endpoints.
pub trait Source: Debug + Send {
    /// What is followed, in a few words without secrets: "file /etc/tidegate/users.json". It stands
    /// in logs and status.
    fn origin(&self) -> String;

    /// Tells apart what is followed: a stored set counts only for the identity that it came from.
    /// Goes to disk. The origin, unless that leaves something out.
    fn identity(&self) -> String {
        self.origin()
    }

    /// Follows the source and tells `reports` the full state: first as it is now, then whenever it
    /// may have changed. Returns with a failure to be called again after a pause that grows with
    /// every failure, or without one to be called again at once, as when a watch ends normally.
    ///
    /// Every wait has a deadline of its own. The future is dropped at any moment and `follow` called
    /// again: only what does not hide a part of the state (a token, an ETag) is kept in `self`.
    fn follow<'a>(&'a mut self, reports: &'a Reports) -> Pending<'a, Result<(), Failure>>;
}

/// The source with its options, as written in `upstream.NAME.discover`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settings {
    /// A name in the DNS.
    Dns(Box<dns::Settings>),
    /// Containers of a Docker daemon with a label.
    Docker(Box<docker::Settings>),
    /// A file that is watched.
    File(file::Settings),
    /// A registry that is asked over HTTP.
    Http(Box<http::Settings>),
    /// A service of Consul.
    Consul(Box<consul::Settings>),
    /// Keys of etcd.
    Etcd(Box<etcd::Settings>),
    /// A Service of Kubernetes.
    #[cfg(feature = "kubernetes")]
    Kubernetes(Box<kubernetes::Settings>),
}

/// The source of an upstream. Touches neither network nor disk.
pub fn build(upstream: &str, settings: &Settings) -> Box<dyn Source> {
    match settings {
        Settings::Dns(settings) => Box::new(dns::Dns::new((**settings).clone())),
        Settings::Docker(settings) => Box::new(docker::Docker::new((**settings).clone())),
        Settings::File(settings) => Box::new(file::File::new(settings.clone())),
        Settings::Http(settings) => Box::new(http::Http::new(upstream, (**settings).clone())),
        Settings::Consul(settings) => Box::new(consul::Consul::new((**settings).clone())),
        Settings::Etcd(settings) => Box::new(etcd::Etcd::new((**settings).clone())),
        #[cfg(feature = "kubernetes")]
        Settings::Kubernetes(settings) => Box::new(kubernetes::Kubernetes::new((**settings).clone())),
    }
}
