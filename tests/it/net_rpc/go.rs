//! Go's own client and server, as `tests/go` wraps them.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

use crate::harness::free_address;
use crate::harness::services::{self, Process, fixtures};

/// An `rpc-server` that runs.
pub struct Server {
    pub address: SocketAddr,
    _process: Process,
}

impl Server {
    pub fn start(name: &str, more: &[&str]) -> Option<Server> {
        let address = free_address();
        Some(Server { address, _process: services::service("rpc-server", name, address, more)? })
    }
}

fn client(address: SocketAddr, more: &[&str]) -> Command {
    let mut command = Command::new(fixtures().expect("the servers run").join("rpc-client"));
    command.args(["-address", &address.to_string()]).args(more).stderr(Stdio::inherit());
    command
}

/// Runs the client to its end.
pub fn call(address: SocketAddr, more: &[&str]) -> Value {
    let Output { status, stdout, .. } = client(address, more).output().expect("the client can be started");
    assert!(status.success(), "rpc-client ended with {status}");
    serde_json::from_slice(&stdout).expect("the report is JSON")
}

/// A client that holds its connections and calls when told to.
pub struct Caller {
    _process: Process,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Caller {
    pub fn open(address: SocketAddr, more: &[&str]) -> Caller {
        let mut child = client(address, more)
            .arg("-step")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client can be started");
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut caller = Caller { _process: Process(child), input, output };
        assert_eq!(caller.line(), "open");
        caller
    }

    fn line(&mut self) -> String {
        self.output.next().expect("the client says something").expect("it is text")
    }

    pub fn round(&mut self) -> Value {
        self.input.write_all(b"\n").expect("the client reads");
        serde_json::from_str(&self.line()).expect("the report is JSON")
    }
}
