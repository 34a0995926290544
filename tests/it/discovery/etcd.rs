//! A real etcd: keys with leases or without, users, TLS, several members, restarts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::call::{call, try_call};
use super::*;
use crate::harness::services::{Process, provisioned};
use crate::harness::{Authority, free_address, replace};

const PREFIX: &str = "/services/users/";

/// An etcd of one member, behind a relay, that also listens with TLS.
struct Etcd {
    program: PathBuf,
    directory: TempDir,
    address: SocketAddr,
    secure: SocketAddr,
    peer: SocketAddr,
    process: Option<Process>,
    relay: Arc<Relay>,
    token: Option<String>,
    /// More options of the source.
    options: String,
}

impl Etcd {
    /// A running one; `None`, said aloud, when it is not there.
    fn start() -> Option<Etcd> {
        let program = provisioned("registries/etcd")?;
        let (directory, address) = (TempDir::new().expect("a directory"), free_address());
        let authority = Authority::new("registry");
        authority.sign(&["127.0.0.1"]).write(directory.path(), "server");
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("the directory is ours");
        let other = Authority::new("somebody else").pem();
        std::fs::write(directory.path().join("other.pem"), other).expect("the directory is ours");
        let mut etcd = Etcd {
            program,
            directory,
            address,
            secure: free_address(),
            peer: free_address(),
            process: None,
            relay: Arc::new(Relay::before(address)),
            token: None,
            options: String::new(),
        };
        etcd.run();
        Some(etcd)
    }

    fn run(&mut self) {
        let (clear, secure) = (format!("http://{}", self.address), format!("https://{}", self.secure));
        let peer = format!("http://{}", self.peer);
        let log = std::fs::File::create(self.path("log")).expect("the directory is ours");
        let child = Command::new(&self.program)
            .args(["--name", "t", "--data-dir"])
            .arg(self.path("data"))
            .args(["--listen-client-urls", &format!("{clear},{secure}"), "--advertise-client-urls", &clear])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("t={peer}"), "--unsafe-no-fsync", "--bcrypt-cost", "4"])
            .arg("--cert-file")
            .arg(self.path("server.pem"))
            .arg("--key-file")
            .arg(self.path("server.key"))
            .args(["--log-outputs", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("etcd can be started");
        self.process = Some(Process(child));
        let address = self.address;
        wait_until("etcd is healthy", || {
            try_call(address, "GET /health", None, &Value::Null)
                .is_some_and(|answer| answer.text().contains("\"health\":\"true\""))
        });
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn ask(&self, path: &str, body: Value) -> Value {
        let token = self.token.as_deref().map(|token| ("Authorization", token));
        let answer = call(self.address, &format!("POST {path}"), token, &body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_str(&answer.text()).expect("etcd answers in JSON")
    }

    fn put(&self, key: &str, value: &str) {
        self.ask("/v3/kv/put", json!({ "key": coded(key), "value": coded(value) }));
    }

    /// Demands authentication; `reader` with the password "pass" may read the prefix.
    fn demand_users(&mut self) {
        for (path, body) in [
            ("user/add", json!({ "name": "root", "password": "root" })),
            ("role/add", json!({ "name": "root" })),
            ("user/grant", json!({ "user": "root", "role": "root" })),
            ("user/add", json!({ "name": "reader", "password": "pass" })),
            ("role/add", json!({ "name": "reader" })),
            (
                "role/grant",
                json!({ "name": "reader", "perm":
                { "permType": "READ", "key": coded(PREFIX), "range_end": coded("/services/users0") } }),
            ),
            ("user/grant", json!({ "user": "reader", "role": "reader" })),
            ("enable", json!({})),
        ] {
            self.ask(&format!("/v3/auth/{path}"), body);
        }
        self.authenticate();
        replace(&self.path("password"), "pass\n");
        let file = self.path("password");
        self.options = format!(", username = \"reader\", password_file = \"{}\"", file.display());
    }

    fn authenticate(&mut self) {
        self.token = None;
        let answer = self.ask("/v3/auth/authenticate", json!({ "name": "root", "password": "root" }));
        self.token = answer["token"].as_str().map(str::to_owned);
    }
}

fn coded(text: &str) -> String {
    STANDARD.encode(text)
}

fn key(place: SocketAddr) -> String {
    format!("{PREFIX}{place}")
}

fn discover(endpoints: &[String], options: &str) -> String {
    format!("{{ etcd = {{ endpoints = {endpoints:?}, prefix = \"{PREFIX}\", timeout = \"1s\"{options} }} }}")
}

impl Registry for Etcd {
    fn discover(&self) -> String {
        discover(&[format!("http://{}", self.relay.address)], &self.options)
    }

    fn register(&mut self, place: SocketAddr) {
        self.put(&key(place), &place.to_string());
    }

    fn deregister(&mut self, place: SocketAddr) {
        self.ask("/v3/kv/deleterange", json!({ "key": coded(&key(place)) }));
    }

    fn register_all(&mut self, places: &[SocketAddr]) {
        for some in places.chunks(100) {
            let puts = some.iter().map(|place| {
                json!({ "request_put": { "key": coded(&key(*place)), "value": coded(&place.to_string()) } })
            });
            self.ask("/v3/kv/txn", json!({ "success": puts.collect::<Vec<_>>() }));
        }
    }

    fn kill(&mut self) {
        self.process = None;
    }

    fn restart(&mut self, data: Data) {
        if data == Data::Lost {
            std::fs::remove_dir_all(self.path("data")).expect("the directory is ours");
        }
        self.run();
        if self.token.is_some() {
            self.authenticate();
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(200)
    }
}

#[test]
fn a_change_in_etcd_is_used_within_200_ms() {
    let Some(mut etcd) = Etcd::start() else { return };
    a_change_is_used_within_the_limit(&mut etcd);
}

#[test]
fn a_hundred_changes_in_etcd_under_load_fail_nothing() {
    let Some(mut etcd) = Etcd::start() else { return };
    a_hundred_changes_under_load_fail_nothing(&mut etcd);
}

#[test]
fn an_etcd_that_is_killed_and_restarted_fails_nothing() {
    let Some(mut etcd) = Etcd::start() else { return };
    an_outage_fails_nothing(&mut etcd, Data::Kept);
}

#[test]
fn an_etcd_that_comes_back_empty_fails_nothing() {
    let Some(mut etcd) = Etcd::start() else { return };
    an_outage_fails_nothing(&mut etcd, Data::Lost);
}

#[test]
fn a_start_without_etcd_serves() {
    let Some(mut etcd) = Etcd::start() else { return };
    a_start_without_the_registry_uses_the_last_endpoints(&mut etcd);
}

#[test]
fn a_thousand_endpoints_in_etcd_are_found() {
    let Some(mut etcd) = Etcd::start() else { return };
    a_thousand_endpoints_are_found(&mut etcd);
}

#[test]
fn faults_of_etcd_are_told_once_and_touch_nothing() {
    let Some(mut etcd) = Etcd::start() else { return };
    let relay = etcd.relay.clone();
    faults_are_told_once_and_touch_nothing(&mut etcd, &relay);
}

#[test]
fn a_lease_that_runs_out_takes_its_endpoint_along_and_compaction_disturbs_nobody() {
    let Some(mut etcd) = Etcd::start() else { return };
    let endpoints = Endpoints::start(3);
    etcd.register(endpoints.place(0));
    let lease = etcd.ask("/v3/lease/grant", json!({ "TTL": "2" }))["ID"].clone();
    let (leased, value) = (key(endpoints.place(1)), endpoints.place(1).to_string());
    etcd.ask("/v3/kv/put", json!({ "key": coded(&leased), "value": coded(&value), "lease": lease }));
    let proxy = proxy(&etcd);
    answers(&proxy, endpoints.place(1));
    wait_until("the lease has run out", || known(&proxy) == 1);
    let answer = etcd.ask("/v3/kv/range", json!({ "key": coded(&key(endpoints.place(0))) }));
    let revision = answer["header"]["revision"].clone();
    etcd.ask("/v3/kv/compaction", json!({ "revision": revision, "physical": true }));
    etcd.register(endpoints.place(2));
    answers(&proxy, endpoints.place(2));
    assert!(!is_failing(&proxy));
}

#[test]
fn a_user_of_etcd_is_made_known_again_when_its_token_is_forgotten() {
    let Some(mut etcd) = Etcd::start() else { return };
    let endpoints = Endpoints::start(2);
    etcd.register(endpoints.place(0));
    etcd.demand_users();
    let proxy = proxy(&etcd);
    answers(&proxy, endpoints.place(0));
    // With its password a user loses its tokens: the next list is answered with 401 and code 16.
    replace(&etcd.path("password"), "another");
    etcd.ask("/v3/auth/user/changepw", json!({ "name": "reader", "password": "another" }));
    etcd.relay.set(Mode::Closed);
    wait_until("the outage is noticed", || is_failing(&proxy));
    etcd.relay.set(Mode::Open);
    wait_until("it works again", || !is_failing(&proxy));
    etcd.register(endpoints.place(1));
    answers(&proxy, endpoints.place(1));
    assert_eq!(failures(&proxy, "denied"), 0.0, "{}", proxy.log());
}

#[test]
fn a_wrong_password_of_etcd_is_told_once_and_touches_nothing() {
    let Some(mut etcd) = Etcd::start() else { return };
    let endpoints = Endpoints::start(2);
    etcd.register(endpoints.place(0));
    etcd.demand_users();
    let proxy = proxy(&etcd);
    answers(&proxy, endpoints.place(0));
    let load = Load::start(&proxy, 100);
    etcd.ask("/v3/auth/user/changepw", json!({ "name": "reader", "password": "another" }));
    etcd.relay.set(Mode::Closed);
    wait_until("the outage is noticed", || is_failing(&proxy));
    etcd.relay.set(Mode::Open);
    wait_until("it is denied", || failures(&proxy, "denied") >= 2.0);
    assert_eq!((told(&proxy, "denied"), known(&proxy)), (1, 1), "{}", proxy.log());
    replace(&etcd.path("password"), "another");
    wait_until("it works again", || !is_failing(&proxy));
    etcd.register(endpoints.place(1));
    answers(&proxy, endpoints.place(1));
    load.assert_nothing_failed(&proxy);
    assert!(!proxy.log().contains("another"), "passwords are not told");
}

#[test]
fn etcd_is_followed_over_tls_and_a_wrong_authority_is_told_once() {
    let Some(mut etcd) = Etcd::start() else { return };
    let endpoints = Endpoints::start(1);
    etcd.register(endpoints.place(0));
    let ca = etcd.path("used.pem");
    let used = |name: &str| {
        let text = std::fs::read_to_string(etcd.path(name)).expect("the directory is ours");
        replace(&ca, &text);
    };
    used("other.pem");
    let options = format!(", tls = {{ ca = \"{}\" }}", ca.display());
    let proxy = Proxy::start(&config(&discover(&[format!("https://{}", etcd.secure)], &options)));
    wait_until("it is not believed", || failures(&proxy, "tls") >= 2.0);
    assert_eq!((told(&proxy, "tls"), known(&proxy)), (1, 0), "{}", proxy.log());
    used("ca.pem");
    answers(&proxy, endpoints.place(0));
    assert!(!is_failing(&proxy));
}

#[test]
fn another_member_of_etcd_is_asked_when_one_fails() {
    let Some(mut etcd) = Etcd::start() else { return };
    let endpoints = Endpoints::start(2);
    etcd.register(endpoints.place(0));
    let (nobody, second) = (free_address(), Relay::before(etcd.address));
    let members = [nobody, etcd.relay.address, second.address].map(|member| format!("http://{member}"));
    let proxy = Proxy::start(&config(&discover(&members, "")));
    answers(&proxy, endpoints.place(0));
    etcd.relay.set(Mode::Closed);
    etcd.register(endpoints.place(1));
    let found = answers(&proxy, endpoints.place(1));
    assert!(found < Duration::from_secs(1), "found after {found:?}");
    let counted: f64 = ["unreachable", "timeout", "refused"].iter().map(|kind| failures(&proxy, kind)).sum();
    assert_eq!(counted, 0.0, "a failure of one member is none of etcd:\n{}", proxy.log());
}

#[test]
fn members_of_etcd_that_are_all_away_are_told_once() {
    let members = [free_address(), free_address()].map(|member| format!("http://{member}"));
    let proxy = Proxy::start(&config(&discover(&members, "")));
    wait_until("all were asked again and again", || failures(&proxy, "unreachable") >= 3.0);
    let told = proxy.log().lines().filter(|line| line.contains("another member of etcd")).count();
    assert_eq!((told, self::told(&proxy, "unreachable")), (1, 1), "{}", proxy.log());
}

#[test]
fn records_of_go_micro_are_followed_with_what_they_say() {
    let Some(etcd) = Etcd::start() else { return };
    let endpoints = Endpoints::start(1);
    let record = |version: &str, protocol: &str| {
        json!({ "name": "users", "version": version, "metadata": null, "endpoints": [], "nodes": [{
            "id": "users-1", "address": endpoints.place(0).to_string(),
            "metadata": { "protocol": protocol, "registry": "etcd", "zone": "a" } }] })
    };
    let put = |key: &str, value: &str| etcd.put(&format!("/micro/registry/users/{key}"), value);
    put("users-1", &record("1.4.0", "http").to_string());
    put("nonsense", "10.0.0.1:80");
    let discover = format!(
        "{{ etcd = {{ endpoints = [\"http://{}\"], prefix = \"/micro/registry/users/\", format = \"go-micro\" }} }}",
        etcd.address
    );
    let proxy = Proxy::start(&config(&discover));
    answers(&proxy, endpoints.place(0));
    let said = || proxy.status()["upstreams"][0]["endpoints"][0].clone();
    assert_eq!((said()["metadata"]["protocol"].as_str(), said()["zone"].as_str()), (Some("http"), Some("a")));
    assert_eq!(proxy.metric("proxy_discovery_unusable{upstream=\"found\"}"), 1.0);
    put("users-1", &record("1.5.0", "grpc").to_string());
    wait_until("the new version is known", || said()["metadata"]["version"] == "1.5.0");
    wait_until("it is said that HTTP/1.1 is not what it speaks", || proxy.log().contains("wants HTTP/2"));
}
