//! The life of the process: start, reload, drain.
//!
//! One task on the control runtime owns everything that changes: signals, a changed file and the
//! admin listener ask it, and it answers them one after another. Workers get immutable snapshots
//! and a few commands.

use std::io;
use std::path::{Path, PathBuf};

mod compile;
mod control;
mod difference;
mod gates;
pub mod notify;
mod reload;
pub mod signals;
mod state;

use tokio::sync::oneshot;

use crate::config::{self, Config, Report};
use crate::net::tls::TlsError;
use crate::observe::log::LogError;
use compile::CompileError;
use signals::Origin;

/// Why the process could not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is wrong: everything that is, each with its place.
    #[error("{0}")]
    Config(Report),
    /// The TLS library can not be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The log could not be set up.
    #[error("the log could not be set up")]
    Log(#[from] LogError),
    /// The system refused something that the process can not do without.
    #[error("{what}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl RunError {
    /// As a plain error; a report of the configuration stays one, so that it can be coloured.
    pub fn into_plain(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            RunError::Config(report) => report.into(),
            error => error.into(),
        }
    }

    fn system(what: &'static str) -> impl Fn(io::Error) -> RunError {
        move |source| RunError::System { what, source }
    }
}

/// Reads a configuration file and judges all of it that needs no running proxy.
///
/// # Errors
/// All that is wrong with it.
pub fn check(path: &Path) -> Result<Config, RunError> {
    let config = config::load(path).map_err(RunError::Config)?;
    compile::compile(config.clone()).map_err(|error| match error {
        CompileError::Config(report) => RunError::Config(report),
        CompileError::Tls(error) => RunError::Tls(error),
    })?;
    Ok(config)
}

/// Serves what the file says until `origin` asks for the end, then drains. Blocks the thread.
/// `ready` is told once requests are served.
///
/// # Errors
/// When it can not start; once it serves, a bad file or a lost socket never ends it.
pub fn run(path: &Path, origin: Origin, ready: oneshot::Sender<()>) -> Result<(), RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(RunError::system("the control runtime could not be made"))?;
    runtime.block_on(control::run(PathBuf::from(path), origin, ready))
}
