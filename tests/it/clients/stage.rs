//! What every client meets: a proxy with two listeners, and an origin with a file.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::services::{Process, skip};
use crate::harness::{Origin, PATIENCE, Proxy, Request, comes_true, free_address, ok, upstream};

/// What is fetched; no two blocks of it are equal.
pub static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..10 * 1024 * 1024 / 8).flat_map(|_| next()).collect()
});

pub fn sum(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut text, byte| {
        let _into_a_string = write!(text, "{byte:02x}");
        text
    })
}

/// A proxy with a clear and a TLS listener in front of an origin that has the file.
pub struct Stage {
    pub proxy: Proxy,
    pub origin: Origin,
    pub secure: SocketAddr,
    directory: PathBuf,
}

impl Stage {
    pub fn new() -> Stage {
        Stage::with("")
    }

    /// The same with further tables.
    pub fn with(more: &str) -> Stage {
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

    pub fn clear(&self) -> String {
        format!("http://{}", self.proxy.web)
    }

    pub fn tls(&self) -> String {
        format!("https://{}", self.secure)
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).to_string_lossy().into_owned()
    }

    /// Runs a program that prints a JSON object.
    #[track_caller]
    pub fn report(&self, command: &mut Command) -> Value {
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
    pub fn transfers(&self, command: &mut Command, version: &str) {
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
        "/page" => typed("text/html", include_bytes!("../../clients/page.html")),
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
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.exists());
    if found.is_none() {
        skip(&format!("there is no {name}; run scripts/provision"));
    }
    found
}

/// The Python of the environment that `scripts/provision` makes.
pub fn python() -> Option<PathBuf> {
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

pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Opens the page in a browser that is ended when it has told what it saw.
pub fn browse(stage: &Stage, url: &str, flags: &[&str]) -> Option<Value> {
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
    let told = (0..6).any(|_| comes_true(PATIENCE, || results().count() > before));
    drop(browser);
    assert!(told, "the page did not tell a result");
    let body = results().next_back().expect("it was told").body();
    Some(serde_json::from_slice(&body).expect("JSON"))
}
