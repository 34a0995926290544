//! Upstreams: endpoints, weights and health checks that contradict themselves.

use std::collections::HashSet;
use std::path::PathBuf;

use toml::Spanned;

use super::{Findings, discovery};
use crate::config::Config;
use crate::config::upstream::{Protocol, Upstream};
use crate::endpoint::Location;
use crate::health::settings::{Check, CheckKind};
use crate::net::connector::name_of;
use crate::tagged::Switch;
use crate::units::{Auto, Weight};

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    for (name, upstream) in &config.upstreams {
        endpoints(name, upstream, findings);
        tls(name, upstream, findings);
        discovery::check(name, upstream, findings);
        if let Switch::On(check) = &upstream.health {
            health(name, upstream, check, findings);
        }
    }
}

fn endpoints(name: &Spanned<String>, upstream: &Upstream, findings: &mut Findings<'_>) {
    let list = &upstream.endpoints;
    let is_complete = !findings.is_incomplete(name.span().start, "endpoints");
    let span = findings.written(&["upstream", name.get_ref(), "endpoints"]).unwrap_or(name.span());
    let is_discovered =
        upstream.discover.on().is_some() || findings.is_incomplete(name.span().start, "discover");
    if list.is_empty() && !is_discovered && is_complete {
        findings.add(
            span.clone(),
            format!("upstream `{name}` has no endpoint; write `endpoints = [\"10.0.0.1:8080\"]`, or `discover` says where to find some"),
        );
    }
    let is_silent = list.iter().all(|endpoint| endpoint.get_ref().weight == Weight(0));
    if !list.is_empty() && is_silent && !is_discovered && is_complete {
        findings.add(
            span,
            format!("every endpoint of upstream `{name}` has weight 0; one at least takes traffic"),
        );
    }
    let mut seen = HashSet::new();
    for endpoint in list {
        let address = &endpoint.get_ref().address;
        if !seen.insert(address) {
            findings.add(
                endpoint.span(),
                format!("endpoint `{address}` stands twice in the list; give it a `weight` instead"),
            );
        }
    }
}

fn tls(name: &Spanned<String>, upstream: &Upstream, findings: &mut Findings<'_>) {
    let place = |findings: &Findings<'_>, keys: &[&str]| {
        let path = [&["upstream", name.get_ref().as_str()], keys].concat();
        findings.written(&path).unwrap_or(name.span())
    };
    let Switch::On(tls) = &upstream.tls else {
        let is_complete = !findings.is_incomplete(name.span().start, "tls");
        if upstream.protocol == Protocol::Auto && is_complete {
            let span = place(findings, &["protocol"]);
            findings.add(
                span,
                format!("`auto` is chosen within TLS; write `[upstream.{name}.tls]`, or \"h1\" or \"h2\""),
            );
        }
        return;
    };
    let server_name = tls.server_name.get_ref();
    if !server_name.is_empty() && name_of(server_name).is_none() {
        let span = place(findings, &["tls", "server_name"]);
        findings.add(span, format!("`{server_name}` is not a host name or an IP address"));
    }
    let is_empty = |path: &Spanned<PathBuf>| path.get_ref().as_os_str().is_empty();
    for (one, written, other) in [
        ("client_cert", &tls.client_cert, &tls.client_key),
        ("client_key", &tls.client_key, &tls.client_cert),
    ] {
        let is_complete = !findings.is_incomplete(name.span().start, "tls");
        if !is_empty(written) && is_empty(other) && is_complete {
            let span = place(findings, &["tls", one]);
            let lacks = if one == "client_cert" { "client_key" } else { "client_cert" };
            findings.add(span, format!("`{one}` needs `{lacks}`: a certificate is shown with its key"));
        }
    }
    if !tls.verify && !is_empty(&tls.ca) {
        let span = place(findings, &["tls", "ca"]);
        findings.add(span, "`ca` has no effect with `verify = false`");
    }
    for endpoint in &upstream.endpoints {
        if matches!(endpoint.get_ref().address, Location::Unix(_)) {
            findings.add(
                endpoint.span(),
                "TLS is for endpoints over TCP; a UNIX socket stays on this machine and needs none",
            );
        }
    }
}

fn health(name: &Spanned<String>, upstream: &Upstream, check: &Check, findings: &mut Findings<'_>) {
    let place = |findings: &Findings<'_>, key| findings.written(&["upstream", name.get_ref(), "health", key]);
    match check.check {
        CheckKind::Tcp => {
            for key in ["path", "expect", "body"] {
                if let Some(span) = place(findings, key) {
                    findings.add(span, format!("`{key}` has no effect with `check = \"tcp\"`"));
                }
            }
        }
        CheckKind::Http => http_check(name, check, findings),
        CheckKind::Grpc => {
            for key in ["path", "expect", "body"] {
                if let Some(span) = place(findings, key) {
                    findings.add(span, format!("`{key}` has no effect with `check = \"grpc\"`"));
                }
            }
        }
    }
    if check.check != CheckKind::Grpc
        && !check.service.is_empty()
        && let Some(span) = place(findings, "service")
    {
        findings.add(span, "`service` has no effect without `check = \"grpc\"`");
    }
    let is_unix = |address: &Location| matches!(address, Location::Unix(_));
    let has_unix = upstream.endpoints.iter().any(|endpoint| is_unix(&endpoint.get_ref().address));
    if has_unix && matches!(check.port, Auto::Fixed(_)) {
        let span = place(findings, "port").unwrap_or(name.span());
        findings.add(span, "`port` has no meaning for an endpoint on a UNIX socket");
    }
}

fn http_check(name: &Spanned<String>, check: &Check, findings: &mut Findings<'_>) {
    let place = |findings: &Findings<'_>, key| {
        findings.written(&["upstream", name.get_ref(), "health", key]).unwrap_or(name.span())
    };
    if !check.path.starts_with('/') || check.path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'#')
    {
        let span = place(findings, "path");
        findings.add(span, format!("`{}` is not a path; write \"/healthz\"", check.path));
    }
    if check.expect.is_empty() && !findings.is_incomplete(name.span().start, "health") {
        let span = place(findings, "expect");
        findings.add(span, "no status counts as success; write `expect = [\"200-399\"]`");
    }
}
