//! TLS towards clients, asked by curl.

use std::path::Path;
use std::time::Duration;

use crate::harness::{ALL, Curl, Origin, Proxy, comes_true, curl, upstream};

/// Writes a certificate for a name and its key as `NAME.pem` and `NAME.key`.
fn certify(directory: &Path, file: &str, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a name");
    // A new file over the old one, as deployment tools do.
    for (suffix, text) in [("pem", made.cert.pem()), ("key", made.signing_key.serialize_pem())] {
        let path = directory.join(format!("{file}.{suffix}"));
        std::fs::write(path.with_extension("new"), text).expect("the directory is ours");
        std::fs::rename(path.with_extension("new"), path).expect("the directory is ours");
    }
}

/// `name = certificate file` pairs; the first is the default.
fn start(certificates: &[&str], rest: &str) -> Proxy {
    let directory = tempfile::TempDir::new().expect("a directory");
    let mut list = Vec::new();
    for name in certificates {
        certify(directory.path(), name, name);
        list.push(format!("{{ cert = \"{name}.pem\", key = \"{name}.key\" }}"));
    }
    let text = format!("{rest}[listener.web.tls]\ncertificates = [{}]\n", list.join(", "));
    Proxy::start_in(directory, &text)
}

/// Asks over TLS and believes only the certificate in that file.
fn ask(proxy: &Proxy, name: &str, file: &str, more: &[&str]) -> Result<Curl, String> {
    let port = proxy.web.port();
    let (url, resolve) = (format!("https://{name}:{port}/"), format!("{name}:{port}:127.0.0.1"));
    let authority = proxy.directory().join(format!("{file}.pem"));
    let authority = authority.to_string_lossy();
    curl(&[&["--http1.1", "--resolve", &resolve, "--cacert", &authority, &url], more].concat())
}

const HELLO: &str = "[[route]]\nrespond = { body = \"hello\" }\n";

#[test]
fn certificates_are_chosen_by_the_name_that_is_asked_for() {
    let proxy = start(&["one.test", "two.test"], HELLO);
    for name in ["one.test", "two.test"] {
        let got = ask(&proxy, name, name, &[]).expect("the certificate is of that name");
        assert_eq!((got.status, got.body.as_str()), (200, "hello"));
    }
    assert!(ask(&proxy, "two.test", "one.test", &[]).is_err(), "curl must refuse another certificate");
    assert!(ask(&proxy, "three.test", "one.test", &[]).is_err(), "the default is of another name");
}

#[test]
fn a_replaced_certificate_is_live_within_two_seconds() {
    let proxy = start(&["one.test"], HELLO);
    std::fs::copy(proxy.directory().join("one.test.pem"), proxy.directory().join("old.pem")).expect("ours");
    assert!(ask(&proxy, "one.test", "old", &[]).is_ok());
    certify(proxy.directory(), "one.test", "one.test");
    let is_live = || ask(&proxy, "one.test", "one.test", &[]).is_ok();
    assert!(comes_true(Duration::from_secs(2), is_live));
    assert!(ask(&proxy, "one.test", "old", &[]).is_err(), "the old one is gone");
}

#[test]
fn a_key_that_does_not_fit_keeps_the_old_certificate() {
    let proxy = start(&["one.test"], HELLO);
    std::fs::copy(proxy.directory().join("one.test.pem"), proxy.directory().join("old.pem")).expect("ours");
    let other = rcgen::generate_simple_self_signed(["one.test".to_owned()]).expect("a name");
    std::fs::write(proxy.directory().join("one.test.pem"), other.cert.pem()).expect("ours");
    let never = comes_true(Duration::from_millis(1500), || ask(&proxy, "one.test", "old", &[]).is_err());
    assert!(!never, "a certificate without its key replaced the old one");
    assert!(proxy.log().contains("one.test.pem"), "the log names the file:\n{}", proxy.log());
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_older_ones_are_not() {
    let proxy = start(&["one.test"], HELLO);
    for version in ["1.2", "1.3"] {
        assert!(
            ask(&proxy, "one.test", "one.test", &["--tls-max", version, &format!("--tlsv{version}")]).is_ok()
        );
    }
    assert!(ask(&proxy, "one.test", "one.test", &["--tls-max", "1.1", "--tlsv1.0"]).is_err());
    let strict = start(&["one.test"], HELLO);
    strict.rewrite(
        &std::fs::read_to_string(strict.config())
            .expect("ours")
            .replace("certificates", "min_version = \"1.3\"\ncertificates"),
    );
    assert_eq!(strict.reload().status, 200);
    assert!(ask(&strict, "one.test", "one.test", &["--tls-max", "1.2"]).is_err());
}

#[test]
fn a_self_signed_certificate_is_made_for_development() {
    let proxy = Proxy::start(&format!("{HELLO}[listener.web.tls]\nself_signed = [\"localhost\"]\n"));
    let url = format!("https://localhost:{}/", proxy.web.port());
    assert_eq!(curl(&["--http1.1", "--insecure", "-4", &url]).expect("curl gets an answer").body, "hello");
    assert!(curl(&["-4", &url]).is_err(), "nobody else signed it");
}

#[test]
fn an_endpoint_learns_that_the_client_spoke_tls() {
    let origin = Origin::named("ok");
    let proxy = start(&["one.test"], &format!("{ALL}{}", upstream(&[&origin])));
    ask(&proxy, "one.test", "one.test", &[]).expect("an answer");
    let request = origin.request();
    assert_eq!(request.field("x-forwarded-proto"), Some("https"));
    assert_eq!(request.field("x-forwarded-port"), Some(proxy.web.port().to_string().as_str()));
    assert!(proxy.access_line(0).contains("\"tls\":\"1.3\""), "{}", proxy.access_line(0));
}

#[test]
fn clear_text_on_a_tls_port_and_a_silent_handshake_end() {
    let proxy = start(&["one.test"], HELLO);
    let raw = proxy.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(!raw.starts_with(b"HTTP/1.1 200"), "clear text was served");
    let patient = start(&["one.test"], HELLO);
    patient.rewrite(
        &std::fs::read_to_string(patient.config())
            .expect("ours")
            .replace("certificates", "handshake_timeout = \"300ms\"\ncertificates"),
    );
    assert_eq!(patient.reload().status, 200);
    assert_eq!(patient.exchange(""), b"");
}

#[test]
fn redirect_https_sends_clear_text_clients_away() {
    let proxy = Proxy::start(&format!(
        "{HELLO}[listener.plain]\nbind = \"{}\"\nredirect_https = true\n",
        crate::harness::free_address()
    ));
    let bind = proxy.status()["listeners"].as_array().and_then(|all| {
        all.iter()
            .find(|one| one["name"] == "plain")
            .and_then(|one| one["bind"][0].as_str().map(str::to_owned))
    });
    let url = format!("http://{}/a?b=1", bind.expect("the listener is there"));
    let got = curl(&["--header", "Host: shop.test:8080", &url]).expect("an answer");
    assert_eq!(got.status, 308);
    assert!(got.heads.to_lowercase().contains("location: https://shop.test/a?b=1\r\n"), "{}", got.heads);
}

#[test]
fn requests_do_not_fail_while_certificates_change() {
    let proxy = start(&["one.test"], HELLO);
    let mut failed = 0;
    for round in 0..20 {
        if round % 4 == 0 {
            certify(proxy.directory(), "one.test", "one.test");
        }
        let port = proxy.web.port();
        let (url, resolve) = (format!("https://one.test:{port}/"), format!("one.test:{port}:127.0.0.1"));
        failed += u32::from(curl(&["--http1.1", "--resolve", &resolve, "--insecure", &url]).is_err());
    }
    assert_eq!(failed, 0);
}
