//! A real fleet: Go services, three instances each, killed, restarted and moved under load.
//!
//! `scripts/build-fixtures` builds the services; without them the tests say that they did not run,
//! and fail when `TIDEGATE_REQUIRE_REAL` is set.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Client, Proxy, curl, free_address, pass, wait_until};

/// One running instance of a service.
struct Instance {
    service: &'static str,
    name: String,
    address: SocketAddr,
    child: Child,
}

/// Where the services are: what `TIDEGATE_FIXTURES` names, else where `scripts/build-fixtures`
/// puts them. `None`, said aloud, when they were not built.
fn fixtures() -> Option<PathBuf> {
    let target =
        std::path::Path::new(env!("CARGO_BIN_EXE_tidegate")).ancestors().nth(2).expect("target/PROFILE/");
    let directory =
        std::env::var_os("TIDEGATE_FIXTURES").map_or_else(|| target.join("fixtures"), PathBuf::from);
    if directory.join("users").exists() {
        return Some(directory);
    }
    assert!(
        std::env::var_os("TIDEGATE_REQUIRE_REAL").is_none_or(|value| value == "0" || value.is_empty()),
        "no Go services in {}; run scripts/build-fixtures",
        directory.display()
    );
    // Past the capture of the harness: a test that did not run shall be seen.
    let line = format!("SKIPPED: no Go services in {}; run scripts/build-fixtures\n", directory.display());
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).expect("standard error is writable");
    None
}

impl Instance {
    fn start(service: &'static str, number: usize) -> Option<Instance> {
        let (name, address) = (format!("{service}-{number}"), free_address());
        let child = spawn(service, &name, address)?;
        Some(Instance { service, name, address, child })
    }

    /// Ends it like a crash.
    fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Ends it politely and waits.
    fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("our own child");
        self.child.wait().expect("our own child");
    }

    fn start_again(&mut self) {
        self.child = spawn(self.service, &self.name, self.address).expect("the service was there before");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _may_have_ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn spawn(service: &str, name: &str, address: SocketAddr) -> Option<Child> {
    spawn_with(service, name, address, &[])
}

/// Starts a service with these further arguments and waits until it says that it listens.
pub fn spawn_with(service: &str, name: &str, address: SocketAddr, more: &[&str]) -> Option<Child> {
    let mut child = Command::new(fixtures()?.join(service))
        .args(["-listen", &address.to_string(), "-name", name])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the service can be started");
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("it says where it listens");
    assert!(line.starts_with("listening "), "{service} said {line:?}");
    Some(child)
}

/// Three instances of a service.
fn three(service: &'static str) -> Option<[Instance; 3]> {
    Some([Instance::start(service, 1)?, Instance::start(service, 2)?, Instance::start(service, 3)?])
}

/// The upstream of a service, checked every 100 ms.
fn upstream(instances: &[Instance]) -> String {
    let name = instances[0].service;
    let endpoints: Vec<_> = instances.iter().map(|instance| format!("\"{}\"", instance.address)).collect();
    // The service `users` has its name in its paths.
    let prefix = if name == "users" { String::new() } else { format!("/{name}") };
    format!(
        "[[route]]\nname = \"{name}\"\npath = [\"/{name}\", \"/{name}/*\"]\nstrip_prefix = \"{prefix}\"\nto = \"{name}\"\n\
         [upstream.{name}]\nendpoints = [{}]\nhealth = {{ interval = \"100ms\", unhealthy = 2 }}\n\
         budget = {{ retry = \"20%\", min_per_second = 100 }}\n",
        endpoints.join(", ")
    )
}

#[test]
fn three_services_are_reached_over_http_1_http_2_and_tls() {
    let (Some(hello), Some(users), Some(auth)) = (three("hello"), three("users"), three("auth")) else {
        return;
    };
    let secure = free_address();
    let proxy = Proxy::start(&format!(
        "{}{}{}[listener.secure]\nbind = \"{secure}\"\ntls = {{ self_signed = [\"localhost\"] }}\n",
        upstream(&hello),
        upstream(&users),
        upstream(&auth)
    ));
    let plain = format!("http://{}", proxy.web);
    let tls = format!("https://localhost:{}", secure.port());
    let ways = [
        (&plain, vec!["--http1.1"]),
        (&plain, vec!["--http2-prior-knowledge"]),
        (&tls, vec!["--insecure", "-4", "--http1.1"]),
        (&tls, vec!["--insecure", "-4", "--http2"]),
    ];
    for (number, (base, options)) in ways.iter().enumerate() {
        let ask = |path: &str, more: &[&str]| {
            let url = format!("{base}{path}");
            curl(&[&options[..], more, &[&url]].concat())
                .unwrap_or_else(|error| panic!("{url} {options:?}: {error}"))
        };
        let got = ask("/hello/any%20path", &[]);
        let greeting: Value = serde_json::from_str(&got.body).expect("JSON");
        assert_eq!((got.status, greeting["path"].as_str()), (200, Some("/any%20path")));
        let user = format!("{{\"id\":\"way-{number}\",\"name\":\"x\"}}");
        assert_eq!(ask("/users", &["--json", &user]).status, 201);
        assert_eq!(ask("/users/1", &[]).status, 200);
        let got = ask("/auth/token", &["--json", "{\"user\":\"ada\",\"password\":\"lovelace\"}"]);
        let token: Value = serde_json::from_str(&got.body).expect("JSON");
        let bearer = format!("Authorization: Bearer {}", token["token"].as_str().expect("a token"));
        let got = ask("/auth/verify", &["--header", &bearer]);
        assert!(got.status == 200 && got.heads.to_lowercase().contains("x-user: ada"), "{got:?}");
        let got = ask("/hello/events?count=3&every_ms=5", &[]);
        assert_eq!(got.body.matches("data:").count(), 3, "{got:?}");
    }
    let seen: BTreeSet<_> =
        (0..30).filter_map(|_| proxy.get("/hello/").field("x-instance").map(str::to_owned)).collect();
    assert_eq!(seen.len(), 3, "only {seen:?} were asked");
}

/// What a client that never rests saw.
#[derive(Default)]
struct Seen {
    created: u32,
    failures: Vec<String>,
}

/// Creates users one after another until told to end, at most 200 a second.
fn create_users(proxy: &Proxy, client: usize, ends: &Arc<AtomicBool>) -> std::thread::JoinHandle<Seen> {
    let (ends, mut connection) = (ends.clone(), Client::connect(proxy.web));
    std::thread::spawn(move || {
        let mut seen = Seen::default();
        while !ends.load(Ordering::Relaxed) {
            let body = format!("{{\"id\":\"{client}-{}\",\"name\":\"x\"}}", seen.created);
            connection.send(format!(
                "POST /users HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
            let answer = connection.response();
            seen.created += 1;
            if answer.status != 201 {
                seen.failures.push(format!("{} {}", answer.status, answer.reason()));
            }
            let answer = connection.get("/users/1");
            if answer.status != 200 {
                seen.failures.push(format!("GET {} {}", answer.status, answer.reason()));
            }
            pass(Duration::from_millis(5));
        }
        seen
    })
}

/// The failures of all clients, and how many users they have created.
fn joined(clients: Vec<std::thread::JoinHandle<Seen>>) -> (Vec<String>, u32) {
    let seen: Vec<_> = clients.into_iter().map(|client| client.join().expect("no panic")).collect();
    let created = seen.iter().map(|seen| seen.created).sum();
    assert!(created > 50, "there was hardly any load: {created}");
    (seen.into_iter().flat_map(|seen| seen.failures).collect(), created)
}

#[test]
fn a_rolling_restart_through_the_file_costs_no_request() {
    let Some(mut users) = three("users") else { return };
    let proxy = Proxy::start(&upstream(&users));
    let ends = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3).map(|number| create_users(&proxy, number, &ends)).collect();
    let mut counted = 0;
    for _ in 0..3 {
        users.rotate_left(1);
        proxy.reload_with(&upstream(&users[..2]));
        wait_until("what ran there has ended", || {
            let before = posts(&users[2]);
            pass(Duration::from_millis(50));
            before == posts(&users[2])
        });
        counted += posts(&users[2]);
        users[2].stop();
        users[2].start_again();
        proxy.reload_with(&upstream(&users));
        pass(Duration::from_millis(100));
    }
    ends.store(true, Ordering::Relaxed);
    let (failures, created) = joined(clients);
    assert!(failures.is_empty(), "{failures:?}\n{}", last_lines(&proxy));
    counted += users.iter().map(posts).sum::<u64>();
    assert_eq!(counted, u64::from(created), "a POST was lost or executed twice");
}

#[test]
fn an_endpoint_that_just_stops_costs_no_get_and_at_most_the_posts_on_their_way() {
    let Some(mut users) = three("users") else { return };
    let proxy = Proxy::start(&upstream(&users));
    wait_until("all are healthy", || proxy.states("users").iter().all(|state| state == "healthy"));
    let ends = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3).map(|number| create_users(&proxy, number, &ends)).collect();
    for instance in &mut users {
        pass(Duration::from_millis(200));
        instance.stop();
        pass(Duration::from_millis(200));
        instance.start_again();
        wait_until("it is back", || proxy.states("users").iter().all(|state| state == "healthy"));
    }
    ends.store(true, Ordering::Relaxed);
    let (failures, _) = joined(clients);
    // A POST that met the closing connection may have been executed, so it is not repeated.
    let are_expected = failures.iter().all(|failure| failure == "502 upstream_reset_before_headers");
    assert!(are_expected && failures.len() <= 3 * 3, "{failures:?}\n{}", last_lines(&proxy));
}

#[test]
fn a_crash_costs_only_the_posts_that_it_was_executing() {
    let Some(mut users) = three("users") else { return };
    let proxy = Proxy::start(&upstream(&users));
    wait_until("all are healthy", || proxy.states("users").iter().all(|state| state == "healthy"));
    let ends = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3).map(|number| create_users(&proxy, number, &ends)).collect();
    pass(Duration::from_millis(300));
    users[0].kill();
    pass(Duration::from_millis(300));
    users[0].start_again();
    pass(Duration::from_millis(300));
    ends.store(true, Ordering::Relaxed);
    let (failures, _) = joined(clients);
    // A POST that was being executed is lost with its endpoint; nothing may execute it again.
    assert!(failures.len() <= 3, "{failures:?}\n{}", last_lines(&proxy));
    assert!(
        failures.iter().all(|failure| failure.starts_with("502 upstream_")),
        "{failures:?}\n{}",
        last_lines(&proxy)
    );
}

#[test]
fn endpoints_are_moved_under_load_and_every_post_is_executed_once() {
    let (Some(mut users), Some(other)) = (three("users"), Instance::start("users", 4)) else { return };
    let proxy = Proxy::start(&upstream(&users));
    let ends = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3).map(|number| create_users(&proxy, number, &ends)).collect();
    pass(Duration::from_millis(200));
    let generation = proxy.generation();
    proxy.rewrite(&upstream(std::slice::from_ref(&other)));
    wait_until("the edited file is live", || proxy.generation() > generation);
    pass(Duration::from_millis(300));
    let before: u64 = users.iter().map(posts).sum();
    users.iter_mut().for_each(Instance::stop);
    pass(Duration::from_millis(200));
    ends.store(true, Ordering::Relaxed);
    let (failures, created) = joined(clients);
    assert!(failures.is_empty(), "{failures:?}\n{}", last_lines(&proxy));
    assert!(before > 0 && posts(&other) > 0, "one of the two fleets was never asked");
    assert_eq!(before + posts(&other), u64::from(created), "a POST was lost or executed twice");
}

/// How many POSTs an instance has executed.
fn posts(instance: &Instance) -> u64 {
    let mut client = Client::connect(instance.address);
    let stats: Value = serde_json::from_slice(&client.get("/users/stats").body()).expect("JSON");
    stats["posts"].as_u64().unwrap_or_else(|| panic!("no count in {stats}"))
}

/// The access lines of failures, for the message of a failure.
fn last_lines(proxy: &Proxy) -> String {
    let told: Vec<_> =
        proxy.access_lines().into_iter().filter(|line| line.contains("\"status\":5")).collect();
    told.join("\n")
}
