//! Names in the DNS, told by a real server and by one that breaks its answers.

mod hostile;
mod knot;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use hostile::{Fault, Hostile};
use knot::Knot;

/// The time to live of what changes, in seconds.
const TTL: u64 = 1;

/// A zone with services: each endpoint is an SRV record, and a host of its own.
struct Services {
    knot: Knot,
    /// Who is asked instead.
    hostile: Option<Hostile>,
}

impl Services {
    fn new() -> Option<Services> {
        Some(Services { knot: Knot::start()?, hostile: None })
    }

    fn with_hostile() -> Option<Services> {
        let knot = Knot::start()?;
        let hostile = Hostile::before(knot.address);
        Some(Services { knot, hostile: Some(hostile) })
    }

    fn lines(place: SocketAddr) -> [String; 2] {
        let IpAddr::V4(ip) = place.ip() else { panic!("endpoints of the tests have IPv4 addresses") };
        let host = format!("h{:08x}p{}.test.", u32::from(ip), place.port());
        [format!("{host} 60 A {ip}"), format!("u.test. {TTL} SRV 0 1 {} {host}", place.port())]
    }
}

impl Registry for Services {
    fn discover(&self) -> String {
        let server = self.hostile.as_ref().map_or(self.knot.address, |hostile| hostile.address);
        format!("{{ dns = {{ name = \"u.test\", type = \"srv\", resolver = \"{server}\" }} }}")
    }

    fn register(&mut self, place: SocketAddr) {
        self.register_all(&[place]);
    }

    fn register_all(&mut self, places: &[SocketAddr]) {
        let lines = places.iter().flat_map(|place| Services::lines(*place));
        self.knot.update(&lines.map(|line| format!("add {line}")).collect::<Vec<_>>());
    }

    fn deregister(&mut self, place: SocketAddr) {
        self.knot.update(&Services::lines(place).map(|line| format!("delete {line}")));
    }

    fn kill(&mut self) {
        self.knot.kill();
    }

    fn restart(&mut self, data: Data) {
        if data == Data::Lost {
            self.knot.forget();
        }
        self.knot.run();
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(TTL + 1)
    }
}

/// Runs a sentence for a zone with services.
fn of_services(sentence: impl FnOnce(&mut Services)) {
    if let Some(mut services) = Services::new() {
        sentence(&mut services);
    }
}

#[test]
fn a_change_of_a_zone_is_used_within_its_ttl_and_a_second() {
    of_services(|services| a_change_is_used_within_the_limit(services));
}

#[test]
fn a_hundred_changes_of_a_zone_under_load_fail_nothing() {
    of_services(|services| a_hundred_changes_under_load_fail_nothing(services));
}

#[test]
fn a_server_of_names_that_is_killed_and_restarted_fails_nothing() {
    of_services(|services| an_outage_fails_nothing(services, Data::Kept));
}

#[test]
fn a_server_of_names_that_comes_back_empty_fails_nothing() {
    of_services(|services| an_outage_fails_nothing(services, Data::Lost));
}

#[test]
fn a_start_without_the_server_of_names_uses_the_last_endpoints() {
    of_services(|services| a_start_without_the_registry_uses_the_last_endpoints(services));
}

#[test]
fn a_thousand_services_of_a_zone_are_found() {
    of_services(|services| a_thousand_endpoints_are_found(services));
}

/// Each fault is told once and counted, endpoints stay, no request fails.
#[track_caller]
fn faults_touch_nothing(cases: &[(Fault, &str)]) {
    let Some(mut services) = Services::with_hostile() else { return };
    let endpoints = Endpoints::start(2);
    services.register_all(&endpoints.places());
    let proxy = proxy(&services);
    answers(&proxy, endpoints.place(0));
    answers(&proxy, endpoints.place(1));
    let hostile = services.hostile.as_ref().expect("it was made with one");
    let load = Load::start(&proxy, 100);
    for (fault, reason) in cases {
        hostile.set(*fault);
        let is_counted = || failures(&proxy, reason) >= 2.0;
        assert!(comes_true(Duration::from_secs(30), is_counted), "{fault:?} is counted as {reason}");
        assert_eq!(told(&proxy, reason), 1, "{fault:?} is told once:\n{}", proxy.log());
        assert_eq!(known(&proxy), 2, "{fault:?}");
        hostile.set(Fault::None);
        assert!(
            comes_true(Duration::from_secs(30), || !is_failing(&proxy)),
            "it works again after {fault:?}"
        );
    }
    // NXDOMAIN is an answer, though one that is not believed yet.
    hostile.set(Fault::Code(3));
    wait_until("it is doubted", || proxy.status()["upstreams"][0]["discovery"]["state"] == "doubting");
    assert_eq!(known(&proxy), 2);
    hostile.set(Fault::None);
    wait_until("it is back", || proxy.status()["upstreams"][0]["discovery"]["state"] == "following");
    load.assert_nothing_failed(&proxy);
}

#[test]
fn a_server_of_names_that_fails_or_refuses_touches_nothing() {
    faults_touch_nothing(&[
        (Fault::Code(2), "refused"),
        (Fault::Code(5), "denied"),
        (Fault::CutShort, "unreachable"),
    ]);
}

#[test]
fn a_server_of_names_that_is_silent_touches_nothing() {
    faults_touch_nothing(&[(Fault::Silent, "timeout")]);
}

#[test]
fn garbage_instead_of_names_touches_nothing() {
    faults_touch_nothing(&[(Fault::Garbage, "invalid")]);
}

#[test]
fn an_answer_under_another_number_is_none() {
    faults_touch_nothing(&[(Fault::WrongNumber, "invalid")]);
}

/// A port that no endpoint of the tests has yet, on all addresses.
fn one_port() -> u16 {
    crate::harness::free_address().port()
}

fn address(place: SocketAddr) -> String {
    format!("users.test. {TTL} A {}", place.ip())
}

#[test]
fn the_addresses_of_a_name_are_endpoints_by_its_ttl() {
    let Some(knot) = Knot::start() else { return };
    let port = one_port();
    let endpoints = Endpoints::at_port(port, 3);
    knot.update(&[
        format!("add alias.test. {TTL} CNAME users.test."),
        format!("add {}", address(endpoints.place(0))),
        format!("add {}", address(endpoints.place(1))),
    ]);
    let proxy = Proxy::start(&config(&format!(
        "{{ dns = {{ name = \"alias.test\", port = {port}, resolver = \"{}\" }} }}",
        knot.address
    )));
    answers(&proxy, endpoints.place(0));
    answers(&proxy, endpoints.place(1));
    knot.update(&[format!("add {}", address(endpoints.place(2)))]);
    let found = answers(&proxy, endpoints.place(2));
    knot.update(&[format!("delete {}", address(endpoints.place(0)))]);
    let left = is_left_out(&proxy, endpoints.place(0));
    eprintln!("found after {found:?}, left out after {left:?}");
    let limit = Duration::from_secs(TTL + 1);
    assert!(found <= limit && left <= limit, "found {found:?}, left out {left:?}");
}

#[test]
fn a_thousand_addresses_of_a_name_are_found() {
    let Some(knot) = Knot::start() else { return };
    let port = one_port();
    let endpoints = Endpoints::at_port(port, 1000);
    let lines = endpoints.places().into_iter().map(|place| format!("add {}", address(place)));
    knot.update(&lines.collect::<Vec<_>>());
    let proxy = Proxy::start(&config(&format!(
        "{{ dns = {{ name = \"users.test\", port = {port}, resolver = \"{}\" }} }}",
        knot.address
    )));
    wait_until("all are known", || known(&proxy) == 1000);
    let updates = proxy.metric("proxy_discovery_updates_total{upstream=\"found\"}");
    pass(Duration::from_secs(3));
    // knot tells records in an order that does not change; questions were asked again all the same.
    assert!(proxy.metric("proxy_discovery_age_seconds{upstream=\"found\"}") < 2.0);
    assert_eq!(proxy.metric("proxy_discovery_updates_total{upstream=\"found\"}"), updates);
}

#[test]
fn services_share_by_weight_and_a_later_tier_waits_until_the_first_is_down() {
    let Some(knot) = Knot::start() else { return };
    let mut endpoints = Endpoints::start(3);
    let service = |number: usize, priority: u32, weight: u32| {
        let place = endpoints.place(number);
        [
            format!("add h{number}.test. {TTL} A {}", place.ip()),
            format!("add _http._tcp.test. {TTL} SRV {priority} {weight} {} h{number}.test.", place.port()),
        ]
    };
    knot.update(&[service(0, 1, 3), service(1, 1, 1), service(2, 2, 9)].concat());
    let discover = format!(
        "{{ dns = {{ name = \"_http._tcp.test\", type = \"srv\", resolver = \"{}\" }} }}",
        knot.address
    );
    let proxy = Proxy::start(&config(&discover));
    wait_until("all are known", || known(&proxy) == 3);
    let mut client = proxy.client();
    let mut counts = [0; 3];
    for _ in 0..80 {
        let text = client.get("/").text();
        let number = (0..3).find(|number| text == endpoints.place(*number).to_string());
        counts[number.expect("one of them answers")] += 1;
    }
    assert_eq!(counts, [60, 20, 0]);
    let spare = endpoints.place(2);
    (0..2).for_each(|number| endpoints.stop_after(number, Duration::ZERO));
    wait_until("the later tier answers", || client_get(&proxy) == spare.to_string());
    knot.update(&[
        "delete _http._tcp.test. SRV".to_owned(),
        format!("add _http._tcp.test. {TTL} SRV 0 0 0 ."),
    ]);
    let state = || proxy.status()["upstreams"][0]["discovery"]["state"].clone();
    wait_until("the target of one dot means none", || state() == "doubting");
    assert_eq!(known(&proxy), 3, "and nothing is removed before that is confirmed");
}

/// The body of a request on a connection of its own.
fn client_get(proxy: &Proxy) -> String {
    proxy.get("/").text()
}

#[test]
fn a_name_that_does_not_exist_is_told_and_found_when_it_does() {
    let Some(knot) = Knot::start() else { return };
    let port = one_port();
    let endpoints = Endpoints::at_port(port, 1);
    let begun = Instant::now();
    let proxy = Proxy::start(&config(&format!(
        "{{ dns = {{ name = \"users.test\", port = {port}, resolver = \"{}\" }} }}",
        knot.address
    )));
    assert!(begun.elapsed() < Duration::from_secs(4), "the start waited for {:?}", begun.elapsed());
    wait_until("it is told", || told(&proxy, "missing") == 1);
    assert_eq!(proxy.get("/").status, 503);
    knot.update(&[format!("add {}", address(endpoints.place(0)))]);
    let found = answers(&proxy, endpoints.place(0));
    assert!(found <= Duration::from_secs(TTL + 1), "it was found after {found:?}");
}

/// Addresses of 127.0.0.0/8 of which another process that runs at the same time has others.
fn own_address() -> IpAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 53, high, low.clamp(1, 254)).into()
}

#[test]
fn host_names_of_endpoints_go_by_resolv_conf_and_their_ttl() {
    if !knot::may_mount() {
        crate::harness::services::skip("no name space for a resolv.conf of its own");
        return;
    }
    let Some(mut knot) = Knot::start_at(&[own_address()]) else { return };
    let port = one_port();
    let endpoints = Endpoints::at_port(port, 3);
    knot.update(&[format!("add {}", address(endpoints.place(0)))]);
    let directory = TempDir::new().expect("a directory");
    let resolv = directory.path().join("resolv.conf");
    let text = format!("search none.test test\nnameserver {}\noptions ndots:5\n", own_address());
    std::fs::write(&resolv, text).expect("the directory is ours");
    let mount = format!("mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"", resolv.display());
    let text = format!(
        "[[route]]\nto = \"users\"\n[server]\nworkers = 2\n[upstream.users]\nendpoints = [\"users:{port}\"]\n"
    );
    let proxy = Proxy::start_by(&["unshare", "--mount", "sh", "-c", &mount], directory, &text);
    answers(&proxy, endpoints.place(0));
    knot.update(&[format!("add {}", address(endpoints.place(1)))]);
    let found = answers(&proxy, endpoints.place(1));
    let limit = Duration::from_secs(TTL + 1);
    assert!(found <= limit, "found after {found:?}");
    let load = Load::start(&proxy, 100);
    knot.kill();
    wait_until("it is told", || proxy.log().contains("name not resolved"));
    pass(Duration::from_secs(2));
    assert_eq!(known(&proxy), 2, "the last addresses stay");
    knot.run();
    knot.update(&["delete users.test. A".to_owned()]);
    pass(Duration::from_secs(3));
    assert_eq!(known(&proxy), 2, "they stay for a while when the name does not exist any more");
    knot.update(&[format!("add {}", address(endpoints.place(2)))]);
    answers(&proxy, endpoints.place(2));
    load.assert_nothing_failed(&proxy);
}
