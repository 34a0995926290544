//! A real dockerd with processes, mounts and a network of its own, and words for its API.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::PATIENCE;
use crate::harness::services::{fixtures, skip};

/// The image of all containers: busybox and a Go service.
const IMAGE: &str = "fleet";
/// What scripts/dockerd says when scripts/provision has not been run.
const NOT_PROVISIONED: i32 = 69;

/// A daemon; it ends with its containers when this is dropped.
pub struct Daemon {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    directory: TempDir,
}

/// Runs a test in the network of a new daemon with these options. The test runs in a thread of its
/// own, since a thread can not leave a network for a better one.
#[track_caller]
pub fn with_daemon(options: &[&str], test: impl FnOnce(Daemon) + Send) {
    let Some(daemon) = Daemon::start(options) else { return };
    let ended = std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            daemon.enter();
            daemon.import();
            test(daemon);
        });
        running.join()
    });
    if let Err(panic) = ended {
        std::panic::resume_unwind(panic);
    }
}

impl Daemon {
    /// `None`, said aloud, where there is no dockerd.
    fn start(options: &[&str]) -> Option<Daemon> {
        fixtures()?;
        if !rustix::process::geteuid().is_root() {
            skip("a dockerd of its own needs root");
            return None;
        }
        let directory = TempDir::new().expect("a directory");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/dockerd");
        let mut process = Command::new(script)
            .arg(directory.path())
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script is there");
        let commands = process.stdin.take();
        let mut answers = BufReader::new(process.stdout.take().expect("it is piped"));
        if line(&mut answers) == "ready" {
            return Some(Daemon { process, commands, answers, directory });
        }
        let status = process.wait().expect("our own child");
        assert_eq!(status.code(), Some(NOT_PROVISIONED), "dockerd does not start");
        skip("no dockerd; run scripts/provision");
        None
    }

    /// Moves this thread into the network of the daemon, with all that it starts from now on.
    fn enter(&self) {
        let network = File::open(format!("/proc/{}/ns/net", self.process.id())).expect("it runs");
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).expect("we are root");
    }

    /// The directory with its socket and its data.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.directory().join("docker.sock")
    }

    /// Ends it like a crash; its containers run on.
    pub fn kill(&mut self) {
        self.command("kill", "killed");
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.command("start", "ready");
    }

    /// Takes its containers away, and all that it knows.
    pub fn lose(&mut self) {
        self.command("lose", "lost");
    }

    fn command(&mut self, command: &str, answer: &str) {
        let commands = self.commands.as_mut().expect("it is open until the end");
        writeln!(commands, "{command}").expect("the script reads");
        assert_eq!(line(&mut self.answers), answer, "after {command}");
    }

    /// Makes the image known.
    pub fn import(&self) {
        let tar = Command::new("tar")
            .args(["--create", "--directory"])
            .arg(crate::harness::services::provisioned("docker/bin").expect("dockerd runs from there"))
            .args(["busybox", "--directory"])
            .arg(fixtures().expect("they were there a moment ago"))
            .arg("hello")
            .output()
            .expect("tar can be run");
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        let (status, said) = self.send(
            "POST",
            &format!("/images/create?fromSrc=-&repo={IMAGE}"),
            "application/x-tar",
            &tar.stdout,
        );
        assert_eq!(status, 200, "{said}");
    }

    /// Asks the daemon and returns status and JSON. A null is no body: one that is not read would
    /// break the connection.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, text) = self.send(method, path, "application/json", body.as_bytes());
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The same for what must succeed.
    #[track_caller]
    pub fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, said) = self.ask(method, path, body);
        assert!(matches!(status, 200..=299 | 304), "{method} {path}: {status} {said}");
        said
    }

    /// In HTTP/1.0, which ends an answer with the connection.
    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, String) {
        let mut stream = UnixStream::connect(self.socket()).expect("the daemon listens");
        stream.set_read_timeout(Some(PATIENCE * 3)).expect("a duration above zero");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("the daemon reads");
        stream.write_all(body).expect("the daemon reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the daemon answers");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let (_, text) = answer.split_once("\r\n\r\n").expect("a head ends");
        (status, text.to_owned())
    }

    /// Creates a container of this name that runs this command, with more of what the API takes.
    #[track_caller]
    pub fn create(&self, name: &str, command: &[&str], more: Value) {
        let mut container = json!({
            "Image": IMAGE,
            "Cmd": command,
            "Labels": { "tidegate.service": "found" },
            "ExposedPorts": { "8080/tcp": {} },
        });
        let table = container.as_object_mut().expect("it is a table");
        table.extend(more.as_object().expect("more of the table").clone());
        self.must("POST", &format!("/containers/create?name={name}"), &container);
    }

    /// Does something with a container: start, kill, pause, …
    #[track_caller]
    pub fn tell(&self, name: &str, what: &str) {
        self.must("POST", &format!("/containers/{name}/{what}"), &Value::Null);
    }

    /// Runs a command in a container.
    #[track_caller]
    pub fn run_in(&self, name: &str, command: &[&str]) {
        let made = self.must("POST", &format!("/containers/{name}/exec"), &json!({ "Cmd": command }));
        let id = made["Id"].as_str().expect("an id");
        self.must("POST", &format!("/exec/{id}/start"), &json!({ "Detach": true }));
    }

    /// Starts a Go service, which answers its name, in the network that containers are in by default.
    #[track_caller]
    pub fn service(&self, name: &str, more: Value) {
        self.create(name, &["/hello", "-listen", ":8080", "-name", name], more);
        self.tell(name, "start");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends with its standard input, and with it all of its namespace.
        self.commands.take();
        let _status = self.process.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.directory().join("dockerd.log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("dockerd said at last:\n{}", lines[lines.len().saturating_sub(5)..].join("\n"));
        }
    }
}

/// A line of the script; empty at its end.
fn line(answers: &mut impl BufRead) -> String {
    let mut line = String::new();
    answers.read_line(&mut line).expect("the script writes text");
    line.trim_end().to_owned()
}
