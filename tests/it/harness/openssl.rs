//! `openssl s_client`: a client that keeps its sessions in files.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a connection came to.
#[derive(Debug)]
pub struct Session {
    /// Whether a session of before went on.
    pub resumed: bool,
    /// The body of the answer, and everything else that was said.
    pub said: String,
}

/// Sends one request for `one.test` and returns what became of it.
pub fn openssl(address: SocketAddr, directory: &Path, version: &str, more: &[&str]) -> Session {
    let mut child = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-servername", "one.test", version, "-ign_eof"])
        .args(more)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let mut input = child.stdin.take().expect("it was asked for");
    // A client that was refused does not read.
    let _may_have_ended = input.write_all(b"GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n");
    let output = child.wait_with_output().expect("our own child");
    drop(input);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Session { resumed: said.contains("Reused, "), said }
}
