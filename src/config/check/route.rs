//! Routes: one action each, references that exist, templates that can be filled, no dead route.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use rustc_hash::FxBuildHasher;
use toml::Spanned;

use super::Findings;
use crate::config::Config;
use crate::route::settings::{
    Action, Condition, HostPattern, MethodName, PathPattern, Prefix, Segment, Settings,
};
use crate::route::{MAX_CAPTURES, Redirect, Rewrite, Table, TableError, TemplateError};
use crate::units::{Network, Weight};

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    for route in &config.routes {
        references(route.get_ref(), findings);
        action(route, findings);
        conditions(route.get_ref(), findings);
        compile(route, findings);
    }
    twins(config, findings);
}

/// Refuses what an earlier route takes already. Thousands of routes are compared by one hash each.
fn twins(config: &Config, findings: &mut Findings<'_>) {
    let hashed =
        config.routes.iter().map(|route| (FxBuildHasher.hash_one(Asked::by(route.get_ref())), route));
    let mut routes: Vec<(u64, &Spanned<Settings>)> = hashed.collect();
    // Those with one hash stay in the order of the file.
    routes.sort_by_key(|(hash, _)| *hash);
    for alike in routes.chunk_by(|(one, _), (next, _)| one == next) {
        for (index, (_, route)) in alike.iter().enumerate().skip(1) {
            let asked = Asked::by(route.get_ref());
            let twin = alike.iter().take(index).find(|(_, earlier)| Asked::by(earlier.get_ref()) == asked);
            let Some((_, twin)) = twin else { continue };
            if !findings.is_incomplete(route.span().start, "path") {
                let place = findings.place(twin.span());
                findings.add(
                    route.span(),
                    format!("this route never matches: the one at {place} has the same conditions"),
                );
            }
        }
    }
}

fn references(route: &Settings, findings: &mut Findings<'_>) {
    route.listeners.iter().for_each(|name| findings.reference("listener", name));
    route.middlewares.iter().for_each(|name| findings.reference("middleware", name));
    route.to.iter().for_each(|name| findings.reference("upstream", name));
    let split = route.split.iter().flat_map(|split| split.get_ref().keys());
    split.for_each(|name| findings.reference("upstream", name));
    findings.distinct(&route.listeners, "listener");
    findings.distinct(&route.middlewares, "middleware");
}

fn action(route: &Spanned<Settings>, findings: &mut Findings<'_>) {
    let settings = route.get_ref();
    let mut spans = [
        settings.to.as_ref().map(|value| ("to", value.span())),
        settings.split.as_ref().map(|value| ("split", value.span())),
        settings.redirect.as_ref().map(|value| ("redirect", value.span())),
        settings.respond.as_ref().map(|value| ("respond", value.span())),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    spans.sort_by_key(|(_, span)| span.start);
    let is_complete = ["to", "split", "redirect", "respond"]
        .iter()
        .all(|key| !findings.is_incomplete(route.span().start, key));
    match spans.as_slice() {
        [] if is_complete => {
            findings.add(
                route.span(),
                "this route does nothing; it has exactly one of `to`, `split`, `redirect` or `respond`",
            );
        }
        [] | [_] => {}
        [(first, _), further @ ..] => {
            for (key, span) in further {
                findings.add(
                    span.clone(),
                    format!("a route does one thing: `{key}` stands beside `{first}`; remove one of them"),
                );
            }
        }
    }
    if let Some(split) = &settings.split {
        let weights = split.get_ref();
        if weights.values().all(|weight| *weight == Weight(0))
            && !findings.is_incomplete(route.span().start, "split")
        {
            findings.add(split.span(), "a split has at least one upstream with a weight over 0");
        }
    }
    let forwards = settings.actions().any(|action| matches!(action, Action::To(_) | Action::Split(_)));
    if !forwards && spans.len() == 1 {
        without_effect(settings, findings);
    }
}

/// What only a forwarded request can use.
fn without_effect(route: &Settings, findings: &mut Findings<'_>) {
    let written = [
        ("strip_prefix", route.strip_prefix.as_ref().map(Spanned::span)),
        ("rewrite", route.rewrite.as_ref().map(Spanned::span)),
    ];
    for (key, span) in written {
        if let Some(span) = span {
            findings.add(span, format!("`{key}` has no effect: this route forwards nothing"));
        }
    }
}

fn conditions(route: &Settings, findings: &mut Findings<'_>) {
    findings.distinct(&route.host, "host");
    findings.distinct(&route.path, "path");
    findings.distinct(&route.methods, "method");
    for path in &route.path {
        for name in path.get_ref().captures() {
            if Redirect::VARIABLES.contains(&name) {
                findings.add(
                    path.span(),
                    format!("`{{{name}}}` means something else in templates; give the capture another name"),
                );
            }
        }
    }
    if let Some(prefix) = &route.strip_prefix {
        let is_live = route.path.is_empty()
            || route.path.iter().any(|path| may_begin_with(path.get_ref(), prefix.get_ref()));
        if !is_live {
            let message = format!(
                "no path of this route begins with `{}`, so nothing is ever cut off",
                prefix.get_ref().as_str()
            );
            findings.add(prefix.span(), message);
        }
    }
}

/// Whether some path that fits the pattern begins with the prefix, by whole elements.
fn may_begin_with(path: &PathPattern, prefix: &Prefix) -> bool {
    let prefix = prefix.as_str();
    let begins =
        |path: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    match path {
        PathPattern::Exact(path) => begins(path),
        PathPattern::Prefix(path) => {
            begins(path) || prefix.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'))
        }
        PathPattern::Template(segments) => {
            let elements = prefix.split('/').skip(1).zip(segments);
            elements.into_iter().all(|(element, segment)| match segment {
                Segment::Literal(literal) => literal == element,
                Segment::Capture(_) | Segment::Rest => true,
            })
        }
        PathPattern::Regex(_) => true,
    }
}

/// Compiles what the route will be made of.
fn compile(route: &Spanned<Settings>, findings: &mut Findings<'_>) {
    let settings = route.get_ref();
    if let Err(error @ TableError::TooManyCaptures { .. }) = Table::check(0, settings) {
        let place = settings.path.iter().find(|path| path.get_ref().captures().len() > MAX_CAPTURES);
        findings.add(place.map_or(route.span(), Spanned::span), error.to_string());
    }
    let redirect = settings.redirect.as_ref().map(Spanned::get_ref);
    let refusals = [
        settings.rewrite.as_ref().map(|to| (to.span(), Rewrite::new(settings).err())),
        redirect.map(|redirect| (redirect.to.span(), Redirect::new(redirect, &settings.path).err())),
    ];
    for (span, error) in refusals.into_iter().flatten() {
        match error {
            // The path that could not be read may have captured it.
            Some(TemplateError::Unknown { .. }) if findings.is_incomplete(route.span().start, "path") => {}
            Some(error) => findings.add(span, error.to_string()),
            None => {}
        }
    }
}

/// What a route asks of a request: those that ask the same take the same requests with the same
/// rank. Lists are in an order of their own.
#[derive(PartialEq, Eq, Hash)]
struct Asked<'r> {
    priority: i32,
    listeners: Vec<&'r String>,
    host: Vec<&'r HostPattern>,
    sni: Vec<&'r HostPattern>,
    path: Vec<&'r PathPattern>,
    methods: Vec<&'r MethodName>,
    client: Vec<&'r Network>,
    headers: Vec<(&'r str, &'r Condition)>,
    query: &'r BTreeMap<String, Condition>,
}

impl Asked<'_> {
    fn by(route: &Settings) -> Asked<'_> {
        fn sorted<'i, T: Ord + 'i>(items: impl Iterator<Item = &'i T>) -> Vec<&'i T> {
            let mut items: Vec<&T> = items.collect();
            items.sort_unstable();
            items
        }
        Asked {
            priority: route.priority,
            listeners: sorted(route.listeners.iter().map(Spanned::get_ref)),
            host: sorted(route.host.iter().map(Spanned::get_ref)),
            sni: sorted(route.sni.iter().map(Spanned::get_ref)),
            path: sorted(route.path.iter().map(Spanned::get_ref)),
            methods: sorted(route.methods.iter().map(Spanned::get_ref)),
            client: sorted(route.client.iter()),
            headers: route.headers.iter().map(|(name, condition)| (name.as_str(), condition)).collect(),
            query: &route.query,
        }
    }
}
