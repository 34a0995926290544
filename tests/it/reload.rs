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

/// So long that it is read when nobody else wants the processor.
#[test]
fn a_change_of_a_long_file_is_live_as_soon() {
    let long = |text: &str| {
        let routes = (0..1_000).map(|number| format!("[[route]]\npath = \"/{number}/*\"\nrespond = {{}}\n"));
        answering(text) + &routes.collect::<String>()
    };
    let proxy = Proxy::start(&long("old"));
    assert_eq!(proxy.get("/").text(), "old");
    proxy.rewrite(&long("new"));
    wait_until("the change is live", || proxy.get("/").text() == "new");
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
fn a_file_that_was_refused_is_tried_again_by_itself_and_its_refusal_told_once() {
    let mut holder = Origin::named("holder");
    let proxy = Proxy::start(&answering("old"));
    proxy.rewrite(&format!("{}[listener.extra]\nbind = \"{}\"\n", answering("new"), holder.address));
    wait_until("it is refused", || proxy.status()["last_reload_error"].is_string());
    // Longer than two retries take.
    pass(Duration::from_secs(5));
    assert_eq!(proxy.metric("proxy_reloads_total{result=\"failure\"}"), 1.0);
    assert_eq!(proxy.log().matches("configuration refused").count(), 1);
    holder.stop();
    wait_until("the port is free and the file live", || proxy.get("/").text() == "new");
    assert!(proxy.status()["last_reload_error"].is_null());
}

#[test]
fn the_repair_of_a_file_that_was_included_in_vain_is_found() {
    // Without an access log beside it, whose lines would be events of the watched directory.
    let silent = "[log]\nlevel = \"info\"\n";
    let proxy = Proxy::start(&(answering("old") + silent));
    let site = proxy.directory().join("sites/b.toml");
    std::fs::create_dir(proxy.directory().join("sites")).expect("the directory is ours");
    std::fs::write(&site, "[[route]]\nresponse = {}\n").expect("the directory is ours");
    proxy.rewrite(&format!("include = [\"sites/*.toml\"]\n{silent}"));
    wait_until("it is refused", || proxy.status()["last_reload_error"].is_string());
    // The line that tells so is an event of the directory too, and is over by then.
    pass(Duration::from_millis(500));
    std::fs::write(&site, answering("new")).expect("the directory is ours");
    wait_until("the repaired file is live", || proxy.get("/").text() == "new");
}

/// Both listeners with these names and addresses, and a route that answers.
fn listeners(name: &str, web: impl ToString, admin: impl ToString) -> String {
    format!(
        "{}{QUIET}[listener.{name}]\nbind = \"{}\"\n[admin]\nbind = \"{}\"\n",
        answering("ok"),
        web.to_string(),
        admin.to_string()
    )
}

#[test]
fn a_listener_may_get_another_name_and_keeps_its_socket() {
    let proxy = Proxy::start(&(answering("ok") + QUIET));
    let mut kept = proxy.client();
    assert_eq!(kept.get("/").text(), "ok");
    proxy.rewrite_whole(&listeners("public", proxy.web, proxy.admin));
    let answer = proxy.reload();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!((kept.get("/").text(), proxy.get("/").text()), ("ok".into(), "ok".into()));
    assert_eq!(proxy.status()["listeners"][0]["name"], "public");
    assert_eq!(proxy.log().matches("\"listening\"").count() + proxy.log().matches(" listening ").count(), 1);
}

#[test]
fn an_address_may_become_a_wider_one_in_one_reload() {
    let proxy = Proxy::start(&(answering("ok") + QUIET));
    let mut kept = proxy.client();
    assert_eq!(kept.get("/").text(), "ok");
    proxy.rewrite_whole(&listeners("web", format!("0.0.0.0:{}", proxy.web.port()), proxy.admin));
    let answer = proxy.reload();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let elsewhere = std::net::SocketAddr::from(([127, 0, 0, 2], proxy.web.port()));
    assert_eq!(Client::connect(elsewhere).get("/").text(), "ok");
    assert_eq!((kept.get("/").text(), proxy.get("/").text()), ("ok".into(), "ok".into()));
}

#[test]
fn a_listener_and_the_admin_listener_may_swap_their_addresses() {
    let proxy = Proxy::start(&(answering("ok") + QUIET));
    proxy.rewrite_whole(&listeners("web", proxy.admin, proxy.web));
    proxy.signal(Signal::HUP);
    wait_until("they have swapped", || {
        let answers = |address, text| {
            let mut client = Client::connect(address);
            client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client.try_response().is_ok_and(|answer| answer.text() == text)
        };
        answers(proxy.web, "ok\n") && answers(proxy.admin, "ok")
    });
}

#[test]
fn a_reload_that_moves_or_removes_the_admin_listener_is_answered_where_it_was_asked() {
    let mut proxy = Proxy::start(&(answering("ok") + QUIET));
    let elsewhere = free_address();
    proxy.rewrite_whole(&listeners("web", proxy.web, elsewhere));
    assert_eq!(proxy.reload().status, 200);
    wait_until("the old one is closed", || std::net::TcpStream::connect(proxy.admin).is_err());
    proxy.admin = elsewhere;
    proxy.rewrite_whole(&format!("{}{QUIET}[listener.web]\nbind = \"{}\"\n", answering("off"), proxy.web));
    assert_eq!(proxy.reload().status, 200);
    wait_until("there is none", || std::net::TcpStream::connect(elsewhere).is_err());
    assert_eq!(proxy.get("/").text(), "off");
}

#[test]
fn a_reload_that_is_refused_leaves_addresses_that_were_about_to_move() {
    let holder = Origin::named("holder");
    let proxy = Proxy::start(&(answering("ok") + QUIET));
    let wider = listeners("web", format!("0.0.0.0:{}", proxy.web.port()), proxy.admin);
    proxy.rewrite_whole(&format!("{wider}[listener.taken]\nbind = \"{}\"\n", holder.address));
    assert_eq!(proxy.reload().status, 400);
    assert!((0..20).all(|_| proxy.get("/").text() == "ok"));
    proxy.rewrite_whole(&wider);
    assert_eq!(proxy.reload().status, 200);
}

#[test]
fn a_socket_file_is_not_handed_from_one_listener_to_another_in_one_reload() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = format!("unix:{}", directory.path().join("local.sock").display());
    let proxy = Proxy::start(&format!("{}{QUIET}[listener.local]\nbind = \"{path}\"\n", answering("ok")));
    // With two addresses it is no other name of the same listener.
    proxy.rewrite(&format!(
        "{}{QUIET}[listener.other]\nbind = [\"{path}\", \"127.0.0.1:0\"]\n",
        answering("ok")
    ));
    let refused = proxy.reload().text();
    assert!(
        refused.contains("this process listens there for listener `local` until the reload"),
        "{refused}"
    );
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
fn an_access_log_that_can_not_be_opened_is_told_where_it_is_written() {
    let proxy = Proxy::start(&(answering("old") + QUIET));
    proxy.rewrite(&format!("[log]\naccess = \"absent/access.log\"\n{}{QUIET}", answering("new")));
    let answer = proxy.reload();
    assert_eq!((answer.status, proxy.get("/").text().as_str()), (400, "old"));
    let path = proxy.directory().join("absent/access.log");
    let told = format!("proxy.toml:2:10: `{}`: the access log can not be opened: ", path.display());
    assert!(answer.text().contains(&told), "{}", answer.text());
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
fn a_half_written_file_is_never_live_though_its_beginning_is_valid() {
    let second = "[[route]]\npath = \"/second\"\nrespond = { body = \"second\" }\n";
    let text = |first: &str| format!("[server]\nworkers = 2\n{}", answering(first));
    let proxy = Proxy::start(&text("old"));
    let generation = proxy.generation();
    let whole = std::fs::read_to_string(proxy.config()).expect("it is there").replace("\"old\"", "\"new\"");
    let write = |file: &std::fs::File, text: &str| {
        std::io::Write::write_all(&mut &*file, text.as_bytes()).expect("a disk");
    };
    let file = std::fs::File::create(proxy.config()).expect("it is there");
    write(&file, &whole);
    pass(Duration::from_millis(500));
    assert_eq!((proxy.get("/").text().as_str(), proxy.generation()), ("old", generation));
    write(&file, second);
    drop(file);
    wait_until("the whole file is live", || proxy.get("/second").text() == "second");
    assert_eq!((proxy.get("/").text().as_str(), proxy.generation()), ("new", generation + 1));
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
