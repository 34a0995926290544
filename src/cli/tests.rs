//! The command line: arguments, messages and exit codes.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A proxy that must not be started.
fn never(_: &Path, _: Origin, _: oneshot::Sender<()>) -> Result<(), BoxError> {
    Err("started".into())
}

fn parse(line: &str) -> Result<Command, clap::Error> {
    Cli::try_parse_from(line.split(' ')).map(|cli| cli.command)
}

/// The exit code of a line; `ExitCode` compares by its `Debug` only.
fn code(line: &str) -> String {
    format!("{:?}", main_with(line.split(' ').map(OsString::from), never))
}

fn exit(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[test]
fn the_commands_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_a_sentence_and_those_with_options_an_example() {
    let mut root = Cli::command();
    root.build();
    for command in root.get_subcommands() {
        let name = command.get_name();
        assert!(command.get_about().is_some_and(|about| about.to_string().len() > 20), "{name}");
        if name != "version" {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains(&format!("tidegate {name}")), "{name}");
        }
    }
    assert_eq!(root.get_subcommands().count(), 8);
}

#[test]
fn the_version_is_in_the_first_line() {
    assert_eq!(
        Cli::command().render_version().lines().next(),
        Some(concat!("tidegate ", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn options_are_read() {
    assert!(matches!(parse("tidegate run -c a.toml"), Ok(Command::Run(File { config: Some(_) }))));
    assert!(matches!(parse("tidegate demo --check"), Ok(Command::Demo { check: true, .. })));
    assert!(matches!(parse("tidegate status --json"), Ok(Command::Status { json: true, .. })));
    assert!(parse("tidegate reload --config a.toml --admin 127.0.0.1:1").is_err());
}

#[test]
fn the_exit_code_tells_wrong_usage_from_failure() {
    assert_eq!(code("tidegate --version"), exit(0));
    assert_eq!(code("tidegate version"), exit(0));
    assert_eq!(code("tidegate --help"), exit(0));
    assert_eq!(code("tidegate completions bash"), exit(0));
    assert_eq!(code("tidegate"), exit(2));
    assert_eq!(code("tidegate runn"), exit(2));
    assert_eq!(code("tidegate check --config /nonexistent/proxy.toml"), exit(1));
    assert_eq!(code("tidegate run --config /nonexistent/proxy.toml"), exit(1));
}

#[test]
fn a_good_configuration_is_counted() {
    let copy = demo::Copy::of(demo::SHIPPED_CONFIG).unwrap();
    let path = copy.path();
    let line = check(&choice::to_run(Some(path.clone())).unwrap()).unwrap();
    assert_eq!(line, format!("{}: ok, 2 listeners, 4 routes, 4 upstreams", path.display()));
    assert_eq!(count(1, "route"), "1 route");
}

#[test]
fn a_bad_configuration_shows_its_mistakes() {
    let copy = demo::Copy::of("one = 1\n[upstream.a]\ntwo = 2\n").unwrap();
    let failure = check(&choice::to_run(Some(copy.path())).unwrap()).unwrap_err();
    let text = failure.text(Paint::Plain);
    assert!(text.contains(":1:1: ") && text.contains(":3:1: "), "{text}");
}

#[test]
fn run_starts_the_proxy_with_the_file_and_the_signals_of_the_process() {
    static STARTS: AtomicUsize = AtomicUsize::new(0);
    fn proxy(path: &Path, origin: Origin, _ready: oneshot::Sender<()>) -> Result<(), BoxError> {
        assert!(matches!(origin, Origin::Process));
        assert_eq!(fs::read_to_string(path)?, "text");
        STARTS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    let copy = demo::Copy::of("text").unwrap();
    run(choice::to_run(Some(copy.path())).unwrap(), proxy).unwrap();
    assert_eq!(STARTS.load(Ordering::Relaxed), 1);
}

#[test]
fn completions_know_the_commands() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let script = completions(shell);
        assert!(script.contains("reload") && script.contains("demo"), "{shell}");
    }
}
