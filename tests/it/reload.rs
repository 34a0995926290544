//! Another configuration while requests run.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{ALL, Client, Origin, Proxy, comes_true, free_address, ok, pass, upstream, wait_until};

fn answering(text: &str) -> String {
    format!("[[route]]\nrespond = {{ body = \"{text}\" }}\n")
}

/// `[reload] watch = false`: only what the test does reloads.
const QUIET: &str = "[reload]\nwatch = false\n";

#[test]
fn a_change_of_the_file_is_live_within_two_seconds() {
    let proxy = Proxy::start(&answering("old"));
    assert_eq!(proxy.get("/").text(), "old");
    let generation = proxy.generation();
    proxy.rewrite(&answering("new"));
    assert!(comes_true(Duration::from_secs(2), || proxy.get("/").text() == "new"));
    assert!(proxy.generation() > generation);
}

#[test]
fn sighup_and_the_admin_listener_reload() {
    let proxy = Proxy::start(&(answering("old") + QUIET));
    proxy.rewrite(&(answering("by signal") + QUIET));
    pass(Duration::from_millis(300));
    assert_eq!(proxy.get("/").text(), "old", "nothing is watched");
    proxy.signal(Signal::HUP);
    wait_until("the signal reloads", || proxy.get("/").text() == "by signal");
    proxy.reload_with(&(answering("by admin") + QUIET));
    assert_eq!(proxy.get("/").text(), "by admin");
}

#[test]
fn routes_and_endpoints_come_and_go() {
    let (first, second) = (Origin::named("first"), Origin::named("second"));
    let proxy = Proxy::start(&format!("{ALL}{}{QUIET}", upstream(&[&first])));
    assert_eq!(proxy.get("/").text(), "first");
    proxy.reload_with(&format!(
        "{ALL}[[route]]\npath = \"/new\"\nrespond = {{ body = \"new\" }}\n{}{QUIET}",
        upstream(&[&second])
    ));
    assert_eq!((proxy.get("/").text(), proxy.get("/new").text()), ("second".into(), "new".into()));
    proxy.reload_with(&format!("[[route]]\npath = \"/new\"\nrespond = {{}}\n{QUIET}"));
    assert_eq!(proxy.get("/").status, 404);
    first.wait_for_ends();
    second.wait_for_ends();
}

#[test]
fn listeners_come_and_go() {
    let extra = free_address();
    let proxy = Proxy::start(&(answering("ok") + QUIET));
    let with = format!("{}{QUIET}[listener.extra]\nbind = \"{extra}\"\n", answering("ok"));
    proxy.reload_with(&with);
    let mut kept = Client::connect(extra);
    assert_eq!(kept.get("/").text(), "ok");
    proxy.reload_with(&(answering("ok") + QUIET));
    wait_until("nobody accepts there", || std::net::TcpStream::connect(extra).is_err());
    assert_eq!(proxy.get("/").text(), "ok");
    proxy.reload_with(&with);
    assert_eq!(Client::connect(extra).get("/").text(), "ok");
}

#[test]
fn a_listener_that_can_not_be_bound_refuses_the_whole_file() {
    let holder = Origin::named("holder");
    let proxy = Proxy::start(&(answering("old") + QUIET));
    proxy.rewrite(&format!("{}{QUIET}[listener.extra]\nbind = \"{}\"\n", answering("new"), holder.address));
    let answer = proxy.reload();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains(&holder.address.to_string()), "{}", answer.text());
    assert_eq!(proxy.get("/").text(), "old");
}

#[test]
fn a_bad_file_changes_nothing_and_says_where_it_is_bad() {
    let proxy = Proxy::start(&answering("old"));
    let generation = proxy.generation();
    proxy.rewrite("[[route]]\nto = \"nowhere\"\npaht = \"/x\"\n");
    wait_until("the log names the places", || {
        let log = proxy.log();
        log.contains("proxy.toml:2:6") && log.contains("proxy.toml:3:1")
    });
    assert_eq!((proxy.get("/").text().as_str(), proxy.generation()), ("old", generation));
    let error = proxy.status()["last_reload_error"].as_str().unwrap_or_default().to_owned();
    assert!(error.contains("proxy.toml:2:6") && error.contains("proxy.toml:3:1"), "{error}");
    let answer = proxy.reload();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("path"), "it says what would be right: {}", answer.text());

    proxy.rewrite(&answering("mended"));
    wait_until("the mended file is live", || proxy.get("/").text() == "mended");
    assert!(proxy.status()["last_reload_error"].is_null());
}

#[test]
fn a_bad_change_that_is_undone_leaves_no_error() {
    let proxy = Proxy::start(&answering("old"));
    proxy.rewrite("nonsense");
    wait_until("the error is shown", || proxy.status()["last_reload_error"].is_string());
    proxy.rewrite(&answering("old"));
    wait_until("the error is gone", || proxy.status()["last_reload_error"].is_null());
}

#[test]
fn a_half_written_file_is_never_live() {
    let proxy = Proxy::start(&answering("old"));
    let whole = std::fs::read_to_string(proxy.config()).expect("it is there");
    let file =
        std::fs::OpenOptions::new().write(true).truncate(true).open(proxy.config()).expect("it is there");
    std::io::Write::write_all(&mut &file, whole.as_bytes().get(..20).expect("it is longer")).expect("a disk");
    pass(Duration::from_millis(300));
    assert_eq!(proxy.get("/").text(), "old");
    std::io::Write::write_all(&mut &file, &whole.as_bytes()[20..]).expect("a disk");
    drop(file);
    pass(Duration::from_millis(300));
    assert_eq!(proxy.get("/").text(), "old");
}

#[test]
fn a_symbolic_link_that_is_swapped_is_a_change() {
    let directory = tempfile::TempDir::new().expect("a directory");
    // As a mounted ConfigMap looks: the file is a link through a link that is swapped.
    let root = directory.path().to_owned();
    let proxy = Proxy::start_in(directory, &answering("old"));
    let text = std::fs::read_to_string(proxy.config()).expect("it is there");
    for (name, body) in [("one", "first"), ("two", "second")] {
        std::fs::create_dir(root.join(name)).expect("the directory is ours");
        std::fs::write(root.join(name).join("proxy.toml"), text.replace("old", body)).expect("ours");
    }
    symlink("one", root.join("data")).expect("ours");
    symlink("data/proxy.toml", root.join("link")).expect("ours");
    std::fs::rename(root.join("link"), proxy.config()).expect("ours");
    wait_until("the first target is live", || proxy.get("/").text() == "first");
    symlink("two", root.join("data.new")).expect("ours");
    std::fs::rename(root.join("data.new"), root.join("data")).expect("ours");
    assert!(comes_true(Duration::from_secs(3), || proxy.get("/").text() == "second"));
}

#[test]
fn a_request_that_runs_keeps_the_configuration_that_it_began_with() {
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")?;
        pass(Duration::from_millis(500));
        conversation.send("lf")
    });
    let proxy = Proxy::start(&format!("{ALL}{}{QUIET}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.head();
    proxy.reload_with(&(answering("new") + QUIET));
    assert_eq!(client.bytes(4), b"half");
    assert_eq!(client.get("/").text(), "new", "the next one on the connection has the new rules");
}

#[test]
fn connections_and_requests_survive_twenty_reloads() {
    let origin = Origin::answering(|_| ok("served"));
    let text = |number: u32| {
        format!(
            "{ALL}[[route]]\npath = \"/version\"\nrespond = {{ body = \"{number}\" }}\n{}{QUIET}",
            upstream(&[&origin])
        )
    };
    let proxy = Proxy::start(&text(0));
    let ends = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (ends, answered, mut client) = (ends.clone(), answered.clone(), proxy.client());
            std::thread::spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    let answer = client.get("/");
                    assert_eq!(answer.text(), "served");
                    assert_eq!(answer.field("connection"), None);
                    answered.fetch_add(1, Ordering::Relaxed);
                    pass(Duration::from_millis(1));
                }
            })
        })
        .collect();
    let connections = origin.connections();
    for number in 1..=20 {
        proxy.reload_with(&text(number));
        assert_eq!(proxy.get("/version").text(), number.to_string());
        let before = answered.load(Ordering::Relaxed);
        wait_until("requests go on", || answered.load(Ordering::Relaxed) >= before + 4);
    }
    ends.store(true, Ordering::Relaxed);
    load.into_iter().for_each(|one| one.join().expect("no request failed"));
    assert!(origin.connections() <= connections + 8, "connections to the endpoint were not kept");
}

#[test]
fn a_reload_is_quick() {
    let proxy = Proxy::start(&(answering("0") + QUIET));
    let begun = Instant::now();
    for number in 1..=10 {
        proxy.reload_with(&(answering(&number.to_string()) + QUIET));
        assert_eq!(proxy.get("/").text(), number.to_string());
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}
