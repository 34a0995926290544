//! Listeners in tcp mode and the routes that serve them: what only HTTP can use is refused.

use toml::Spanned;

use super::Findings;
use crate::config::Config;
use crate::config::listener::{Listener, Mode};
use crate::route::Serves;
use crate::route::settings::{HostHeader, Settings};

/// Keys of a listener that speak of HTTP or of TLS that ends here.
const HTTP_ONLY: [&str; 6] =
    ["protocols", "defer_accept", "redirect_https", "encoded_slashes", "unknown_host", "tls"];

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    for (name, listener) in config.listeners.iter().filter(|(_, listener)| listener.mode == Mode::Tcp) {
        one(config, name, listener, findings);
    }
    for route in &config.routes {
        if config.serves(route.get_ref()) == Serves::Connections {
            listeners(config, route, findings);
            without_effect(route.get_ref(), findings);
            upstreams(config, route.get_ref(), findings);
        }
    }
}

fn one(config: &Config, name: &Spanned<String>, _: &Listener, findings: &mut Findings<'_>) {
    let text = name.get_ref().as_str();
    for key in HTTP_ONLY {
        if let Some(span) = findings.written_key(&["listener", text, key]) {
            let why = match key {
                "defer_accept" => "the server may be the one that speaks first",
                "tls" => "TLS is passed through to the endpoints, which have the certificates",
                _ => "connections are passed through, whatever they carry",
            };
            findings.add(span, format!("`{key}` has no effect on a listener with `mode = \"tcp\"`: {why}"));
        }
    }
    let serves = |route: &Settings| {
        config.serves(route) == Serves::Connections
            && (route.listeners.is_empty() || route.listeners.iter().any(|one| one.get_ref() == text))
    };
    let is_readable = !findings.is_incomplete(name.span().start, "mode");
    if is_readable && !config.routes.iter().any(|route| serves(route.get_ref())) {
        let place = findings.written(&["listener", text, "mode"]).unwrap_or(name.span());
        findings.add(
            place,
            format!("no route serves the listener `{text}`; a route has `sni = \"…\"`, or `listeners = [\"{text}\"]` for every connection"),
        );
    }
}

/// A route is for connections or for requests, not for both.
fn listeners(config: &Config, route: &Spanned<Settings>, findings: &mut Findings<'_>) {
    let is_http = |name: &str| config.listeners.get(name).is_some_and(|one| one.mode == Mode::Http);
    let settings = route.get_ref();
    for name in settings.listeners.iter().filter(|name| is_http(name.get_ref())) {
        let why = match settings.sni.is_empty() {
            true => "the others of this route have `mode = \"tcp\"`; write a route for each",
            false => "`sni` needs `mode = \"tcp\"`; where TLS ends here, `host` is what to match",
        };
        findings
            .add(name.span(), format!("the listener `{name}` speaks HTTP, but {why}", name = name.get_ref()));
    }
    let has_tcp = config.listeners.values().any(|listener| listener.mode == Mode::Tcp);
    if let Some(sni) = settings.sni.first().filter(|_| settings.listeners.is_empty() && !has_tcp) {
        findings.add(
            sni.span(),
            "`sni` needs a listener with `mode = \"tcp\"`; where TLS ends here, `host` is what to match",
        );
    }
    findings.distinct(&settings.sni, "name");
}

/// TLS is the client's and ends at the endpoint: there is no place for TLS of ours.
fn upstreams(config: &Config, route: &Settings, findings: &mut Findings<'_>) {
    let split = route.split.iter().flat_map(|split| split.get_ref().keys());
    for name in route.to.iter().chain(split) {
        let upstream = config.upstreams.iter().find(|(own, _)| own.get_ref() == name.get_ref());
        if upstream.is_some_and(|(_, upstream)| upstream.tls.on().is_some()) {
            findings.add(
                name.span(),
                format!(
                    "the upstream `{}` has `tls`, but this route passes connections through as they are",
                    name.get_ref()
                ),
            );
        }
    }
}

/// What only a request can use.
fn without_effect(route: &Settings, findings: &mut Findings<'_>) {
    let first = |spans: Vec<std::ops::Range<usize>>| spans.into_iter().next();
    let written = [
        ("host", first(route.host.iter().map(Spanned::span).collect())),
        ("path", first(route.path.iter().map(Spanned::span).collect())),
        ("methods", first(route.methods.iter().map(Spanned::span).collect())),
        ("use", first(route.middlewares.iter().map(Spanned::span).collect())),
        ("redirect", route.redirect.as_ref().map(Spanned::span)),
        ("respond", route.respond.as_ref().map(Spanned::span)),
        ("strip_prefix", route.strip_prefix.as_ref().map(Spanned::span)),
        ("rewrite", route.rewrite.as_ref().map(Spanned::span)),
    ];
    let place = route.sni.first().map(Spanned::span).or_else(|| route.listeners.first().map(Spanned::span));
    let place = place.unwrap_or(0..0);
    let unplaced = [
        ("headers", !route.headers.is_empty()),
        ("query", !route.query.is_empty()),
        ("host_header", route.host_header != HostHeader::Preserve),
    ];
    let written = written.into_iter().filter_map(|(key, span)| Some((key, span?)));
    let unplaced = unplaced.into_iter().filter(|(_, is_written)| *is_written);
    for (key, span) in written.chain(unplaced.map(|(key, _)| (key, place.clone()))) {
        findings.add(
            span,
            format!("`{key}` has no effect: this route passes connections through, which only `sni` and `client` can choose among"),
        );
    }
}
