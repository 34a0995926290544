//! The command line.

use std::process::Output;

use crate::harness::{Proxy, run};

/// Writes a configuration and runs `tidegate check` on it.
fn check(text: &str) -> Output {
    let directory = tempfile::TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("proxy.toml"), text).expect("the directory is ours");
    run(&["check", "--config", "proxy.toml"], directory.path())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

#[test]
fn check_accepts_a_good_file() {
    let output = check("[listener.web]\nbind = \"127.0.0.1:8080\"\n[[route]]\nrespond = {}\n");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn check_prints_all_errors_of_a_file_with_place_and_hint() {
    let output = check(
        "[listener.web]\nbind = \":8080\"\n\n[[route]]\npth = \"/x\"\nto = \"user\"\n\n[upstream.users]\nendpoints = [\"http://a:1\"]\n",
    );
    let said = said(&output);
    assert!(!output.status.success(), "{said}");
    for part in [
        "proxy.toml:2:8",
        "proxy.toml:5:1",
        "`path`",
        "proxy.toml:6:6",
        "`users`",
        "proxy.toml:9:14",
        "an endpoint is an address, not a URL",
    ] {
        assert!(said.contains(part), "{part} is missing:\n{said}");
    }
}

#[test]
fn check_says_when_there_is_no_file() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let output = run(&["check", "--config", "missing.toml"], directory.path());
    assert!(!output.status.success() && said(&output).contains("missing.toml"), "{}", said(&output));
}

#[test]
fn run_with_a_bad_file_ends_with_its_errors_and_a_failure() {
    let directory = tempfile::TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("proxy.toml"), "[listner.web]\n").expect("the directory is ours");
    let output = run(&["run", "--config", "proxy.toml"], directory.path());
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains("proxy.toml:1:2") && said.contains("listener"), "{said}");
}

#[test]
fn run_on_a_port_that_is_taken_ends_and_names_it() {
    let proxy = Proxy::start("[[route]]\nrespond = {}\n");
    let output = run(&["run", "--config", "proxy.toml"], proxy.directory());
    assert!(!output.status.success());
    assert!(said(&output).contains(&proxy.web.to_string()), "{}", said(&output));
}

#[test]
fn version_and_help_are_there() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let version = run(&["--version"], directory.path());
    assert!(said(&version).contains(env!("CARGO_PKG_VERSION")), "{}", said(&version));
    let help = said(&run(&["--help"], directory.path()));
    for command in ["run", "check"] {
        assert!(help.contains(command), "{help}");
    }
}
