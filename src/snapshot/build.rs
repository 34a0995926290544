//! From a configuration to a snapshot: names become numbers and pointers.
//!
//! Everything that can fail in a reload fails here or in the binding of sockets; storing the
//! snapshot can not. What is equal to a part of the previous snapshot is used again.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use toml::Spanned;

use super::{Action, Fixed, Listener, Route, Snapshot};
use crate::config::listener::Mode;
use crate::config::{self, Config, ConfigError, Report};
use crate::http::identity::{Part, Reserved};
use crate::middleware::{self, Middleware};
use crate::net::Connector;
use crate::net::tls::Acceptor;
use crate::observe::metrics::Registry;
use crate::route::settings::{self, Settings};
use crate::route::{Entry, Redirect, Rewrite, ServerNames, Serves, Split, Table, TableError};
use crate::units::Generation;
use crate::upstream::Upstream;

/// What a snapshot is built with, beside the configuration.
pub struct Means<'a> {
    /// Gives out the numbers that requests are counted under.
    pub registry: &'a Registry,
    /// Makes the TLS side of a listener.
    pub acceptor: &'a MakeAcceptor<'a>,
    /// Makes the TLS side of an upstream.
    pub connector: &'a MakeConnector<'a>,
}

/// Makes the TLS side of the upstream of that name; the message says why it can not be, and where
/// the value is that is to be looked at.
pub type MakeConnector<'a> =
    dyn Fn(&str, &config::Upstream) -> Result<Option<Arc<Connector>>, Misplaced> + 'a;

/// What is wrong, and where it is written.
pub type Misplaced = (Range<usize>, String);

/// Makes the TLS side of a listener, or says all that is wrong with it, each with its place.
pub type MakeAcceptor<'a> =
    dyn Fn(&config::listener::Tls, &config::Listener) -> Result<Arc<Acceptor>, Vec<Misplaced>> + 'a;

/// Compiles a configuration.
///
/// # Errors
/// All that is wrong with it, each with its place.
pub fn build(config: Config, previous: Option<&Snapshot>, means: &Means<'_>) -> Result<Snapshot, Report> {
    let mut errors = Errors { config: &config, found: Vec::new() };
    let generation = previous.map_or(Generation(1), |snapshot| snapshot.generation.next());
    let listeners = listeners(&config, previous, means, &mut errors);
    let upstreams = upstreams(&config, previous, means, &mut errors);
    let numbers = Numbers::new(&listeners, &upstreams);
    let middlewares = middlewares(&config, &mut errors);
    let mut routes = Vec::with_capacity(config.routes.len());
    for (place, settings) in config.routes.iter().enumerate() {
        let name = config.route_name(place);
        let number = means.registry.route(&name);
        let compiled = route(settings.get_ref(), &numbers, &middlewares);
        let Some((action, middlewares, rewrite)) = errors.check(settings.span(), compiled) else { continue };
        let settings = settings.get_ref();
        routes.push(Route {
            name: name.into(),
            number,
            action,
            middlewares,
            rewrite,
            host_header: settings.host_header.clone(),
            upgrade: settings.upgrade,
            timeouts: settings.timeouts,
            retry: settings.retry.clone(),
        });
    }
    let table = table(&config, &numbers, &mut errors);
    let found = errors.found;
    match table {
        Some(table) if found.is_empty() => {
            let told = listeners.iter().flatten().flat_map(|listener| &listener.identity);
            let reserved = Arc::new(Reserved::new(told.map(|(_, name)| name.to_string())));
            let since = Instant::now();
            Ok(Snapshot { generation, table, routes, upstreams, listeners, reserved, since, config })
        }
        _ => Err(Report::new(found)),
    }
}

/// What is wrong, with its place in the files.
struct Errors<'a> {
    config: &'a Config,
    found: Vec<ConfigError>,
}

impl Errors<'_> {
    fn check<T, E: Display>(&mut self, place: Range<usize>, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(place, &error);
                None
            }
        }
    }

    fn add(&mut self, place: Range<usize>, error: &impl Display) {
        self.found.push(self.config.sources.error(place, error.to_string()));
    }
}

/// The configuration's own checks find these first, with better words.
fn dangling(name: &Spanned<String>) -> String {
    format!("`{}` is not defined", name.get_ref())
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

    fn upstream(&self, name: &Spanned<String>) -> Result<usize, String> {
        self.upstreams.get(name.get_ref()).copied().ok_or_else(|| dangling(name))
    }

    fn listeners(&self, names: &[Spanned<String>]) -> Result<Vec<u32>, String> {
        names
            .iter()
            .map(|name| self.listeners.get(name.get_ref()).copied().ok_or_else(|| dangling(name)))
            .collect()
    }
}

/// The number that the name had; else that of a listener which is gone and had the same addresses,
/// as one that got another name, so that its sockets stay; else a new one.
fn number_of(
    name: &str,
    settings: &config::Listener,
    config: &Config,
    known: &[Option<Arc<Listener>>],
    taken: &[Option<Arc<Listener>>],
) -> usize {
    let find = |is_it: &dyn Fn(usize, &Listener) -> bool| {
        let mut known = known.iter().enumerate();
        known.find_map(|(number, one)| one.as_ref().is_some_and(|one| is_it(number, one)).then_some(number))
    };
    let has_its_addresses = |number: usize, one: &Listener| {
        !config.listeners.contains_key(&*one.name)
            && taken.get(number).is_none_or(Option::is_none)
            && one.settings.bind == settings.bind
    };
    let same = find(&|_, one| &*one.name == name);
    same.or_else(|| find(&has_its_addresses)).unwrap_or(taken.len())
}

/// Listeners keep the number of their name, so that open connections find themselves again.
fn listeners(
    config: &Config,
    previous: Option<&Snapshot>,
    means: &Means<'_>,
    errors: &mut Errors<'_>,
) -> Vec<Option<Arc<Listener>>> {
    let known = previous.map_or(&[][..], |snapshot| &snapshot.listeners);
    let trusted: Arc<[_]> = config.server.trusted_proxies.clone().into();
    let mut listeners = vec![None; known.len()];
    for (name, settings) in &config.listeners {
        let name = name.get_ref().as_str();
        let number = number_of(name, settings, config, known, &listeners);
        listeners.resize(listeners.len().max(number + 1), None);
        let tls = match &settings.tls {
            None => None,
            Some(tls) => match (means.acceptor)(tls.get_ref(), settings) {
                Ok(acceptor) => Some(acceptor),
                Err(found) => {
                    for (place, message) in found {
                        errors.add(if place.is_empty() { tls.span() } else { place }, &message);
                    }
                    continue;
                }
            },
        };
        let counted = means.registry.listener(name);
        let (names, identity) = (server_names(config, name, settings.mode), identity(settings));
        let (name, settings, trusted) = (name.into(), settings.clone(), trusted.clone());
        let (number, forwarded) = (number as u32, config.server.forwarded);
        listeners[number as usize] = Some(Arc::new(Listener {
            number,
            counted,
            name,
            settings,
            tls,
            identity,
            names,
            trusted,
            forwarded,
        }));
    }
    listeners
}

/// The routes that pass connections of a listener through; none in http mode.
fn server_names(config: &Config, listener: &str, mode: Mode) -> ServerNames {
    let routes = (0..).zip(config.routes.iter().map(Spanned::get_ref));
    ServerNames::new(routes.filter(|(_, route)| {
        let is_listed = || route.listeners.iter().any(|name| name.get_ref() == listener);
        mode == Mode::Tcp
            && config.serves(route) == Serves::Connections
            && (route.listeners.is_empty() || is_listed())
    }))
}

/// What endpoints are told of the certificates of a listener's clients.
fn identity(listener: &config::Listener) -> Box<[(Part, Box<str>)]> {
    let parts = listener.tls.iter().flat_map(|tls| tls.get_ref().client_identity.parts());
    parts.map(|(part, name)| (part, name.get_ref().as_str().to_ascii_lowercase().into())).collect()
}

/// An upstream whose settings are equal goes on as it is; another one of the same name hands its
/// endpoints over.
fn upstreams(
    config: &Config,
    previous: Option<&Snapshot>,
    means: &Means<'_>,
    errors: &mut Errors<'_>,
) -> Vec<Arc<Upstream>> {
    let known = previous.map_or(&[][..], |snapshot| &snapshot.upstreams);
    let known: HashMap<&str, &Arc<Upstream>> =
        known.iter().map(|upstream| (upstream.name(), upstream)).collect();
    config
        .upstreams
        .iter()
        .map(|(name, settings)| {
            let (span, name) = (name.span(), name.get_ref().as_str());
            match known.get(name).copied() {
                Some(upstream) if upstream.settings() == settings => upstream.clone(),
                before => {
                    let connector = (means.connector)(name, settings).unwrap_or_else(|(place, message)| {
                        errors.add(if place.is_empty() { span.clone() } else { place }, &message);
                        None
                    });
                    Upstream::with_tls(name, settings.clone(), before.map(|upstream| &**upstream), connector)
                }
            }
        })
        .collect()
}

type Middlewares = BTreeMap<String, Arc<dyn Middleware>>;

fn middlewares(config: &Config, errors: &mut Errors<'_>) -> Middlewares {
    config
        .middlewares
        .iter()
        .filter_map(|(name, settings)| match middleware::build(settings) {
            Ok(built) => Some((name.get_ref().clone(), Arc::from(built))),
            Err(found) => {
                found.into_iter().for_each(|error| errors.add(name.span(), &error));
                None
            }
        })
        .collect()
}

type Compiled = (Action, Vec<Arc<dyn Middleware>>, Rewrite);

fn route(settings: &Settings, numbers: &Numbers, middlewares: &Middlewares) -> Result<Compiled, String> {
    let used =
        |name: &Spanned<String>| middlewares.get(name.get_ref()).cloned().ok_or_else(|| dangling(name));
    let list = settings.middlewares.iter().map(used).collect::<Result<_, _>>()?;
    let rewrite = Rewrite::new(settings).map_err(|error| error.to_string())?;
    Ok((action(settings, numbers)?, list, rewrite))
}

fn action(settings: &Settings, numbers: &Numbers) -> Result<Action, String> {
    match settings.actions().next() {
        Some(settings::Action::To(name)) => Ok(Action::Forward(numbers.upstream(name)?)),
        Some(settings::Action::Split(weights)) => {
            let split =
                Split::new(weights.values().map(|weight| weight.0)).map_err(|error| error.to_string())?;
            let targets = weights.keys().map(|name| numbers.upstream(name)).collect::<Result<_, _>>()?;
            Ok(Action::Split(split, targets))
        }
        Some(settings::Action::Redirect(redirect)) => {
            let compiled = Redirect::new(redirect, &settings.path).map_err(|error| error.to_string())?;
            Ok(Action::Redirect(compiled, redirect.status.get()))
        }
        Some(settings::Action::Respond(respond)) => Ok(Action::Respond(Fixed(respond.clone()))),
        None => Err("a route needs one of `to`, `split`, `redirect` or `respond`".to_owned()),
    }
}

fn table(config: &Config, numbers: &Numbers, errors: &mut Errors<'_>) -> Option<Table> {
    let listeners: Vec<Vec<u32>> = config
        .routes
        .iter()
        .map(|route| {
            errors.check(route.span(), numbers.listeners(&route.get_ref().listeners)).unwrap_or_default()
        })
        .collect();
    let entries = config.routes.iter().zip(&listeners);
    let built = Table::new(entries.map(|(route, listeners)| Entry {
        serves: config.serves(route.get_ref()),
        settings: route.get_ref(),
        listeners,
    }));
    let place = match &built {
        Err(TableError::TooManyCaptures { route, .. }) => {
            config.routes.get(*route as usize).map_or(0..0, Spanned::span)
        }
        Ok(_) => 0..0,
    };
    errors.check(place, built)
}
