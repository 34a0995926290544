//! Endpoints of a Service of Kubernetes, against a real API server.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value, json};

use super::*;

mod access;
mod cluster;
mod manifests;
mod watches;

use cluster::{Cluster, slices, write_kubeconfig};

/// How many endpoints a slice has at most, as the controller of Kubernetes does it.
const SLICE: usize = 100;

/// A Service of a namespace of its own.
struct Users {
    cluster: Arc<Mutex<Cluster>>,
    namespace: String,
    directory: TempDir,
    places: BTreeSet<SocketAddr>,
    /// What was written last, by the name of the slice.
    written: BTreeMap<String, Value>,
}

impl Users {
    /// In a cluster that tests share while one of them runs.
    fn shared() -> Option<Users> {
        static SHARED: Mutex<Weak<Mutex<Cluster>>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let cluster = match shared.upgrade() {
            Some(cluster) => cluster,
            None => Arc::new(Mutex::new(Cluster::start()?)),
        };
        *shared = Arc::downgrade(&cluster);
        drop(shared);
        Some(Users::of(cluster))
    }

    /// In a cluster of its own, which can be killed.
    fn alone() -> Option<Users> {
        Some(Users::of(Arc::new(Mutex::new(Cluster::start()?))))
    }

    fn of(cluster: Arc<Mutex<Cluster>>) -> Users {
        static NAMESPACES: AtomicUsize = AtomicUsize::new(0);
        let namespace = format!("space-{}", NAMESPACES.fetch_add(1, Ordering::Relaxed));
        let directory = TempDir::new().expect("a directory");
        let users =
            Users { cluster, namespace, directory, places: BTreeSet::new(), written: BTreeMap::new() };
        users.admit();
        let address = users.with(|cluster| cluster.address);
        users.write_kubeconfig(&format!("https://{address}"));
        users
    }

    fn with<T>(&self, ask: impl FnOnce(&Cluster) -> T) -> T {
        ask(&self.cluster.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Makes the account of the proxy, with its right and its token.
    fn admit(&self) {
        self.with(|cluster| {
            cluster.make_namespace(&self.namespace);
            cluster.allow(&self.namespace);
        });
        self.renew_token();
    }

    fn renew_token(&self) {
        let token = self.with(|cluster| cluster.token(&self.namespace));
        self.write_token(&token);
    }

    fn write_token(&self, token: &str) {
        // With a line end, as editors and `echo` leave it.
        crate::harness::replace(&self.directory.path().join("token"), &format!("{token}\n"));
    }

    fn write_kubeconfig(&self, server: &str) {
        let user = format!("{{ tokenFile: {} }}", self.directory.path().join("token").display());
        let authority = self.with(|cluster| cluster.file("ca.pem"));
        write_kubeconfig(&self.kubeconfig(), server, &authority, &user);
    }

    fn kubeconfig(&self) -> std::path::PathBuf {
        self.directory.path().join("kubeconfig")
    }

    /// Writes slices as the controller would: of one port and at most a hundred endpoints each.
    fn write(&mut self) {
        let mut ports: BTreeMap<u16, Vec<Value>> = BTreeMap::new();
        for place in &self.places {
            let endpoint = json!({ "addresses": [place.ip()], "conditions": { "ready": true } });
            ports.entry(place.port()).or_default().push(endpoint);
        }
        let mut wanted = BTreeMap::new();
        for (port, endpoints) in &ports {
            for (number, some) in endpoints.chunks(SLICE).enumerate() {
                wanted.insert(format!("users-{port}-{number}"), self.slice(*port, json!(some)));
            }
        }
        for (name, slice) in wanted.iter().filter(|(name, slice)| self.written.get(*name) != Some(*slice)) {
            self.put(name, slice);
        }
        for name in self.written.keys().filter(|name| !wanted.contains_key(*name)) {
            self.remove(name);
        }
        self.written = wanted;
    }

    fn slice(&self, port: u16, endpoints: Value) -> Value {
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "labels": { "kubernetes.io/service-name": "users" } },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{ "name": "http", "protocol": "TCP", "port": port }],
        })
    }

    /// Creates a slice or replaces it.
    fn put(&self, name: &str, slice: &Value) {
        let mut slice = slice.clone();
        slice["metadata"]["name"] = name.into();
        let base = slices(&self.namespace);
        let (status, said) = self.with(|cluster| {
            let path = format!("{base}/{name}");
            let (status, said) = cluster.ask("GET", &path, None);
            if status == 404 {
                return cluster.ask("POST", &base, Some(&slice.to_string()));
            }
            let before: Value = serde_json::from_str(&said).expect("the API speaks JSON");
            slice["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            cluster.ask("PUT", &path, Some(&slice.to_string()))
        });
        assert!(matches!(status, 200 | 201), "{status} {said}");
    }

    fn remove(&self, name: &str) {
        let path = format!("{}/{name}", slices(&self.namespace));
        let (status, said) = self.with(|cluster| cluster.ask("DELETE", &path, None));
        assert_eq!(status, 200, "{said}");
    }
}

impl Registry for Users {
    fn discover(&self) -> String {
        format!(
            "{{ kubernetes = {{ service = \"{}/users\", port = \"http\", kubeconfig = \"{}\", timeout = \"3s\" }} }}",
            self.namespace,
            self.kubeconfig().display()
        )
    }

    fn register(&mut self, place: SocketAddr) {
        self.places.insert(place);
        self.write();
    }

    fn deregister(&mut self, place: SocketAddr) {
        self.places.remove(&place);
        self.write();
    }

    fn register_all(&mut self, places: &[SocketAddr]) {
        self.places.extend(places);
        self.write();
    }

    fn kill(&mut self) {
        self.cluster.lock().expect("no panic holds it").kill_server();
    }

    fn restart(&mut self, data: Data) {
        let mut cluster = self.cluster.lock().expect("no panic holds it");
        if data == Data::Lost {
            cluster.lose_data();
            self.places.clear();
            self.written.clear();
        }
        cluster.start_server();
        drop(cluster);
        if data == Data::Lost {
            self.admit();
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(200)
    }
}

#[test]
fn a_change_of_a_service_is_used_at_once() {
    let Some(mut users) = Users::shared() else { return };
    a_change_is_used_within_the_limit(&mut users);
}

#[test]
fn a_hundred_changes_of_a_service_under_load_fail_nothing() {
    let Some(mut users) = Users::shared() else { return };
    a_hundred_changes_under_load_fail_nothing(&mut users);
}

#[test]
fn an_api_server_that_is_killed_and_restarted_fails_nothing() {
    let Some(mut users) = Users::alone() else { return };
    an_outage_fails_nothing(&mut users, Data::Kept);
}

#[test]
fn a_cluster_that_comes_back_empty_fails_nothing() {
    let Some(mut users) = Users::alone() else { return };
    an_outage_fails_nothing(&mut users, Data::Lost);
}

#[test]
fn a_start_without_the_api_server_serves() {
    let Some(mut users) = Users::alone() else { return };
    a_start_without_the_registry_uses_the_last_endpoints(&mut users);
}

#[test]
fn a_thousand_endpoints_of_a_service_are_found() {
    let Some(mut users) = Users::shared() else { return };
    a_thousand_endpoints_are_found(&mut users);
}

#[test]
fn faults_of_an_api_server_are_told_once_and_touch_nothing() {
    let Some(mut users) = Users::shared() else { return };
    let relay = Relay::before(users.with(|cluster| cluster.front.web));
    users.write_kubeconfig(&format!("http://{}", relay.address));
    faults_are_told_once_and_touch_nothing(&mut users, &relay);
}
