//! What happens on a TLS port besides requests: clear text, the choice of the protocol, sessions
//! that resume, and how many handshakes run at one time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::harness::{ALL, Client, Origin, PATIENCE, Proxy, curl, openssl, upstream, wait_until};

const HELLO: &str = "[[route]]\nrespond = { body = \"hello\" }\n";

fn start(keys: &str, rest: &str) -> Proxy {
    Proxy::start(&format!("{rest}[listener.web.tls]\nself_signed = [\"one.test\"]\n{keys}"))
}

fn url(proxy: &Proxy, scheme: &str) -> String {
    format!("{scheme}://localhost:{}/a?b=1", proxy.web.port())
}

fn is_served(proxy: &Proxy) -> bool {
    curl(&["--insecure", "-4", &url(proxy, "https")]).is_ok_and(|got| got.status == 200)
}

#[test]
fn clear_text_on_a_tls_port_gets_an_answer_that_says_so() {
    let proxy = start("", HELLO);
    let mut client = proxy.client();
    let answer = client.get("/a");
    assert_eq!((answer.status, answer.reason()), (400, "clear_text_on_tls_port"));
    assert!(client.is_closed_within(PATIENCE));
    assert!(proxy.access_line(0).contains("clear_text_on_tls_port"), "{}", proxy.access_line(0));
    assert!(is_served(&proxy));
}

#[test]
fn bytes_that_are_neither_text_nor_tls_get_an_alert() {
    let proxy = start("clear_text = \"serve\"\n", HELLO);
    let answer = proxy.exchange([0x80, 0x2e, 1, 0, 2, 0, 0]);
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
}

#[test]
fn clear_text_is_sent_to_https_on_the_same_port() {
    let proxy = start("clear_text = \"redirect\"\n", HELLO);
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let got = curl(&["-4", protocol, &url(&proxy, "http")]).expect("an answer");
        let location = format!("location: {}\r\n", url(&proxy, "https"));
        assert_eq!(got.status, 308);
        assert!(got.heads.to_lowercase().contains(&location), "{}", got.heads);
    }
    let got = curl(&["-4", "--location", "--insecure", &url(&proxy, "http")]).expect("an answer");
    assert_eq!((got.status, got.body.as_str()), (200, "hello"));
    let port = proxy.web.port();
    let answer = proxy.get_from("shop.test", "/");
    assert_eq!(answer.field("location"), Some(format!("https://shop.test:{port}/").as_str()));
}

#[test]
fn clear_text_and_tls_are_served_on_one_port() {
    let origin = Origin::named("ok");
    let proxy = start("clear_text = \"serve\"\n", &format!("{ALL}{}", upstream(&[&origin])));
    let cases = [
        ("http", "--http1.1", "1.1"),
        ("http", "--http2-prior-knowledge", "2"),
        ("https", "--http1.1", "1.1"),
        ("https", "--http2", "2"),
    ];
    for (scheme, protocol, version) in cases {
        let got = curl(&["--insecure", "-4", protocol, &url(&proxy, scheme)]).expect("an answer");
        assert_eq!((got.status, got.version.as_str()), (200, version), "{scheme} {protocol}");
        assert_eq!(origin.requests().pop().expect("a request").field("x-forwarded-proto"), Some(scheme));
    }
}

#[test]
fn alpn_chooses_and_a_client_with_nothing_in_common_is_told() {
    let proxy = start("", HELLO);
    for (offered, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let got = curl(&["--insecure", "-4", offered, &url(&proxy, "https")]).expect("an answer");
        assert_eq!(got.version, version);
    }
    let refused = openssl(proxy.web, proxy.directory(), "-tls1_3", &["-alpn", "spdy/3"]);
    assert!(refused.said.contains("no application protocol"), "{}", refused.said);
}

#[test]
fn sessions_resume_on_every_worker_and_over_reloads_and_new_certificates() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let certify = |directory: &std::path::Path| {
        let made = rcgen::generate_simple_self_signed(["one.test".to_owned()]).expect("a name");
        std::fs::write(directory.join("one.key"), made.signing_key.serialize_pem()).expect("ours");
        std::fs::write(directory.join("one.pem"), made.cert.pem()).expect("ours");
    };
    certify(directory.path());
    let tls = "[listener.web.tls]\ncertificates = [{ cert = \"one.pem\", key = \"one.key\" }]\n";
    let proxy = Proxy::start_in(directory, &format!("{HELLO}{tls}"));
    for version in ["-tls1_2", "-tls1_3"] {
        let session = |more: &[&str]| openssl(proxy.web, proxy.directory(), version, more);
        let first = session(&["-sess_out", version]);
        assert!(first.said.contains("hello") && !first.resumed, "{}", first.said);
        // The kernel spreads them over both workers: that all eight meet one is not to be expected.
        for _ in 0..8 {
            assert!(session(&["-sess_in", version]).resumed, "{version}: on another worker");
        }
        let text = std::fs::read_to_string(proxy.config()).expect("ours");
        proxy.reload_with(&format!("{text}\n[upstream.new{version}]\nendpoints = [\"127.0.0.1:1\"]\n"));
        assert!(session(&["-sess_in", version]).resumed, "{version}: after a reload");
        let before = proxy.log().matches("certificate replaced").count();
        certify(proxy.directory());
        wait_until("it is live", || proxy.log().matches("certificate replaced").count() > before);
        assert!(session(&["-sess_in", version]).resumed, "{version}: after a new certificate");
    }
    let resumed = |version: &str| {
        let labels = format!("listener=\"web\",result=\"success\",version=\"{version}\",resumed=\"true\"");
        proxy.metric(&format!("proxy_tls_handshakes_total{{{labels}}}"))
    };
    assert_eq!((resumed("1.2"), resumed("1.3")), (10.0, 10.0));
}

/// A client that sends a ClientHello and then nothing.
fn stall(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the proxy listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a duration above zero");
    stream.write_all(&hello("one.test")).expect("the connection is open");
    stream.read_exact(&mut [0; 5]).expect("the server answers");
    stream
}

pub fn hello(name: &str) -> Vec<u8> {
    let roots = rustls::RootCertStore::empty();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("a Vec takes it");
    bytes
}

#[test]
fn a_handshake_beyond_the_bound_waits_for_its_turn() {
    let proxy = start("max_handshakes = 1\n", HELLO);
    let silent: Vec<_> = (0..4).map(|_| Client::connect(proxy.web)).collect();
    assert!(is_served(&proxy), "clients that say nothing hold no place");
    let stalled = stall(proxy.web);
    let waiting = "proxy_tls_handshakes_waiting{listener=\"web\"}";
    std::thread::scope(|scope| {
        let next = scope.spawn(|| is_served(&proxy));
        wait_until("the next one waits", || proxy.metric(waiting) > 0.0);
        assert_eq!(proxy.metric("proxy_tls_handshakes_running{listener=\"web\"}"), 1.0);
        assert!(!next.is_finished());
        drop(stalled);
        assert!(next.join().expect("it does not panic"), "it has its turn");
    });
    assert_eq!(proxy.metric(waiting), 0.0);
    drop(silent);
}

#[test]
fn a_handshake_that_waits_is_given_up_in_time() {
    let proxy = start("max_handshakes = 1\nhandshake_timeout = \"400ms\"\n", HELLO);
    let stalled = stall(proxy.web);
    let mut waits = proxy.client();
    waits.send(hello("one.test"));
    // It may get its turn when the first is given up, but no more time.
    waits.rest();
    let timeouts =
        "proxy_tls_handshakes_total{listener=\"web\",result=\"timeout\",version=\"\",resumed=\"\"}";
    wait_until("both were given up", || proxy.metric(timeouts) == 2.0);
    assert!(is_served(&proxy), "the place is free again");
    drop(stalled);
}

#[test]
fn an_open_connection_goes_on_while_a_flood_of_clients_shakes_hands() {
    let proxy = start("clear_text = \"serve\"\n", HELLO);
    let mut open = proxy.client();
    assert_eq!(open.get("/").status, 200);
    let bytes = hello("one.test");
    let flood: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(proxy.web).expect("the proxy listens");
            stream.write_all(&bytes).expect("the connection is open");
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(open.get("/").text(), "hello");
    }
    drop(flood);
}
