//! Configuration text: it is refused with a place, or becomes a snapshot; never a panic.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tidegate::observe::metrics::Registry;
use tidegate::snapshot::{Means, build};

fuzz_target!(|text: &str| {
    let Ok(config) = tidegate::config::parse(text, Path::new("proxy.toml"), &|_| None) else { return };
    let registry = Registry::new(1, []);
    let means = Means {
        registry: &registry,
        acceptor: &|_, _| Err(vec![(0..0, "no TLS here".to_owned())]),
        connector: &|_, _| Ok(None),
    };
    if let Ok(snapshot) = build(config, None, &means) {
        assert!(snapshot.listeners().all(|listener| !listener.name.is_empty()));
    }
});
