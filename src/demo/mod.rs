//! `tidegate demo`: the proxy at work in one minute, with services of its own to stand behind it.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use std::{fs, io, thread};

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::config;
use crate::terminal::{Paint, say};

mod answer;
mod check;
mod fetch;
mod guide;
mod services;
mod tour;

pub use services::{Ports, SHIPPED, Service, Services, services};

use tour::Tour;

/// The configuration that is shipped beside the program.
pub const SHIPPED_CONFIG: &str = include_str!("../../proxy.toml");

/// An error of any part; the command line shows it with its sources.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What the proxy tells the demo, and the demo the proxy.
#[derive(Debug)]
pub struct Hooks {
    /// Told when every listener accepts; dropped when the proxy can not start.
    pub ready: oneshot::Sender<()>,
    /// Told or dropped when the proxy shall drain and end. `None`: the signals of the process say.
    pub stop: Option<oneshot::Receiver<()>>,
}

/// Whether everything that the demo shows was as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it.
    Passed,
    /// Something was not, and has been said.
    Failed,
}

/// All steps of a check take at most this long, the end of the proxy apart.
const CHECK_DEADLINE: Duration = Duration::from_secs(17);

/// The proxy has no exchange left when it is told to end.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// A demo that is about to start.
#[derive(Clone, Copy, Debug)]
pub struct Demo<'a> {
    /// The configuration of the proxy; its endpoints should be the services.
    pub config: &'a Path,
    /// Where the services listen; [`SHIPPED`] fits the shipped configuration.
    pub ports: Ports,
    /// Whether the output is coloured.
    pub paint: Paint,
}

impl Demo<'_> {
    /// Starts the services and then the proxy, which runs until a signal ends it, and says what to
    /// try.
    ///
    /// # Errors
    /// When the configuration has errors, a port is taken, or the proxy ends with an error.
    pub fn run(self, proxy: impl FnOnce(&Path, Hooks) -> Result<(), BoxError>) -> Result<(), BoxError> {
        let tour = Tour::of(&config::load(self.config)?);
        let services = services(self.ports)?;
        let (ready, started) = oneshot::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                if started.blocking_recv().is_ok() {
                    say(guide::text(self.config, &tour, services.all(), self.paint));
                }
            });
            proxy(self.config, Hooks { ready, stop: None })
        })
    }

    /// Starts everything with a copy of the configuration, does what [`Demo::run`] suggests to try,
    /// and says of each whether it was as it should be.
    ///
    /// # Errors
    /// When the configuration has errors, a port is taken, or the proxy ends with an error.
    pub fn check(
        self,
        proxy: impl FnOnce(&Path, Hooks) -> Result<(), BoxError> + Send + 'static,
    ) -> Result<Verdict, BoxError> {
        let tour = Tour::of(&config::load(self.config)?);
        // Lines of the access log would stand between the ticks.
        let text = fs::read_to_string(self.config)?.replace("access = \"stdout\"", "access = \"off\"");
        let copy = Copy::of(&text)?;
        let services = services(self.ports)?;
        let (ready, started) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (report, ended) = mpsc::sync_channel(1);
        let path = copy.path();
        thread::Builder::new().name("demo-proxy".to_owned()).spawn(move || {
            let result = proxy(&path, Hooks { ready, stop: Some(stopped) });
            let _nobody_waits = report.send(result);
        })?;
        let path = copy.path();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut list = check::List::new(self.paint);
        let steps = check::steps(&mut list, started, &tour, &services, &path);
        if runtime.block_on(async { timeout(CHECK_DEADLINE, steps).await }).is_err() {
            list.add("in time", Err(format!("the steps took more than {CHECK_DEADLINE:?}")));
        }
        drop(stop);
        match ended.recv_timeout(STOP_DEADLINE) {
            Ok(result) => {
                result?;
                list.add("the end", Ok("the proxy drained and ended".to_owned()));
            }
            Err(RecvTimeoutError::Timeout) => {
                list.add("the end", Err(format!("the proxy still runs after {STOP_DEADLINE:?}")));
            }
            Err(RecvTimeoutError::Disconnected) => list.add("the end", Err("the proxy panicked".to_owned())),
        }
        Ok(list.verdict())
    }
}

/// A configuration in a directory of its own, for edits that nobody else shall see; removed when
/// dropped.
#[derive(Debug)]
pub struct Copy {
    directory: PathBuf,
}

impl Copy {
    /// Writes the text to a file that nobody but this user can reach.
    ///
    /// # Errors
    /// When the directory for temporary files can not be written.
    pub fn of(text: &str) -> io::Result<Copy> {
        use std::os::unix::fs::DirBuilderExt;
        let name = format!("tidegate-demo-{:016x}", fastrand::u64(..));
        let directory = std::env::temp_dir().join(name);
        // Fails when it exists: nobody can have prepared it.
        fs::DirBuilder::new().mode(0o700).create(&directory)?;
        let copy = Copy { directory };
        fs::write(copy.path(), text)?;
        Ok(copy)
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.directory.join("proxy.toml")
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _left_behind = fs::remove_dir_all(&self.directory);
    }
}

#[cfg(test)]
mod tests;
