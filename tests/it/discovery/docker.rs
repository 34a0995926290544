//! A Docker daemon as a registry: a real dockerd in a network of its own, in which the proxy and the
//! test run too.
//!
//! For the sentences about registries containers sleep, and the endpoints of the test answer at their
//! addresses: the network of the containers is this machine's own. For the sentences about
//! containers the Go service answers in them.

mod daemon;
mod pretender;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::harness::Authority;

use daemon::{Daemon, with_daemon};
use pretender::Pretender;

/// Containers that sleep, each with the address of an endpoint of the test.
struct Containers {
    daemon: Daemon,
    socket: String,
}

impl Containers {
    fn of(daemon: Daemon) -> Containers {
        let route = ["route", "add", "local", "10.9.0.0/16", "dev", "lo"];
        let added = Command::new("ip").args(route).status().expect("ip can be run");
        assert!(added.success());
        let socket = format!("unix:{}", daemon.socket().display());
        let containers = Containers { daemon, socket };
        containers.make_network();
        containers
    }

    fn make_network(&self) {
        let pool = json!({ "Subnet": "10.9.0.0/16", "Gateway": "10.9.255.254" });
        let network = json!({ "Name": "fleet", "IPAM": { "Config": [pool] } });
        self.daemon.must("POST", "/networks/create", &network);
    }
}

fn name(place: SocketAddr) -> String {
    format!("at-{}", place.ip())
}

impl Registry for Containers {
    fn discover(&self) -> String {
        format!("{{ docker = {{ socket = \"{}\", label = \"tidegate.service=found\" }} }}", self.socket)
    }

    fn register(&mut self, place: SocketAddr) {
        let (name, ip) = (name(place), place.ip().to_string());
        let start = format!("/containers/{name}/start");
        let (status, _) = self.daemon.ask("POST", &start, &Value::Null);
        if status == 404 {
            let address = json!({ "fleet": { "IPAMConfig": { "IPv4Address": ip } } });
            let more = json!({
                "Labels": { "tidegate.service": "found", "tidegate.port": place.port().to_string() },
                "HostConfig": { "NetworkMode": "fleet" },
                "NetworkingConfig": { "EndpointsConfig": address },
            });
            self.daemon.create(&name, &["/busybox", "sleep", "600"], more);
            self.daemon.tell(&name, "start");
        }
    }

    fn deregister(&mut self, place: SocketAddr) {
        self.daemon.tell(&name(place), "kill");
    }

    fn kill(&mut self) {
        self.daemon.kill();
    }

    fn restart(&mut self, data: Data) {
        if data == Data::Lost {
            self.daemon.lose();
        }
        self.daemon.restart();
        if data == Data::Lost {
            self.daemon.import();
            self.make_network();
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(200)
    }

    fn endpoints(&self, count: usize) -> Endpoints {
        Endpoints::start_within([10, 9], count)
    }
}

#[test]
fn a_container_that_starts_or_dies_is_noticed_within_200_ms() {
    with_daemon(&[], |daemon| a_change_is_used_within_the_limit(&mut Containers::of(daemon)));
}

#[test]
fn containers_that_come_and_go_under_load_fail_nothing() {
    with_daemon(&[], |daemon| changes_under_load_fail_nothing(&mut Containers::of(daemon), 5));
}

#[test]
#[ignore = "a minute and more: dockerd starts two containers a second"]
fn a_hundred_containers_that_come_and_go_under_load_fail_nothing() {
    with_daemon(&[], |daemon| a_hundred_changes_under_load_fail_nothing(&mut Containers::of(daemon)));
}

#[test]
fn a_daemon_that_is_killed_and_restarted_fails_nothing() {
    with_daemon(&[], |daemon| an_outage_fails_nothing(&mut Containers::of(daemon), Data::Kept));
}

#[test]
fn a_daemon_that_comes_back_without_containers_fails_nothing() {
    with_daemon(&[], |daemon| an_outage_fails_nothing(&mut Containers::of(daemon), Data::Lost));
}

#[test]
fn a_start_without_the_daemon_uses_the_last_containers() {
    with_daemon(&[], |daemon| {
        a_start_without_the_registry_uses_the_last_endpoints(&mut Containers::of(daemon));
    });
}

#[test]
fn a_thousand_containers_are_found() {
    a_thousand_endpoints_are_found(&mut Pretender::start());
}

#[test]
fn faults_of_a_daemon_are_told_once_and_touch_nothing() {
    // Taken before the thread is in the network of the daemon; nobody else is there.
    let address = crate::harness::free_address();
    with_daemon(&["--host", &format!("tcp://{address}")], |daemon| {
        let mut containers = Containers::of(daemon);
        let relay = Relay::before(address);
        containers.socket = format!("http://{}", relay.address);
        faults_are_told_once_and_touch_nothing(&mut containers, &relay);
    });
}

#[test]
fn a_daemon_is_asked_over_tls_and_a_wrong_authority_touches_nothing() {
    let (directory, address) = (TempDir::new().expect("a directory"), crate::harness::free_address());
    let (right, wrong) = (Authority::new("right"), Authority::new("wrong"));
    let path = |name: &str| directory.path().join(name).display().to_string();
    crate::harness::replace(&directory.path().join("right.pem"), &right.pem());
    crate::harness::replace(&directory.path().join("wrong.pem"), &wrong.pem());
    right.sign(&["127.0.0.1"]).write(directory.path(), "daemon");
    right.sign(&["proxy"]).write(directory.path(), "proxy");
    let host = format!("tcp://{address}");
    let (ca, cert, key) = (path("right.pem"), path("daemon.pem"), path("daemon.key"));
    let options = ["--host", &host, "--tlsverify", "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key];
    with_daemon(&options, |daemon| {
        daemon.service("one", json!({}));
        let config = |ca: &str| {
            let (ca, cert, key) = (path(ca), path("proxy.pem"), path("proxy.key"));
            let tls = format!("{{ ca = \"{ca}\", client_cert = \"{cert}\", client_key = \"{key}\" }}");
            let socket = format!("https://{address}");
            config(&format!(
                "{{ docker = {{ socket = \"{socket}\", label = \"tidegate.service=found\", tls = {tls} }} }}"
            ))
        };
        let proxy = Proxy::start(&config("right.pem"));
        wait_until("the container answers", || proxy.get("/").status == 200);
        proxy.reload_with(&config("wrong.pem"));
        wait_until("it is counted", || failures(&proxy, "tls") >= 2.0);
        assert_eq!((told(&proxy, "tls"), known(&proxy)), (1, 1), "{}", proxy.log());
        assert_eq!(proxy.get("/").status, 200);
    });
}

/// A proxy before the containers of the daemon.
fn proxy_before(daemon: &Daemon) -> Proxy {
    let socket = daemon.socket();
    let label = "tidegate.service=found";
    let docker = format!("{{ docker = {{ socket = \"unix:{}\", label = \"{label}\" }} }}", socket.display());
    Proxy::start(&config(&docker))
}

#[track_caller]
fn wait_for(proxy: &Proxy, count: usize, when: &str) {
    wait_until(&format!("{count} are used when {when}"), || known(proxy) == count);
}

#[test]
fn a_container_is_used_while_it_runs_is_not_paused_and_in_a_network() {
    with_daemon(&[], |daemon| {
        daemon.service("one", json!({}));
        daemon.service("two", json!({}));
        let proxy = proxy_before(&daemon);
        wait_for(&proxy, 2, "both run");
        daemon.tell("one", "pause");
        wait_for(&proxy, 1, "one is paused");
        daemon.tell("one", "unpause");
        wait_for(&proxy, 2, "it goes on");
        let one = json!({ "Container": "one" });
        daemon.must("POST", "/networks/bridge/disconnect", &one);
        wait_for(&proxy, 1, "one is disconnected");
        daemon.must("POST", "/networks/bridge/connect", &one);
        wait_for(&proxy, 2, "it is connected again");
        daemon.tell("one", "kill");
        wait_for(&proxy, 1, "one is killed");
        daemon.tell("one", "start");
        wait_for(&proxy, 2, "it is started again");
        daemon.create("other", &["/hello"], json!({ "Labels": { "tidegate.service": "other" } }));
        daemon.tell("other", "start");
        daemon.service("three", json!({}));
        wait_for(&proxy, 3, "another with the label is there, and one without");
    });
}

#[test]
fn a_container_with_a_health_check_is_used_while_that_passes() {
    with_daemon(&[], |daemon| {
        let check = json!({ "Healthcheck": {
            "Test": ["CMD", "/busybox", "test", "-e", "/fit"],
            "Interval": 200_000_000, "Timeout": 5_000_000_000_u64, "Retries": 1,
        } });
        daemon.service("plain", json!({}));
        daemon.service("checked", check);
        let proxy = proxy_before(&daemon);
        wait_for(&proxy, 1, "the check has not passed");
        daemon.run_in("checked", &["/busybox", "touch", "/fit"]);
        wait_for(&proxy, 2, "it has passed");
        daemon.run_in("checked", &["/busybox", "rm", "/fit"]);
        wait_for(&proxy, 1, "it fails");
    });
}

#[test]
fn a_container_that_is_told_to_stop_is_left_before_it_ends() {
    with_daemon(&[], |daemon| {
        daemon.service("one", json!({}));
        let stubborn = "trap : TERM; while :; do /busybox sleep 0.1; done";
        daemon.create("stubborn", &["/busybox", "sh", "-c", stubborn], json!({}));
        daemon.tell("stubborn", "start");
        let proxy = proxy_before(&daemon);
        wait_for(&proxy, 2, "both run");
        daemon.tell("stubborn", "kill?signal=SIGHUP");
        daemon.tell("stubborn", "kill?signal=SIGTERM");
        wait_for(&proxy, 1, "one has been told to end");
        let state = daemon.must("GET", "/containers/stubborn/json", &Value::Null);
        assert_eq!(state["State"]["Running"], true);
    });
}

#[track_caller]
fn answers_by_name(proxy: &Proxy, name: &str) {
    let mut client = proxy.client();
    wait_until(&format!("{name} answers"), || client.get("/").field("x-instance") == Some(name));
}

#[test]
fn services_that_are_added_stopped_and_restarted_under_load_fail_nothing() {
    with_daemon(&[], |daemon| {
        daemon.service("one", json!({}));
        daemon.service("two", json!({}));
        let proxy = proxy_before(&daemon);
        wait_for(&proxy, 2, "both run");
        let load = Load::start(&proxy, 500);
        daemon.service("three", json!({}));
        wait_for(&proxy, 3, "a third is started");
        answers_by_name(&proxy, "three");
        daemon.tell("one", "stop");
        // One after another: without a health check a container counts from its start.
        for name in ["two", "three"] {
            daemon.tell(name, "restart");
            answers_by_name(&proxy, name);
        }
        wait_for(&proxy, 2, "one is stopped and two have been restarted");
        load.assert_nothing_failed(&proxy);
    });
}
