//! The systemd units: judged as text, and started by a real systemd as PID 1.
//!
//! The work is done by two scripts that also run by hand; a failing sentence is printed by them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a script answers when the machine lacks what it needs and `TIDEGATE_REQUIRE_REAL` does not insist.
const CANNOT_RUN_HERE: i32 = 77;

#[test]
fn the_units_have_no_warning_and_no_needless_right() {
    run("scripts/check-systemd", &[]);
}

#[test]
fn systemd_starts_reloads_watches_and_stops_the_proxy() {
    run("tests/systemd/boot", &[env!("CARGO_BIN_EXE_tidegate").as_ref(), fixtures().as_ref()]);
}

/// Runs a script of the repository and fails with all that it said.
fn run(script: &str, arguments: &[&Path]) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(repository.join(script))
        .args(arguments)
        .output()
        .expect("the script is in the repository and executable");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if output.status.code() == Some(CANNOT_RUN_HERE) {
        // Past the harness's capture: a test that did not run shall be seen.
        let line = format!("SKIPPED {script}: {said}");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error is writable");
        return;
    }
    assert!(output.status.success(), "{script} failed ({}):\n{said}", output.status);
}

/// Where the Go services are: what `TIDEGATE_FIXTURES` names, else where `scripts/build-fixtures` puts them.
fn fixtures() -> PathBuf {
    if let Some(directory) = std::env::var_os("TIDEGATE_FIXTURES") {
        return directory.into();
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_tidegate"));
    let target = binary.ancestors().nth(2).expect("the binary lies in target/PROFILE/");
    target.join("fixtures")
}
