//! The commands: what is written behind `tidegate`, and how each of them ends.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokio::sync::oneshot;

use crate::app::signals::Origin;
use crate::app::{self, RunError};
use crate::demo::{self, BoxError, Demo, Hooks, Verdict};
use crate::terminal::{Paint, complain, say};

mod about;
mod admin;
mod choice;
mod endpoints;
mod failure;
mod status;

use choice::Chosen;
use failure::Failure;

/// Runs the proxy with the file until it is told to stop; the sender is told when every listener
/// accepts, and dropped when it can not start.
type RunProxy = fn(&Path, Origin, oneshot::Sender<()>) -> Result<(), BoxError>;

/// A Layer-7 reverse proxy and load balancer, configured by one file that is reloaded live.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, max_term_width = 100, after_help = AFTER, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Examples:
  tidegate demo                       see it work, with three services built in
  tidegate check --config proxy.toml  find every mistake of a file
  tidegate run --config proxy.toml    serve

Which configuration, when --config is not given: $TIDEGATE_CONFIG, ./proxy.toml,
/etc/tidegate/proxy.toml; the first that there is.

Exit codes: 0 done, 1 failed (a mistake in the configuration, a port in use, …), 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then drain.
    #[command(after_help = RUN)]
    Run(File),
    /// Say everything that is wrong with a configuration.
    #[command(after_help = CHECK)]
    Check(File),
    /// Start three small services and the proxy before them, and say what to try.
    #[command(after_help = DEMO)]
    Demo {
        #[command(flatten)]
        file: File,
        /// Try it all by itself, say of each step whether it worked, and end within 20 seconds
        #[arg(long)]
        check: bool,
    },
    /// Tell the running proxy to read its configuration again.
    #[command(after_help = RELOAD)]
    Reload(Running),
    /// Show the upstreams of the running proxy and the health of their endpoints.
    #[command(after_help = STATUS)]
    Status {
        #[command(flatten)]
        running: Running,
        /// Print what the proxy answers, for programs
        #[arg(long)]
        json: bool,
    },
    /// List, add, remove or drain endpoints of the running proxy.
    #[command(after_help = endpoints::HELP)]
    Endpoints {
        #[command(subcommand)]
        action: endpoints::Action,
    },
    /// Print the version, what is built in, and for which machine.
    Version,
    /// Print a script that completes commands and options in a shell.
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// The shell
        shell: Shell,
    },
}

const RUN: &str = "\
Signals: SIGHUP reload · SIGTERM, SIGINT drain and end, a second one ends at once · SIGUSR1 open
the log files again. Under systemd use Type=notify.

Examples:
  tidegate run
  tidegate run --config /etc/tidegate/proxy.toml

Exit codes: 0 drained and ended, 1 could not start, 2 wrong usage.";

const CHECK: &str = "\
All mistakes are reported at once, each with file:line:column; those of the certificates that it
names once the text itself is right. Nothing is bound or connected to.

Examples:
  tidegate check
  tidegate check --config new.toml && mv new.toml proxy.toml

Exit codes: 0 no mistake, 1 at least one, 2 wrong usage.";

const DEMO: &str = "\
The services listen on 127.0.0.1, ports 9101 (hello), 9102 (users) and 9103 (auth). Without a
./proxy.toml the shipped configuration is written to a temporary file, which you may edit.

Examples:
  tidegate demo
  tidegate demo --check

Exit codes: 0 ended by you, or every step worked; 1 a step did not, or a port is in use; 2 wrong usage.";

const RELOAD: &str = "\
Asks the admin listener; without one, send SIGHUP to the process. A configuration with a mistake
changes nothing.

Examples:
  tidegate reload
  tidegate reload --admin unix:/run/tidegate/admin.sock

Exit codes: 0 the new configuration is in use, 1 it is not, 2 wrong usage.";

const STATUS: &str = "\
Examples:
  tidegate status --admin 127.0.0.1:9901
  tidegate status --json | jq .

Exit codes: 0 shown, 1 the proxy does not answer, 2 wrong usage.";

const COMPLETIONS: &str = "\
Examples:
  tidegate completions bash > /etc/bash_completion.d/tidegate
  tidegate completions zsh > \"${fpath[1]}/_tidegate\"
  tidegate completions fish > ~/.config/fish/completions/tidegate.fish";

/// Which file.
#[derive(Debug, clap::Args)]
struct File {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Which running proxy.
#[derive(Debug, clap::Args)]
struct Running {
    /// The configuration that names its admin listener
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// Its admin listener: "127.0.0.1:9901" or "unix:/run/tidegate/admin.sock"
    #[arg(short, long, value_name = "ADDRESS")]
    admin: Option<String>,
}

/// Does what the arguments of the process say.
pub fn main() -> ExitCode {
    main_with(std::env::args_os(), |path, origin, ready| {
        app::run(path, origin, ready).map_err(RunError::into_plain)
    })
}

/// Does what the arguments say; the first one is the name of the program.
fn main_with(arguments: impl IntoIterator<Item = OsString>, proxy: RunProxy) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _reader_gone = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    match dispatch(cli.command, proxy) {
        Ok(code) => code,
        Err(failure) => {
            complain(failure.text(Paint::of_stderr()));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command, proxy: RunProxy) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(file) => run(choice::to_run(file.config)?, proxy)?,
        Command::Check(file) => say(check(&choice::to_run(file.config)?)?),
        Command::Demo { file, check } => return demonstrate(file.config, check, proxy),
        Command::Reload(running) => say(admin::reload(&admin::address(running)?)?),
        Command::Status { running, json } => {
            let answer = admin::status(&admin::address(running)?)?;
            say(if json { answer.to_string() } else { status::text(&answer, Paint::of_stdout()) });
        }
        Command::Endpoints { action } => say(endpoints::act(action)?),
        Command::Version => say(about::text()),
        Command::Completions { shell } => say(completions(shell)),
    }
    Ok(ExitCode::SUCCESS)
}

fn run(chosen: Chosen, proxy: RunProxy) -> Result<(), Failure> {
    chosen.tell();
    let (ready, _nobody_waits) = oneshot::channel();
    Ok(proxy(&chosen.path, Origin::Process, ready)?)
}

/// One line about a configuration without a mistake.
fn check(chosen: &Chosen) -> Result<String, Failure> {
    chosen.tell();
    let config = app::check(&chosen.path).map_err(RunError::into_plain)?;
    Ok(format!(
        "{}: ok, {}, {}, {}",
        chosen.path.display(),
        count(config.listeners.len(), "listener"),
        count(config.routes.len(), "route"),
        count(config.upstreams.len(), "upstream"),
    ))
}

fn demonstrate(given: Option<PathBuf>, check: bool, proxy: RunProxy) -> Result<ExitCode, Failure> {
    // Lives until the proxy has ended.
    let shipped;
    let path = match choice::for_demo(given) {
        Some(path) => path,
        None => {
            shipped = demo::Copy::of(demo::SHIPPED_CONFIG)?;
            shipped.path()
        }
    };
    let start = move |path: &Path, hooks: Hooks| {
        let origin = hooks.stop.map_or(Origin::Process, Origin::Owner);
        proxy(path, origin, hooks.ready)
    };
    let demo = Demo { config: &path, ports: demo::SHIPPED, paint: Paint::of_stdout() };
    if !check {
        demo.run(start)?;
        return Ok(ExitCode::SUCCESS);
    }
    match demo.check(start)? {
        Verdict::Passed => Ok(ExitCode::SUCCESS),
        Verdict::Failed => Ok(ExitCode::FAILURE),
    }
}

fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests;
