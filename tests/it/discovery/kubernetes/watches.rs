//! What slices say, and what happens to watches.

use std::sync::mpsc;

use super::*;
use crate::harness::{Origin, replace};

/// Where each endpoint is that the proxy knows.
fn known_places(proxy: &Proxy) -> Vec<String> {
    let status = proxy.status();
    let endpoints = status["upstreams"][0]["endpoints"].as_array().cloned().unwrap_or_default();
    let mut places: Vec<String> =
        endpoints.iter().map(|one| one["name"].as_str().unwrap_or_default().to_owned()).collect();
    places.sort();
    places
}

#[test]
fn conditions_of_all_slices_together_decide() {
    let Some(users) = Users::shared() else { return };
    let endpoint = |address: &str, ready: bool, terminating: bool| {
        json!({
            "addresses": [address], "zone": "eu-1a",
            "conditions": { "ready": ready, "serving": true, "terminating": terminating },
        })
    };
    let ready = |address| endpoint(address, true, false);
    let leaving = |address| endpoint(address, false, true);
    users.put("users-a", &users.slice(80, json!([ready("127.9.9.1"), leaving("127.9.9.2")])));
    users.put("users-b", &users.slice(81, json!([ready("127.9.9.3")])));
    let proxy = proxy(&users);
    wait_until("ready ones of both", || known_places(&proxy) == ["127.9.9.1:80", "127.9.9.3:81"]);
    users.put("users-a", &users.slice(80, json!([leaving("127.9.9.1"), leaving("127.9.9.2")])));
    wait_until("the ready one that is left", || known_places(&proxy) == ["127.9.9.3:81"]);
    users.remove("users-b");
    wait_until("those that leave", || known_places(&proxy) == ["127.9.9.1:80", "127.9.9.2:80"]);
    assert_eq!(failures(&proxy, "invalid"), 0.0);
}

#[test]
fn other_services_of_the_namespace_do_not_count() {
    let Some(users) = Users::shared() else { return };
    let endpoint = |address: &str| json!([{ "addresses": [address] }]);
    let mut other = users.slice(80, endpoint("127.9.9.2"));
    other["metadata"]["labels"]["kubernetes.io/service-name"] = "others".into();
    users.put("others", &other);
    users.put("users", &users.slice(80, endpoint("127.9.9.1")));
    let proxy = proxy(&users);
    wait_until("one", || known_places(&proxy) == ["127.9.9.1:80"]);
    let wrong_port = users.discover().replace("\"http\"", "\"grpc\"");
    proxy.reload_with(&config(&wrong_port));
    wait_until("the port is missed", || failures(&proxy, "invalid") >= 1.0);
    assert!(proxy.log().contains("no port grpc of users, which has [http=80]"), "{}", proxy.log());
    assert_eq!(known(&proxy), 1, "the last endpoints stay");
}

/// An API server of our own, which says what a real one says rarely: each watch gets the next of
/// these texts; a list has the endpoints of as many texts as were told, under that version.
fn scripted(watches: &'static [&'static str]) -> (Origin, mpsc::Receiver<String>) {
    let (asked, told) = mpsc::sync_channel(100);
    let step = AtomicUsize::new(0);
    let origin = Origin::answering(move |request| {
        let target = request.target().to_owned();
        let _test_may_be_over = asked.send(target.clone());
        let chunked = |text: &str| {
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n", text.len())
        };
        if target.contains("watch=true") {
            let text = watches.get(step.fetch_add(1, Ordering::SeqCst)).copied();
            // The last one stays open, as a watch without news does.
            let end = if text.is_some() { "0\r\n\r\n" } else { "" };
            return format!("{}{end}", chunked(text.unwrap_or("\n"))).into_bytes();
        }
        let version = 10 + step.load(Ordering::SeqCst);
        let text = json!({
            "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
            "metadata": { "resourceVersion": version.to_string() },
            "items": [{
                "metadata": { "name": "users-a" }, "addressType": "IPv4",
                "endpoints": [{ "addresses": [format!("127.9.9.{version}")] }],
                "ports": [{ "name": "http", "port": 80 }],
            }],
        });
        format!("{}0\r\n\r\n", chunked(&text.to_string())).into_bytes()
    });
    (origin, told)
}

fn scripted_proxy(origin: &Origin) -> Proxy {
    let directory = TempDir::new().expect("a directory");
    let kubeconfig = format!(
        "current-context: c\nclusters: [{{ name: c, cluster: {{ server: \"http://{}\" }} }}]\n\
         users: [{{ name: c, user: {{}} }}]\n\
         contexts: [{{ name: c, context: {{ cluster: c, user: c, namespace: mine }} }}]\n",
        origin.address
    );
    replace(&directory.path().join("kubeconfig"), &kubeconfig);
    Proxy::start_in(
        directory,
        &config("{ kubernetes = { service = \"users\", kubeconfig = \"kubeconfig\" } }"),
    )
}

/// The query of the next request.
#[track_caller]
fn next(told: &mpsc::Receiver<String>) -> String {
    told.recv_timeout(crate::harness::PATIENCE).expect("the API server is asked")
}

const BOOKMARK: &str = "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"EndpointSlice\",\"apiVersion\":\"discovery.k8s.io/v1\",\
     \"metadata\":{\"resourceVersion\":\"77\",\"creationTimestamp\":null}}}\n";
const GONE: &str = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
     \"message\":\"too old resource version: 77 (1520)\",\"reason\":\"Expired\",\"code\":410}}\n";

#[test]
fn a_watch_that_ends_goes_on_from_the_last_bookmark_and_a_forgotten_version_lists_again() {
    let (origin, told) = scripted(&[BOOKMARK, GONE]);
    let proxy = scripted_proxy(&origin);
    let list = next(&told);
    assert!(list.starts_with("/apis/discovery.k8s.io/v1/namespaces/mine/endpointslices?"), "{list}");
    assert!(list.contains("labelSelector=kubernetes.io%2Fservice-name%3Dusers"), "{list}");
    let watch = next(&told);
    assert!(watch.contains("resourceVersion=10") && watch.contains("allowWatchBookmarks=true"), "{watch}");
    assert!(next(&told).contains("resourceVersion=77"), "it goes on from the bookmark");
    assert!(!next(&told).contains("watch=true"), "410 inside of a 200: all is listed again");
    assert!(next(&told).contains("resourceVersion=12"));
    wait_until("the second list is used", || known_places(&proxy).contains(&"127.9.9.12:80".to_owned()));
    let count = proxy.metric("proxy_discovery_failing{upstream=\"found\"}");
    assert_eq!(count, 0.0, "none of that is a failure:\n{}", proxy.log());
    assert!(!proxy.log().contains("discovery failed"), "{}", proxy.log());
}

#[test]
fn a_list_whose_pages_have_no_end_is_a_failure() {
    let origin = Origin::answering(|_| {
        let text = json!({
            "kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1",
            "metadata": { "resourceVersion": "1", "continue": "more" }, "items": [],
        });
        let text = text.to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
    });
    let proxy = scripted_proxy(&origin);
    wait_until("it is refused", || failures(&proxy, "invalid") >= 1.0);
    assert!(proxy.log().contains("pages of EndpointSlices"), "{}", proxy.log());
}

#[test]
fn a_real_api_server_forgets_versions_as_the_script_says() {
    let Some(users) = Users::shared() else { return };
    users.put("users", &users.slice(80, json!([{ "addresses": ["127.9.9.1"] }])));
    let path = format!("{}?watch=true&timeoutSeconds=1&resourceVersion=1", slices(&users.namespace));
    let (status, told) = users.with(|cluster| cluster.ask("GET", &path, None));
    eprintln!("a forgotten version: {status} {told}");
    let is_told_within = told.contains("\"type\":\"ERROR\"") && told.contains("\"code\":410");
    assert!(status == 200 && is_told_within, "{status} {told}");
}
