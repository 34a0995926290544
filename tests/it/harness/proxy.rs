//! The real binary, run in a directory of its own.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::client::{Client, exchange};
use super::http::Response;
use super::{PATIENCE, comes_true, free_address, wait_until};

/// A running proxy with the listener `web`, the admin listener and two workers, unless the
/// configuration has those tables itself. It is killed when dropped; what it said is printed when
/// the test fails.
pub struct Proxy {
    child: Child,
    directory: TempDir,
    pub web: SocketAddr,
    pub admin: SocketAddr,
}

/// Another process may take a port between its choice and its use.
const TRIES: usize = 3;

impl Proxy {
    /// Starts with this configuration and waits until it accepts.
    #[track_caller]
    pub fn start(text: &str) -> Proxy {
        Proxy::start_in(TempDir::new().expect("a temporary directory"), text)
    }

    /// The same, in a directory that holds files which the configuration names.
    #[track_caller]
    pub fn start_in(directory: TempDir, text: &str) -> Proxy {
        Proxy::start_by(&[], directory, text)
    }

    /// The same, started by a program that becomes the one which stands behind its own arguments.
    #[track_caller]
    pub fn start_by(starter: &[&str], directory: TempDir, text: &str) -> Proxy {
        let mut proxy = Proxy::spawn(starter, directory, text);
        for _ in 1..TRIES {
            if proxy.is_accepting() {
                return proxy;
            }
            let directory = std::mem::replace(&mut proxy.directory, TempDir::new().expect("a directory"));
            drop(proxy);
            proxy = Proxy::spawn(starter, directory, text);
        }
        assert!(proxy.is_accepting(), "the proxy does not accept:\n{}", proxy.log());
        proxy
    }

    fn spawn(starter: &[&str], directory: TempDir, text: &str) -> Proxy {
        let (web, admin) = (free_address(), free_address());
        let file = directory.path().join("proxy.toml");
        std::fs::write(&file, complete(text, web, admin)).expect("the directory is ours");
        let output = |name| File::create(directory.path().join(name)).expect("the directory is ours");
        let words = [starter, &[env!("CARGO_BIN_EXE_tidegate"), "run", "--config"]].concat();
        let child = Command::new(words[0])
            .args(&words[1..])
            .arg(&file)
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .expect("the binary was built with the tests");
        Proxy { child, directory, web, admin }
    }

    fn is_accepting(&mut self) -> bool {
        comes_true(PATIENCE, || {
            let has_ended = self.child.try_wait().expect("our own child").is_some();
            has_ended || (accepts(self.web) && accepts(self.admin))
        }) && self.child.try_wait().expect("our own child").is_none()
    }

    /// The directory of the configuration, in which the proxy runs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("proxy.toml")
    }

    /// What it has written to standard error.
    pub fn log(&self) -> String {
        read(&self.directory.path().join("stderr"))
    }

    /// What it has written to standard output.
    pub fn stdout(&self) -> String {
        read(&self.directory.path().join("stdout"))
    }

    /// A request on a connection of its own.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.get_from("test", path)
    }

    /// The same for another host.
    pub fn get_from(&self, host: &str, path: &str) -> Response {
        let mut client = self.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
        client.response()
    }

    /// A POST with this body on a connection of its own.
    pub fn post(&self, path: &str, body: &str) -> Response {
        let mut client = self.client();
        let length = body.len();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
        client.response()
    }

    /// A connection to the listener `web`.
    pub fn client(&self) -> Client {
        Client::connect(self.web)
    }

    /// Sends raw bytes to the listener `web` and reads until it closes.
    pub fn exchange(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        exchange(self.web, bytes)
    }

    /// A page of the admin listener.
    pub fn page(&self, path: &str) -> Response {
        let mut client = Client::connect(self.admin);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        client.response()
    }

    /// The status page.
    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.page("/status").body()).expect("the status page is JSON")
    }

    /// The state of each endpoint of an upstream, in the order of the configuration.
    pub fn states(&self, upstream: &str) -> Vec<String> {
        let status = self.status();
        let upstreams = status["upstreams"].as_array().expect("a list");
        let found = upstreams.iter().find(|one| one["name"] == upstream).expect("the upstream is there");
        let endpoints = found["endpoints"].as_array().expect("a list");
        endpoints.iter().map(|one| one["state"].as_str().expect("a text").to_owned()).collect()
    }

    /// The value of a metric, given as the line shows it: `name{labels}`. 0 when it is not there.
    pub fn metric(&self, series: &str) -> f64 {
        let text = self.page("/metrics").text();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.trim().parse().expect("a number"))
    }

    pub fn generation(&self) -> u64 {
        self.status()["generation"].as_u64().expect("a number")
    }

    /// Writes another configuration for the same listeners.
    pub fn rewrite(&self, text: &str) {
        self.rewrite_whole(&complete(text, self.web, self.admin));
    }

    /// Writes another configuration as it is, with tables of its own for the listeners.
    pub fn rewrite_whole(&self, text: &str) {
        let new = self.directory.path().join("proxy.toml.new");
        std::fs::write(&new, text).expect("the directory is ours");
        std::fs::rename(new, self.config()).expect("the directory is ours");
    }

    /// Asks the admin listener to reload and returns its answer.
    pub fn reload(&self) -> Response {
        let mut client = Client::connect(self.admin);
        client.send(
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        client.response()
    }

    /// Writes another configuration and reloads it.
    #[track_caller]
    pub fn reload_with(&self, text: &str) {
        self.rewrite(text);
        let answer = self.reload();
        assert_eq!(answer.status, 200, "the reload was refused:\n{}", answer.text());
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("our own child");
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub fn wait_for_end(&mut self) -> ExitStatus {
        wait_until("the proxy has ended", || self.child.try_wait().expect("our own child").is_some());
        self.child.wait().expect("our own child")
    }

    /// Resident memory in KiB.
    pub fn memory(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.child.id())));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says it");
        line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number in kB")
    }

    /// The access lines so far, from the file `access.log` in its directory.
    pub fn access_lines(&self) -> Vec<String> {
        read(&self.directory.path().join("access.log")).lines().map(str::to_owned).collect()
    }

    /// The access line with that number, as soon as it is written.
    #[track_caller]
    pub fn access_line(&self, number: usize) -> String {
        wait_until("the access line is written", || self.access_lines().len() > number);
        self.access_lines().swap_remove(number)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself, which is what some tests want.
        let _may_have_ended = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the proxy said:\n{}", self.log());
        }
    }
}

/// Runs a command of the binary to its end.
pub fn run(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("the binary was built with the tests")
}

/// The configuration with the tables that it lacks; they come last so that lines keep their number.
/// The listener `web` gets its address wherever it stands.
fn complete(text: &str, web: SocketAddr, admin: SocketAddr) -> String {
    let address = format!("bind = \"{web}\"");
    let mut complete = match text.contains(&address) {
        true => text.to_owned(),
        false => text.replace("[listener.web]\n", &format!("[listener.web]\n{address}\n")),
    };
    let tables = [
        ("[listener.web]", address),
        ("[admin]", format!("bind = \"{admin}\"")),
        ("[server]", "workers = 2".to_owned()),
        ("[log]", "access = \"access.log\"".to_owned()),
    ];
    for (table, keys) in tables {
        if !text.lines().any(|line| line.trim() == table) {
            complete.push_str(&format!("\n{table}\n{keys}\n"));
        }
    }
    complete
}

fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
