//! knot, an authoritative server for the zone `test`, changed while it runs by `nsupdate`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::services::{Process, skip};
use crate::harness::{comes_true, free_address, wait_until};

/// Updates that fit into one message.
const AT_ONCE: usize = 300;

/// A running server.
pub struct Knot {
    pub address: SocketAddr,
    /// Further addresses at port 53.
    more: Vec<IpAddr>,
    directory: TempDir,
    process: Option<Process>,
}

impl Knot {
    /// A server with an empty zone; `None`, said aloud, when there is no knot here.
    pub fn start() -> Option<Knot> {
        Knot::start_at(&[])
    }

    /// The same, at port 53 of these addresses too.
    pub fn start_at(more: &[IpAddr]) -> Option<Knot> {
        if program("knotd").is_none() || program("nsupdate").is_none() {
            skip("no knotd or nsupdate; run scripts/provision");
            return None;
        }
        let directory = TempDir::new().expect("a directory");
        let mut knot = Knot { address: free_address(), more: more.to_vec(), directory, process: None };
        knot.write_zone();
        knot.run();
        Some(knot)
    }

    /// Changes the zone: lines as `nsupdate` reads them. Returns when the server has them.
    #[track_caller]
    pub fn update(&self, lines: &[String]) {
        for lines in lines.chunks(AT_ONCE) {
            assert!(self.try_update(lines), "the server takes {lines:?}");
        }
    }

    fn try_update(&self, lines: &[String]) -> bool {
        let mut text = format!("server {} {}\nzone test.\n", self.address.ip(), self.address.port());
        lines.iter().for_each(|line| writeln!(text, "update {line}").expect("a text takes more"));
        text.push_str("send\n");
        let mut child = Command::new(program("nsupdate").expect("it was found before"))
            .args(["-t", "5", "-v"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsupdate can be started");
        child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
        child.wait().expect("our own child").success()
    }

    /// Ends it like a crash.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Forgets the zone; only while it does not run.
    pub fn forget(&mut self) {
        std::fs::remove_dir_all(self.directory.path().join("db")).expect("it has run");
        self.write_zone();
    }

    /// Starts it and waits until it takes changes.
    #[track_caller]
    pub fn run(&mut self) {
        let (directory, port) = (self.directory.path().display().to_string(), self.address.port());
        let more: String = self.more.iter().map(|ip| format!("    listen: {ip}@53\n")).collect();
        let config = format!(
            "server:\n    rundir: {directory}\n    listen: 127.0.0.1@{port}\n{more}    udp-workers: 1\n    \
             tcp-workers: 1\n    background-workers: 1\n\
             log:\n  - target: stderr\n    any: warning\ndatabase:\n    storage: {directory}/db\n\
             acl:\n  - id: ours\n    address: 127.0.0.1\n    action: update\n\
             zone:\n  - domain: test\n    file: {directory}/test.zone\n    acl: ours\n    zonefile-sync: -1\n"
        );
        let file = self.directory.path().join("knot.conf");
        std::fs::write(&file, config).expect("the directory is ours");
        std::fs::create_dir_all(self.directory.path().join("db")).expect("the directory is ours");
        let log = std::fs::File::create(self.directory.path().join("log")).expect("the directory is ours");
        let child = Command::new(program("knotd").expect("it was found before"))
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("knotd can be started");
        self.process = Some(Process(child));
        let mark = ["delete ready.test. TXT".to_owned(), "add ready.test. 1 TXT x".to_owned()];
        wait_until("knot takes changes", || self.try_update(&mark));
    }

    fn write_zone(&self) {
        let zone = "@ 1 SOA ns root 1 3600 600 86400 1\n@ 1 NS ns\nns 1 A 127.0.0.1\n";
        std::fs::write(self.directory.path().join("test.zone"), zone).expect("the directory is ours");
    }
}

/// Where a program is; those for administrators are not always on the path.
fn program(name: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
        .iter()
        .map(|directory| PathBuf::from(directory).join(name))
        .find(|path| path.exists())
}

/// Whether this process may have name spaces of its own for files.
pub fn may_mount() -> bool {
    let tried = || Command::new("unshare").args(["--mount", "true"]).status();
    comes_true(std::time::Duration::ZERO, || tried().is_ok_and(|status| status.success()))
}
