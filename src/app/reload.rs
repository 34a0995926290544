//! From a file to the snapshot that requests use: everything that can fail happens before the one
//! pointer store that can not.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHasher;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use toml::Spanned;

use super::difference;
use super::gates::{self, Gates};
use super::state::State;
use crate::admin::{self, View};
use crate::config::listener::{Bind, ClientAuth, Protocol, TlsVersion};
use crate::config::log::Access;
use crate::config::{self, Config, Report, upstream};
use crate::discovery::Store;
use crate::net::certs::{Demand, Files, Sources, TrustSources};
use crate::net::connector::{self, Authorities, Key, Offer, Verification, name_of};
use crate::net::inherit::Inherited;
use crate::net::tls::{self, TlsError};
use crate::net::vault::Vault;
use crate::net::{Connector, listen, pipe};
use crate::observe::metrics::Registry;
use crate::observe::writer::{Output, Target};
use crate::snapshot::{Means, Misplaced, Snapshot, build};
use crate::tagged::Switch;
use crate::units::Generation;

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
            made.map(Arc::new).map_err(|error| chain(&error))
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

/// How long a new configuration waits for its endpoints to be found.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a snapshot that was replaced is kept: most of its requests end in that time.
const RETIREMENT: Duration = Duration::from_millis(50);

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

/// Replaces the snapshot.
pub(super) struct Reloader {
    pub path: PathBuf,
    pub state: Arc<State>,
    pub compiler: Compiler,
    pub gates: Gates,
    pub admin: Option<OpenAdmin>,
    /// Where endpoints that were discovered outlive the process.
    pub store: Store,
    /// Snapshots that are not current any more.
    pub retired: JoinSet<()>,
}

/// The admin listener that is open.
pub(super) struct OpenAdmin {
    bind: Bind,
    task: JoinHandle<()>,
}

impl Drop for OpenAdmin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What was opened for a snapshot that is not current yet.
struct Prepared {
    gates: gates::Prepared,
    /// A new admin socket, when its address has changed.
    admin: Option<(Bind, admin::Server)>,
    /// A new access log, when its target has changed.
    access: Option<Output>,
}

impl Reloader {
    /// Reads the file again and makes it current, or keeps what is.
    pub(super) async fn reload(&mut self) -> Result<Generation, String> {
        let generation = self.state.live.generation();
        match self.try_reload().await {
            Ok(generation) => Ok(generation),
            Err(report) => {
                let report = report.to_string();
                self.state.refused(&report);
                tracing::error!(%generation, report, "configuration refused, the running one stays");
                Err(report)
            }
        }
    }

    async fn try_reload(&mut self) -> Result<Generation, Report> {
        let path = self.path.clone();
        // Reading and parsing a large file takes milliseconds that health checks need.
        let loaded = tokio::task::spawn_blocking(move || config::load(&path)).await;
        let Ok(config) = loaded else { return Ok(self.state.live.generation()) };
        let config = config?;
        let previous = self.state.live.load();
        // Texts first: nearly always that settles it.
        if config.sources == previous.config.sources && config == previous.config {
            tracing::info!(generation = %previous.generation, "configuration unchanged");
            self.state.accepted();
            return Ok(previous.generation);
        }
        let snapshot = Arc::new(self.compiler.compile(config, Some(&previous))?);
        let prepared = self.prepare(&snapshot)?;
        self.commit(snapshot.clone(), prepared).await;
        let changes = difference::between(&previous.config, &snapshot.config);
        tracing::info!(generation = %snapshot.generation, changes, "configuration reloaded");
        if previous.config.server.workers != snapshot.config.server.workers {
            tracing::warn!("server.workers takes effect at the next start");
        }
        if previous.config.log.format != snapshot.config.log.format {
            tracing::warn!("log.format takes effect at the next start");
        }
        if previous.config.server.state_dir != snapshot.config.server.state_dir {
            tracing::warn!("server.state_dir takes effect at the next start");
        }
        self.state.accepted();
        self.retire(previous);
        Ok(snapshot.generation)
    }

    /// Drops a snapshot a moment later and on another thread: thousands of routes take milliseconds,
    /// which are missed where a reload is answered and where the last of its requests ends.
    fn retire(&mut self, snapshot: Arc<Snapshot>) {
        while self.retired.try_join_next().is_some() {}
        self.retired.spawn(async move {
            sleep(RETIREMENT).await;
            // At the end of the process there is no such thread any more: then it is dropped here.
            let _ = tokio::task::spawn_blocking(move || drop(snapshot)).await;
        });
    }

    /// The first snapshot: as a reload, but with nothing before it.
    pub(super) async fn begin(&mut self) -> Result<(), Report> {
        let snapshot = self.state.live.load();
        let prepared = self.prepare(&snapshot)?;
        self.commit(snapshot, prepared).await;
        Ok(())
    }

    fn prepare(&self, snapshot: &Snapshot) -> Result<Prepared, Report> {
        let gates = self.gates.prepare(snapshot, self.state.team.size())?;
        Ok(Prepared {
            gates,
            admin: self.prepare_admin(&snapshot.config)?,
            access: self.prepare_access(&snapshot.config)?,
        })
    }

    fn prepare_admin(&self, config: &Config) -> Result<Option<(Bind, admin::Server)>, Report> {
        let Some(bind) = &config.admin.bind else { return Ok(None) };
        if self.admin.as_ref().is_some_and(|open| open.bind == *bind.get_ref()) {
            return Ok(None);
        }
        let bound = listen::bind(&gates::address(bind.get_ref()), 1, Inherited::of_process());
        let bound = bound.map_err(|error| Report::new(vec![gates::refused(config, bind, &error)]))?;
        let Some(socket) = bound.into_iter().flat_map(|bound| bound.sockets).next() else { return Ok(None) };
        match admin::Server::new(socket) {
            Ok(server) => Ok(Some((bind.get_ref().clone(), server))),
            Err(error) => Err(Report::new(vec![config.sources.error(bind.span(), error.to_string())])),
        }
    }

    fn prepare_access(&self, config: &Config) -> Result<Option<Output>, Report> {
        let is_running = self.state.readiness() != admin::Readiness::Starting;
        if is_running && self.state.live.load().config.log.access == config.log.access {
            return Ok(None);
        }
        let target = match &config.log.access {
            Access::Off => Target::Off,
            Access::Stdout => Target::Stdout,
            Access::File(path) => Target::File(path.clone()),
        };
        let opened = Output::open(target);
        let message = |error| format!("the access log can not be opened: {error}");
        opened.map(Some).map_err(|error| Report::new(vec![config.sources.error(0..0, message(error))]))
    }

    /// Nothing here can fail. Endpoints are waited for a moment, so that the first requests find
    /// them; a source that does not answer, or a name that is not resolved, is not waited for longer.
    async fn commit(&mut self, snapshot: Arc<Snapshot>, prepared: Prepared) {
        for upstream in &snapshot.upstreams {
            upstream.start(&Handle::current(), upstream.dial(), &self.store);
        }
        let looking = async {
            for upstream in &snapshot.upstreams {
                upstream.looked_up().await;
            }
        };
        if timeout(PATIENCE, looking).await.is_err() {
            tracing::warn!("some endpoints are still being looked for");
        }
        self.state.team.set_limit(connection_limit(&snapshot.config, self.state.team.size()));
        if let Err(error) = self.state.log.set_level(snapshot.config.log.level.as_str()) {
            tracing::warn!(%error, "the log level stays");
        }
        if let Some(output) = prepared.access {
            self.state.access.switch(output);
        }
        self.state.live.store(snapshot.clone());
        self.state.registry.expose(
            snapshot.routes.iter().map(|route| route.number),
            snapshot.listeners().map(|listener| listener.counted),
        );
        self.gates.commit(prepared.gates, &snapshot, &self.state.team).await;
        if snapshot.config.admin.bind.is_none() {
            self.admin = None;
        }
        if let Some((bind, server)) = prepared.admin {
            let view: Arc<dyn View> = self.state.clone();
            tracing::info!(address = %bind, "admin listening");
            let task = tokio::spawn(async move { match server.run(view).await {} });
            self.admin = Some(OpenAdmin { bind, task });
        }
    }
}

/// As configured, or what the open-file limit allows: a client connection needs a second descriptor
/// for its endpoint, and some are kept for the pipes of the workers and for everything else.
fn connection_limit(config: &Config, workers: usize) -> usize {
    const RESERVE: usize = 64;
    if let Some(limit) = config.server.max_connections.fixed() {
        return limit as usize;
    }
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let reserve = (RESERVE + workers * pipe::DESCRIPTORS) as u64;
    files.map_or(usize::MAX, |files| (files.saturating_sub(reserve) / 2).max(16) as usize)
}

/// Reads the files of a configuration; equal for equal content, `None` while there is no file. A
/// wrong file has a fingerprint of its own, so that it is reported once and its repair is noticed.
pub(super) fn fingerprint(path: &Path) -> Option<u64> {
    let hasher = BuildHasherDefault::<FxHasher>::default();
    match config::load(path) {
        Ok(config) => Some(config.sources.content_hash()),
        Err(_) if !path.exists() => None,
        Err(report) => Some(hasher.hash_one(report.to_string())),
    }
}
