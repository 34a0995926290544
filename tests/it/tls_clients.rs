//! Clients that show certificates: who comes in, what endpoints learn, and what a session that
//! resumes may not do.

use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{
    ALL, Client, Curl, Issuer, Origin, Proxy, Request, Session, comes_true, curl, free_address, openssl, run,
    upstream,
};

const HELLO: &str = "[[route]]\nrespond = { body = \"hello\" }\n";
const IDENTITY: &str = "client_identity = { subject = \"x-client-subject\", san = \"x-client-san\", \
                        fingerprint = \"x-client-fingerprint\", certificate = \"client-cert\" }\n";

/// A proxy that knows the authority `ca`, and that authority with its clients `alice` (1) and
/// `bob` (2); `stranger` is of another one.
fn start(keys: &str, rest: &str) -> (Proxy, Issuer) {
    let directory = TempDir::new().expect("a directory");
    let authority = Issuer::new(directory.path(), "ca");
    authority.issue("alice", 1);
    authority.issue("bob", 2);
    Issuer::new(directory.path(), "other").issue("stranger", 1);
    authority.revoke("empty.crl", &[], 2040);
    authority.revoke("live.crl", &[2], 2040);
    let tls = format!("[listener.web.tls]\nself_signed = [\"one.test\"]\n{keys}");
    (Proxy::start_in(directory, &format!("{rest}{tls}")), authority)
}

const REQUIRED: &str = "client_auth = \"required\"\nclient_ca = \"ca.pem\"\n";
const OPTIONAL: &str = "client_auth = \"optional\"\nclient_ca = \"ca.pem\"\n";

/// Asks as that client, or without a certificate.
fn ask(proxy: &Proxy, client: Option<&str>, more: &[&str]) -> Result<Curl, String> {
    let url = format!("https://localhost:{}/", proxy.web.port());
    let files = client.map(|name| {
        let path = |suffix| proxy.directory().join(format!("{name}.{suffix}")).display().to_string();
        (path("pem"), path("key"))
    });
    let shown = files.as_ref().map_or(vec![], |(cert, key)| vec!["--cert", cert, "--key", key]);
    curl(&[&["--insecure", "-4", "--max-time", "5", &url], &shown[..], more].concat())
}

/// The request that the endpoint got last.
fn last(origin: &Origin) -> Request {
    origin.requests().pop().expect("a request has come")
}

#[test]
fn only_clients_of_the_authority_come_in_when_certificates_are_required() {
    let (proxy, _) = start(REQUIRED, HELLO);
    for version in ["1.2", "1.3"] {
        let tls = ["--tls-max", version, &format!("--tlsv{version}")];
        assert_eq!(ask(&proxy, Some("alice"), &tls).expect("alice comes in").body, "hello");
        assert!(ask(&proxy, None, &tls).is_err(), "nobody came in over TLS {version}");
        assert!(ask(&proxy, Some("stranger"), &tls).is_err(), "a stranger came in over TLS {version}");
    }
    proxy.access_line(1);
    assert!(proxy.access_line(0).contains("\"tls_client\":\"CN=alice,O=ca\""), "{}", proxy.access_line(0));
    assert_eq!(proxy.access_lines().len(), 2, "who does not come in makes no request");
}

#[test]
fn an_optional_certificate_may_be_absent_but_not_wrong() {
    let (proxy, _) = start(OPTIONAL, HELLO);
    assert!(ask(&proxy, None, &[]).is_ok());
    assert!(ask(&proxy, Some("alice"), &[]).is_ok());
    assert!(ask(&proxy, Some("stranger"), &[]).is_err());
}

#[test]
fn an_endpoint_learns_who_asks_and_nobody_can_say_it_himself() {
    let origin = Origin::named("ok");
    let plain = free_address();
    let plain_listener = format!("[listener.plain]\nbind = \"{plain}\"\n");
    let (proxy, _) =
        start(&format!("{OPTIONAL}{IDENTITY}"), &format!("{ALL}{plain_listener}{}", upstream(&[&origin])));
    let forged: Vec<String> =
        ["X-Client-Subject", "x_client_subject", "X-Client_San", "client_cert", "Client-Cert"]
            .map(|name| format!("{name}: CN=root"))
            .into();
    let forged: Vec<&str> = forged.iter().flat_map(|line| ["--header", line]).collect();
    for protocol in ["--http1.1", "--http2"] {
        let more = [&forged[..], &[protocol]].concat();
        ask(&proxy, Some("alice"), &more).expect("an answer");
        let request = last(&origin);
        assert_eq!(request.field("x-client-subject"), Some("CN=alice,O=ca"));
        assert_eq!(request.field("x-client-san"), Some("DNS:alice.example"));
        assert_eq!(request.field("x-client-fingerprint").map(str::len), Some(64));
        let certificate = request.field("client-cert").expect("RFC 9440");
        assert!(certificate.starts_with(":MII") && certificate.ends_with(':'), "{certificate}");
        assert!(!request.head.contains("root"), "{}", request.head);

        ask(&proxy, None, &more).expect("an answer");
        let request = last(&origin);
        assert!(!request.head.contains("root"), "without a certificate:\n{}", request.head);
    }
    let mut client = Client::connect(plain);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Client-Subject: CN=root\r\nConnection: close\r\n\r\n");
    client.response();
    let request = last(&origin);
    assert!(!request.head.contains("root"), "through another listener:\n{}", request.head);
    let mut client = Client::connect(plain);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    client.send("1\r\nx\r\n0\r\nX_Client_Subject: CN=root\r\n\r\n");
    client.response();
    let body = String::from_utf8_lossy(&last(&origin).raw_body).into_owned();
    assert!(body.starts_with('1') && body.ends_with("0\r\n\r\n"), "as a trailer: {body}");
    let mut client = Client::connect(plain);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    client.send("1\r\nx\r\n0\r\nX_Client_Subject: CN=root\r\n\r\n");
    client.response();
    let body = String::from_utf8_lossy(&last(&origin).raw_body).into_owned();
    assert!(body.ends_with("0\r\n\r\n"), "as a trailer: {body}");
}

#[test]
fn routes_match_on_what_the_certificate_says() {
    let route =
        "[[route]]\nheaders = { x-client-subject = \"~^CN=alice,\" }\nrespond = { body = \"alice\" }\n";
    let (proxy, _) = start(&format!("{OPTIONAL}{IDENTITY}"), &format!("{route}{HELLO}"));
    assert_eq!(ask(&proxy, Some("alice"), &[]).expect("an answer").body, "alice");
    let forged = ["--header", "x-client-subject: CN=alice,O=ca"];
    assert_eq!(ask(&proxy, Some("bob"), &forged).expect("an answer").body, "hello");
    assert_eq!(ask(&proxy, None, &forged).expect("an answer").body, "hello");
}

#[test]
fn a_revoked_certificate_is_refused_and_a_new_list_is_live_within_two_seconds() {
    let (proxy, authority) = start(&format!("{REQUIRED}client_crl = \"live.crl\"\n"), HELLO);
    assert!(ask(&proxy, Some("alice"), &[]).is_ok());
    assert!(ask(&proxy, Some("bob"), &[]).is_err(), "bob is on the list");
    authority.revoke("live.crl", &[1], 2040);
    assert!(comes_true(Duration::from_secs(2), || ask(&proxy, Some("alice"), &[]).is_err()));
    assert!(ask(&proxy, Some("bob"), &[]).is_ok(), "bob is not on the list any more");

    std::fs::write(proxy.directory().join("live.crl"), "-----BEGIN X509 CRL-----\nnot whole").expect("ours");
    assert!(comes_true(Duration::from_secs(3), || proxy.log().contains("live.crl")), "{}", proxy.log());
    assert!(ask(&proxy, Some("alice"), &[]).is_err(), "a broken list let alice in");
    assert!(ask(&proxy, Some("bob"), &[]).is_ok(), "a broken list kept bob out");
    authority.revoke("live.crl", &[], 2024);
    assert!(comes_true(Duration::from_secs(3), || proxy.log().contains("expired")), "{}", proxy.log());
    assert!(ask(&proxy, Some("alice"), &[]).is_err(), "an old list let alice in");
}

#[test]
fn an_expired_list_or_a_broken_authority_is_no_configuration() {
    let directory = TempDir::new().expect("a directory");
    let authority = Issuer::new(directory.path(), "ca");
    authority.revoke("old.crl", &[], 2024);
    let check = |keys: &str| {
        let tls =
            format!("[listener.web]\nbind = \"127.0.0.1:1\"\ntls = {{ self_signed = [\"a\"], {keys} }}\n");
        std::fs::write(directory.path().join("proxy.toml"), format!("{tls}{HELLO}")).expect("ours");
        let output = run(&["check", "--config", "proxy.toml"], directory.path());
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let said = check("client_auth = \"required\", client_ca = \"ca.pem\", client_crl = \"old.crl\"");
    assert!(said.contains("proxy.toml:3:91") && said.contains("expired on 2024-12-31"), "{said}");
    let said = check("client_auth = \"required\", client_ca = \"old.crl\"");
    assert!(said.contains("BEGIN CERTIFICATE"), "{said}");
    let said = check("client_auth = \"required\", client_ca = \"ca.pem\", client_crl = \"ca.pem\"");
    assert!(said.contains("BEGIN X509 CRL"), "{said}");
    let said = check("client_auth = \"required\", client_ca = \"none.pem\"");
    assert!(said.contains("none.pem: cannot be read"), "{said}");
}

#[test]
fn other_authorities_are_live_within_two_seconds() {
    let (proxy, _) = start(REQUIRED, HELLO);
    assert!(ask(&proxy, Some("stranger"), &[]).is_err());
    std::fs::rename(proxy.directory().join("other.pem"), proxy.directory().join("ca.pem")).expect("ours");
    assert!(comes_true(Duration::from_secs(2), || ask(&proxy, Some("stranger"), &[]).is_ok()));
    assert!(ask(&proxy, Some("alice"), &[]).is_err(), "the old authority is still believed");
}

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];
const ALICE: [&str; 4] = ["-cert", "alice.pem", "-key", "alice.key"];

fn session(proxy: &Proxy, version: &str, more: &[&str]) -> Session {
    openssl(proxy.web, proxy.directory(), version, more)
}

#[test]
fn a_session_resumes_with_the_identity_that_it_began_with() {
    let (proxy, _) = start(&format!("{REQUIRED}client_crl = \"live.crl\"\n"), HELLO);
    for version in VERSIONS {
        let first = session(&proxy, version, &[&ALICE[..], &["-sess_out", "session"]].concat());
        assert!(first.said.contains("hello") && !first.resumed, "{}", first.said);
        let next = session(&proxy, version, &["-sess_in", "session"]);
        assert!(next.said.contains("hello") && next.resumed, "{version}: {}", next.said);
    }
    let named = |line: &String| line.contains("\"tls_client\":\"CN=alice,O=ca\"");
    proxy.access_line(3);
    assert!(proxy.access_lines().iter().all(named), "{:?}", proxy.access_lines());
}

#[test]
fn a_session_of_a_listener_without_client_certificates_does_not_resume_where_they_are_required() {
    let open = free_address();
    let listener =
        format!("[listener.open]\nbind = \"{open}\"\n[listener.open.tls]\nself_signed = [\"one.test\"]\n");
    let optional = free_address();
    let other = format!("[listener.optional]\nbind = \"{optional}\"\n[listener.optional.tls]\n");
    let other = format!("{other}self_signed = [\"one.test\"]\n{OPTIONAL}");
    let (proxy, _) = start(REQUIRED, &format!("{HELLO}{listener}{other}"));
    for version in VERSIONS {
        for address in [open, optional] {
            let first = openssl(address, proxy.directory(), version, &["-sess_out", "session"]);
            assert!(first.said.contains("hello"), "{}", first.said);
            let same = openssl(address, proxy.directory(), version, &["-sess_in", "session"]);
            assert!(same.resumed, "{version}: the session is good where it began: {}", same.said);
            let anonymous = session(&proxy, version, &["-sess_in", "session"]);
            assert!(!anonymous.said.contains("hello"), "{version}: came in without a certificate");
            let alice = session(&proxy, version, &[&ALICE[..], &["-sess_in", "session"]].concat());
            assert!(alice.said.contains("hello") && !alice.resumed, "{version}: {}", alice.said);
        }
    }
}

#[test]
fn a_certificate_that_was_revoked_meanwhile_does_not_resume() {
    let (proxy, authority) = start(&format!("{REQUIRED}client_crl = \"empty.crl\"\n"), HELLO);
    for version in VERSIONS {
        let first = session(&proxy, version, &[&ALICE[..], &["-sess_out", version]].concat());
        assert!(first.said.contains("hello"), "{}", first.said);
        assert!(session(&proxy, version, &["-sess_in", version]).resumed);
    }
    authority.revoke("empty.crl", &[1], 2040);
    assert!(comes_true(Duration::from_secs(2), || ask(&proxy, Some("alice"), &[]).is_err()));
    for version in VERSIONS {
        let next = session(&proxy, version, &[&ALICE[..], &["-sess_in", version]].concat());
        assert!(!next.said.contains("hello"), "{version}: {}", next.said);
    }
}

#[test]
fn a_reload_that_demands_certificates_ends_the_sessions_of_before() {
    let (proxy, _) = start(OPTIONAL, HELLO);
    session(&proxy, "-tls1_3", &["-sess_out", "session"]);
    assert!(session(&proxy, "-tls1_3", &["-sess_in", "session"]).resumed);
    let text = std::fs::read_to_string(proxy.config()).expect("ours");
    proxy.reload_with(&text.replace("optional", "required"));
    assert!(!session(&proxy, "-tls1_3", &["-sess_in", "session"]).said.contains("hello"));
}
