//! From a file to the snapshot that requests use: everything that can fail happens before the one
//! pointer store that can not.

use std::hash::{BuildHasher, BuildHasherDefault};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHasher};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::compile::Compiler;
use super::difference;
use super::gates::{self, Gates, Held};
use super::state::State;
use crate::admin::{self, View};
use crate::aside::{Length, aside, drop_aside};
use crate::config::listener::Bind;
use crate::config::log::Access;
use crate::config::{self, Config, Report};
use crate::discovery::Store;
use crate::net::{listen, pipe};
use crate::observe::writer::{Output, Target};
use crate::snapshot::Snapshot;
use crate::units::Generation;
use crate::upstream::Upstream;

/// How long a new configuration waits for its endpoints to be found.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a snapshot that was replaced is kept: most of its requests end in that time.
const RETIREMENT: Duration = Duration::from_millis(50);

/// Replaces the snapshot.
pub(super) struct Reloader {
    pub path: PathBuf,
    pub state: Arc<State>,
    pub compiler: Compiler,
    pub gates: Gates,
    pub admin: Option<OpenAdmin>,
    /// The admin listener, and those that answer their last questions.
    pub admins: JoinSet<()>,
    /// Where endpoints that were discovered outlive the process.
    pub store: Store,
    /// Snapshots that are not current any more.
    pub retired: JoinSet<()>,
}

/// Why a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// Somebody asked, or it has changed.
    Asked,
    /// It was refused before; the same refusal is no news.
    Retry,
}

/// The admin listener that is open.
pub(super) struct OpenAdmin {
    bind: Bind,
    /// Dropping it lets the listener end, which answers what it was asked before: the reload that
    /// moves it may have come this way.
    _open: oneshot::Sender<()>,
}

/// What was opened for a snapshot that is not current yet.
struct Prepared {
    gates: gates::Prepared,
    /// A new admin socket, when its address has changed.
    admin: Option<PreparedAdmin>,
    /// A new access log, when its target has changed.
    access: Option<Output>,
}

struct PreparedAdmin {
    bind: Bind,
    bound: listen::Bound,
    server: admin::Server,
}

impl Reloader {
    /// Reads the file again and makes it current, or keeps what is.
    pub(super) async fn reload(&mut self, attempt: Attempt) -> Result<Generation, String> {
        let generation = self.state.live.generation();
        match self.try_reload().await {
            Ok(generation) => Ok(generation),
            Err(report) => {
                let report = report.to_string();
                if attempt == Attempt::Retry && self.state.is_known(&report) {
                    return Err(report);
                }
                self.state.refused(&report);
                tracing::error!(%generation, report, "configuration refused, the running one stays");
                Err(report)
            }
        }
    }

    async fn try_reload(&mut self) -> Result<Generation, Report> {
        let previous = self.state.live.load();
        let (path, compiler, before) = (self.path.clone(), self.compiler.clone(), previous.clone());
        let length = reading(&previous.config);
        let next = aside(length, move || next(&path, &compiler, &before)).await.map_err(|error| {
            let message = format!("the file could not be read, which is a defect of the proxy: {error}");
            Report::from(previous.config.sources.error(0..0, message))
        })??;
        let Some((snapshot, changes)) = next else {
            tracing::info!(generation = %previous.generation, "configuration unchanged");
            self.state.accepted();
            return Ok(previous.generation);
        };
        let prepared = self.prepare(&snapshot)?;
        self.commit(snapshot.clone(), prepared).await;
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
        self.drop_later(previous);
        Ok(snapshot.generation)
    }

    /// Drops a snapshot a moment later and beside the requests: thousands of routes take milliseconds,
    /// which are missed where a reload is answered and where the last of its requests ends.
    fn drop_later(&mut self, snapshot: Arc<Snapshot>) {
        while self.retired.try_join_next().is_some() {}
        self.retired.spawn(async move {
            sleep(RETIREMENT).await;
            if let Err(error) = drop_aside(snapshot) {
                tracing::debug!(%error, "a snapshot was dropped here");
            }
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
        let admin = self.admin.iter().map(|open| ("the admin listener".to_owned(), open.bind.clone()));
        let held: Vec<_> = self.gates.held(&self.state.live.load()).chain(admin).collect();
        Ok(Prepared {
            gates: self.gates.prepare(snapshot, &held, self.state.team.size())?,
            admin: self.prepare_admin(&snapshot.config, &held)?,
            access: self.prepare_access(&snapshot.config)?,
        })
    }

    fn prepare_admin(&self, config: &Config, held: &Held) -> Result<Option<PreparedAdmin>, Report> {
        let Some(bind) = &config.admin.bind else { return Ok(None) };
        if self.admin.as_ref().is_some_and(|open| open.bind == *bind.get_ref()) {
            return Ok(None);
        }
        let Some(bound) = gates::open(config, bind, held, 1)?.into_iter().next() else { return Ok(None) };
        let Some(socket) = bound.sockets.first() else { return Ok(None) };
        let server = socket.duplicate().and_then(admin::Server::new);
        let server = server.map_err(|error| config.sources.error(bind.span(), error.to_string()))?;
        Ok(Some(PreparedAdmin { bind: bind.get_ref().clone(), bound, server }))
    }

    fn prepare_access(&self, config: &Config) -> Result<Option<Output>, Report> {
        let is_running = self.state.readiness() != admin::Readiness::Starting;
        if is_running && self.state.live.load().config.log.access == config.log.access {
            return Ok(None);
        }
        let access = &config.log.access;
        let (target, name) = match access.get_ref() {
            Access::Off => (Target::Off, "off".into()),
            Access::Stdout => (Target::Stdout, "stdout".into()),
            Access::File(path) => (Target::File(path.clone()), path.to_string_lossy()),
        };
        let message = |error| format!("`{name}`: the access log can not be opened: {error}");
        let opened = Output::open(target);
        opened.map(Some).map_err(|error| config.sources.error(access.span(), message(error)).into())
    }

    /// Nothing here can fail. Endpoints are waited for a moment, so that the first requests find
    /// them; a source that does not answer, or a name that is not resolved, is not waited for longer.
    async fn commit(&mut self, snapshot: Arc<Snapshot>, prepared: Prepared) {
        self.retire(&snapshot);
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
        if let Some(PreparedAdmin { bind, bound, server }) = prepared.admin {
            let view: Arc<dyn View> = self.state.clone();
            if let Err(error) = bound.listen() {
                tracing::error!(address = %bind, %error, "can not listen");
            }
            tracing::info!(address = %bind, "admin listening");
            let (open, closed) = oneshot::channel::<()>();
            // Those before it have ended, or end within seconds.
            while self.admins.try_join_next().is_some() {}
            self.admins.spawn(server.run(view, async { drop(closed.await) }));
            self.admin = Some(OpenAdmin { bind, _open: open });
        }
    }

    /// Ends the checks and sources of all upstreams that do not go on: requests that run may keep them
    /// for hours, and what is asked of an endpoint now is no longer what they ask.
    fn retire(&self, next: &Snapshot) {
        let next: FxHashMap<&str, &Arc<Upstream>> =
            next.upstreams.iter().map(|upstream| (upstream.name(), upstream)).collect();
        for old in &self.state.live.load().upstreams {
            let successor = next.get(old.name()).copied();
            if !successor.is_some_and(|new| Arc::ptr_eq(old, new)) {
                old.retire(successor.map(Arc::as_ref));
            }
        }
    }
}

/// The snapshot of what the file says now and what it changes; `None` when that is nothing.
fn next(
    path: &Path,
    compiler: &Compiler,
    previous: &Snapshot,
) -> Result<Option<(Arc<Snapshot>, String)>, Report> {
    let config = config::load(path)?;
    // Texts first: nearly always that settles it.
    if config.sources == previous.config.sources && config == previous.config {
        return Ok(None);
    }
    let snapshot = Arc::new(compiler.compile(config, Some(previous))?);
    let changes = difference::between(&previous.config, &snapshot.config);
    Ok(Some((snapshot, changes)))
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

/// How long it takes to read a configuration like this one.
pub(super) fn reading(config: &Config) -> Length {
    Length::of_reading(config.sources.bytes())
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
