//! A registry over HTTP: a small one of our own that speaks http_sd of Prometheus with ETags, behind
//! a relay that breaks it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::harness::{Authority, Origin, replace};

type Places = Arc<Mutex<BTreeSet<SocketAddr>>>;

/// A registry that is asked ten times a second.
struct HttpRegistry {
    places: Places,
    server: Origin,
    relay: Arc<Relay>,
}

impl HttpRegistry {
    fn new() -> HttpRegistry {
        let places = Places::default();
        let shown = places.clone();
        let server = Origin::answering(move |request| {
            let targets: Vec<String> =
                shown.lock().expect("no panic holds it").iter().map(ToString::to_string).collect();
            let body = serde_json::json!([{ "targets": targets, "labels": { "job": "x" } }]).to_string();
            let etag = format!("\"{:x}\"", digest(&body));
            match request.field("if-none-match") == Some(&etag) {
                true => b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(),
                false => {
                    format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                        .into_bytes()
                }
            }
        });
        let relay = Arc::new(Relay::before(server.address));
        HttpRegistry { places, server, relay }
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<SocketAddr>)) {
        change(&mut self.places.lock().expect("no panic holds it"));
    }
}

/// Tells contents apart.
fn digest(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Registry for HttpRegistry {
    fn discover(&self) -> String {
        let url = format!("http://{}/sd", self.relay.address);
        format!("{{ http = {{ url = \"{url}\", interval = \"100ms\", timeout = \"500ms\" }} }}")
    }

    fn register(&mut self, place: SocketAddr) {
        self.change(|places| {
            places.insert(place);
        });
    }

    fn deregister(&mut self, place: SocketAddr) {
        self.change(|places| {
            places.remove(&place);
        });
    }

    fn kill(&mut self) {
        self.server.stop();
    }

    fn restart(&mut self, data: Data) {
        if data == Data::Lost {
            self.change(BTreeSet::clear);
        }
        self.server.start();
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(1)
    }
}

#[test]
fn a_change_of_a_registry_is_used_within_a_second() {
    a_change_is_used_within_the_limit(&mut HttpRegistry::new());
}

#[test]
fn a_hundred_changes_of_a_registry_under_load_fail_nothing() {
    a_hundred_changes_under_load_fail_nothing(&mut HttpRegistry::new());
}

#[test]
fn a_registry_that_is_killed_and_restarted_fails_nothing() {
    an_outage_fails_nothing(&mut HttpRegistry::new(), Data::Kept);
}

#[test]
fn a_registry_that_comes_back_empty_fails_nothing() {
    an_outage_fails_nothing(&mut HttpRegistry::new(), Data::Lost);
}

#[test]
fn a_start_without_the_registry_serves() {
    a_start_without_the_registry_uses_the_last_endpoints(&mut HttpRegistry::new());
}

#[test]
fn a_thousand_endpoints_of_a_registry_are_found() {
    a_thousand_endpoints_are_found(&mut HttpRegistry::new());
}

#[test]
fn faults_of_a_registry_are_told_once_and_touch_nothing() {
    let mut registry = HttpRegistry::new();
    let relay = registry.relay.clone();
    faults_are_told_once_and_touch_nothing(&mut registry, &relay);
}

/// Answers one list, to whoever shows this token.
fn guarded(token: &'static str, place: SocketAddr) -> Origin {
    let body = serde_json::json!([place.to_string()]).to_string();
    Origin::answering(move |request| match request.field("authorization") == Some(token) {
        true => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes(),
        false => b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 8\r\n\r\nno token".to_vec(),
    })
}

#[test]
fn a_wrong_token_is_told_once_and_a_new_one_is_read_by_itself() {
    let endpoints = Endpoints::start(1);
    let registry = guarded("Bearer right", endpoints.place(0));
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "wrong").expect("the directory is ours");
    let proxy = Proxy::start(&config(&format!(
        "{{ http = {{ url = \"http://{}/\", interval = \"100ms\", token_file = \"{}\" }} }}",
        registry.address,
        file.display()
    )));
    wait_until("it is refused twice", || failures(&proxy, "denied") >= 2.0);
    assert_eq!(told(&proxy, "denied"), 1);
    assert!(!proxy.log().contains("wrong"), "no token is in the log");
    replace(&file, "right\n");
    answers(&proxy, endpoints.place(0));
}

#[test]
fn only_the_authority_that_is_named_is_believed() {
    let endpoints = Endpoints::start(1);
    let registry = guarded("Bearer x", endpoints.place(0));
    let (right, wrong) = (Authority::new("right"), Authority::new("wrong"));
    let front = TlsFront::before(registry.address, &right.sign(&["127.0.0.1"]));
    let directory = TempDir::new().expect("a directory");
    let (ca, token) = (directory.path().join("ca.pem"), directory.path().join("token"));
    replace(&ca, &wrong.pem());
    replace(&token, "x");
    let proxy = Proxy::start(&config(&format!(
        "{{ http = {{ url = \"https://{}/\", interval = \"100ms\", token_file = \"{}\", tls = {{ ca = \"{}\" }} }} }}",
        front.address,
        token.display(),
        ca.display()
    )));
    wait_until("it is not believed", || failures(&proxy, "tls") >= 2.0);
    assert_eq!(told(&proxy, "tls"), 1);
    assert!(registry.requests().is_empty(), "a stranger is not shown the token");
    replace(&ca, &right.pem());
    answers(&proxy, endpoints.place(0));
}
