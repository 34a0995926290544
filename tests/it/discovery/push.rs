//! `tidegate endpoints` and the admin interface behind it, as a deploy script uses them.

use std::process::Output;
use std::sync::mpsc;

use serde_json::Value;

use super::*;
use crate::harness::{Client, Origin, Response, ok, run};

/// A configuration with these endpoints that keeps its state in its directory.
fn written(places: &[SocketAddr]) -> String {
    let list: Vec<String> = places.iter().map(|place| format!("\"{place}\"")).collect();
    format!(
        "[[route]]\nto = \"found\"\n[server]\nworkers = 2\nstate_dir = \"state\"\n\
         [upstream.found]\nendpoints = [{}]\nbalance = \"round_robin\"\n",
        list.join(", ")
    )
}

/// Runs `tidegate endpoints`, and gives what it said when it worked.
#[track_caller]
fn endpoints(proxy: &Proxy, arguments: &[&str]) -> String {
    let output = try_endpoints(proxy, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn try_endpoints(proxy: &Proxy, arguments: &[&str]) -> Output {
    let admin = proxy.admin.to_string();
    let all = [&["endpoints"], arguments, &["--admin", &admin]].concat();
    run(&all, proxy.directory())
}

fn ask(proxy: &Proxy, method: &str, path: &str, body: &str) -> Response {
    let mut client = Client::connect(proxy.admin);
    let length = body.len();
    client.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ));
    client.response()
}

/// What each of so many requests in a row was answered by.
fn asked(proxy: &Proxy, count: usize) -> Vec<String> {
    let mut client = proxy.client();
    (0..count).map(|_| client.get("/").text()).collect()
}

#[test]
fn an_endpoint_is_added_weighed_and_removed() {
    let all = Endpoints::start(2);
    let (first, second) = (all.place(0).to_string(), all.place(1).to_string());
    let proxy = Proxy::start(&written(&all.places()[..1]));
    let said = endpoints(&proxy, &["add", "found", &second, "--weight", "3"]);
    assert_eq!(said.trim_end(), format!("added: {second}"));
    let answers = asked(&proxy, 8);
    assert_eq!(answers.iter().filter(|name| **name == second).count(), 6, "{answers:?}");
    let list: Value = serde_json::from_str(&endpoints(&proxy, &["list", "found", "--json"])).expect("JSON");
    let of = |number: usize, key: &str| list["endpoints"][number][key].clone();
    assert_eq!((of(0, "from"), of(1, "from")), ("configuration".into(), "push".into()));
    assert_eq!((of(1, "name"), of(1, "weight")), (second.clone().into(), 3.into()));
    endpoints(&proxy, &["remove", "found", &second]);
    assert!(asked(&proxy, 4).iter().all(|name| *name == first));
}

#[test]
fn a_drained_endpoint_ends_what_runs_and_gets_nothing_new() {
    let (go, wait) = mpsc::sync_channel::<()>(1);
    let wait = std::sync::Mutex::new(wait);
    let slow = Origin::answering(move |request| {
        if request.target() == "/slow" {
            let _go = wait.lock().expect("no panic holds it").recv_timeout(PATIENCE);
        }
        ok("slow")
    });
    let other = Origin::named("other");
    let proxy = Proxy::start(&written(&[slow.address, other.address]));
    let mut client = proxy.client();
    let wanted = "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n";
    client.send(wanted);
    // Round robin has gone to either; the second request goes to the other one.
    if comes_true(Duration::from_millis(200), || !other.requests().is_empty()) {
        client.response();
        client.send(wanted);
    }
    slow.wait_for_requests(1);
    let name = slow.address.to_string();
    assert!(endpoints(&proxy, &["drain", "found", &name]).contains("draining"));
    assert!(asked(&proxy, 6).iter().all(|text| text == "other"));
    let list = endpoints(&proxy, &["list", "found"]);
    let line = list.lines().find(|line| line.contains(&name)).expect("it stays listed");
    assert!(line.contains("draining") && line.contains("1 running"), "{list}");
    go.send(()).expect("the endpoint waits");
    assert_eq!(client.response().text(), "slow", "what runs ends well");
    endpoints(&proxy, &["add", "found", &name]);
    assert!(asked(&proxy, 4).iter().any(|text| text == "slow"), "it takes requests again");
}

#[test]
fn pushes_outlive_the_process_and_a_reload() {
    let all = Endpoints::start(3);
    let [first, second, third] = [all.place(0), all.place(1), all.place(2)].map(|place| place.to_string());
    let text = written(&all.places()[..2]);
    let proxy = Proxy::start(&text);
    endpoints(&proxy, &["add", "found", &third]);
    endpoints(&proxy, &["drain", "found", &first]);
    let is_right = |proxy: &Proxy| {
        let answers = asked(proxy, 6);
        answers.iter().all(|name| *name != first) && answers.contains(&second) && answers.contains(&third)
    };
    assert!(is_right(&proxy));
    proxy.reload_with(&text.replace("round_robin", "random"));
    proxy.reload_with(&text);
    assert!(is_right(&proxy), "after a reload");
    let directory = TempDir::new().expect("a directory");
    std::fs::create_dir(directory.path().join("state")).expect("ours");
    let (from, to) = (proxy.directory().join("state"), directory.path().join("state"));
    std::fs::copy(from.join("pushed-found.json"), to.join("pushed-found.json")).expect("ours");
    drop(proxy);
    assert!(is_right(&Proxy::start_in(directory, &text)), "after a restart");
}

#[test]
fn a_hundred_pushes_under_load_fail_nothing() {
    let mut all = Endpoints::start(51);
    let proxy = Proxy::start(&written(&all.places()[..1]));
    let load = Load::start(&proxy, 500);
    for number in 1..51 {
        let body = format!("{{\"endpoints\": [\"{}\"]}}", all.place(number));
        assert_eq!(ask(&proxy, "POST", "/upstreams/found/endpoints", &body).status, 200);
        let before = all.place(number - 1);
        if number > 1 {
            let path = format!("/upstreams/found/endpoints/{before}");
            assert_eq!(ask(&proxy, "DELETE", &path, "").status, 200);
            all.stop_after(number - 1, Duration::from_millis(500));
        }
    }
    pass(Duration::from_secs(1));
    load.assert_nothing_failed(&proxy);
    assert_eq!(known(&proxy), 2);
}

#[test]
fn a_wrong_push_says_what_is_wrong_and_changes_nothing() {
    let all = Endpoints::start(1);
    let proxy = Proxy::start(&written(&all.places()));
    let place = all.place(0).to_string();
    let cases: [(&[&str], &str); 5] = [
        (&["add", "fuond", "10.0.0.1:80"], "did you mean `found`?"),
        (&["add", "found", "10.0.0.1"], "`10.0.0.1` has no port"),
        (&["drain", "found", "10.0.0.9:80"], "has no endpoint `10.0.0.9:80`"),
        (&["remove", "found", &place], "comes from the configuration"),
        (&["remove", "found", "10.0.0.9:80"], "has no endpoint `10.0.0.9:80`"),
    ];
    for (arguments, words) in cases {
        let output = try_endpoints(&proxy, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(said.contains(words), "{arguments:?} says {said}");
    }
    assert_eq!(ask(&proxy, "POST", "/upstreams/found/endpoints", "nonsense").status, 400);
    assert_eq!(ask(&proxy, "PUT", "/upstreams/found/endpoints", "").status, 405);
    assert_eq!(known(&proxy), 1);
}

#[test]
fn a_push_and_a_source_work_together() {
    let all = Endpoints::start(3);
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("list.json");
    let write = |places: &[SocketAddr]| {
        let list: Vec<String> = places.iter().map(ToString::to_string).collect();
        let fresh = directory.path().join("new");
        std::fs::write(&fresh, serde_json::json!(list).to_string()).expect("ours");
        std::fs::rename(fresh, &path).expect("ours");
    };
    write(&all.places()[..2]);
    let proxy = Proxy::start(&config(&format!("{{ file = {{ path = \"{}\" }} }}", path.display())));
    let [first, second, third] = [all.place(0), all.place(1), all.place(2)].map(|place| place.to_string());
    endpoints(&proxy, &["add", "found", &third]);
    endpoints(&proxy, &["drain", "found", &first]);
    let answers = asked(&proxy, 6);
    assert!(
        !answers.contains(&first) && answers.contains(&second) && answers.contains(&third),
        "{answers:?}"
    );
    let output = try_endpoints(&proxy, &["remove", "found", &second]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("comes from the source"));
    // The drained one leaves the list and comes back as somebody else.
    write(&all.places()[1..2]);
    wait_until("it is gone", || known(&proxy) == 2);
    write(&all.places()[..2]);
    super::answers(&proxy, all.place(0));
}
