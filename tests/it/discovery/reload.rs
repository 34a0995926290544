//! Discovery over reloads, with files as source.

use super::*;

/// A list in a file of its own.
struct List(TempDir);

impl List {
    fn of(places: &[String]) -> List {
        let list = List(TempDir::new().expect("a directory"));
        list.write(places);
        list
    }

    fn write(&self, places: &[String]) {
        let fresh = self.0.path().join("new");
        std::fs::write(&fresh, serde_json::json!(places).to_string()).expect("the directory is ours");
        std::fs::rename(fresh, self.0.path().join("list.json")).expect("the directory is ours");
    }

    fn config(&self) -> String {
        config(&format!("{{ file = {{ path = \"{}\" }} }}", self.0.path().join("list.json").display()))
    }
}

fn texts(places: &[SocketAddr]) -> Vec<String> {
    places.iter().map(ToString::to_string).collect()
}

/// How many requests each endpoint had, by its name.
fn requests(proxy: &Proxy, place: SocketAddr) -> u64 {
    let status = proxy.status();
    let all = status["upstreams"][0]["endpoints"].as_array().expect("a list");
    let found = all.iter().find(|one| one["name"] == place.to_string());
    found.map_or(0, |one| one["requests"].as_u64().expect("a number"))
}

#[test]
fn an_endpoint_keeps_its_counters_over_changes_and_reloads() {
    let endpoints = Endpoints::start(3);
    let (places, first) = (texts(&endpoints.places()), endpoints.place(0));
    let list = List::of(&places[..1]);
    let proxy = Proxy::start(&list.config());
    let mut client = proxy.client();
    (0..4).for_each(|_| assert_eq!(client.get("/").status, 200));
    // As long as this request runs, its endpoint is not forgotten.
    client.send("GET /never HTTP/1.1\r\nHost: test\r\n\r\n");
    wait_until("it runs", || requests(&proxy, first) == 5);
    list.write(&places);
    wait_until("all are known", || known(&proxy) == 3);
    assert_eq!(requests(&proxy, first), 5);
    let updates = "proxy_discovery_updates_total{upstream=\"found\"}";
    let before = proxy.metric(updates);
    proxy.reload_with(&list.config().replace("round_robin", "random"));
    assert_eq!((known(&proxy), requests(&proxy, first)), (3, 5));
    assert_eq!(proxy.metric(updates), before, "the source was not asked anew");
    list.write(&places[1..]);
    wait_until("the first is gone", || known(&proxy) == 2);
    list.write(&places);
    wait_until("the first is back", || known(&proxy) == 3);
    assert_eq!(requests(&proxy, first), 5);
}

#[test]
fn another_source_begins_with_the_endpoints_of_the_old_one() {
    let endpoints = Endpoints::start(2);
    let places = texts(&endpoints.places());
    let (old, new) = (List::of(&places[..1]), List::of(&places[1..]));
    let proxy = Proxy::start(&old.config());
    answers(&proxy, endpoints.place(0));
    let missing = new.config().replace("list.json", "later.json");
    proxy.reload_with(&missing);
    assert!(is_failing(&proxy));
    answers(&proxy, endpoints.place(0));
    proxy.reload_with(&new.config());
    answers(&proxy, endpoints.place(1));
    wait_until("the old one is gone", || known(&proxy) == 1);
    proxy.reload_with(
        &new.config().replace("discover = ", &format!("endpoints = [\"{}\"]\ndiscover = ", places[0])),
    );
    assert_eq!(known(&proxy), 2, "what is written comes first");
    let status = proxy.status();
    assert_eq!(status["upstreams"][0]["endpoints"][0]["from"], "configuration");
}

#[test]
fn names_that_do_not_resolve_stop_nothing() {
    let endpoints = Endpoints::start(1);
    let list = List::of(&[endpoints.place(0).to_string(), "no.such.name.invalid:80".to_owned()]);
    let begun = Instant::now();
    let proxy = Proxy::start(&list.config());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    answers(&proxy, endpoints.place(0));
    assert_eq!(proxy.status()["upstreams"][0]["unresolved"][0], "no.such.name.invalid:80");
}
