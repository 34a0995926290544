//! WebSocket as clients speak it, over each version of HTTP.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::stage::{Stage, browse, program, python, script};
use crate::harness::services::Process;
use crate::harness::{free_address, wait_until};

/// A WebSocket endpoint, and the tables that lead `/ws` to it.
fn socket_origin() -> Option<(Process, String)> {
    let address = free_address();
    let mut child = Command::new(python()?)
        .arg(script("ws_origin.py"))
        .arg(address.port().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the endpoint can be started");
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("it says that it listens");
    assert_eq!(line, "listening\n");
    let tables = format!(
        "[[route]]\nname = \"ws\"\npath = \"/ws\"\nto = \"ws\"\n[upstream.ws]\nendpoints = [\"{address}\"]\n"
    );
    Some((Process(child), tables))
}

/// The version of the request for `/ws` in the access log.
fn socket_version(stage: &Stage) -> String {
    let find = || stage.proxy.access_lines().into_iter().rfind(|line| line.contains("\"route\":\"ws\""));
    wait_until("the tunnel has its line", || find().is_some());
    let line: Value = serde_json::from_str(&find().expect("it is there")).expect("JSON");
    line["version"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn chromium_speaks_websocket_over_http_1_and_over_http_2() {
    for (flags, version) in [(&["--disable-http2"][..], "HTTP/1.1"), (&[][..], "HTTP/2.0")] {
        let Some((_process, tables)) = socket_origin() else { return };
        let stage = Stage::with(&tables);
        let Some(seen) = browse(&stage, &format!("{}/page?ws", stage.tls()), flags) else { return };
        assert_eq!(seen["socket"], "1000 true 3", "{seen}");
        assert_eq!(socket_version(&stage), version);
    }
}

/// What `ws_client.py` sees when nothing is lost.
fn unharmed() -> Value {
    json!({ "subprotocol": "chat.v1", "compression": true, "text": "hello", "large": true, "order": true,
            "ping": true, "close": 1000, "together": 50 })
}

#[test]
fn python_speaks_websocket_over_ws_and_wss() {
    let (Some(python), Some((_process, tables))) = (python(), socket_origin()) else { return };
    let stage = Stage::with(&tables);
    let authority = stage.path("authority.pem");
    let mut clear = Command::new(&python);
    clear.arg(script("ws_client.py")).arg(format!("ws://{}/ws", stage.proxy.web));
    assert_eq!(stage.report(&mut clear), unharmed());
    let mut secure = Command::new(&python);
    secure.arg(script("ws_client.py")).args([&format!("wss://{}/ws", stage.secure), &authority]);
    assert_eq!(stage.report(&mut secure), unharmed());
}

#[test]
fn websocket_is_carried_over_http_2() {
    let (Some(python), Some(node)) = (python(), program("node")) else { return };
    let Some((_process, tables)) = socket_origin() else { return };
    let stage = Stage::with(&tables);
    for base in [stage.clear(), stage.tls()] {
        let mut child = Command::new(&node)
            .arg(script("ws_over_h2.mjs"))
            .args([&base, &stage.path("authority.pem")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the bridge can be started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it says where");
        let _bridge = Process(child);
        let port = line.trim().strip_prefix("listening ").expect("it says where");
        let mut client = Command::new(&python);
        client.arg(script("ws_client.py")).arg(format!("ws://127.0.0.1:{port}/ws"));
        assert_eq!(stage.report(&mut client), unharmed(), "over {base}");
        assert_eq!(socket_version(&stage), "HTTP/2.0");
    }
}
