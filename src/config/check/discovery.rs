//! Sources of endpoints whose options contradict themselves.

use toml::Spanned;

use super::Findings;
use crate::config::upstream::Upstream;
use crate::discovery::client::{Base, Tls};
use crate::discovery::dns::{self, Records};
use crate::discovery::{Settings, etcd, http};
use crate::net::connector::name_of;

pub(super) fn check(name: &Spanned<String>, upstream: &Upstream, findings: &mut Findings<'_>) {
    match upstream.discover.on() {
        None | Some(Settings::File(_)) => {}
        Some(Settings::Dns(settings)) => dns(&Source { upstream: name, source: "dns" }, settings, findings),
        Some(Settings::Http(settings)) => {
            let of = Source { upstream: name, source: "http" };
            pointers(&of, settings, findings);
            tls(&of, &settings.url.base, &settings.tls, findings);
        }
        Some(Settings::Docker(settings)) => {
            let of = Source { upstream: name, source: "docker" };
            tls(&of, &settings.socket, &settings.tls, findings);
        }
        Some(Settings::Consul(settings)) => {
            let of = Source { upstream: name, source: "consul" };
            tls(&of, &settings.address, &settings.tls, findings);
        }
        Some(Settings::Etcd(settings)) => {
            let of = Source { upstream: name, source: "etcd" };
            user(&of, settings, findings);
            let members = &settings.endpoints;
            if let Some(member) = members.iter().find(|member| member.is_secure()).or(members.first()) {
                tls(&of, member, &settings.tls, findings);
            }
        }
        #[cfg(feature = "kubernetes")]
        Some(Settings::Kubernetes(settings)) => {
            let of = Source { upstream: name, source: "kubernetes" };
            if !settings.context.is_empty() && settings.kubeconfig.as_os_str().is_empty() {
                of.refuse(findings, &["context"], "`context` is one of a `kubeconfig`; name the file too");
            }
        }
    }
}

/// Where the options of a source stand.
struct Source<'a> {
    upstream: &'a Spanned<String>,
    source: &'static str,
}

impl Source<'_> {
    /// Refuses an option.
    fn refuse(&self, findings: &mut Findings<'_>, keys: &[&str], message: impl Into<String>) {
        let path = [&["upstream", self.upstream.get_ref().as_str(), "discover", self.source], keys].concat();
        let span = findings.written(&path).unwrap_or(self.upstream.span());
        findings.add(span, message);
    }
}

fn dns(of: &Source<'_>, settings: &dns::Settings, findings: &mut Findings<'_>) {
    match (settings.records, settings.port) {
        (Records::A, None) => {
            of.refuse(
                findings,
                &["name"],
                "addresses have no port; write `port = 8080`, or `type = \"srv\"`",
            );
        }
        (Records::Srv, Some(_)) => {
            of.refuse(findings, &["port"], "`port` has no effect with `type = \"srv\"`: the records say it");
        }
        (Records::A, Some(_)) | (Records::Srv, None) => {}
    }
    if settings.min_ttl.get() > settings.max_ttl.get() {
        of.refuse(findings, &["min_ttl"], "`min_ttl` is longer than `max_ttl`");
    }
}

fn pointers(of: &Source<'_>, settings: &http::Settings, findings: &mut Findings<'_>) {
    let http::Settings { items, address, host, port, weight, zone, only, .. } = settings;
    let all = [
        ("items", items),
        ("address", address),
        ("host", host),
        ("port", port),
        ("weight", weight),
        ("zone", zone),
    ];
    for (key, pointer) in all {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            let message = format!("`{pointer}` is not a JSON pointer; write \"/{pointer}\"");
            of.refuse(findings, &[key], message);
        }
    }
    for pointer in only.keys().filter(|pointer| !pointer.starts_with('/')) {
        let message = format!("`{pointer}` is not a JSON pointer; write \"/{pointer}\"");
        of.refuse(findings, &["only", pointer], message);
    }
    if !address.is_empty() && !host.is_empty() {
        of.refuse(findings, &["host"], "`address` has host and port together; leave one of the two out");
    }
    if !host.is_empty() && port.is_empty() {
        of.refuse(findings, &["host"], "`host` needs `port`: where the port is in an element");
    }
    if !port.is_empty() && host.is_empty() {
        of.refuse(findings, &["port"], "`port` needs `host`: where the host is in an element");
    }
    if address.is_empty() && host.is_empty() {
        for (key, is_written) in
            [("weight", !weight.is_empty()), ("zone", !zone.is_empty()), ("only", !only.is_empty())]
        {
            if is_written {
                let message = format!("`{key}` has no effect without `address` or `host`");
                of.refuse(findings, &[key], message);
            }
        }
    }
}

fn user(of: &Source<'_>, settings: &etcd::Settings, findings: &mut Findings<'_>) {
    match (settings.username.is_empty(), settings.password_file.as_os_str().is_empty()) {
        (false, true) => of.refuse(findings, &["username"], "`username` needs `password_file`"),
        (true, false) => of.refuse(findings, &["password_file"], "`password_file` needs `username`"),
        (true, true) | (false, false) => {}
    }
}

fn tls(of: &Source<'_>, base: &Base, tls: &Tls, findings: &mut Findings<'_>) {
    if *tls != Tls::default() && !base.is_secure() {
        of.refuse(findings, &["tls"], format!("TLS has no effect with {base}; write https://"));
    }
    if !tls.server_name.is_empty() && name_of(&tls.server_name).is_none() {
        let message = format!("`{}` is not a host name or an IP address", tls.server_name);
        of.refuse(findings, &["tls", "server_name"], message);
    }
    for (one, written, other, lacks) in [
        ("client_cert", &tls.client_cert, &tls.client_key, "client_key"),
        ("client_key", &tls.client_key, &tls.client_cert, "client_cert"),
    ] {
        if !written.as_os_str().is_empty() && other.as_os_str().is_empty() {
            let message = format!("`{one}` needs `{lacks}`: a certificate is shown with its key");
            of.refuse(findings, &["tls", one], message);
        }
    }
    if !tls.verify && !tls.ca.as_os_str().is_empty() {
        of.refuse(findings, &["tls", "ca"], "`ca` has no effect with `verify = false`");
    }
}
