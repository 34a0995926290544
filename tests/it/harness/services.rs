//! Real programs: those of `tests/go`, and what to do when one is not there.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the Go programs are: what `TIDEGATE_FIXTURES` names, else where `scripts/build-fixtures`
/// puts them. `None`, said aloud, when they were not built.
pub fn fixtures() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_BIN_EXE_tidegate")).ancestors().nth(2).expect("target/PROFILE/");
    let directory =
        std::env::var_os("TIDEGATE_FIXTURES").map_or_else(|| target.join("fixtures"), PathBuf::from);
    if directory.join("users").exists() {
        return Some(directory);
    }
    skip(&format!("no Go services in {}; run scripts/build-fixtures", directory.display()));
    None
}

/// A file that scripts/provision has made. `None`, said aloud, when it is not there.
pub fn provisioned(file: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("TIDEGATE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("tidegate")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/tidegate")));
    let found = cache.map(|cache| cache.join(file)).filter(|file| file.exists());
    if found.is_none() {
        skip(&format!("there is no {file}; run scripts/provision"));
    }
    found
}

/// Says that a test does not run; a failure where real components are required.
pub fn skip(why: &str) {
    let is_required =
        std::env::var_os("TIDEGATE_REQUIRE_REAL").is_some_and(|value| value != "0" && !value.is_empty());
    assert!(!is_required, "{why}");
    // Past the capture of the harness: a test that did not run shall be seen.
    let line = format!("SKIPPED: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error is writable");
}

/// A program of ours that is killed when dropped.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _may_have_ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Starts a service and waits until it says that it listens.
pub fn service(program: &str, name: &str, address: SocketAddr, more: &[&str]) -> Option<Process> {
    let mut child = Command::new(fixtures()?.join(program))
        .args(["-listen", &address.to_string(), "-name", name])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the service can be started");
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("it says where it listens");
    assert!(line.starts_with("listening "), "{program} said {line:?}");
    Some(Process(child))
}
