//! TLS to endpoints: who is believed, what is shown, and which connections are used again.

use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{
    After, Authority, Origin, Proxy, SecureOrigin, Site, comes_true, curl, free_address, pass, replace, run,
    wait_until,
};

/// Names that the certificates of most endpoints here are for.
const NAMES: &[&str] = &["localhost", "127.0.0.1"];

/// A directory with `ca.pem`, whose key we have.
fn directory() -> (TempDir, Authority) {
    let (directory, authority) =
        (TempDir::new().expect("a directory"), Authority::new("authority of the tests"));
    replace(&directory.path().join("ca.pem"), &authority.pem());
    (directory, authority)
}

/// A route to the upstream `origin` at these endpoints, whose table `tls` has these keys.
fn to(endpoints: &[&str], keys: &str, tls: &str) -> String {
    let endpoints: Vec<_> = endpoints.iter().map(|endpoint| format!("\"{endpoint}\"")).collect();
    format!(
        "[[route]]\nname = \"all\"\nto = \"origin\"\n[upstream.origin]\nendpoints = [{}]\noutlier = \"off\"\n\
         connections = {{ connect_timeout = \"5s\" }}\n{keys}[upstream.origin.tls]\n{tls}",
        endpoints.join(", ")
    )
}

fn address(origin: &SecureOrigin) -> String {
    origin.address.to_string()
}

const OWN_CA: &str = "ca = \"ca.pem\"\n";

/// What a GET gets: status, reason and body.
fn get(proxy: &Proxy) -> (u16, String, String) {
    let answer = proxy.get("/");
    (answer.status, answer.reason().to_owned(), answer.text())
}

#[track_caller]
fn assert_refused(proxy: &Proxy, reason: &str, error: &str) {
    let answer = proxy.get("/");
    let status = answer.field("proxy-status").unwrap_or_default();
    assert_eq!((answer.status, answer.reason()), (502, reason), "{status}\n{}", proxy.log());
    assert!(status.contains(&format!("error={error}")), "{status}");
}

#[test]
fn an_endpoint_is_asked_for_the_name_that_is_written_and_believed_by_the_own_authority() {
    let (directory, authority) = directory();
    let origin = SecureOrigin::start(Site::of(authority.sign(NAMES)));
    let by_name = format!("localhost:{}", origin.address.port());
    let proxy = Proxy::start_in(directory, &to(&[&by_name], "", OWN_CA));
    wait_until("the name is resolved", || proxy.get("/").status == 200);
    assert_eq!(get(&proxy).2, "h1 sni=localhost client=- tls=1.3");
    proxy.reload_with(&to(&[&address(&origin)], "", OWN_CA));
    assert_eq!(get(&proxy).2, "h1 sni=- client=- tls=1.3", "an address is no server name (RFC 6066 §3)");
}

#[test]
fn another_server_name_is_asked_for_and_verified() {
    let (directory, authority) = directory();
    let origin = SecureOrigin::start(Site::of(authority.sign(&["app.internal"])));
    let text = |name| to(&[&address(&origin)], "", &format!("{OWN_CA}server_name = \"{name}\"\n"));
    let proxy = Proxy::start_in(directory, &text("app.internal"));
    assert_eq!(get(&proxy).2, "h1 sni=app.internal client=- tls=1.3");
    proxy.reload_with(&text("other.internal"));
    assert_refused(&proxy, "tls_name_mismatch", "tls_certificate_error");
}

#[test]
fn an_endpoint_that_can_not_be_believed_is_refused_with_its_reason() {
    let (directory, authority) = directory();
    let stranger = Authority::new("somebody");
    let cases = [
        (authority.sign(&["other.test"]), "tls_name_mismatch"),
        (authority.sign_until(NAMES, 2020), "tls_expired"),
        (stranger.sign(NAMES), "tls_untrusted"),
    ];
    let origins = cases.map(|(certificate, reason)| (SecureOrigin::start(Site::of(certificate)), reason));
    let proxy = Proxy::start_in(directory, &to(&[&address(&origins[0].0)], "", OWN_CA));
    for (origin, reason) in &origins {
        proxy.reload_with(&to(&[&address(origin)], "", OWN_CA));
        assert_refused(&proxy, reason, "tls_certificate_error");
        assert_eq!(origin.requests(), 0);
    }
}

#[test]
fn any_request_is_tried_elsewhere_when_an_endpoint_is_refused() {
    let (directory, authority) = directory();
    let bad = SecureOrigin::start(Site::of(authority.sign(&["other.test"])));
    let good = SecureOrigin::start(Site::of(authority.sign(NAMES)));
    let keys = "balance = \"first\"\n";
    let text = to(&[&address(&bad), &address(&good)], keys, OWN_CA);
    let proxy = Proxy::start_in(directory, &text.replace("outlier = \"off\"\n", ""));
    for _ in 0..6 {
        assert_eq!(proxy.post("/", "").status, 200);
    }
    assert_eq!(proxy.states("origin")[0], "ejected", "handshakes that fail count as failed connections");
    // Two workers write their lines in turn.
    wait_until("a line tells why", || {
        proxy.access_lines().iter().any(|line| line.contains("tls_name_mismatch"))
    });
}

#[test]
fn without_verification_anybody_is_believed_and_the_log_warns() {
    let (directory, _) = directory();
    let origin = SecureOrigin::start(Site::of(Authority::new("somebody").sign_until(&["other.test"], 2020)));
    let proxy = Proxy::start_in(directory, &to(&[&address(&origin)], "", "verify = false\n"));
    assert_eq!(get(&proxy).0, 200);
    assert!(proxy.log().contains("tls.verify is off"), "{}", proxy.log());
}

#[test]
fn clear_text_behind_tls_is_a_failed_handshake() {
    let (directory, _) = directory();
    let origin = Origin::scripted(|conversation| {
        conversation.bytes(1)?;
        conversation.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    });
    let proxy = Proxy::start_in(directory, &to(&[&origin.address.to_string()], "", OWN_CA));
    assert_refused(&proxy, "tls_handshake_failed", "tls_protocol_error");
}

#[test]
fn a_handshake_that_hangs_ends_with_the_connect_timeout() {
    let (directory, _) = directory();
    let origin = Origin::scripted(|conversation| conversation.wait_for_end());
    let text = to(&[&origin.address.to_string()], "", OWN_CA).replace("\"5s\"", "\"200ms\"");
    let text = text.replace("to = \"origin\"\n", "to = \"origin\"\nretry = \"off\"\n");
    let proxy = Proxy::start_in(directory, &text);
    let begun = std::time::Instant::now();
    assert_refused(&proxy, "connect_timeout", "connection_timeout");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn an_endpoint_gets_the_client_certificate_that_it_wants() {
    let (directory, authority) = directory();
    authority.sign(&["proxy.internal"]).write(directory.path(), "client");
    Authority::new("somebody").sign(&["proxy.internal"]).write(directory.path(), "wrong");
    let with = |name: &str| format!("{OWN_CA}client_cert = \"{name}.pem\"\nclient_key = \"{name}.key\"\n");
    let proxy = Proxy::start_in(directory, "[[route]]\nrespond = {}\n");
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        for protocol in ["h1", "h2"] {
            let alpn = if protocol == "h2" { ["h2"] } else { ["http/1.1"] };
            let site =
                Site { versions, alpn: &alpn, clients: Some(&authority), ..Site::of(authority.sign(NAMES)) };
            let origin = SecureOrigin::start(site);
            let keys = format!("protocol = \"{protocol}\"\n");
            proxy.reload_with(&to(&[&address(&origin)], &keys, &with("client")));
            let (status, _, body) = get(&proxy);
            assert_eq!(status, 200, "{protocol} {body}\n{}", proxy.log());
            assert!(
                body.starts_with(&format!("{protocol} ")) && body.contains("client=proxy.internal"),
                "{body}"
            );
            proxy.reload_with(&to(&[&address(&origin)], &keys, &with("wrong")));
            assert_refused(&proxy, "tls_client_certificate", "tls_alert_received");
            let requests = origin.requests();
            proxy.reload_with(&to(&[&address(&origin)], &keys, OWN_CA));
            let (status, reason, _) = get(&proxy);
            // TLS 1.2 has no alert of its own for a certificate that is missing (RFC 5246 §7.4.6).
            let reasons = ["tls_client_certificate", "tls_handshake_failed"];
            let expected = if versions[0] == &rustls::version::TLS13 { &reasons[..1] } else { &reasons[..] };
            assert!(status == 502 && expected.contains(&reason.as_str()), "{protocol} {reason}");
            assert_eq!(origin.requests(), requests);
        }
    }
}

#[test]
fn a_post_goes_elsewhere_when_the_client_certificate_is_refused() {
    let (directory, authority) = directory();
    let strict = SecureOrigin::start(Site { clients: Some(&authority), ..Site::of(authority.sign(NAMES)) });
    let open = SecureOrigin::start(Site::of(authority.sign(NAMES)));
    let text = to(&[&address(&strict), &address(&open)], "balance = \"first\"\n", OWN_CA);
    let proxy = Proxy::start_in(directory, &text);
    let answer = proxy.post("/", "order");
    assert_eq!(answer.status, 200, "{}", answer.reason());
    assert!(proxy.access_line(0).contains("tls_client_certificate"), "{}", proxy.access_line(0));
}

#[test]
fn auto_speaks_what_the_endpoint_agrees_to() {
    let (directory, authority) = directory();
    let proxy = Proxy::start_in(directory, "[[route]]\nrespond = {}\n");
    for (alpn, expected) in [
        (&["h2", "http/1.1"][..], "h2 sni=- client=- tls=1.3 scheme=https"),
        (&["http/1.1"], "h1 sni=- client=- tls=1.3"),
        (&[], "h1 sni=- client=- tls=1.3"),
    ] {
        let origin = SecureOrigin::start(Site { alpn, ..Site::of(authority.sign(NAMES)) });
        proxy.reload_with(&to(&[&address(&origin)], "protocol = \"auto\"\n", OWN_CA));
        let mut client = proxy.client();
        for _ in 0..5 {
            assert_eq!(client.get("/").text(), expected);
        }
        assert_eq!(origin.connections(), 1, "{alpn:?}");
    }
}

#[test]
fn h2_must_be_agreed_by_the_endpoint() {
    let (directory, authority) = directory();
    let proxy = Proxy::start_in(directory, "[[route]]\nrespond = {}\n");
    for alpn in [&["http/1.1"][..], &[]] {
        let origin = SecureOrigin::start(Site { alpn, ..Site::of(authority.sign(NAMES)) });
        proxy.reload_with(&to(&[&address(&origin)], "protocol = \"h2\"\n", OWN_CA));
        assert_refused(&proxy, "tls_handshake_failed", "tls_protocol_error");
    }
}

#[test]
fn trailers_pass_over_http_2_within_tls() {
    let (directory, authority) = directory();
    let origin = SecureOrigin::start(Site { alpn: &["h2"], ..Site::of(authority.sign(NAMES)) });
    let proxy = Proxy::start_in(directory, &to(&[&address(&origin)], "protocol = \"h2\"\n", OWN_CA));
    let url = format!("http://{}/pkg.Service/Call", proxy.web);
    let got = curl(&["--http2-prior-knowledge", "--data", "x", "--header", "te: trailers", &url])
        .expect("an answer");
    assert_eq!((got.status, got.body.as_str()), (200, "h2 sni=- client=- tls=1.3 scheme=https"));
    assert!(got.heads.contains("grpc-status: 0"), "{}", got.heads);
}

#[test]
fn a_connection_is_used_again_also_when_tls_itself_has_spoken_on_it() {
    let (directory, authority) = directory();
    let proxy = Proxy::start_in(directory, "[[route]]\nrespond = {}\n");
    for versions in [&[&rustls::version::TLS13], &[&rustls::version::TLS12]] {
        for after in [After::Nothing, After::KeyUpdate] {
            if after == After::KeyUpdate && versions[0] == &rustls::version::TLS12 {
                continue;
            }
            let origin = SecureOrigin::start(Site { versions, after, ..Site::of(authority.sign(NAMES)) });
            proxy.reload_with(&to(&[&address(&origin)], "", OWN_CA));
            let mut client = proxy.client();
            for _ in 0..10 {
                assert_eq!(client.get("/").status, 200);
                // Long enough for the message to come while the connection rests.
                pass(Duration::from_millis(5));
            }
            client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(client.response().status, 200);
            assert_eq!((origin.connections(), origin.requests()), (1, 11), "{after:?}");
        }
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_nobodys_answer() {
    let (directory, authority) = directory();
    let origin = SecureOrigin::start(Site { after: After::Answer, ..Site::of(authority.sign(NAMES)) });
    let proxy = Proxy::start_in(directory, &to(&[&address(&origin)], "", OWN_CA));
    let mut client = proxy.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "h1 sni=- client=- tls=1.3");
        pass(Duration::from_millis(5));
    }
    assert_eq!(origin.connections(), 5);
}

#[test]
fn an_answer_that_waits_behind_a_full_buffer_is_nobodys_answer() {
    let (directory, authority) = directory();
    let origin = SecureOrigin::start(Site { after: After::Full, ..Site::of(authority.sign(NAMES)) });
    let proxy = Proxy::start_in(directory, &to(&[&address(&origin)], "", OWN_CA));
    let mut client = proxy.client();
    for _ in 0..5 {
        assert!(client.get("/").text().starts_with("h1 "));
        pass(Duration::from_millis(5));
    }
    assert_eq!(origin.connections(), 5);
}

#[test]
fn a_check_says_that_the_endpoint_wants_a_certificate() {
    let (directory, authority) = directory();
    let proxy = Proxy::start_in(directory, "[[route]]\nrespond = {}\n");
    for (protocol, alpn) in [("h1", "http/1.1"), ("h2", "h2")] {
        let site = Site { alpn: &[alpn], clients: Some(&authority), ..Site::of(authority.sign(NAMES)) };
        let origin = SecureOrigin::start(site);
        let keys = format!(
            "protocol = \"{protocol}\"\nhealth = {{ interval = \"50ms\", timeout = \"5s\", unhealthy = 1 }}\n"
        );
        proxy.reload_with(&to(&[&address(&origin)], &keys, OWN_CA));
        wait_until("it is unhealthy", || proxy.states("origin") == ["unhealthy"]);
        let status = proxy.status();
        let why = status["upstreams"][0]["endpoints"][0]["why"].as_str().unwrap_or_default().to_owned();
        assert!(why.starts_with("connect: tls_client_certificate: "), "{protocol}: {why}");
    }
}

#[test]
fn a_second_connection_resumes_the_session_of_the_first() {
    let (directory, authority) = directory();
    let origin = SecureOrigin::start(Site::of(authority.sign(NAMES)));
    let text = to(&[&address(&origin)], "", OWN_CA).replace("\"5s\"", "\"5s\", max_idle = 0");
    let proxy = Proxy::start_in(directory, &text);
    for _ in 0..4 {
        assert_eq!(get(&proxy).0, 200);
    }
    assert_eq!(origin.handshakes(), (4, 3));
}

#[test]
fn connections_of_one_identity_are_never_used_for_another() {
    let (directory, authority) = directory();
    authority.sign(&["first.proxy"]).write(directory.path(), "first");
    authority.sign(&["second.proxy"]).write(directory.path(), "second");
    let proxy = Proxy::start_in(directory, "[[route]]\nrespond = {}\n[server]\nworkers = 1\n");
    for (protocol, alpn) in [("h1", "http/1.1"), ("h2", "h2")] {
        let site = Site {
            alpn: &[alpn],
            clients: Some(&authority),
            ..Site::of(authority.sign(&["one.test", "two.test", "127.0.0.1"]))
        };
        let origin = SecureOrigin::start(site);
        let keys = format!("protocol = \"{protocol}\"\n");
        let text = |server_name: &str, client: &str, more: &str| {
            let client = format!("client_cert = \"{client}.pem\"\nclient_key = \"{client}.key\"\n");
            let text = to(
                &[&address(&origin)],
                &format!("{keys}{more}"),
                &format!("{OWN_CA}server_name = \"{server_name}\"\n{client}"),
            );
            format!("{text}[server]\nworkers = 1\n")
        };
        let mut client = proxy.client();
        let mut ask = |text: &str| {
            proxy.reload_with(text);
            client.get("/").text()
        };
        assert!(ask(&text("one.test", "first", "")).contains("sni=one.test client=first.proxy"));
        assert_eq!(origin.connections(), 1);
        assert!(ask(&text("two.test", "first", "")).contains("sni=two.test client=first.proxy"));
        assert_eq!(origin.connections(), 2);
        assert!(ask(&text("two.test", "second", "")).contains("sni=two.test client=second.proxy"));
        assert_eq!(origin.connections(), 3);
        // What has nothing to do with TLS keeps the connection.
        let same = text("two.test", "second", "panic_threshold = \"10%\"\n");
        assert!(ask(&same).contains("sni=two.test client=second.proxy"));
        assert_eq!(origin.connections(), 3, "{protocol}");
    }
}

#[test]
fn files_that_change_are_followed_without_a_reload_and_old_connections_end() {
    let (directory, authority) = directory();
    authority.sign(&["first.proxy"]).write(directory.path(), "client");
    let site = Site { clients: Some(&authority), ..Site::of(authority.sign(NAMES)) };
    let origin = SecureOrigin::start(site);
    let tls = format!("{OWN_CA}client_cert = \"client.pem\"\nclient_key = \"client.key\"\n");
    let proxy = Proxy::start_in(directory, &to(&[&address(&origin)], "", &tls));
    let mut client = proxy.client();
    assert!(client.get("/").text().contains("client=first.proxy"));
    // A certificate without its key is refused, and what is in use stays.
    replace(&proxy.directory().join("client.pem"), &authority.sign(&["half.proxy"]).cert);
    wait_until("it is refused", || proxy.log().contains("files refused"));
    assert!(client.get("/").text().contains("client=first.proxy"));
    authority.sign(&["second.proxy"]).write(proxy.directory(), "client");
    wait_until("it is replaced", || proxy.log().contains("files replaced"));
    // At once: also before the pool is next looked through.
    assert_eq!(client.get("/").text(), "h1 sni=- client=second.proxy tls=1.3", "{}", proxy.log());
    // An authority that is taken away is believed no longer, not even on an open connection.
    replace(&proxy.directory().join("ca.pem"), &Authority::new("somebody").pem());
    let mut answer = String::new();
    let refused = comes_true(Duration::from_secs(5), || {
        answer = client.get("/").reason().to_owned();
        answer == "tls_untrusted"
    });
    assert!(refused, "{answer}");
    assert_eq!(proxy.generation(), 1);
}

#[test]
fn health_checks_are_made_over_tls_and_say_why_they_fail() {
    let (directory, authority) = directory();
    let proxy = Proxy::start_in(directory, "[[route]]\nrespond = {}\n");
    for (check, protocol, alpn) in [
        ("http", "h1", "http/1.1"),
        ("http", "h2", "h2"),
        ("http", "auto", "h2"),
        ("http", "auto", "http/1.1"),
        ("tcp", "h1", "http/1.1"),
    ] {
        let site = |certificate| Site { alpn: std::slice::from_ref(&alpn), ..Site::of(certificate) };
        let good = SecureOrigin::start(site(authority.sign(NAMES)));
        let bad = SecureOrigin::start(site(Authority::new("somebody").sign(NAMES)));
        let keys = format!(
            "protocol = \"{protocol}\"\nhealth = {{ check = \"{check}\", interval = \"50ms\", timeout = \"5s\", unhealthy = 1, healthy = 1 }}\n"
        );
        proxy.reload_with(&to(&[&address(&good), &address(&bad)], &keys, OWN_CA));
        wait_until("one is healthy and one is not", || proxy.states("origin") == ["healthy", "unhealthy"]);
        let status = proxy.status();
        let why = status["upstreams"][0]["endpoints"][1]["why"].as_str().unwrap_or_default().to_owned();
        assert!(why.starts_with("connect: tls_untrusted: "), "{check} {protocol} {alpn}: {why}");
    }
}

#[test]
fn files_that_can_not_be_used_are_refused_at_their_keys() {
    let (directory, authority) = directory();
    authority.sign(&["a.test"]).write(directory.path(), "client");
    replace(&directory.path().join("other.key"), &authority.sign(&["b.test"]).key);
    replace(&directory.path().join("empty.pem"), "nothing\n");
    let tls = "ca = \"empty.pem\"\nclient_cert = \"client.pem\"\nclient_key = \"other.key\"\n";
    let text = to(&["127.0.0.1:1"], "", tls);
    let text = format!("[listener.web]\nbind = \"{}\"\n{text}", free_address());
    let check = |text: &str| {
        replace(&directory.path().join("proxy.toml"), text);
        let output = run(&["check", "--config", "proxy.toml"], directory.path());
        assert!(!output.status.success());
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let said = check(&text);
    assert!(
        said.contains("proxy.toml:11:6: ") && said.contains("empty.pem: has no \"BEGIN CERTIFICATE\""),
        "{said}"
    );
    let said = check(&text.replace("empty.pem", "ca.pem"));
    assert!(said.contains("proxy.toml:13:14: ") && said.contains("other.key: the key is not"), "{said}");
    let said = check(&text.replace("empty.pem", "ca.pem").replace("client.pem", "none.pem"));
    assert!(said.contains("proxy.toml:12:15: ") && said.contains("none.pem: cannot be read"), "{said}");
}
