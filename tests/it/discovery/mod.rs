//! Endpoints that are discovered: the same sentences for every source, each against the real system.
//!
//! A source has a file here with its [`Registry`], which drives the system, and a test for each of
//! the sentences below. `TIDEGATE_OUTAGE_SECONDS=60` makes outages as long as that; five seconds show
//! the same, since no timer of the proxy depends on their length.

mod background;
mod call;
mod consul;
mod dns;
mod docker;
mod endpoints;
mod etcd;
mod file;
mod http;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod load;
mod push;
mod relay;
mod reload;
mod tls_front;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::{PATIENCE, Proxy, comes_true, pass, wait_until};

pub use endpoints::Endpoints;
pub use load::Load;
pub use relay::{Mode, Relay};
pub use tls_front::TlsFront;

/// A place that knows endpoints, as the test drives it.
pub trait Registry {
    /// What stands behind `discover =`.
    fn discover(&self) -> String;

    /// Makes an endpoint known, and returns when the registry has it.
    fn register(&mut self, place: SocketAddr);

    /// Makes the registry forget an endpoint.
    fn deregister(&mut self, place: SocketAddr);

    /// Makes many known, at once where the registry can.
    fn register_all(&mut self, places: &[SocketAddr]) {
        places.iter().for_each(|place| self.register(*place));
    }

    /// Ends the registry like a crash.
    fn kill(&mut self);

    /// Starts it again after [`Registry::kill`], and returns when it answers.
    fn restart(&mut self, data: Data);

    /// Longest time from a change to the first request that goes by it.
    fn limit(&self) -> Duration;

    /// Endpoints where this registry can name them.
    fn endpoints(&self, count: usize) -> Endpoints {
        Endpoints::start(count)
    }
}

/// What a registry knows after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// All that it knew before.
    Kept,
    /// Nothing.
    Lost,
}

/// A configuration with one upstream that is discovered, which keeps its state in its directory.
pub fn config(discover: &str) -> String {
    format!(
        "[[route]]\nto = \"found\"\n[server]\nworkers = 2\nstate_dir = \"state\"\n\
         [upstream.found]\ndiscover = {discover}\nbalance = \"round_robin\"\n"
    )
}

/// A proxy with that configuration.
pub fn proxy(registry: &dyn Registry) -> Proxy {
    Proxy::start(&config(&registry.discover()))
}

/// How many endpoints the upstream has.
pub fn known(proxy: &Proxy) -> usize {
    let status = proxy.status();
    status["upstreams"][0]["endpoints"].as_array().map_or(0, Vec::len)
}

/// How many failures of that kind were counted.
pub fn failures(proxy: &Proxy, reason: &str) -> f64 {
    proxy.metric(&format!("proxy_discovery_failures_total{{upstream=\"found\",reason=\"{reason}\"}}"))
}

fn is_failing(proxy: &Proxy) -> bool {
    proxy.metric("proxy_discovery_failing{upstream=\"found\"}") == 1.0
}

/// How many lines of the log say that the source fails for that reason.
pub fn told(proxy: &Proxy, reason: &str) -> usize {
    let field = format!("\"reason\":\"{reason}\"");
    proxy.log().lines().filter(|line| line.contains("discovery failed") && line.contains(&field)).count()
}

/// Waits until the source has worked for a while: what fails then is told again.
#[track_caller]
pub fn works_again(proxy: &Proxy, what: &str) {
    let is_told = || proxy.log().lines().filter(|line| line.contains("discovery works again")).count();
    let before = is_told();
    let limit = Duration::from_secs(30);
    assert!(comes_true(limit, || is_told() > before), "it works again after {what}:\n{}", proxy.log());
}

/// How long an outage lasts.
pub fn outage() -> Duration {
    let seconds = std::env::var("TIDEGATE_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

/// Waits until that endpoint answers and returns how long it took.
#[track_caller]
fn answers(proxy: &Proxy, place: SocketAddr) -> Duration {
    let begun = Instant::now();
    let mut client = proxy.client();
    wait_until(&format!("{place} answers"), || client.get("/").text() == place.to_string());
    begun.elapsed()
}

/// Waits until that endpoint has been left out of as many answers in a row as there could be
/// endpoints twice, and returns when the last one came.
#[track_caller]
fn is_left_out(proxy: &Proxy, place: SocketAddr) -> Duration {
    let (begun, mut last) = (Instant::now(), Instant::now());
    let (mut client, mut others) = (proxy.client(), 0);
    wait_until(&format!("{place} is left out"), || {
        if client.get("/").text() == place.to_string() {
            (last, others) = (Instant::now(), 0);
        }
        others += 1;
        others > 50
    });
    last - begun
}

/// Sentence: a change is used within the limit of the registry, both ways; by the median of five, since
/// other tests run beside this one.
#[track_caller]
pub fn a_change_is_used_within_the_limit(registry: &mut dyn Registry) {
    let endpoints = registry.endpoints(3);
    let [first, second, third] = [endpoints.place(0), endpoints.place(1), endpoints.place(2)];
    registry.register_all(&[first, second]);
    let proxy = proxy(registry);
    answers(&proxy, first);
    answers(&proxy, second);
    let (mut found, mut left) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        registry.register(third);
        found.push(answers(&proxy, third));
        registry.deregister(third);
        left.push(is_left_out(&proxy, third));
    }
    found.sort();
    left.sort();
    let limit = registry.limit();
    eprintln!("found after {found:?}, left out after {left:?}, limit {limit:?}");
    assert!(found[2] <= limit && left[2] <= limit, "found {found:?}, left out {left:?}, limit {limit:?}");
}

/// Sentence: a hundred registrations and deregistrations under 500 requests a second fail none. An
/// endpoint stops a moment after it was deregistered, as a graceful service does.
#[track_caller]
pub fn a_hundred_changes_under_load_fail_nothing(registry: &mut dyn Registry) {
    changes_under_load_fail_nothing(registry, 50);
}

/// The same with so many registrations, and as many deregistrations.
#[track_caller]
pub fn changes_under_load_fail_nothing(registry: &mut dyn Registry, count: usize) {
    let mut endpoints = registry.endpoints(count + 3);
    registry.register_all(&endpoints.places()[..3]);
    let proxy = proxy(registry);
    endpoints.places()[..3].iter().for_each(|place| {
        answers(&proxy, *place);
    });
    let load = Load::start(&proxy, 500);
    for number in 3..count + 3 {
        registry.register(endpoints.place(number));
        registry.deregister(endpoints.place(number - 3));
        endpoints.stop_after(number - 3, registry.limit() + Duration::from_millis(500));
        pass(Duration::from_millis(40));
    }
    answers(&proxy, endpoints.place(count + 2));
    pass(registry.limit() + Duration::from_secs(1));
    load.assert_nothing_failed(&proxy);
    wait_until("only the last three are known", || known(&proxy) == 3);
}

/// Sentence: an outage of the registry fails nothing, and endpoints stay. When it comes back empty,
/// services register again one after another, and still nothing fails.
#[track_caller]
pub fn an_outage_fails_nothing(registry: &mut dyn Registry, data: Data) {
    let endpoints = registry.endpoints(4);
    registry.register_all(&endpoints.places()[..3]);
    let proxy = proxy(registry);
    answers(&proxy, endpoints.place(0));
    let load = Load::start(&proxy, 200);
    registry.kill();
    let end = Instant::now() + outage();
    wait_until("the failure is shown", || is_failing(&proxy));
    pass(end.saturating_duration_since(Instant::now()));
    assert_eq!(known(&proxy), 3, "the last endpoints stay");
    registry.restart(data);
    wait_until("it works again", || !is_failing(&proxy));
    if data == Data::Lost {
        pass(Duration::from_millis(300));
        assert_eq!(known(&proxy), 3, "an empty answer removes nothing");
        (0..3).for_each(|number| {
            registry.register(endpoints.place(number));
            pass(Duration::from_millis(100));
        });
    }
    registry.register(endpoints.place(3));
    let found = answers(&proxy, endpoints.place(3));
    eprintln!("after the outage a new endpoint was found after {found:?}");
    load.assert_nothing_failed(&proxy);
    let limit = registry.limit() + Duration::from_secs(1);
    assert!(found <= limit, "a new endpoint after the outage was found after {found:?}");
}

/// Sentence: a proxy that starts while its registry is away serves with the last endpoints.
#[track_caller]
pub fn a_start_without_the_registry_uses_the_last_endpoints(registry: &mut dyn Registry) {
    let endpoints = registry.endpoints(2);
    registry.register_all(&endpoints.places());
    let first = proxy(registry);
    answers(&first, endpoints.place(0));
    let stored = first.directory().join("state/discovered-found.json");
    wait_until("they are stored", || stored.exists());
    let directory = TempDir::new().expect("a directory");
    std::fs::create_dir(directory.path().join("state")).expect("the directory is ours");
    let copy = directory.path().join("state/discovered-found.json");
    std::fs::copy(&stored, copy).expect("the directories are ours");
    drop(first);
    registry.kill();
    let begun = Instant::now();
    let second = Proxy::start_in(directory, &config(&registry.discover()));
    assert!(begun.elapsed() < Duration::from_secs(3), "the start waited for {:?}", begun.elapsed());
    answers(&second, endpoints.place(0));
    answers(&second, endpoints.place(1));
    wait_until("the failure is shown", || is_failing(&second));
}

/// Sentence: a thousand endpoints are found, and one that is added is used within the limit.
#[track_caller]
pub fn a_thousand_endpoints_are_found(registry: &mut dyn Registry) {
    let endpoints = registry.endpoints(1001);
    registry.register_all(&endpoints.places()[..1000]);
    let proxy = proxy(registry);
    let begun = Instant::now();
    // The status of so many costs both sides time that the change needs.
    let are_known = |count| {
        pass(Duration::from_millis(50));
        known(&proxy) == count
    };
    assert!(comes_true(PATIENCE * 2, || are_known(1000)), "{} of 1000", known(&proxy));
    let all = begun.elapsed();
    let load = Load::start(&proxy, 500);
    registry.register(endpoints.place(1000));
    let begun = Instant::now();
    wait_until("the last one is known", || are_known(1001));
    let found = begun.elapsed();
    pass(Duration::from_secs(1));
    load.assert_nothing_failed(&proxy);
    eprintln!("1000 endpoints after {all:?}, one more after {found:?}");
    let limit = registry.limit() + Duration::from_secs(1);
    assert!(found <= limit, "one more was found after {found:?}");
}

/// Sentence: whatever a registry answers wrongly is told once, counted, and touches no request.
/// `relay` stands before the registry and speaks wrong HTTP in its name.
#[track_caller]
pub fn faults_are_told_once_and_touch_nothing(registry: &mut dyn Registry, relay: &Relay) {
    let endpoints = registry.endpoints(2);
    registry.register_all(&endpoints.places());
    let proxy = proxy(registry);
    answers(&proxy, endpoints.place(1));
    let load = Load::start(&proxy, 100);
    let cases = [
        (Mode::Garbage, "invalid"),
        (Mode::Status("500 Internal Server Error"), "refused"),
        (Mode::Status("401 Unauthorized"), "denied"),
        (Mode::Closed, "unreachable"),
        (Mode::Silent, "timeout"),
    ];
    for (mode, reason) in cases {
        // The end of a mode may break a connection that has just begun, and so be told by itself.
        let (counted, before) = (failures(&proxy, reason), told(&proxy, reason));
        relay.set(mode);
        let limit = Duration::from_secs(30);
        let are_counted = || failures(&proxy, reason) >= counted + 2.0;
        assert!(comes_true(limit, are_counted), "{mode:?} is counted as {reason}");
        assert_eq!(told(&proxy, reason), before + 1, "{mode:?} is told once:\n{}", proxy.log());
        assert_eq!(known(&proxy), 2);
        relay.set(Mode::Open);
        works_again(&proxy, &format!("{mode:?}"));
    }
    load.assert_nothing_failed(&proxy);
}
