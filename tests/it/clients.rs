//! Clients as people have them: each fetches 10 MiB and uploads them, over HTTP/1.1 and HTTP/2.

mod stage;
mod websocket;

use std::process::Command;

use serde_json::json;

use crate::harness::services::fixtures;
use crate::harness::{Proxy, wait_until};
use stage::{FILE, Stage, browse, program, python, script, sum};

#[test]
fn curl_transfers_over_each_version() {
    let Some(curl) = program("curl") else { return };
    let stage = Stage::new();
    let ways = [
        (stage.clear(), "--http1.1", "1.1"),
        (stage.clear(), "--http2-prior-knowledge", "2"),
        (stage.tls(), "--http1.1", "1.1"),
        (stage.tls(), "--http2", "2"),
    ];
    for (base, way, version) in ways {
        // One run for each: this curl can not use a connection of prior knowledge twice, whoever serves it.
        let run = |more: &[&str]| {
            let mut command = Command::new(&curl);
            command.args(["--silent", "--show-error", "--max-time", "30", "--noproxy", "*", way, "--cacert"]);
            command.args([&stage.path("authority.pem"), "--output", &stage.path("got")]).args(more);
            let output = command.args(["--write-out", "%{http_version} %{response_code}"]).output();
            let output = output.expect("curl can be started");
            assert!(output.status.success(), "{way}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{version} 200"), "{way} to {base}");
            std::fs::read(stage.path("got")).expect("curl has written it")
        };
        assert!(run(&[&format!("{base}/file")]) == *FILE, "{way} to {base} got something else");
        let said = run(&["--data-binary", &format!("@{}", stage.path("file")), &format!("{base}/hash")]);
        assert_eq!(String::from_utf8_lossy(&said), sum(&FILE), "{way} to {base}");
    }
}

#[test]
fn h2load_gets_every_byte_over_each_version() {
    let Some(h2load) = program("h2load") else { return };
    let stage = Stage::new();
    for (base, version, protocol) in [
        (stage.clear(), "--h1", "http/1.1"),
        (stage.clear(), "-p", "h2c"),
        (stage.tls(), "--h1", "http/1.1"),
        (stage.tls(), "--npn-list=h2", "h2"),
    ] {
        let mut command = Command::new(&h2load);
        command.args(["-n", "8", "-c", "2", "-m", "2", version]);
        if version == "-p" {
            command.arg("h2c");
        }
        let output = command.arg(format!("{base}/file")).output().expect("h2load can be started");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("8 succeeded, 0 failed, 0 errored, 0 timeout"), "{version} to {base}:\n{said}");
        assert!(said.contains(&format!("({}) data", 8 * FILE.len())), "{version} to {base}:\n{said}");
        assert!(said.contains(&format!("Application protocol: {protocol}")), "{version} to {base}:\n{said}");
    }
}

#[test]
fn nghttp_transfers_over_http_2() {
    let Some(nghttp) = program("nghttp") else { return };
    let stage = Stage::new();
    for base in [stage.clear(), stage.tls()] {
        let get = Command::new(&nghttp).arg(format!("{base}/file")).output().expect("nghttp can be started");
        assert!(get.stdout == *FILE, "{base}: {} bytes came", get.stdout.len());
        let data = format!("--data={}", stage.path("file"));
        let post = Command::new(&nghttp)
            .args([&data, &format!("{base}/hash")])
            .output()
            .expect("nghttp can be started");
        assert_eq!(String::from_utf8_lossy(&post.stdout), sum(&FILE), "{base}");
    }
}

#[test]
fn python_clients_transfer_over_what_they_speak() {
    let Some(python) = python() else { return };
    let stage = Stage::new();
    for (library, way, base, version) in [
        ("requests", "h1", stage.clear(), "1.1"),
        ("requests", "h1", stage.tls(), "1.1"),
        ("httpx", "h1", stage.clear(), "1.1"),
        ("httpx", "h1", stage.tls(), "1.1"),
        ("httpx", "h2", stage.clear(), "2"),
        ("httpx", "h2", stage.tls(), "2"),
        ("aiohttp", "h1", stage.clear(), "1.1"),
        ("aiohttp", "h1", stage.tls(), "1.1"),
    ] {
        let mut command = Command::new(&python);
        command.arg(script("fetch.py")).args([library, way, &base]);
        stage.transfers(command.args([stage.path("authority.pem"), stage.path("file")]), version);
    }
}

#[test]
fn node_transfers_with_fetch_and_with_http2() {
    let Some(node) = program("node") else { return };
    let stage = Stage::new();
    for (way, base, version) in [
        ("fetch", stage.clear(), "1.1"),
        ("fetch", stage.tls(), "1.1"),
        ("http2", stage.clear(), "2"),
        ("http2", stage.tls(), "2"),
    ] {
        let mut command = Command::new(&node);
        command.arg(script("fetch.mjs")).args([way, &base]);
        stage.transfers(command.args([stage.path("authority.pem"), stage.path("file")]), version);
    }
}

#[test]
fn go_transfers_over_each_version() {
    let Some(fixtures) = fixtures() else { return };
    let stage = Stage::new();
    for (way, base, version) in [
        ("h1", stage.clear(), "1.1"),
        ("h2c", stage.clear(), "2"),
        ("h1", stage.tls(), "1.1"),
        ("h2", stage.tls(), "2"),
    ] {
        let mut command = Command::new(fixtures.join("http-client"));
        command.args(["-base", &base, "-way", way, "-ca", &stage.path("authority.pem")]);
        stage.transfers(&mut command, version);
    }
}

#[test]
fn an_endpoint_of_http_2_gets_and_sends_the_same_bytes() {
    let Some(fixtures) = fixtures() else { return };
    // Another proxy is an endpoint that speaks HTTP/2.
    let inner = Stage::new();
    let outer = Proxy::start(&format!(
        "[[route]]\nto = \"inner\"\n[upstream.inner]\nendpoints = [\"{}\"]\nprotocol = \"h2\"\n",
        inner.proxy.web
    ));
    for (way, version) in [("h1", "1.1"), ("h2c", "2")] {
        let mut command = Command::new(fixtures.join("http-client"));
        command.args(["-base", &format!("http://{}", outer.web), "-way", way]);
        inner.transfers(&mut command, version);
    }
    wait_until("each request has its line", || inner.proxy.access_lines().len() == 4);
    let lines = inner.proxy.access_lines();
    assert!(lines.iter().all(|line| line.contains("\"version\":\"HTTP/2.0\"")), "{lines:?}");
}

#[test]
fn chromium_transfers_over_http_1_and_http_2() {
    let stage = Stage::new();
    let ways = [
        (stage.clear(), &[][..], "http/1.1"),
        (stage.tls(), &["--disable-http2"][..], "http/1.1"),
        (stage.tls(), &[][..], "h2"),
    ];
    for (base, flags, version) in ways {
        let Some(seen) = browse(&stage, &format!("{base}/page"), flags) else { return };
        let whole = json!({ "version": version, "file": sum(&FILE), "hash": sum(&FILE) });
        assert_eq!(seen, whole, "{base} {flags:?}");
    }
}
