//! Listeners and the admin address.

use toml::Spanned;

use super::{Findings, tls};
use crate::config::Config;
use crate::config::listener::{Bind, Limits, Listener, ProxyProtocol};
use crate::units::Bytes;

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    // The owner of a table whose name nobody knows is the file itself.
    let is_known = !findings.is_incomplete(0, "listener");
    if config.listeners.is_empty() && findings.names_of("listener").is_empty() && is_known {
        findings.add(0..0, "no listener is defined; write `[listener.web]` and `bind = \"127.0.0.1:8080\"`");
    }
    for (name, listener) in &config.listeners {
        one(name, listener, findings);
        proxy_protocol(name, listener, config, findings);
    }
    addresses(config, findings);
}

fn one(name: &Spanned<String>, listener: &Listener, findings: &mut Findings<'_>) {
    let owner = name.span().start;
    let path = ["listener", name.get_ref().as_str()];
    let place = |findings: &Findings<'_>, key| findings.written(&[path[0], path[1], key]);
    if listener.bind.is_empty() && !findings.is_incomplete(owner, "bind") {
        let span = place(findings, "bind").unwrap_or(name.span());
        findings.add(span, format!("listener `{name}` has no address; write `bind = \"127.0.0.1:8080\"`"));
    }
    if listener.protocols.is_empty() && !findings.is_incomplete(owner, "protocols") {
        let span = place(findings, "protocols").unwrap_or(name.span());
        findings.add(span, "a listener speaks at least one protocol: \"h1\", \"h2\" or both");
    }
    if let Some(tls) = &listener.tls {
        tls::check(name, tls, findings);
        tls::sockets(tls.get_ref(), &listener.bind, findings);
        if listener.redirect_https {
            let span = place(findings, "redirect_https").unwrap_or(name.span());
            findings.add(
                span,
                "`redirect_https` is for clear text; this listener has TLS, so it would redirect to itself; \
                 for clear text on a TLS port write `clear_text = \"redirect\"` in its tls table",
            );
        }
    }
    limits(name, &listener.limits, findings);
}

/// A header is believed from known networks only, so without any it would never be.
fn proxy_protocol(name: &Spanned<String>, listener: &Listener, config: &Config, findings: &mut Findings<'_>) {
    let is_tcp = |bind: &Spanned<Bind>| matches!(bind.get_ref(), Bind::Tcp(_));
    let is_believed = match listener.proxy_protocol {
        ProxyProtocol::Off => true,
        ProxyProtocol::Accept => !config.server.trusted_proxies.is_empty(),
    };
    // A network that could not be read is an error of its own.
    let list = findings.written(&["server", "trusted_proxies"]).unwrap_or(0..0);
    let is_flawed = findings.wrong.iter().any(|(place, _)| list.contains(&place.start));
    if is_believed || is_flawed || !listener.bind.iter().any(is_tcp) {
        return;
    }
    let span = findings.written(&["listener", name.get_ref(), "proxy_protocol"]).unwrap_or(name.span());
    findings.add(
        span,
        "a header is accepted from `trusted_proxies` of `[server]` only, and there are none; write `trusted_proxies = [\"10.0.0.0/8\"]`",
    );
}

/// Bounds beyond which a limit protects nothing or lets nothing through.
fn limits(name: &Spanned<String>, limits: &Limits, findings: &mut Findings<'_>) {
    const WINDOW: (Bytes, Bytes) = (Bytes::kib(1), Bytes::new((1 << 31) - 1));
    let sizes = [
        ("max_header_bytes", limits.max_header_bytes, (Bytes::kib(1), Bytes::kib(1024))),
        // RFC 9113 §6.9.1: a window never exceeds 2^31 - 1; the one of a connection begins at 65535.
        ("h2_stream_window", limits.h2_stream_window, WINDOW),
        ("h2_connection_window", limits.h2_connection_window, (Bytes::new(65_535), WINDOW.1)),
    ];
    for (key, size, (least, most)) in sizes {
        if size < least || size > most {
            let span = findings.written(&["listener", name.get_ref(), "limits", key]).unwrap_or(name.span());
            findings.add(span, format!("`{key}` is from {least} to {most}, not {size}"));
        }
    }
}

/// Two listeners can not have one address.
fn addresses(config: &Config, findings: &mut Findings<'_>) {
    let listeners = config.listeners.iter().flat_map(|(name, listener)| {
        listener.bind.iter().map(move |bind| (format!("listener `{name}`"), bind))
    });
    let admin = config.admin.bind.iter().map(|bind| ("the admin listener".to_owned(), bind));
    let mut all: Vec<_> = listeners.chain(admin).collect();
    all.sort_by_key(|(_, bind)| bind.span().start);
    for (index, (_, bind)) in all.iter().enumerate() {
        let address = bind.get_ref();
        let earlier = all.iter().take(index).find(|(_, earlier)| earlier.get_ref().overlaps(address));
        if let Some((owner, first)) = earlier {
            let place = findings.place(first.span());
            let first = first.get_ref();
            let has_all = matches!(address, Bind::Tcp(address) if address.ip().is_unspecified());
            findings.add(
                bind.span(),
                match first == address {
                    true => format!("`{address}` is taken by {owner} at {place}"),
                    false if has_all => {
                        format!(
                            "`{address}` contains the address of {owner} at {place}; one of them is enough"
                        )
                    }
                    false => {
                        format!(
                            "`{address}` is within `{first}` of {owner} at {place}; one of them is enough"
                        )
                    }
                },
            );
        }
    }
}
