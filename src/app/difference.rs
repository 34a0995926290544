//! What a reload has changed, in one line.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use toml::Spanned;

use crate::config::Config;

/// The changes from one configuration to another: "+route users, ~upstream fleet, -listener old".
pub(super) fn between(old: &Config, new: &Config) -> String {
    let mut changes = Vec::new();
    compare("listener", &by_name(&old.listeners), &by_name(&new.listeners), &mut changes);
    let same: Vec<bool> = old.routes.iter().zip(&new.routes).map(|(old, new)| old == new).collect();
    compare("route", &routes(old, &same), &routes(new, &same), &mut changes);
    compare("middleware", &by_name(&old.middlewares), &by_name(&new.middlewares), &mut changes);
    compare("upstream", &by_name(&old.upstreams), &by_name(&new.upstreams), &mut changes);
    for (table, same) in [
        ("server", old.server == new.server),
        ("admin", old.admin == new.admin),
        ("log", old.log == new.log),
        ("reload", old.reload == new.reload),
    ] {
        if !same {
            changes.push(format!("~{table}"));
        }
    }
    if changes.is_empty() { "nothing".to_owned() } else { changes.join(", ") }
}

type ByName<'c, T> = FxHashMap<Cow<'c, str>, &'c T>;

fn by_name<T>(table: &BTreeMap<Spanned<String>, T>) -> ByName<'_, T> {
    table.iter().map(|(name, value)| (name.get_ref().into(), value)).collect()
}

/// The routes but those that are the same at the same place, as most are.
fn routes<'c>(config: &'c Config, same: &[bool]) -> ByName<'c, crate::route::Settings> {
    let places = config.routes.iter().enumerate().filter(|(place, _)| same.get(*place) != Some(&true));
    places.map(|(place, route)| (config.route_name(place), route.get_ref())).collect()
}

/// Adds the changes of one table: first what is new or other, then what is gone, each by name.
fn compare<T: PartialEq>(kind: &str, old: &ByName<'_, T>, new: &ByName<'_, T>, changes: &mut Vec<String>) {
    let other = new.iter().filter_map(|(name, value)| match old.get(name) {
        None => Some((name, '+')),
        Some(before) => (before != value).then_some((name, '~')),
    });
    let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name, '-'));
    for mut found in [other.collect::<Vec<_>>(), gone.collect()] {
        found.sort_unstable();
        changes.extend(found.into_iter().map(|(name, sign)| format!("{sign}{kind} {name}")));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Config {
        crate::config::parse(text, Path::new("proxy.toml"), &|_| None)
            .unwrap_or_else(|report| panic!("{report}"))
    }

    #[test]
    fn what_was_added_changed_and_removed_is_named() {
        let listener = "[listener.web]\nbind = \"127.0.0.1:1\"\n";
        let route = |name: &str, to: &str| {
            format!("[[route]]\nname = \"{name}\"\nto = \"{to}\"\nhost = \"{name}\"\n")
        };
        let upstream =
            |name: &str, port: u16| format!("[upstream.{name}]\nendpoints = [\"127.0.0.1:{port}\"]\n");
        let old = parse(&[listener, &route("r", "a"), &route("s", "a"), &upstream("a", 1)].concat());
        let new = parse(
            &[listener, &route("r", "b"), &upstream("a", 2), &upstream("b", 3), &route("t", "a")].concat(),
        );
        assert_eq!(between(&old, &new), "~route r, +route t, -route s, ~upstream a, +upstream b");
        assert_eq!(between(&old, &old), "nothing");
    }
}
