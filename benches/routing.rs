//! What finding a route costs among 1, 100 and 10,000 routes, in one run so that the machine is the
//! same for all: `cargo bench --bench routing`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use tidegate::http::{Authority, RequestHead};
use tidegate::route::{Entry, Serves, Settings, Subject, Table};

/// The paths of each host: exact, prefix and template.
const PATHS: [&str; 10] = [
    "/health",
    "/users",
    "/users/{id}",
    "/users/{id}/posts/{post}",
    "/users/*",
    "/api/v1/*",
    "/api/v2/*",
    "/static/*",
    "/login",
    "/*",
];

/// What is asked for: a hit of each kind.
const TARGETS: [&str; 6] = [
    "/health",
    "/users/42",
    "/users/42/posts/7",
    "/users/42/other/7",
    "/api/v2/things/1/2/3",
    "/favicon.ico",
];

/// How long each variant is measured.
const ROUND: Duration = Duration::from_millis(150);
const ROUNDS: usize = 7;

/// A variant: its name, its table and the requests that are put to it in turn.
struct Variant {
    name: &'static str,
    table: Table,
    requests: Vec<RequestHead>,
    nanoseconds: Vec<f64>,
}

fn main() {
    let mut variants = [
        variant("1 route", &routes(1, &["/*"]), 1),
        variant("100 routes on 10 hosts", &routes(10, &PATHS), 10),
        variant("10,000 routes on 1,000 hosts, one asked for", &routes(1000, &PATHS), 1),
        variant("10,000 routes on 1,000 hosts, all asked for", &routes(1000, &PATHS), 1000),
    ];
    for _ in 0..ROUNDS {
        for variant in &mut variants {
            let nanoseconds = measure(variant);
            variant.nanoseconds.push(nanoseconds);
        }
    }
    let base = median(&mut variants[0].nanoseconds);
    for variant in &mut variants {
        let cost = median(&mut variant.nanoseconds);
        println!("{:<46} {cost:>8.1} ns/find  {:>6.2} x  +{:.1} ns", variant.name, cost / base, cost - base);
    }
}

fn routes(hosts: usize, paths: &[&str]) -> Vec<Settings> {
    let route = |host: usize, path: &str| {
        let text = format!("host = 'h{host}.example.com'\npath = '{path}'");
        toml::from_str(&text).expect("settings of a route")
    };
    (0..hosts).flat_map(|host| paths.iter().map(move |path| route(host, path))).collect()
}

fn variant(name: &'static str, routes: &[Settings], hosts: usize) -> Variant {
    let table = Table::new(routes.iter().map(|settings| Entry {
        serves: Serves::Requests,
        settings,
        listeners: &[],
    }))
    .expect("a valid table");
    let requests = (0..hosts).flat_map(|host| TARGETS.map(|path| request(host, path))).collect();
    Variant { name, table, requests, nanoseconds: Vec::new() }
}

fn request(host: usize, path: &str) -> RequestHead {
    let mut head = RequestHead::default();
    head.method_text = head.fields.append(b"GET");
    let authority = head.fields.append(format!("h{host}.example.com").as_bytes());
    head.authority = Authority::at(authority, &head.fields);
    head.path = head.fields.append(path.as_bytes());
    head.fields.push(b"user-agent", b"bench");
    head
}

/// Nanoseconds of one find, all requests in turn. The clock is asked rarely: on some machines it
/// costs more than a find.
fn measure(variant: &Variant) -> f64 {
    let start = Instant::now();
    let mut finds = 0u32;
    let mut requests = variant.requests.iter().cycle();
    while start.elapsed() < ROUND {
        for request in requests.by_ref().take(1000) {
            let subject = Subject { request, listener: 0, client: IpAddr::V4(Ipv4Addr::LOCALHOST) };
            assert!(black_box(variant.table.find(black_box(&subject))).is_some());
            finds += 1;
        }
    }
    start.elapsed().as_nanos() as f64 / f64::from(finds)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
