//! A real Consul: agents and the catalog, checks, tags, ACLs that deny by default, TLS, restarts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::call::{call, try_call};
use super::*;
use crate::harness::services::{Process, provisioned};
use crate::harness::{Authority, free_address, replace};

/// The token that may do everything, where there are any.
const MASTER: &str = "the-master-token";

/// A Consul server that is its own agent, behind a relay, and also listens with TLS.
struct Consul {
    program: PathBuf,
    directory: TempDir,
    address: SocketAddr,
    secure: SocketAddr,
    inner: [SocketAddr; 2],
    process: Option<Process>,
    relay: Arc<Relay>,
    acl: bool,
    /// More options of the source.
    options: String,
}

impl Consul {
    /// A running one; `None`, said aloud, when it is not there.
    fn start() -> Option<Consul> {
        Consul::start_with(false)
    }

    /// The same that wants tokens.
    fn start_with_acl() -> Option<Consul> {
        Consul::start_with(true)
    }

    fn start_with(acl: bool) -> Option<Consul> {
        let program = provisioned("registries/consul")?;
        let (directory, address) = (TempDir::new().expect("a directory"), free_address());
        let authority = Authority::new("registry");
        authority.sign(&["127.0.0.1"]).write(directory.path(), "server");
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("the directory is ours");
        let other = Authority::new("somebody else").pem();
        std::fs::write(directory.path().join("other.pem"), other).expect("the directory is ours");
        let mut consul = Consul {
            program,
            directory,
            address,
            secure: free_address(),
            inner: [free_address(), free_address()],
            process: None,
            relay: Arc::new(Relay::before(address)),
            acl,
            options: String::new(),
        };
        consul.configure();
        consul.run();
        Some(consul)
    }

    fn configure(&self) {
        let mut config = json!({
            "server": true, "bootstrap_expect": 1, "node_name": "n1", "data_dir": self.path("data"),
            "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1", "disable_update_check": true,
            "performance": { "raft_multiplier": 1 },
            "cert_file": self.path("server.pem"), "key_file": self.path("server.key"),
            "ports": { "http": self.address.port(), "https": self.secure.port(), "dns": -1, "grpc": -1,
                "server": self.inner[0].port(), "serf_lan": self.inner[1].port(), "serf_wan": -1 },
        });
        if self.acl {
            config["acl"] = json!({ "enabled": true, "default_policy": "deny", "tokens": { "master": MASTER, "agent": MASTER } });
        }
        std::fs::write(self.path("consul.json"), config.to_string()).expect("the directory is ours");
    }

    fn run(&mut self) {
        let log = std::fs::File::create(self.path("log")).expect("the directory is ours");
        let child = Command::new(&self.program)
            .args(["agent", "-config-file"])
            .arg(self.path("consul.json"))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("Consul can be started");
        self.process = Some(Process(child));
        // The ACLs begin to hold a moment after there is a leader.
        let ready = if self.acl { "GET /v1/acl/tokens" } else { "GET /v1/health/service/consul" };
        wait_until("Consul has a leader", || {
            try_call(self.address, ready, self.token(), &Value::Null).is_some_and(|answer| {
                answer.status == 200 && answer.field("x-consul-knownleader") != Some("false")
            })
        });
    }

    fn token(&self) -> Option<(&str, &str)> {
        self.acl.then_some(("X-Consul-Token", MASTER))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn put(&self, path: &str, body: Value) -> Value {
        let answer = call(self.address, &format!("PUT {path}"), self.token(), &body);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_str(&answer.text()).unwrap_or_default()
    }

    /// Registers an instance with the agent.
    fn register_with(&self, place: SocketAddr, more: Value) {
        let mut service = json!({ "Name": "users", "ID": place.to_string(),
            "Address": place.ip().to_string(), "Port": place.port() });
        service.as_object_mut().expect("it is a table").extend(more.as_object().cloned().unwrap_or_default());
        self.put("/v1/agent/service/register", service);
    }

    /// A token that may read what these rules say.
    fn token_with(&self, name: &str, rules: &str) -> String {
        self.put("/v1/acl/policy", json!({ "Name": name, "Rules": rules }));
        let token = self.put("/v1/acl/token", json!({ "Policies": [{ "Name": name }] }));
        token["SecretID"].as_str().expect("a token has a secret").to_owned()
    }
}

fn discover(address: &str, options: &str) -> String {
    format!(
        "{{ consul = {{ address = \"{address}\", service = \"users\", wait = \"2s\", timeout = \"2s\"{options} }} }}"
    )
}

impl Registry for Consul {
    fn discover(&self) -> String {
        discover(&format!("http://{}", self.relay.address), &self.options)
    }

    fn register(&mut self, place: SocketAddr) {
        self.register_with(place, json!({}));
    }

    fn deregister(&mut self, place: SocketAddr) {
        self.put(&format!("/v1/agent/service/deregister/{place}"), Value::Null);
    }

    /// Many are put into the catalog by transactions, as of nodes without an agent.
    fn register_all(&mut self, places: &[SocketAddr]) {
        if places.len() < 10 {
            return places.iter().for_each(|place| self.register(*place));
        }
        let node = json!({ "Node": { "Verb": "set", "Node": { "Node": "fleet", "Address": "127.0.0.1" } } });
        self.put("/v1/txn", json!([node]));
        for some in places.chunks(60) {
            let services = some.iter().map(|place| {
                json!({ "Service": { "Verb": "set", "Node": "fleet", "Service": { "Service": "users",
                    "ID": place.to_string(), "Address": place.ip().to_string(), "Port": place.port() } } })
            });
            self.put("/v1/txn", services.collect());
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
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(200)
    }
}

#[test]
fn a_change_in_consul_is_used_within_200_ms() {
    let Some(mut consul) = Consul::start() else { return };
    a_change_is_used_within_the_limit(&mut consul);
}

#[test]
fn a_hundred_changes_in_consul_under_load_fail_nothing() {
    let Some(mut consul) = Consul::start() else { return };
    a_hundred_changes_under_load_fail_nothing(&mut consul);
}

#[test]
fn a_consul_that_is_killed_and_restarted_fails_nothing() {
    let Some(mut consul) = Consul::start() else { return };
    an_outage_fails_nothing(&mut consul, Data::Kept);
}

#[test]
fn a_consul_that_comes_back_empty_fails_nothing() {
    let Some(mut consul) = Consul::start() else { return };
    an_outage_fails_nothing(&mut consul, Data::Lost);
}

#[test]
fn a_start_without_consul_serves() {
    let Some(mut consul) = Consul::start() else { return };
    a_start_without_the_registry_uses_the_last_endpoints(&mut consul);
}

#[test]
fn a_thousand_endpoints_in_consul_are_found() {
    let Some(mut consul) = Consul::start() else { return };
    a_thousand_endpoints_are_found(&mut consul);
}

#[test]
fn faults_of_consul_are_told_once_and_touch_nothing() {
    let Some(mut consul) = Consul::start() else { return };
    let relay = consul.relay.clone();
    faults_are_told_once_and_touch_nothing(&mut consul, &relay);
}

#[test]
fn an_instance_that_goes_critical_leaves_and_comes_back() {
    let Some(consul) = Consul::start() else { return };
    let endpoints = Endpoints::start(2);
    for number in 0..2 {
        let check = json!({ "CheckID": format!("c{number}"), "TTL": "60s", "Status": "passing" });
        consul.register_with(endpoints.place(number), json!({ "Check": check }));
    }
    let proxy = proxy(&consul);
    answers(&proxy, endpoints.place(1));
    let load = Load::start(&proxy, 100);
    for (verdict, count) in [("warn", 1), ("pass", 2), ("fail", 1), ("pass", 2)] {
        consul.put(&format!("/v1/agent/check/{verdict}/c1"), Value::Null);
        wait_until(&format!("{count} are left after {verdict}"), || known(&proxy) == count);
    }
    load.assert_nothing_failed(&proxy);
}

#[test]
fn tags_choose_instances_which_bring_weight_zone_and_version() {
    let Some(mut consul) = Consul::start() else { return };
    let endpoints = Endpoints::start(3);
    let meta = json!({ "zone": "a", "version": "1.4.0" });
    let weights = json!({ "Passing": 3, "Warning": 1 });
    let both = json!({ "Tags": ["blue", "v 2"], "Meta": meta, "Weights": weights });
    consul.register_with(endpoints.place(0), both);
    consul.register_with(endpoints.place(1), json!({ "Tags": ["blue"] }));
    consul.register_with(endpoints.place(2), json!({ "Tags": ["v 2"] }));
    consul.options = ", tag = [\"blue\", \"v 2\"], datacenter = \"dc1\"".to_owned();
    let proxy = proxy(&consul);
    answers(&proxy, endpoints.place(0));
    assert_eq!(known(&proxy), 1);
    let said = proxy.status()["upstreams"][0]["endpoints"][0].clone();
    let words = (said["zone"].as_str(), said["metadata"]["version"].as_str());
    assert_eq!((said["weight"].as_u64(), words), (Some(3), (Some("a"), Some("1.4.0"))));
}

#[test]
fn consul_with_acls_is_read_with_a_token_and_a_wrong_one_touches_nothing() {
    let Some(mut consul) = Consul::start_with_acl() else { return };
    let endpoints = Endpoints::start(2);
    consul.register(endpoints.place(0));
    let rules = "service \"users\" { policy = \"read\" } node_prefix \"\" { policy = \"read\" }";
    let (right, other) =
        (consul.token_with("users", rules), consul.token_with("other", "key \"a\" { policy = \"read\" }"));
    let file = consul.path("token");
    replace(&file, &right);
    consul.options = format!(", token_file = \"{}\"", file.display());
    let proxy = proxy(&consul);
    answers(&proxy, endpoints.place(0));
    let load = Load::start(&proxy, 100);
    // Unknown; known but without the right; none: to the last two Consul says 200 and an empty list.
    for (number, wrong) in ["nonsense", &other, ""].into_iter().enumerate() {
        let before = failures(&proxy, "denied");
        replace(&file, wrong);
        wait_until("it is denied", || failures(&proxy, "denied") >= before + 2.0);
        assert_eq!((told(&proxy, "denied"), known(&proxy)), (number + 1, 1), "{}", proxy.log());
        replace(&file, &right);
        works_again(&proxy, &format!("token {number}"));
    }
    consul.register(endpoints.place(1));
    answers(&proxy, endpoints.place(1));
    load.assert_nothing_failed(&proxy);
    assert!(!proxy.log().contains(&right), "tokens are not told");
}

#[test]
fn consul_is_followed_over_tls_and_a_wrong_authority_is_told_once() {
    let Some(mut consul) = Consul::start() else { return };
    let endpoints = Endpoints::start(1);
    consul.register(endpoints.place(0));
    let ca = consul.path("used.pem");
    let used = |name: &str| {
        let text = std::fs::read_to_string(consul.path(name)).expect("the directory is ours");
        replace(&ca, &text);
    };
    used("other.pem");
    let options = format!(", tls = {{ ca = \"{}\" }}", ca.display());
    let proxy = Proxy::start(&config(&discover(&format!("https://{}", consul.secure), &options)));
    wait_until("it is not believed", || failures(&proxy, "tls") >= 2.0);
    assert_eq!((told(&proxy, "tls"), known(&proxy)), (1, 0), "{}", proxy.log());
    used("ca.pem");
    answers(&proxy, endpoints.place(0));
    assert!(!is_failing(&proxy));
}
