//! docs/reference.toml says what the program does: every key, with its default.

use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;
use toml::Spanned;

use super::super::admin::Admin;
use super::super::listener::{Limits, Listener, Tls};
use super::super::upstream::{Connections, Tls as UpstreamTls, Upstream};
use super::super::{Config, Log, Reload, Server, planned};
use super::read;
use crate::discovery;
use crate::health::settings::{Check, Outlier};
use crate::middleware::settings::{HeaderChanges, Headers, Settings as Middleware};
use crate::route::settings::{Retries, Retry, Settings as Route, Timeouts};
use crate::tagged::Switch;

/// Without the tables of what this binary was built without.
static REFERENCE: LazyLock<String> = LazyLock::new(|| {
    let text = include_str!("../../../docs/reference.toml");
    if cfg!(feature = "kubernetes") {
        text.to_owned()
    } else {
        without_table(text, "upstream.by_kubernetes.")
    }
});

fn without_table(text: &str, name: &str) -> String {
    let mut is_within = false;
    let lines = text.split_inclusive('\n').filter(|line| {
        if line.starts_with('[') || line.trim().is_empty() {
            is_within = line.starts_with(&format!("[{name}"));
        }
        !is_within
    });
    lines.collect()
}

fn at<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn named<T>(text: &str) -> Vec<Spanned<T>>
where
    T: std::str::FromStr<Err: std::fmt::Debug>,
{
    vec![at(text.parse().expect("the example is valid"))]
}

#[test]
fn the_reference_says_the_defaults() {
    let config = read(&REFERENCE).expect("the reference is a valid configuration");
    assert_eq!(config.server, Server::default());
    assert_eq!(config.admin, Admin::default());
    assert_eq!(config.log, Log::default());
    assert_eq!(config.reload, Reload::default());
    assert!(config.include.is_empty());

    assert_eq!(config.listeners["web"], Listener { bind: named("127.0.0.1:8080"), ..Listener::default() });
    let tls = config.listeners["websecure"].tls.as_ref().expect("it has TLS").get_ref();
    assert_eq!(*tls, Tls { self_signed: named("localhost"), ..Tls::default() });

    let route = config.routes[0].get_ref();
    let expected = Route {
        name: Some(at("users".to_owned())),
        path: named("/users/*"),
        to: Some(at("users".to_owned())),
        ..Route::default()
    };
    assert_eq!(*route, expected);
    assert_eq!(config.middlewares["edge"], Middleware::Headers(Headers::default()));

    let tls = config.upstreams["canary"].tls.on().expect("it has TLS");
    assert_eq!(*tls, UpstreamTls::default());

    let upstream = Upstream { health: Switch::On(Check::default()), ..Upstream::default() };
    let endpoints = config.upstreams["users"].endpoints.clone();
    assert_eq!(config.upstreams["users"], Upstream { endpoints, ..upstream });
}

#[test]
fn every_alternative_of_the_reference_is_valid() {
    let mut seen = 0;
    for line in REFERENCE.lines().filter_map(|line| line.strip_prefix("# or: ")) {
        seen += 1;
        let text = REFERENCE.replacen("to = \"users\"", line, 1);
        let config = read(&text).map_err(|report| report.to_string()).expect("the alternative is valid");
        assert!(config.routes[0].get_ref().to.is_none(), "{line} took the place of `to`");
    }
    assert_eq!(seen, 3, "split, redirect and respond");
}

/// The keys of a table, which serde tells when it meets an unknown one.
fn keys_of<'de, T: Deserialize<'de>>() -> Vec<String> {
    let table = [("no key has this name", "")].into_iter();
    let deserializer = serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(table);
    let error = T::deserialize(deserializer).err().expect("the key is unknown").to_string();
    error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_key_stands_in_the_reference() {
    let tables = [
        ("[server]", keys_of::<Server>()),
        ("[admin]", keys_of::<Admin>()),
        ("[log]", keys_of::<Log>()),
        ("[reload]", keys_of::<Reload>()),
        ("[listener.web.limits]", keys_of::<Limits>()),
        ("[listener.websecure.tls]", keys_of::<Tls>()),
        ("[[route]]", without(keys_of::<Route>(), &["timeouts", "retry"])),
        ("[route.timeouts]", keys_of::<Timeouts>()),
        ("[route.retry]", keys_of::<Retry>()),
        ("[listener.web]", without(keys_of::<Listener>(), &["limits", "tls"])),
        ("[middleware.edge.headers]", keys_of::<Headers>()),
        (
            "[upstream.users]",
            without(keys_of::<Upstream>(), &["tls", "health", "outlier", "connections", "budget"]),
        ),
        ("[upstream.canary.tls]", keys_of::<UpstreamTls>()),
        ("[upstream.users.health]", keys_of::<Check>()),
        ("[upstream.users.outlier]", keys_of::<Outlier>()),
        ("[upstream.users.connections]", keys_of::<Connections>()),
        ("[upstream.by_dns.discover.dns]", keys_of::<discovery::dns::Settings>()),
        ("[upstream.by_file.discover.file]", keys_of::<discovery::file::Settings>()),
        ("[upstream.by_http.discover.http]", without(keys_of::<discovery::http::Settings>(), &["tls"])),
        ("[upstream.by_http.discover.http.tls]", keys_of::<discovery::client::Tls>()),
        ("[upstream.by_consul.discover.consul]", without(keys_of::<discovery::consul::Settings>(), &["tls"])),
        ("[upstream.by_consul.discover.consul.tls]", keys_of::<discovery::client::Tls>()),
        ("[upstream.by_etcd.discover.etcd]", without(keys_of::<discovery::etcd::Settings>(), &["tls"])),
        ("[upstream.by_etcd.discover.etcd.tls]", keys_of::<discovery::client::Tls>()),
        #[cfg(feature = "kubernetes")]
        ("[upstream.by_kubernetes.discover.kubernetes]", keys_of::<discovery::kubernetes::Settings>()),
        ("[upstream.by_docker.discover.docker]", without(keys_of::<discovery::docker::Settings>(), &["tls"])),
        ("[upstream.by_docker.discover.docker.tls]", keys_of::<discovery::client::Tls>()),
        ("[upstream.users.budget]", keys_of::<super::super::upstream::Budget>()),
    ];
    for (header, keys) in tables {
        assert!(!keys.is_empty(), "{header} has keys");
        let section = section(header);
        for key in keys {
            let starts = |line: &&str| line.trim_start_matches("# or: ").starts_with(&format!("{key} = "));
            assert!(section.lines().any(|line| starts(&line)), "{header} of the reference lacks `{key}`");
        }
    }
    assert_eq!(keys_of::<HeaderChanges>(), ["set", "add", "remove"]);
    assert_eq!(keys_of::<Config>().len(), 9, "a new table needs its line above");
    assert_eq!(Retries::default().0.on(), Some(&Retry::default()));
}

fn without(keys: Vec<String>, tables: &[&str]) -> Vec<String> {
    keys.into_iter().filter(|key| !tables.contains(&key.as_str())).collect()
}

/// The lines of the reference from a header to the next one.
fn section(header: &str) -> &'static str {
    let start =
        REFERENCE.find(&format!("\n{header}")).map(|at| at + 1).expect("the table is in the reference");
    let body = &REFERENCE[start + header.len()..];
    body.find("\n[").map_or(body, |end| &body[..end])
}

#[test]
fn every_planned_key_stands_in_the_reference() {
    let mut seen = 0;
    for name in planned::names() {
        seen += 1;
        let line = |line: &str| line.contains("planned:") && line.contains(name);
        assert!(REFERENCE.lines().any(line), "the reference does not say that `{name}` is planned");
    }
    assert!(seen > 20, "only {seen} planned keys and values were found");
}

#[test]
fn planned_keys_are_accepted_with_the_value_that_the_reference_shows() {
    let is_key = |line: &&str| !line.starts_with('[');
    let mut seen = 0;
    let mut text = String::new();
    for line in REFERENCE.lines() {
        let planned = line.strip_prefix("# planned: ").filter(is_key);
        seen += usize::from(planned.is_some());
        text.push_str(planned.unwrap_or(line));
        text.push('\n');
    }
    assert!(seen > 10, "only {seen} planned lines");
    let report = read(&text).err().map(|report| report.to_string());
    assert_eq!(report, None, "what holds anyway may be written");
}

#[test]
fn the_shipped_example_is_valid() {
    let text = include_str!("../../../proxy.toml");
    let config = read(text).map_err(|report| report.to_string()).expect("proxy.toml is valid");
    assert_eq!(config.upstreams["fleet"].endpoints.len(), 3);
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.sources.paths().collect::<Vec<_>>(), [Path::new("proxy.toml")]);
}
