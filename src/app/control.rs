//! The control task: one place that decides, one request after another.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::RunError;
use super::compile::Compiler;
use super::notify::Manager;
use super::reload::{Attempt, Reloader, fingerprint, reading};
use super::signals::{Origin, Signal, Signals};
use super::state::{Ask, State};
use crate::admin::Readiness;
use crate::config::{self, Config};
use crate::discovery::Store;
use crate::http::Reason;
use crate::observe::access::Batch;
use crate::observe::log::Log;
use crate::observe::metrics::Registry;
use crate::observe::writer::{CAPACITY, Output, Target, Writer};
use crate::proxy::Worker;
use crate::server::{Command, Team, thread};
use crate::snapshot::Live;
use crate::watch::Watcher;

/// How often a drain looks whether all connections have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long lines of the logs may take to be written at the end.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How often a file that was refused is tried again: what it lacks may come without an event, as a
/// certificate or a port that becomes free.
const RETRY: Duration = Duration::from_secs(2);
/// How many requests to reload may wait.
const ASKS: usize = 16;

/// Everything that runs.
struct Process {
    reloader: Reloader,
    manager: Manager,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

/// Serves until it is told to stop.
pub(super) async fn run(path: PathBuf, origin: Origin, ready: oneshot::Sender<()>) -> Result<(), RunError> {
    let config = config::load(&path).map_err(RunError::Config)?;
    let log = Log::start(config.log.level.as_str(), config.log.format)?;
    raise_file_limit();
    let mut signals = Signals::listen(origin).map_err(RunError::system("signals can not be listened to"))?;
    let (asks, mut asked) = mpsc::channel(ASKS);
    let mut process = Process::start(path, config, log, asks).await?;
    process.ready();
    // Nobody may be waiting.
    let _ = ready.send(());
    let mut watcher = process.watcher();
    let vault = process.reloader.compiler.vault.clone();
    let mut certificates = std::pin::pin!(vault.watch(|_| {}));
    let mut refused_at: Option<Instant> = None;
    loop {
        let watches = process.reloader.state.live.load().config.reload.watch;
        let keep_alive = process.manager.keep_alive();
        let retry = async { sleep_until(refused_at.unwrap_or_else(Instant::now) + RETRY).await };
        let answer: Option<Ask> = tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => None,
                Signal::ReopenLogs => {
                    process.reloader.state.access.reopen();
                    continue;
                }
                Signal::Stop | Signal::StopNow => break,
            },
            _ = watcher.changed(), if watches => None,
            Some(answer) = asked.recv() => Some(answer),
            () = &mut certificates => continue,
            () = keep_alive => continue,
            () = retry, if watches && refused_at.is_some() => {
                // Half of a file may be valid.
                let is_refused = watcher.is_being_written() || process.retry(&mut watcher).await.is_err();
                refused_at = is_refused.then(Instant::now);
                continue;
            }
        };
        let result = process.reload().await;
        if result.is_ok() {
            process.follow(&mut watcher);
        }
        refused_at = result.is_err().then(Instant::now);
        if let Some(answer) = answer {
            // Whoever asked may have gone.
            let _ = answer.send(result);
        }
    }
    // Whoever asks for a reload from now on is told at once that there is none.
    drop(asked);
    process.stop(&mut signals).await;
    Ok(())
}

impl Process {
    async fn start(
        path: PathBuf,
        config: Config,
        log: Log,
        asks: mpsc::Sender<Ask>,
    ) -> Result<Process, RunError> {
        let manager =
            Manager::from_environment().map_err(RunError::system("the service manager can not be told"))?;
        let workers = config.server.workers.fixed().map_or_else(processors, usize::from);
        let registry = Arc::new(Registry::new(workers, Reason::ALL.iter().map(|reason| reason.name())));
        let compiler = Compiler::new(registry.clone())?;
        let snapshot = compiler.compile(config, None).map_err(RunError::Config)?;
        let live = Arc::new(Live::new(snapshot));
        let (team, mailboxes) = Team::new(workers);
        let no_output = Output::open(Target::Off).map_err(RunError::system("no access log"))?;
        let access =
            Writer::start(no_output, CAPACITY).map_err(RunError::system("a thread can not be started"))?;
        let access = Arc::new(access);
        let state = State::new(live.clone(), registry.clone(), team.clone(), access.clone(), log, asks);
        let gates = Default::default();
        let store = Store::new(state_directory(&live.load().config.server));
        let (state, admins, retired) = (Arc::new(state), JoinSet::new(), JoinSet::new());
        let mut reloader = Reloader { path, state, compiler, gates, admin: None, admins, store, retired };
        let mut threads = Vec::new();
        for (number, commands) in mailboxes.into_iter().enumerate() {
            let (live, shard, access) = (live.clone(), registry.shard(number), Batch::new(access.clone()));
            let make = move || Worker::new(live, shard, access);
            let thread = thread::start(number, team.clone(), commands, make);
            threads.push(thread.map_err(RunError::system("a worker can not be started"))?);
        }
        reloader.begin().await.map_err(RunError::Config)?;
        Ok(Process { reloader, manager, threads })
    }

    fn ready(&self) {
        let state = &self.reloader.state;
        state.set_readiness(Readiness::Serving);
        let snapshot = state.live.load();
        let (routes, upstreams) = (snapshot.routes.len(), snapshot.upstreams.len());
        tracing::info!(workers = state.team.size(), routes, upstreams, "serving");
        told(self.manager.ready(&self.summary()));
    }

    fn summary(&self) -> String {
        let snapshot = self.reloader.state.live.load();
        format!("serving generation {}: {} routes", snapshot.generation, snapshot.routes.len())
    }

    async fn reload(&mut self) -> Result<crate::units::Generation, String> {
        told(self.manager.reloading());
        let result = self.reloader.reload(Attempt::Asked).await;
        let status = match &result {
            Ok(_) => self.summary(),
            Err(report) => format!("{}, newer file refused: {report}", self.summary()),
        };
        told(self.manager.ready(&status));
        result
    }

    /// Tries again what was refused; silent unless something has changed.
    async fn retry(&mut self, watcher: &mut Watcher) -> Result<(), String> {
        self.reloader.reload(Attempt::Retry).await?;
        self.follow(watcher);
        told(self.manager.ready(&self.summary()));
        Ok(())
    }

    fn watcher(&self) -> Watcher {
        let path = self.reloader.path.clone();
        let snapshot = self.reloader.state.live.load();
        let loaded = snapshot.config.sources.content_hash();
        let files = watched(&path, &snapshot.config);
        let mut watcher = Watcher::new(files, loaded, Arc::new(move || fingerprint(&path)));
        watcher.set_length(reading(&snapshot.config));
        watcher
    }

    /// Goes on with the files of the configuration that has just become current.
    fn follow(&self, watcher: &mut Watcher) {
        let snapshot = self.reloader.state.live.load();
        let loaded = snapshot.config.sources.content_hash();
        watcher.follow(watched(&self.reloader.path, &snapshot.config), loaded);
        watcher.set_length(reading(&snapshot.config));
    }

    /// Not ready, then no new connections, then what runs, at most so long; a second request to
    /// stop ends it at once.
    async fn stop(mut self, signals: &mut Signals) {
        let state = self.reloader.state.clone();
        let server = state.live.load().config.server.clone();
        state.set_readiness(Readiness::Draining);
        told(self.manager.stopping());
        tracing::info!(connections = state.team.connections(), "draining");
        let drained = tokio::select! {
            drained = drain(&state, &server) => drained,
            () = told_again(signals) => false,
        };
        if !drained {
            tracing::warn!(connections = state.team.connections(), "stopped with connections open");
        }
        for worker in 0..state.team.size() {
            state.team.tell(worker, Command::Stop).await;
        }
        self.reloader.admins.abort_all();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
        tracing::info!("stopped");
        state.access.stop(LAST_LINES);
        state.log.flush(LAST_LINES);
    }
}

/// The files that were read, and the patterns of those that may come.
fn watched(path: &Path, config: &Config) -> Vec<PathBuf> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let patterns = config.include.iter().map(|pattern| directory.join(pattern.get_ref()));
    config.sources.paths().map(PathBuf::from).chain(patterns).collect()
}

/// `true` when all connections have ended in time.
async fn drain(state: &State, server: &config::Server) -> bool {
    sleep(server.drain_delay.get()).await;
    state.team.drain().await;
    let end = Instant::now() + server.drain_timeout.get();
    while state.team.connections() > 0 {
        let next = Instant::now() + DRAIN_LOOK;
        if next > end {
            return false;
        }
        sleep_until(next).await;
    }
    true
}

async fn told_again(signals: &mut Signals) {
    while signals.next().await != Signal::StopNow {}
}

fn told(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// Where state outlives the process, if anywhere: as configured, or what systemd made for the unit
/// (the first of a list).
fn state_directory(server: &config::Server) -> Option<PathBuf> {
    if !server.state_dir.as_os_str().is_empty() {
        return Some(server.state_dir.clone());
    }
    let given = std::env::var_os("STATE_DIRECTORY")?;
    std::env::split_paths(&given).next().filter(|path| !path.as_os_str().is_empty())
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Connections are descriptors: the soft limit is a default for programs that use `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the open-file limit stays");
    }
}
