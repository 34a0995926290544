//! Clients as people have them: each fetches 10 MiB and uploads them, over HTTP/1.1 and HTTP/2.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::services::{Process, fixtures, skip};
use crate::harness::{Origin, Proxy, Request, free_address, ok, upstream, wait_until};

/// What is fetched; no two blocks of it are equal.
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..10 * 1024 * 1024 / 8).flat_map(|_| next()).collect()
});

fn sum(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        let _into_a_string = write!(text, "{byte:02x}");
        text
    })
}

/// A proxy with a clear and a TLS listener in front of an origin that has the file.
struct Stage {
    proxy: Proxy,
    origin: Origin,
    secure: SocketAddr,
    directory: PathBuf,
}

impl Stage {
    fn new() -> Stage {
        Stage::with("")
    }

    /// The same with further tables.
    fn with(more: &str) -> Stage {
        let directory = TempDir::new().expect("a directory");
        certify(directory.path());
        std::fs::write(directory.path().join("file"), &*FILE).expect("the directory is ours");
        let (origin, secure) = (Origin::answering(answer), free_address());
        let proxy = Proxy::start_in(
            directory,
            &format!(
                "[listener.secure]\nbind = \"{secure}\"\ntls = {{ certificates = [{{ cert = \"own.pem\", key = \"own.key\" }}] }}\n\
                 [[route]]\nname = \"all\"\npath = \"/*\"\nto = \"origin\"\n{more}{}",
                upstream(&[&origin])
            ),
        );
        let directory = proxy.directory().to_owned();
        Stage { proxy, origin, secure, directory }
    }

    fn clear(&self) -> String {
        format!("http://{}", self.proxy.web)
    }

    fn tls(&self) -> String {
        format!("https://{}", self.secure)
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }

    /// Runs a program that prints a JSON object.
    #[track_caller]
    fn report(&self, command: &mut Command) -> Value {
        let output = command
            .env("NODE_EXTRA_CA_CERTS", self.path("authority.pem"))
            .env("no_proxy", "*")
            .output()
            .expect("the client can be started");
        assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{command:?}: {error}: {}", String::from_utf8_lossy(&output.stdout))
        })
    }

    /// The same, and the object must say that all came through, by that version.
    #[track_caller]
    fn transfers(&self, command: &mut Command, version: &str) {
        let whole = json!({ "version": version, "file": sum(&FILE), "hash": sum(&FILE) });
        assert_eq!(self.report(command), whole, "{command:?}");
    }
}

/// `own.pem` and `own.key` for 127.0.0.1, signed by `authority.pem`.
fn certify(directory: &Path) {
    let mut params = CertificateParams::new([]).expect("no names");
    // An issuer with the name of the subject would look self-signed.
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).expect("names");
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    for (name, text) in
        [("authority.pem", authority.pem()), ("own.pem", certificate.pem()), ("own.key", key.serialize_pem())]
    {
        std::fs::write(directory.join(name), text).expect("the directory is ours");
    }
}

fn answer(request: &Request) -> Vec<u8> {
    match request.target().split('?').next().unwrap_or_default() {
        "/file" => ok(&*FILE),
        "/hash" => ok(sum(&request.body())),
        "/page" => typed("text/html", include_bytes!("../clients/page.html")),
        _ => ok(""),
    }
}

fn typed(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len())
            .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Where a program is; `None`, said aloud, when this machine has none.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.exists());
    if found.is_none() {
        skip(&format!("there is no {name}; run scripts/provision"));
    }
    found
}

/// The Python of the environment that `scripts/provision` makes.
fn python() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("TIDEGATE_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("tidegate")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/tidegate")))?;
    let python = cache.join("venv/bin/python");
    if python.exists() {
        return Some(python);
    }
    skip(&format!("there is no {}; run scripts/provision", python.display()));
    None
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

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

/// Opens the page in a browser that is ended when it has told what it saw.
fn browse(stage: &Stage, url: &str, flags: &[&str]) -> Option<Value> {
    let chromium = program("chromium")?;
    let profile = TempDir::new().expect("a directory");
    let results = || stage.origin.requests().into_iter().filter(|request| request.target() == "/result");
    let before = results().count();
    let browser = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--no-proxy-server", "--ignore-certificate-errors", "--disable-dev-shm-usage"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(flags)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromium can be started");
    let browser = Process(browser);
    // A browser takes its time to start on a busy machine.
    let told =
        (0..6).any(|_| crate::harness::comes_true(crate::harness::PATIENCE, || results().count() > before));
    drop(browser);
    assert!(told, "the page did not tell a result");
    let body = results().last().expect("it was told").body();
    Some(serde_json::from_slice(&body).expect("JSON"))
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
