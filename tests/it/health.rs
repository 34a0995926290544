//! Endpoints that leave the rotation and come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{ALL, Origin, Proxy, Request, ok, upstream, wait_until};

/// An endpoint whose answers are 503 while the switch is on.
fn switched(name: &'static str) -> (Origin, Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(false));
    let inner = ill.clone();
    let origin = Origin::answering(move |_: &Request| match inner.load(Ordering::SeqCst) {
        true => b"HTTP/1.1 503 Ill\r\nContent-Length: 3\r\n\r\nill".to_vec(),
        false => ok(name),
    });
    (origin, ill)
}

const NO_RETRY: &str = "[[route]]\nname = \"all\"\nto = \"origin\"\nretry = \"off\"\n";

#[test]
fn an_endpoint_that_fails_again_and_again_is_ejected_and_returns() {
    let (first, ill) = switched("first");
    let second = Origin::named("second");
    ill.store(true, Ordering::SeqCst);
    let proxy = Proxy::start(&format!(
        "{NO_RETRY}{}balance = \"round_robin\"\n[upstream.origin.outlier]\nconsecutive_failures = 3\nbase_ejection = \"2s\"\n",
        upstream(&[&first, &second])
    ));
    let statuses: Vec<_> = (0..12).map(|_| proxy.get("/").status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 3, "{statuses:?}");
    assert_eq!(proxy.states("origin"), ["ejected", "unknown"]);
    ill.store(false, Ordering::SeqCst);
    wait_until("the endpoint is back", || proxy.get("/").text() == "first");
}

#[test]
fn an_active_check_takes_an_endpoint_out_and_back() {
    let (first, ill) = switched("first");
    let second = Origin::named("second");
    let proxy = Proxy::start(&format!(
        "{ALL}{}balance = \"round_robin\"\noutlier = \"off\"\n\
         [upstream.origin.health]\npath = \"/healthz?deep\"\ninterval = \"50ms\"\nunhealthy = 2\nhealthy = 2\n",
        upstream(&[&first, &second])
    ));
    wait_until("both are healthy", || proxy.states("origin") == ["healthy", "healthy"]);
    ill.store(true, Ordering::SeqCst);
    wait_until("the first is unhealthy", || proxy.states("origin") == ["unhealthy", "healthy"]);
    let answers: Vec<_> = (0..6).map(|_| proxy.get("/x").text()).collect();
    assert!(answers.iter().all(|answer| answer == "second"), "{answers:?}");
    ill.store(false, Ordering::SeqCst);
    wait_until("the first is back", || proxy.get("/x").text() == "first");
    let checks: Vec<_> = first.requests().into_iter().filter(|request| request.target() != "/x").collect();
    assert!(!checks.is_empty() && checks.iter().all(|request| request.target() == "/healthz?deep"));
}

#[test]
fn after_a_reload_only_the_new_checks_count_though_an_old_download_runs() {
    let moved = Arc::new(AtomicBool::new(false));
    let has_moved = moved.clone();
    let origin = Origin::scripted(move |conversation| {
        while let Some(request) = conversation.request()? {
            match request.target() {
                "/download" => {
                    conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")?;
                    conversation.wait_for_end()?;
                }
                "/h1" if has_moved.load(Ordering::SeqCst) => {
                    conversation.send("HTTP/1.1 404 Moved\r\nContent-Length: 0\r\n\r\n")?;
                }
                _ => conversation.send(ok("ok"))?,
            }
        }
        Ok(())
    });
    let checked = |path: &str| {
        format!(
            "{ALL}{}panic_threshold = 0\n[upstream.origin.health]\npath = \"{path}\"\ninterval = \"20ms\"\n\
             unhealthy = 1\n[reload]\nwatch = false\n",
            upstream(&[&origin])
        )
    };
    let checks = |path: &str| origin.requests().iter().filter(|request| request.target() == path).count();
    let proxy = Proxy::start(&checked("/h1"));
    let mut download = proxy.client();
    download.send("GET /download HTTP/1.1\r\nHost: a\r\n\r\n");
    download.head();
    proxy.reload_with(&checked("/h2"));
    moved.store(true, Ordering::SeqCst);
    let before = checks("/h1");
    wait_until("the new checks are made", || checks("/h2") >= 20);
    // One may have been under way.
    assert!(checks("/h1") <= before + 1, "{} more old checks", checks("/h1") - before);
    wait_until("the endpoint is healthy", || proxy.states("origin") == ["healthy"]);
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn a_refused_reload_changes_no_verdict() {
    let (first, ill) = switched("first");
    let (second, third) = (Origin::named("second"), Origin::named("third"));
    let quiet = "[reload]\nwatch = false\n";
    let origins = upstream(&[&first, &second, &third]);
    ill.store(true, Ordering::SeqCst);
    // The next check comes after the test.
    let proxy = Proxy::start(&format!(
        "{ALL}{origins}[upstream.origin.health]\nunhealthy = 1\ninterval = \"1h\"\n{quiet}"
    ));
    let verdicts = ["unhealthy", "healthy", "healthy"];
    wait_until("the checks are made", || proxy.states("origin") == verdicts);
    proxy.rewrite(&format!(
        "{ALL}{origins}health = \"off\"\noutlier = \"off\"\n[listener.taken]\nbind = \"{}\"\n{quiet}",
        second.address
    ));
    assert_eq!(proxy.reload().status, 400);
    assert_eq!(proxy.states("origin"), verdicts);
}

#[test]
fn a_check_may_ask_for_a_text_in_the_body() {
    let (right, wrong) = (Origin::named("all is ready"), Origin::named("starting"));
    let proxy = Proxy::start(&format!(
        "{ALL}{}[upstream.origin.health]\nbody = \"ready\"\ninterval = \"50ms\"\nunhealthy = 1\n",
        upstream(&[&right, &wrong])
    ));
    wait_until("the second is unhealthy", || proxy.states("origin") == ["healthy", "unhealthy"]);
}

#[test]
fn with_too_few_healthy_endpoints_health_is_ignored_unless_told_otherwise() {
    let ill = || {
        Origin::answering(|request| match request.target() {
            "/healthz" => b"HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n".to_vec(),
            _ => ok("served"),
        })
    };
    let (first, second) = (ill(), ill());
    let settings = |panic: &str| {
        format!(
            "{ALL}{}panic_threshold = {panic}\n[upstream.origin.health]\ninterval = \"50ms\"\nunhealthy = 1\n",
            upstream(&[&first, &second])
        )
    };
    let proxy = Proxy::start(&settings("\"50%\""));
    wait_until("both are unhealthy", || proxy.states("origin") == ["unhealthy", "unhealthy"]);
    assert_eq!(proxy.get("/").text(), "served");
    let strict = Proxy::start(&settings("0"));
    wait_until("both are unhealthy", || strict.states("origin") == ["unhealthy", "unhealthy"]);
    let answer = strict.get("/");
    assert_eq!((answer.status, answer.reason()), (503, "no_healthy_endpoint"));
}

#[test]
fn round_robin_is_exact_over_two_workers() {
    let names = ["a", "b", "c"];
    let origins = names.map(Origin::named);
    let proxy = Proxy::start(&format!(
        "{ALL}{}balance = \"round_robin\"\n[server]\nworkers = 2\n",
        upstream(&origins.each_ref())
    ));
    // Many connections, so that both workers have some.
    let mut clients: Vec<_> = (0..12).map(|_| proxy.client()).collect();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..25 {
        for client in &mut clients {
            *counts.entry(client.get("/").text()).or_default() += 1;
        }
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [100, 100, 100]);
}

#[test]
fn weights_are_honoured_and_a_weight_of_zero_gets_nothing() {
    let origins = ["a", "b", "c"].map(Origin::named);
    let [a, b, c] = origins.each_ref().map(|origin| origin.address);
    let proxy = Proxy::start(&format!(
        "{ALL}[upstream.origin]\nbalance = \"round_robin\"\nendpoints = [{{ address = \"{a}\", weight = 3 }}, \"{b}\", {{ address = \"{c}\", weight = 0 }}]\n"
    ));
    let mut client = proxy.client();
    (0..80).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert_eq!(origins.map(|origin| origin.requests().len()), [60, 20, 0]);
}

#[test]
fn a_backup_is_used_only_while_the_others_are_out() {
    let (mut main, backup) = (Origin::named("main"), Origin::named("backup"));
    let proxy = Proxy::start(&format!(
        "{ALL}[upstream.origin]\nendpoints = [\"{}\", {{ address = \"{}\", priority = 1 }}]\n\
         [upstream.origin.health]\ncheck = \"tcp\"\ninterval = \"50ms\"\nunhealthy = 1\nhealthy = 1\n",
        main.address, backup.address
    ));
    assert!((0..10).all(|_| proxy.get("/").text() == "main"));
    main.stop();
    wait_until("the backup serves", || proxy.get("/").text() == "backup");
    main.start();
    wait_until("the main one serves again", || proxy.get("/").text() == "main");
}
