//! HTTP/2 towards clients, asked by curl.

use crate::harness::{ALL, Curl, Origin, Proxy, curl, ok, upstream};

/// Asks by prior knowledge on clear text.
fn ask(proxy: &Proxy, path: &str, more: &[&str]) -> Result<Curl, String> {
    let url = format!("http://{}{path}", proxy.web);
    curl(&[&["--http2-prior-knowledge", &url], more].concat())
}

fn through(origin: &Origin) -> Proxy {
    Proxy::start(&format!("{ALL}{}", upstream(&[origin])))
}

#[test]
fn http_2_is_spoken_by_prior_knowledge_and_by_alpn() {
    let origin = Origin::named("ok");
    let proxy = through(&origin);
    let got = ask(&proxy, "/x?y", &[]).expect("an answer");
    assert_eq!((got.status, got.version.as_str(), got.body.as_str()), (200, "2", "ok"));
    let request = origin.request();
    assert_eq!((request.target(), request.field("host")), ("/x?y", Some(proxy.web.to_string().as_str())));

    let tls = Proxy::start(&format!(
        "{ALL}{}[listener.web.tls]\nself_signed = [\"localhost\"]\n",
        upstream(&[&origin])
    ));
    let url = format!("https://localhost:{}/", tls.web.port());
    assert_eq!(curl(&["--insecure", "-4", "--http2", &url]).expect("an answer").version, "2");
    assert_eq!(curl(&["--insecure", "-4", "--http1.1", &url]).expect("an answer").version, "1.1");
}

#[test]
fn a_listener_that_offers_only_http_1_does_not_speak_http_2() {
    let origin = Origin::named("ok");
    let address = crate::harness::free_address();
    let proxy = Proxy::start(&format!(
        "{ALL}{}[listener.old]\nbind = \"{address}\"\nprotocols = [\"h1\"]\ntls = {{ self_signed = [\"localhost\"] }}\n",
        upstream(&[&origin])
    ));
    let url = format!("https://localhost:{}/", address.port());
    assert_eq!(curl(&["--insecure", "-4", "--http2", &url]).expect("an answer").version, "1.1");
    drop(proxy);
}

#[test]
fn a_body_passes_from_http_2_to_http_1_and_back() {
    let origin = Origin::answering(|request| ok(request.body()));
    let proxy = through(&origin);
    let got = ask(&proxy, "/", &["--data-binary", "hello"]).expect("an answer");
    assert_eq!(got.body, "hello");
    let big = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(big.path(), "0123456789".repeat(100_000)).expect("ours");
    let data = format!("@{}", big.path().display());
    let got = ask(&proxy, "/", &["--data-binary", &data, "--header", "Expect:"]).expect("an answer");
    assert_eq!(got.body.len(), 1_000_000);
}

#[test]
fn fields_of_a_connection_do_not_cross_to_http_2() {
    let origin = Origin::saying(
        b"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok",
    );
    let got = ask(&through(&origin), "/", &[]).expect("an answer");
    let heads = got.heads.to_lowercase();
    assert!(heads.contains("x-kept: 1"), "{heads}");
    for name in ["connection:", "x-hop:", "keep-alive:", "transfer-encoding:"] {
        assert!(!heads.contains(name), "{name} in {heads}");
    }
}

#[test]
fn early_hints_reach_an_http_2_client() {
    let origin = Origin::saying(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let got = ask(&through(&origin), "/", &[]).expect("an answer");
    assert!(got.heads.starts_with("HTTP/2 103"), "{}", got.heads);
    assert!(got.heads.contains("link: </a.css>") && got.heads.contains("HTTP/2 200"), "{}", got.heads);
}

#[test]
fn trailers_of_an_answer_reach_an_http_2_client() {
    let origin = Origin::saying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
    );
    let got = ask(&through(&origin), "/", &["--header", "TE: trailers"]).expect("an answer");
    assert_eq!(got.body, "ok");
    assert!(got.heads.contains("x-sum: 7"), "{}", got.heads);
}

#[test]
fn refusals_reach_an_http_2_client_with_their_reason() {
    let mut dead = Origin::named("dead");
    dead.stop();
    let proxy = Proxy::start(&format!("{ALL}path = \"/x\"\n{}", upstream(&[&dead])));
    for (path, status, reason) in [("/none", 404, "no_route"), ("/x", 502, "connect_refused")] {
        let got = ask(&proxy, path, &[]).expect("an answer");
        assert_eq!(got.status, status);
        assert!(got.heads.contains(reason), "{}", got.heads);
    }
}

#[test]
fn a_truncated_body_is_a_stream_error_for_an_http_2_client() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let origin = Origin::scripted(move |conversation| {
            conversation.request()?;
            conversation.send(answer)
        });
        let got = ask(&through(&origin), "/", &[]);
        assert!(got.is_err(), "half a body became a complete answer: {got:?}");
    }
}

#[test]
fn many_streams_of_one_connection_are_served() {
    let origin = Origin::answering(|request| ok(request.target()));
    let proxy = through(&origin);
    let url = format!("http://{}/[1-50]", proxy.web);
    let got =
        curl(&["--http2-prior-knowledge", "--parallel", "--no-progress-meter", &url]).expect("an answer");
    assert_eq!((got.status, origin.requests().len()), (200, 50));
}

#[test]
fn head_and_answers_without_a_body_end_their_stream() {
    let origin = Origin::answering(|request| match request.target() {
        "/204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n".to_vec(),
        _ if request.method() == "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n".to_vec(),
        _ => ok(""),
    });
    let proxy = through(&origin);
    assert_eq!(ask(&proxy, "/204", &[]).expect("an answer").status, 204);
    assert_eq!(ask(&proxy, "/304", &[]).expect("an answer").status, 304);
    let head = ask(&proxy, "/", &["--head"]).expect("an answer");
    assert!(head.heads.contains("content-length: 1000"), "{}", head.heads);
}

#[test]
fn an_endpoint_that_dies_is_replaced_for_http_2_clients_too() {
    let (mut dead, alive) = (Origin::named("dead"), Origin::named("alive"));
    dead.stop();
    let proxy = Proxy::start(&format!("{ALL}{}balance = \"first\"\n", upstream(&[&dead, &alive])));
    assert_eq!(ask(&proxy, "/", &[]).expect("an answer").body, "alive");
    assert_eq!(ask(&proxy, "/", &["--data", "x"]).expect("an answer").body, "alive");
}
