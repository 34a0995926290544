//! From a configuration to a snapshot: names become numbers and pointers.
//!
//! Everything that can fail in a reload fails here or in the binding of sockets; storing the
//! snapshot can not. What is equal to a part of the previous snapshot is used again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use toml::Spanned;

use super::{Action, Fixed, Listener, Route, Snapshot};
use crate::config::{self, Config};
use crate::middleware::{self, Middleware};
use crate::net::tls::Acceptor;
use crate::route::settings::{self, Settings};
use crate::route::split::SplitError;
use crate::route::{Entry, Redirect, Rewrite, Split, Table, TableError, TemplateError};
use crate::units::Generation;
use crate::upstream::Upstream;

/// Why a configuration can not be compiled although each of its tables is valid.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The routes do not make a table.
    #[error("routes")]
    Table(#[from] TableError),
    /// A target template of a route.
    #[error("route `{route}`: {source}")]
    Template {
        /// The route.
        route: Arc<str>,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A split without weight.
    #[error("route `{route}`: {source}")]
    Split {
        /// The route.
        route: Arc<str>,
        /// What is wrong with it.
        source: SplitError,
    },
    /// A middleware that asks for what none may do.
    #[error("middleware `{name}`: {source}")]
    Middleware {
        /// The middleware.
        name: String,
        /// What is wrong with it.
        source: middleware::BuildError,
    },
    /// A name that stands for nothing; the configuration's own checks find these first.
    #[error("`{0}` is not defined")]
    Dangling(String),
    /// Certificates or keys that can not be used.
    #[error("listener `{listener}`: {source}")]
    Tls {
        /// The listener.
        listener: String,
        /// What is wrong with it.
        source: crate::net::tls::TlsError,
    },
}

/// Compiles a configuration. `acceptor` makes the TLS side of a listener.
///
/// # Errors
/// The first [`BuildError`].
pub fn build(
    config: Config,
    previous: Option<&Snapshot>,
    acceptor: &mut dyn FnMut(&str, &config::Listener) -> Result<Option<Arc<Acceptor>>, BuildError>,
) -> Result<Snapshot, BuildError> {
    let generation = previous.map_or(Generation(1), |snapshot| snapshot.generation.next());
    let listeners = listeners(&config, previous, acceptor)?;
    let upstreams = upstreams(&config, previous);
    let numbers = Numbers::new(&listeners, &upstreams);
    let middlewares = middlewares(&config)?;
    let routes = config
        .routes
        .iter()
        .enumerate()
        .map(|(place, settings)| route(place, settings.get_ref(), &numbers, &middlewares))
        .collect::<Result<Vec<_>, _>>()?;
    let table = table(&config, &numbers)?;
    Ok(Snapshot { generation, table, routes, upstreams, listeners, since: Instant::now(), config })
}

/// What names of the configuration stand for.
struct Numbers {
    listeners: BTreeMap<String, u32>,
    upstreams: BTreeMap<String, usize>,
}

impl Numbers {
    fn new(listeners: &[Option<Arc<Listener>>], upstreams: &[Arc<Upstream>]) -> Numbers {
        Numbers {
            listeners: listeners.iter().flatten().map(|one| (one.name.to_string(), one.number)).collect(),
            upstreams: upstreams.iter().enumerate().map(|(at, one)| (one.name().to_owned(), at)).collect(),
        }
    }

    fn upstream(&self, name: &Spanned<String>) -> Result<usize, BuildError> {
        let number = self.upstreams.get(name.get_ref()).copied();
        number.ok_or_else(|| BuildError::Dangling(name.get_ref().clone()))
    }

    fn listeners(&self, names: &[Spanned<String>]) -> Result<Vec<u32>, BuildError> {
        let number = |name: &Spanned<String>| {
            let number = self.listeners.get(name.get_ref()).copied();
            number.ok_or_else(|| BuildError::Dangling(name.get_ref().clone()))
        };
        names.iter().map(number).collect()
    }
}

/// Listeners keep the number of their name, so that open connections find themselves again.
fn listeners(
    config: &Config,
    previous: Option<&Snapshot>,
    acceptor: &mut dyn FnMut(&str, &config::Listener) -> Result<Option<Arc<Acceptor>>, BuildError>,
) -> Result<Vec<Option<Arc<Listener>>>, BuildError> {
    let known = previous.map_or(&[][..], |snapshot| &snapshot.listeners);
    let trusted: Arc<[_]> = config.server.trusted_proxies.clone().into();
    let mut listeners = vec![None; known.len()];
    for (name, settings) in &config.listeners {
        let name = name.get_ref().as_str();
        let same = |one: &Option<Arc<Listener>>| one.as_ref().is_some_and(|one| &*one.name == name);
        let number = known.iter().position(same).unwrap_or(listeners.len());
        listeners.resize(listeners.len().max(number + 1), None);
        let tls = acceptor(name, settings)?;
        let (name, settings, trusted) = (name.into(), settings.clone(), trusted.clone());
        listeners[number] = Some(Arc::new(Listener { number: number as u32, name, settings, tls, trusted }));
    }
    Ok(listeners)
}

/// An upstream whose settings are equal goes on as it is; another one of the same name hands its
/// endpoints over.
fn upstreams(config: &Config, previous: Option<&Snapshot>) -> Vec<Arc<Upstream>> {
    let known = previous.map_or(&[][..], |snapshot| &snapshot.upstreams);
    config
        .upstreams
        .iter()
        .map(|(name, settings)| {
            let name = name.get_ref().as_str();
            match known.iter().find(|upstream| upstream.name() == name) {
                Some(upstream) if upstream.settings() == settings => upstream.clone(),
                before => Upstream::build(name, settings.clone(), before.map(|upstream| &**upstream)),
            }
        })
        .collect()
}

type Middlewares = BTreeMap<String, Arc<dyn Middleware>>;

fn middlewares(config: &Config) -> Result<Middlewares, BuildError> {
    let build = |(name, settings): (&Spanned<String>, &middleware::Settings)| {
        let name = name.get_ref().clone();
        match middleware::build(settings) {
            Ok(built) => Ok((name, Arc::from(built))),
            Err(source) => Err(BuildError::Middleware { name, source }),
        }
    };
    config.middlewares.iter().map(build).collect()
}

fn route(
    place: usize,
    settings: &Settings,
    numbers: &Numbers,
    middlewares: &Middlewares,
) -> Result<Route, BuildError> {
    let name: Arc<str> = match &settings.name {
        Some(name) => name.get_ref().as_str().into(),
        None => format!("route-{}", place + 1).into(),
    };
    let used = |name: &Spanned<String>| {
        let middleware = middlewares.get(name.get_ref()).cloned();
        middleware.ok_or_else(|| BuildError::Dangling(name.get_ref().clone()))
    };
    let rewrite = Rewrite::new(settings);
    Ok(Route {
        action: action(settings, numbers, &name)?,
        middlewares: settings.middlewares.iter().map(used).collect::<Result<_, _>>()?,
        rewrite: rewrite.map_err(|source| BuildError::Template { route: name.clone(), source })?,
        host_header: settings.host_header.clone(),
        timeouts: settings.timeouts,
        retry: settings.retry.clone(),
        name,
    })
}

fn action(settings: &Settings, numbers: &Numbers, route: &Arc<str>) -> Result<Action, BuildError> {
    match settings.actions().next() {
        Some(settings::Action::To(name)) => Ok(Action::Forward(numbers.upstream(name)?)),
        Some(settings::Action::Split(weights)) => {
            let split = Split::new(weights.values().map(|weight| weight.0));
            let split = split.map_err(|source| BuildError::Split { route: route.clone(), source })?;
            let targets = weights.keys().map(|name| numbers.upstream(name)).collect::<Result<_, _>>()?;
            Ok(Action::Split(split, targets))
        }
        Some(settings::Action::Redirect(redirect)) => match Redirect::new(redirect, &settings.path) {
            Ok(compiled) => Ok(Action::Redirect(compiled, redirect.status.get())),
            Err(source) => Err(BuildError::Template { route: route.clone(), source }),
        },
        Some(settings::Action::Respond(respond)) => Ok(Action::Respond(Fixed(respond.clone()))),
        None => Err(BuildError::Dangling(format!("{route}: to, split, redirect or respond"))),
    }
}

fn table(config: &Config, numbers: &Numbers) -> Result<Table, BuildError> {
    let listeners: Vec<Vec<u32>> = config
        .routes
        .iter()
        .map(|route| numbers.listeners(&route.get_ref().listeners))
        .collect::<Result<_, _>>()?;
    let entries = config.routes.iter().zip(&listeners);
    Ok(Table::new(entries.map(|(route, listeners)| Entry { settings: route.get_ref(), listeners }))?)
}
