//! The table of metrics in docs/operations.md has exactly the metrics of the program, with their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use tidegate::observe::metrics::{
    DiscoveryFigures, EndpointFigures, Figures, HandshakeFigures, Health, Registry, UpstreamFigures,
};

/// The names of labels by the name of the metric as a query would have it.
type Table = BTreeMap<String, BTreeSet<String>>;

/// A scrape in which every metric has a series.
fn scrape() -> String {
    let registry = Registry::new(1, ["no_route"]);
    registry.expose([registry.route("app")], [registry.listener("web")]);
    let endpoint = EndpointFigures {
        name: "127.0.0.1:80".to_owned(),
        health: Health::Healthy,
        in_flight: 0,
        attempts: 0,
        failures: 0,
        ejections: 0,
    };
    let discovery = DiscoveryFigures {
        age: Some(Duration::ZERO),
        failures: vec![("timeout", 0)],
        ..DiscoveryFigures::default()
    };
    let upstream = UpstreamFigures {
        name: "app".to_owned(),
        endpoints: vec![endpoint],
        discovery: Some(discovery),
        ..UpstreamFigures::default()
    };
    registry.encode(Figures {
        certificate_expiry: Some(SystemTime::now()),
        handshakes: vec![HandshakeFigures { listener: "web".to_owned(), ..HandshakeFigures::default() }],
        upstreams: vec![upstream],
        ..Figures::default()
    })
}

fn of_the_program() -> Table {
    let mut table = Table::new();
    for line in scrape().lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = match line.split_once('{') {
            Some((name, rest)) => (name, rest.split('}').next().unwrap_or_default()),
            None => (line.split(' ').next().unwrap_or_default(), ""),
        };
        // A histogram is one metric with three series, one of which has the bound as a label.
        let name = ["_bucket", "_sum", "_count"].iter().fold(name, |name, end| name.trim_end_matches(end));
        let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label);
        let labels = labels.filter(|label| *label != "le").map(str::to_owned);
        table.entry(name.to_owned()).or_default().extend(labels);
    }
    table
}

fn of_the_document() -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = std::fs::read_to_string(path).expect("docs/operations.md is there");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `proxy_"));
    rows.map(|row| {
        let (name, rest) = row.split_once("` |").expect("a row begins with a name");
        let labels = rest.split('|').next().unwrap_or_default();
        let labels = labels.split(',').map(str::trim).filter(|label| !label.is_empty());
        (format!("proxy_{name}"), labels.map(str::to_owned).collect())
    })
    .collect()
}

#[test]
fn every_metric_is_documented_with_its_labels_and_no_other() {
    let (program, document) = (of_the_program(), of_the_document());
    assert!(program.len() > 10, "the scrape has metrics");
    assert_eq!(document, program, "left: docs/operations.md, right: the program");
}
