//! What a scrape says, read with a strict parser of the text format.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use super::*;

/// A parsed scrape: values by the series as written.
#[derive(Debug, Default)]
struct Exposition {
    series: BTreeMap<String, f64>,
    types: HashMap<String, String>,
}

impl Exposition {
    fn of(registry: &Registry, figures: Figures) -> Exposition {
        parse(&registry.encode(figures))
    }

    fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| unreachable!("{series} is missing: {self:#?}"))
    }

    fn count(&self, start: &str) -> usize {
        self.series.keys().filter(|series| series.starts_with(start)).count()
    }
}

/// Reads the OpenMetrics text format and asserts what it demands.
fn parse(text: &str) -> Exposition {
    let body = text.strip_suffix("# EOF\n").expect("a scrape ends with its mark");
    let mut exposition = Exposition::default();
    let mut helped = BTreeSet::new();
    let mut family = String::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a family has a help text");
            assert!(helped.insert(name.to_owned()), "{name} has its help twice");
            assert!(!help.is_empty());
            family = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a family has a type");
            assert_eq!(name, family, "the type follows the help");
            assert!(exposition.types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else {
            let (series, value) = sample(line);
            let kind = exposition.types.get(&family).expect("a series has a type");
            let name = series.split('{').next().unwrap_or_default();
            let suffix =
                name.strip_prefix(&family).unwrap_or_else(|| unreachable!("{name} is not of {family}"));
            let allowed: &[&str] = match kind.as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "histogram" => &["_sum", "_count", "_bucket"],
                other => unreachable!("type {other}"),
            };
            assert!(allowed.contains(&suffix), "{name} is no name of a {kind}");
            assert!(exposition.series.insert(series.clone(), value).is_none(), "{series} is there twice");
        }
    }
    exposition
}

/// Splits a series and its value, and asserts that names and labels are well formed.
fn sample(line: &str) -> (String, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a series has a value");
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if let Some((name, labels)) = series.split_once('{') {
        assert!(word(name), "{line}");
        let mut rest = labels.strip_suffix('}').expect("labels are closed");
        while !rest.is_empty() {
            let (key, tail) = rest.split_once("=\"").expect("a label has a value");
            assert!(word(key), "{line}");
            rest = after_value(tail).trim_start_matches(',');
        }
    } else {
        assert!(word(series), "{line}");
    }
    (series.to_owned(), value.parse().expect("a value is a number"))
}

/// What follows the closing quotation mark of a label.
fn after_value(text: &str) -> &str {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => assert!(matches!(characters.next(), Some((_, '\\' | '"' | 'n'))), "{text}"),
            '"' => return &text[at + 1..],
            _ => {}
        }
    }
    unreachable!("a label is not closed: {text}")
}

fn registry(workers: usize) -> Registry {
    Registry::new(workers, ["no_route", "connect_refused"])
}

#[test]
fn a_scrape_adds_the_shards_up() {
    let registry = registry(2);
    let route = registry.route("api");
    registry.expose([route], []);
    registry.shard(0).request(route, 200, Duration::from_millis(3), 100, 10);
    registry.shard(1).request(route, 204, Duration::from_millis(30), 1, 2);
    registry.shard(1).request(route, 502, Duration::from_secs(100), 0, 0);
    registry.shard(1).request(RouteId::NONE, 404, Duration::ZERO, 0, 0);
    registry.shard(0).reason(1);
    registry.shard(1).reason(1);

    let scrape = Exposition::of(&registry, Figures::default());
    assert_eq!(scrape.value(r#"proxy_requests_total{route="api",class="2xx"}"#), 2.0);
    assert_eq!(scrape.value(r#"proxy_requests_total{route="api",class="5xx"}"#), 1.0);
    assert_eq!(scrape.value(r#"proxy_requests_total{route="",class="4xx"}"#), 1.0);
    assert_eq!(scrape.value(r#"proxy_request_duration_seconds_bucket{le="0.005",route="api"}"#), 1.0);
    assert_eq!(scrape.value(r#"proxy_request_duration_seconds_bucket{le="60.0",route="api"}"#), 2.0);
    assert_eq!(scrape.value(r#"proxy_request_duration_seconds_bucket{le="+Inf",route="api"}"#), 3.0);
    assert_eq!(scrape.value(r#"proxy_request_duration_seconds_count{route="api"}"#), 3.0);
    assert!((scrape.value(r#"proxy_request_duration_seconds_sum{route="api"}"#) - 100.033).abs() < 1e-9);
    assert_eq!(scrape.value(r#"proxy_sent_bytes_total{route="api"}"#), 101.0);
    assert_eq!(scrape.value(r#"proxy_received_bytes_total{route="api"}"#), 12.0);
    assert_eq!(scrape.value(r#"proxy_replies_total{reason="connect_refused"}"#), 2.0);
    assert_eq!(scrape.value(r#"proxy_replies_total{reason="no_route"}"#), 0.0);
}

#[test]
fn a_histogram_never_falls_from_bucket_to_bucket() {
    let registry = registry(1);
    (0..2000).for_each(|millis| {
        registry.shard(0).request(RouteId::NONE, 200, Duration::from_millis(millis * 40), 0, 0);
    });
    let text = registry.encode(Figures::default());
    let buckets = text.lines().filter(|line| line.starts_with("proxy_request_duration_seconds_bucket"));
    let values: Vec<f64> = buckets.map(|line| sample(line).1).collect();
    assert_eq!(values.len(), 16);
    assert!(values.is_sorted());
    assert_eq!(values.last(), Some(&2000.0));
}

#[test]
fn connections_and_handshakes_are_told_by_listener() {
    let registry = registry(2);
    let web = registry.listener("web");
    registry.expose([], [web]);
    let open = registry.shard(0).connection_opened(web);
    drop(registry.shard(1).connection_opened(web));
    registry.shard(0).handshake(web, Handshake::Done(TlsVersion::Tls13, Resumption::Resumed));
    registry.shard(1).handshake(web, Handshake::TimedOut);

    let scrape = Exposition::of(&registry, Figures::default());
    assert_eq!(scrape.value(r#"proxy_connections_total{listener="web"}"#), 2.0);
    assert_eq!(scrape.value(r#"proxy_connections_open{listener="web"}"#), 1.0);
    let resumed = r#"{listener="web",result="success",version="1.3",resumed="true"}"#;
    assert_eq!(scrape.value(&format!("proxy_tls_handshakes_total{resumed}")), 1.0);
    let late = r#"{listener="web",result="timeout",version="",resumed=""}"#;
    assert_eq!(scrape.value(&format!("proxy_tls_handshakes_total{late}")), 1.0);
    drop(open);
}

#[test]
fn a_running_exchange_is_in_flight_until_its_guard_is_gone() {
    let registry = registry(1);
    let shard = registry.shard(0);
    let running = shard.exchange();
    assert_eq!(Exposition::of(&registry, Figures::default()).value("proxy_requests_in_flight"), 1.0);
    drop(running);
    assert_eq!(Exposition::of(&registry, Figures::default()).value("proxy_requests_in_flight"), 0.0);
}

#[test]
fn a_route_that_is_gone_is_not_exported_and_continues_when_it_is_back() {
    let registry = registry(1);
    let (old, new) = (registry.route("old"), registry.route("new"));
    registry.expose([old], []);
    registry.shard(0).request(old, 200, Duration::ZERO, 0, 0);
    registry.expose([new], []);
    registry.shard(0).request(old, 200, Duration::ZERO, 0, 0);
    let scrape = Exposition::of(&registry, Figures::default());
    assert_eq!(scrape.count(r#"proxy_requests_total{route="old""#), 0);
    assert_eq!(scrape.count(r#"proxy_requests_total{route="new""#), 5);

    assert_eq!(registry.route("old"), old);
    registry.expose([old, new], []);
    let scrape = Exposition::of(&registry, Figures::default());
    assert_eq!(scrape.value(r#"proxy_requests_total{route="old",class="2xx"}"#), 2.0);
}

#[test]
fn labels_are_escaped() {
    let registry = registry(1);
    let odd = registry.route("a\"b\\c\nd");
    registry.expose([odd], []);
    let scrape = Exposition::of(&registry, Figures::default());
    assert_eq!(scrape.value(r#"proxy_sent_bytes_total{route="a\"b\\c\nd"}"#), 0.0);
}

#[test]
fn endless_new_names_make_a_bounded_number_of_series() {
    let registry = registry(1);
    let last = (0..20_000).map(|number| registry.route(&number.to_string())).last();
    let other = registry.route("one more");
    assert_eq!(last, Some(other));
    registry.expose([other], []);
    registry.shard(0).request(other, 200, Duration::ZERO, 0, 0);
    let scrape = Exposition::of(&registry, Figures::default());
    assert_eq!(scrape.value(r#"proxy_requests_total{route="(other)",class="2xx"}"#), 1.0);
}

fn endpoint(name: &str, health: Health) -> EndpointFigures {
    EndpointFigures { name: name.to_owned(), health, in_flight: 2, attempts: 10, failures: 3, ejections: 1 }
}

#[test]
fn endpoints_are_told_by_upstream_and_those_of_one_name_are_added_up() {
    let endpoints = vec![
        endpoint("10.0.0.1:80", Health::Healthy),
        endpoint("10.0.0.2:80", Health::Ejected),
        endpoint("10.0.0.2:80", Health::Healthy),
    ];
    let upstream = UpstreamFigures {
        name: "api".to_owned(),
        panic: true,
        retries: 4,
        retries_refused: 5,
        endpoints,
        discovery: None,
    };
    let other = UpstreamFigures {
        name: "web".to_owned(),
        endpoints: vec![endpoint("10.0.0.1:80", Health::Unknown)],
        ..UpstreamFigures::default()
    };
    let scrape =
        Exposition::of(&registry(1), Figures { upstreams: vec![upstream, other], ..Figures::default() });
    let both = r#"{upstream="api",endpoint="10.0.0.2:80"}"#;
    assert_eq!(scrape.value(&format!("proxy_attempts_total{both}")), 20.0);
    assert_eq!(scrape.value(&format!("proxy_attempts_failed_total{both}")), 6.0);
    assert_eq!(scrape.value(&format!("proxy_attempts_in_flight{both}")), 4.0);
    assert_eq!(scrape.value(&format!("proxy_ejections_total{both}")), 2.0);
    let state = |endpoint: &str, state: &str| {
        let labels = format!(r#"{{upstream="api",endpoint="{endpoint}",state="{state}"}}"#);
        scrape.value(&format!("proxy_endpoints{labels}"))
    };
    assert_eq!([state("10.0.0.1:80", "healthy"), state("10.0.0.1:80", "ejected")], [1.0, 0.0]);
    assert_eq!([state("10.0.0.2:80", "healthy"), state("10.0.0.2:80", "ejected")], [1.0, 1.0]);
    assert_eq!(scrape.value(r#"proxy_retries_total{upstream="api"}"#), 4.0);
    assert_eq!(scrape.value(r#"proxy_retries_refused_total{upstream="api"}"#), 5.0);
    assert_eq!(scrape.value(r#"proxy_upstream_panic{upstream="api"}"#), 1.0);
    assert_eq!(scrape.value(r#"proxy_upstream_panic{upstream="web"}"#), 0.0);
}

#[test]
fn the_figures_of_the_process_are_exported() {
    let figures = Figures {
        generation: 7,
        configuration_age: Duration::from_millis(2500),
        reloads_succeeded: 6,
        reloads_failed: 1,
        certificate_expiry: Some(UNIX_EPOCH + Duration::from_secs(2_000_000_000)),
        handshakes: vec![HandshakeFigures { listener: "web".to_owned(), running: 4, waiting: 5 }],
        access_lines_dropped: 3,
        log_lines_dropped: 2,
        upstreams: Vec::new(),
    };
    let scrape = Exposition::of(&registry(1), figures);
    assert_eq!(scrape.value("proxy_configuration_generation"), 7.0);
    assert_eq!(scrape.value("proxy_configuration_age_seconds"), 2.5);
    assert_eq!(scrape.value(r#"proxy_reloads_total{result="success"}"#), 6.0);
    assert_eq!(scrape.value(r#"proxy_reloads_total{result="failure"}"#), 1.0);
    assert_eq!(scrape.value("proxy_certificate_expiry_timestamp_seconds"), 2_000_000_000.0);
    assert_eq!(scrape.value("proxy_tls_handshakes_running{listener=\"web\"}"), 4.0);
    assert_eq!(scrape.value("proxy_tls_handshakes_waiting{listener=\"web\"}"), 5.0);
    assert_eq!(scrape.value("proxy_access_lines_dropped_total"), 3.0);
    assert_eq!(scrape.value("proxy_log_lines_dropped_total"), 2.0);
}

#[test]
fn without_certificates_nothing_is_said_about_their_expiry() {
    let scrape = Exposition::of(&registry(1), Figures::default());
    assert_eq!(scrape.count("proxy_certificate"), 0);
}

#[test]
fn no_count_is_lost_while_workers_count_and_names_come_and_scrapes_run() {
    const EACH: u64 = 20_000;
    let registry = registry(4);
    let early = registry.route("early");
    registry.expose([early], []);
    let routes: Vec<_> = thread::scope(|scope| {
        for worker in 0..4 {
            let shard = registry.shard(worker);
            scope.spawn(move || {
                (0..EACH).for_each(|_| shard.request(early, 200, Duration::from_micros(700), 1, 1));
            });
        }
        let routes = (0..100).map(|number| registry.route(&format!("route {number}"))).collect();
        for _ in 0..10 {
            Exposition::of(&registry, Figures::default());
        }
        routes
    });
    assert_eq!(routes.len(), 100);
    let scrape = Exposition::of(&registry, Figures::default());
    assert_eq!(scrape.value(r#"proxy_requests_total{route="early",class="2xx"}"#), 4.0 * EACH as f64);
    assert_eq!(scrape.value(r#"proxy_request_duration_seconds_count{route="early"}"#), 4.0 * EACH as f64);
    registry.expose(routes, []);
    assert_eq!(Exposition::of(&registry, Figures::default()).count("proxy_sent_bytes_total"), 101);
}
