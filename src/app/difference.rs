//! What a reload has changed, in one line.

use std::collections::BTreeMap;

use toml::Spanned;

use crate::config::Config;

/// The changes from one configuration to another: "+route users, ~upstream fleet, -listener old".
pub(super) fn between(old: &Config, new: &Config) -> String {
    let mut changes = Vec::new();
    compare("listener", &by_name(&old.listeners), &by_name(&new.listeners), &mut changes);
    compare("route", &routes(old), &routes(new), &mut changes);
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

fn by_name<T>(table: &BTreeMap<Spanned<String>, T>) -> BTreeMap<String, &T> {
    table.iter().map(|(name, value)| (name.get_ref().clone(), value)).collect()
}

fn routes(config: &Config) -> BTreeMap<String, &crate::route::Settings> {
    let named = config.routes.iter().enumerate();
    named.map(|(place, route)| (config.route_name(place), route.get_ref())).collect()
}

fn compare<T: PartialEq>(
    kind: &str,
    old: &BTreeMap<String, &T>,
    new: &BTreeMap<String, &T>,
    changes: &mut Vec<String>,
) {
    for (name, value) in new {
        match old.get(name) {
            None => changes.push(format!("+{kind} {name}")),
            Some(before) if before != value => changes.push(format!("~{kind} {name}")),
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    changes.extend(gone.map(|name| format!("-{kind} {name}")));
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
