//! The access log: what was asked, who answered, and why not.

use serde_json::Value;

use crate::harness::{ALL, Origin, Proxy, upstream, wait_until};

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_line_says_who_asked_what_and_who_answered() {
    let origin = Origin::named("hello");
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let mut client = proxy.client();
    client.send(
        "POST /a?token=secret&page=2 HTTP/1.1\r\nHost: shop.test\r\nUser-Agent: tests\r\n\
         Referer: https://x.test/?code=secret\r\nAuthorization: Bearer secret\r\nCookie: secret\r\nContent-Length: 3\r\n\r\nabc",
    );
    let answer = client.response();
    assert_eq!(answer.status, 200);
    let text = proxy.access_line(0);
    let line = json(&text);
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("method", "POST"),
        ("host", "shop.test"),
        ("path", "/a"),
        ("query", "token=*&page=*"),
        ("version", "HTTP/1.1"),
        ("listener", "web"),
        ("route", "all"),
        ("upstream", "origin"),
        ("endpoint", &origin.address.to_string()),
        ("user_agent", "tests"),
        ("referer", "https://x.test/?code=*"),
    ] {
        assert_eq!(line[key], value, "{key} in {text}");
    }
    assert_eq!(
        (&line["status"], &line["received_bytes"], &line["sent_bytes"]),
        (&200.into(), &3.into(), &5.into())
    );
    assert!(line["duration_ms"].as_f64().is_some_and(|time| time > 0.0), "{text}");
    assert!(line.get("reason").is_none() && line.get("attempts").is_none(), "{text}");
    assert_eq!(line["request_id"].as_str().map(str::len), Some(36));
    assert_eq!(line["request_id"].as_str(), origin.request().field("x-request-id"));
    assert!(!text.contains("secret"), "{text}");
}

#[test]
fn an_answer_of_the_proxy_to_head_has_sent_no_body() {
    let proxy = Proxy::start("[[route]]\npath = \"/fixed\"\nrespond = { body = \"hello\" }\n");
    for (number, path) in ["/fixed", "/nowhere"].into_iter().enumerate() {
        let mut client = proxy.client();
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.response_to_head();
        assert_eq!(json(&proxy.access_line(number))["sent_bytes"], 0, "{path}");
    }
}

#[test]
fn a_line_lists_the_attempts_that_failed_before_the_answer() {
    let (mut dead, alive) = (Origin::named("dead"), Origin::named("alive"));
    dead.stop();
    let proxy = Proxy::start(&format!("{ALL}{}balance = \"first\"\n", upstream(&[&dead, &alive])));
    assert_eq!(proxy.get("/").text(), "alive");
    let line = json(&proxy.access_line(0));
    assert_eq!(line["endpoint"], alive.address.to_string());
    let attempts = line["attempts"].as_array().expect("the attempts are listed");
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["endpoint"], dead.address.to_string());
    assert_eq!(attempts[0]["reason"], "connect_refused");
    assert!(attempts[0]["ms"].is_number());
    assert!(line.get("reason").is_none(), "the client got an answer: {line}");
}

#[test]
fn a_line_has_the_reason_of_an_answer_of_our_own() {
    let mut dead = Origin::named("dead");
    dead.stop();
    let proxy = Proxy::start(&format!("{ALL}path = \"/x\"\n{}[server]\nworkers = 1\n", upstream(&[&dead])));
    proxy.get("/x");
    proxy.get("/none");
    proxy.exchange("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    wait_until("three lines are written", || proxy.access_lines().len() == 3);
    let lines: Vec<_> = proxy.access_lines().iter().map(|line| json(line)).collect();
    let facts: Vec<_> = lines
        .iter()
        .map(|line| (line["status"].as_u64(), line["reason"].as_str(), line["route"].as_str()))
        .collect();
    assert_eq!(
        facts,
        [
            (Some(502), Some("connect_refused"), Some("all")),
            (Some(404), Some("no_route"), None),
            (Some(400), Some("bad_request.host"), None),
        ]
    );
}

#[test]
fn a_line_of_a_request_that_could_not_be_read_shows_what_is_known() {
    let proxy = Proxy::start("[[route]]\nrespond = {}\n");
    for (bytes, method, path, reason) in [
        ("HEAD /a?token=secret HTTP/1.1\r\nHost : a\r\n\r\n", "HEAD", "/a", "bad_request.field"),
        ("POST /b HTTP/1.1\nHost: a\n\n", "POST", "/b", "bad_request.line"),
        ("GET http://me:secret@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "", "bad_request.host"),
        ("GET /c HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "GET", "/c", "bad_request.framing"),
        ("\x16\x03\x01\n", "", "", "bad_request.line"),
    ] {
        let number = proxy.access_lines().len();
        let answer = String::from_utf8_lossy(&proxy.exchange(bytes)).into_owned();
        let text = proxy.access_line(number);
        let line = json(&text);
        let field = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        assert_eq!((field("method").as_str(), field("path").as_str()), (method, path), "{text}");
        assert_eq!((line["status"].as_u64(), field("reason").as_str()), (Some(400), reason), "{text}");
        assert!(!text.contains("secret"), "{text}");
        assert!(answer.contains(reason), "{answer}");
        let id = field("request_id");
        assert!(id.len() == 36 && (method == "HEAD" || answer.contains(&id)), "{text} {answer}");
        assert_eq!(answer.ends_with("\r\n\r\n"), method == "HEAD", "HEAD gets no body: {answer}");
        assert!(proxy.metric(&format!("proxy_replies_total{{reason=\"{reason}\"}}")) >= 1.0, "{reason}");
    }
}

#[test]
fn what_a_client_writes_never_becomes_a_line_of_its_own() {
    let proxy = Proxy::start("[[route]]\nrespond = {}\n");
    let mut client = proxy.client();
    client.send("GET /%0a%22 HTTP/1.1\r\nHost: a\r\nUser-Agent: \"}\\\t\u{7f}x\u{e9}\r\n\r\n");
    client.response();
    proxy.access_line(0);
    assert_eq!(proxy.access_lines().len(), 1);
    assert!(proxy.access_lines().iter().all(|line| json(line).is_object()));
}

#[test]
fn the_common_format_is_the_one_that_tools_know() {
    let proxy = Proxy::start(
        "[[route]]\nrespond = { body = \"12345\" }\n[log]\naccess = \"access.log\"\naccess_format = \"common\"\n",
    );
    proxy.get("/x?key=value");
    let line = proxy.access_line(0);
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    assert!(line.ends_with("] \"GET /x?key=* HTTP/1.1\" 200 5"), "{line}");
}

#[test]
fn access_lines_may_go_to_standard_output() {
    let proxy = Proxy::start("[[route]]\nname = \"out\"\nrespond = {}\n[log]\naccess = \"stdout\"\n");
    proxy.get("/");
    wait_until("the line is written", || proxy.stdout().contains("\"route\":\"out\""));
}

#[test]
fn sigusr1_opens_the_file_again() {
    let proxy = Proxy::start("[[route]]\nrespond = {}\n");
    proxy.get("/first");
    assert!(proxy.access_line(0).contains("/first"));
    let log = proxy.directory().join("access.log");
    std::fs::rename(&log, log.with_extension("old")).expect("the directory is ours");
    proxy.signal(rustix::process::Signal::USR1);
    wait_until("the file is there again", || log.exists());
    proxy.get("/second");
    assert!(proxy.access_line(0).contains("/second"));
}
