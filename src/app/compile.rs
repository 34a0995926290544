//! From a configuration to a snapshot: the means that have to be there for it, certificates above all.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;

use crate::config::listener::{ClientAuth, Protocol, TlsVersion};
use crate::config::{self, Config, Report, upstream};
use crate::net::Connector;
use crate::net::certs::{Demand, Files, Sources, TrustSources};
use crate::net::connector::{self, Authorities, Key, Offer, Verification, name_of};
use crate::net::tls::{self, TlsError};
use crate::net::vault::Vault;
use crate::observe::metrics::Registry;
use crate::snapshot::{Means, Misplaced, Snapshot, build};
use crate::tagged::Switch;

/// Compiles a configuration as a start would, without binding anything.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn compile(config: Config) -> Result<Snapshot, CompileError> {
    Compiler::new(Arc::new(Registry::new(1, [])))?.compile(config, None).map_err(CompileError::Config)
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum CompileError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(Report),
    /// The system gives no randomness.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Makes snapshots; keeps what outlives them.
#[derive(Clone)]
pub(super) struct Compiler {
    registry: Arc<Registry>,
    /// Certificates and ticket keys.
    pub vault: Arc<Vault>,
}

impl Compiler {
    pub(super) fn new(registry: Arc<Registry>) -> Result<Compiler, TlsError> {
        Ok(Compiler { registry, vault: Arc::new(Vault::new()?) })
    }

    /// Reads certificates, so not for a worker's thread.
    pub(super) fn compile(&self, config: Config, previous: Option<&Snapshot>) -> Result<Snapshot, Report> {
        let acceptor = |tls: &config::listener::Tls, listener: &config::Listener| {
            let made =
                self.vault.acceptor(&tls_settings(tls, listener), &sources(tls), clients(tls).as_ref());
            let misplaced = |error: &TlsError| (place(tls, error), chain(error));
            made.map(Arc::new).map_err(|errors| errors.iter().map(misplaced).collect())
        };
        let connector = |name: &str, upstream: &config::Upstream| match &upstream.tls {
            Switch::Off => Ok(None),
            Switch::On(tls) => self.connector(name, upstream.protocol, tls).map(Some),
        };
        build(
            config,
            previous,
            &Means { registry: &self.registry, acceptor: &acceptor, connector: &connector },
        )
    }
}

impl Compiler {
    fn connector(
        &self,
        upstream: &str,
        protocol: upstream::Protocol,
        tls: &upstream::Tls,
    ) -> Result<Arc<Connector>, Misplaced> {
        let settings = connector_settings(protocol, tls);
        if !tls.verify {
            tracing::warn!(upstream, "tls.verify is off: whoever answers is taken for the endpoint");
        }
        self.vault.connector(&settings).map_err(|error| {
            let place = match error.key(&settings) {
                Key::Authorities => tls.ca.span(),
                Key::Certificate => tls.client_cert.span(),
                Key::PrivateKey => tls.client_key.span(),
            };
            (place, chain(&error))
        })
    }
}

fn connector_settings(protocol: upstream::Protocol, tls: &upstream::Tls) -> connector::Settings {
    let file = |path: &Spanned<PathBuf>| Some(path.get_ref().clone()).filter(|path| path != Path::new(""));
    connector::Settings {
        authorities: file(&tls.ca).map_or(Authorities::System, Authorities::File),
        server_name: name_of(tls.server_name.get_ref()),
        certificate: file(&tls.client_cert).zip(file(&tls.client_key)).map(|(cert, key)| Files { cert, key }),
        verification: if tls.verify { Verification::Full } else { Verification::Off },
        offer: match protocol {
            upstream::Protocol::H1 => Offer::H1,
            upstream::Protocol::H2 => Offer::H2,
            upstream::Protocol::Auto => Offer::Either,
        },
    }
}

/// Handshakes at one time unless a listener says otherwise: some tens of megabytes, and more than
/// two thousand a second when each takes a second on a slow network.
const HANDSHAKES: u32 = 4096;

fn tls_settings(tls: &config::listener::Tls, listener: &config::Listener) -> tls::Settings {
    let protocol = |protocol: &Protocol| match protocol {
        Protocol::H1 => tls::Protocol::H1,
        Protocol::H2 => tls::Protocol::H2,
    };
    // A client takes the first that it knows too: h2 has no head-of-line blocking between requests.
    let mut protocols: Vec<_> = listener.protocols.iter().map(protocol).collect();
    protocols.sort_by_key(|protocol| *protocol == tls::Protocol::H1);
    tls::Settings {
        protocols,
        min_version: match tls.min_version {
            TlsVersion::Tls12 => tls::Version::Tls12,
            TlsVersion::Tls13 => tls::Version::Tls13,
        },
        resumption: if tls.session_tickets { tls::Resumption::Tickets } else { tls::Resumption::Off },
        handshake_timeout: tls.handshake_timeout.get(),
        max_handshakes: tls.max_handshakes.fixed().unwrap_or(HANDSHAKES) as usize,
    }
}

/// How clients are judged; `None` when they are not.
fn clients(tls: &config::listener::Tls) -> Option<TrustSources> {
    let demand = match tls.client_auth {
        ClientAuth::Off => return None,
        ClientAuth::Optional => Demand::Optional,
        ClientAuth::Required => Demand::Required,
    };
    let path = |file: &Option<Spanned<PathBuf>>| file.as_ref().map(|path| path.get_ref().clone());
    // Without a file of authorities nobody is trusted: the check of the configuration says so.
    Some(TrustSources { demand, ca: path(&tls.client_ca).unwrap_or_default(), crl: path(&tls.client_crl) })
}

/// Where the file of an error is written; nowhere when it is of no file.
fn place(tls: &config::listener::Tls, error: &TlsError) -> Range<usize> {
    let TlsError::Certificate(error) = error else { return 0..0 };
    let is_it = |path: &Path| error.path() == Some(path);
    let mut certificates = tls.certificates.iter();
    let certificate = certificates.find(|one| is_it(&one.get_ref().cert) || is_it(&one.get_ref().key));
    let mut of_clients = [&tls.client_crl, &tls.client_ca].into_iter().flatten();
    let of_clients = || of_clients.find(|path| is_it(path.get_ref())).map(Spanned::span);
    certificate.map(Spanned::span).or_else(of_clients).unwrap_or(0..0)
}

fn sources(tls: &config::listener::Tls) -> Sources {
    let files = tls.certificates.iter().map(Spanned::get_ref);
    Sources {
        files: files.map(|one| Files { cert: one.cert.clone(), key: one.key.clone() }).collect(),
        self_signed: tls.self_signed.iter().map(|name| name.get_ref().clone()).collect(),
    }
}

/// An error with those of its causes that it does not tell itself.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_certificate_that_can_not_be_used_is_told_at_its_line() {
        let text = r#"[[route]]
respond = {}
[listener.one]
bind = "127.0.0.1:1"
[listener.one.tls]
client_auth = "required"
client_ca = "absent/ca.pem"
certificates = [
  { cert = "absent/a.pem", key = "absent/a.key" },
  { cert = "absent/b.pem", key = "absent/b.key" },
]
[listener.two]
bind = "127.0.0.1:2"
tls = { certificates = [{ cert = "absent/c.pem", key = "absent/c.key" }] }
"#;
        let config = config::parse(text, Path::new("proxy.toml"), &|_| None).expect("the text is right");
        let Err(CompileError::Config(report)) = compile(config) else { panic!("nothing is there") };
        let places: Vec<_> = report.errors().iter().filter_map(|error| error.position()).collect();
        assert_eq!(places, [(7, 13), (9, 3), (10, 3), (14, 25)], "{report}");
    }
}
