//! TLS of a listener: certificates of its own, and those of its clients.

use std::net::IpAddr;

use toml::Spanned;

use super::Findings;
use crate::config::listener::{Bind, ClearText, ClientAuth, Tls};
use crate::http::Name;

pub(super) fn check(name: &Spanned<String>, tls: &Spanned<Tls>, findings: &mut Findings<'_>) {
    let settings = tls.get_ref();
    let is_bare = settings.certificates.is_empty() && settings.self_signed.is_empty();
    if is_bare && !findings.is_incomplete(name.span().start, "tls") {
        findings.add(
            tls.span(),
            "TLS needs a certificate; write `certificates = [{ cert = \"…\", key = \"…\" }]`, or `self_signed = [\"localhost\"]` for development",
        );
    }
    for certificate in &settings.certificates {
        let files = certificate.get_ref();
        if files.cert.as_os_str().is_empty() || files.key.as_os_str().is_empty() {
            findings.add(
                certificate.span(),
                "a certificate has two files, `cert` and `key`; one of them is empty",
            );
        }
    }
    names(settings, findings);
    clients(name.get_ref(), tls, findings);
}

/// A UNIX socket carries no TLS, so nobody could show a certificate there.
pub(super) fn sockets(tls: &Tls, bind: &[Spanned<Bind>], findings: &mut Findings<'_>) {
    let is_unix = |bind: &&Spanned<Bind>| matches!(bind.get_ref(), Bind::Unix(_));
    for bind in bind.iter().filter(is_unix).filter(|_| tls.client_auth != ClientAuth::Off) {
        findings.add(
            bind.span(),
            "a UNIX socket carries no TLS here, so its clients would come in without a certificate; give it a listener of its own",
        );
    }
}

fn names(settings: &Tls, findings: &mut Findings<'_>) {
    for host in &settings.self_signed {
        let text = host.get_ref();
        let is_label = |label: &str| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        let name = text.strip_prefix("*.").unwrap_or(text);
        if text.parse::<IpAddr>().is_err() && !name.split('.').all(is_label) {
            findings.add(host.span(), format!("`{text}` is not a host name or an IP address"));
        }
    }
}

/// What belongs together: who is asked, who vouches for them, and what endpoints are told.
fn clients(listener: &str, tls: &Spanned<Tls>, findings: &mut Findings<'_>) {
    let settings = tls.get_ref();
    let place = |findings: &Findings<'_>, key| {
        findings.written(&["listener", listener, "tls", key]).unwrap_or(tls.span())
    };
    if settings.client_auth != ClientAuth::Off && settings.client_ca.is_none() {
        let span = place(findings, "client_auth");
        findings.add(
            span,
            "`client_auth` needs the authorities whose clients come in; write `client_ca = \"clients.pem\"`",
        );
    }
    if settings.client_auth == ClientAuth::Required && settings.clear_text == ClearText::Serve {
        let span = place(findings, "clear_text");
        findings.add(
            span,
            "clients that speak clear text would come in without the certificate that `client_auth` demands; write \"refuse\" or \"redirect\"",
        );
    }
    if settings.client_auth == ClientAuth::Off {
        let files = [("client_ca", &settings.client_ca), ("client_crl", &settings.client_crl)];
        for (key, file) in files {
            if let Some(file) = file {
                findings.add(
                    file.span(),
                    format!("`{key}` has no effect: no client is asked for a certificate; write `client_auth = \"required\"` or \"optional\""),
                );
            }
        }
    }
    let parts: Vec<_> = settings.client_identity.parts().map(|(_, name)| name).collect();
    for (index, field) in parts.iter().enumerate() {
        let text = field.get_ref().as_str();
        if settings.client_auth == ClientAuth::Off {
            findings.add(
                field.span(),
                format!("`{text}` would never be sent: no client is asked for a certificate; write `client_auth = \"required\"` or \"optional\""),
            );
        } else if Name::of(text.as_bytes()) != Name::Other {
            findings.add(
                field.span(),
                format!("`{text}` means something else; choose a name such as \"x-client-subject\""),
            );
        } else if parts.iter().take(index).any(|earlier| earlier.get_ref() == field.get_ref()) {
            findings
                .add(field.span(), format!("`{text}` is the name of another part of the identity already"));
        }
    }
}
