//! The client of the demo against servers of its own.

use http::header::CONTENT_TYPE;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A listener on loopback and the call that reaches it.
async fn listener(wire: Wire) -> (TcpListener, Call) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let call = Call { wire, ..Call::get(address, "/a?b=c") };
    (listener, Call { host: format!("localhost:{}", address.port()), ..call })
}

/// A TLS server with a certificate that nobody signed.
fn acceptor(protocol: &[u8]) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config =
        builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// Reads a head, answers, and returns the head.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    // With close_notify, so that the end is no cut.
    stream.shutdown().await.unwrap();
    String::from_utf8(head).unwrap()
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\n{\"a\":1}";

#[tokio::test]
async fn an_answer_in_clear_text_is_read() {
    let (listener, call) = listener(Wire::H1).await;
    let server = async { answer(listener.accept().await.unwrap().0, OK).await };
    let (head, reply) = tokio::join!(server, call.send());
    let reply = reply.unwrap();
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {}\r\n", call.host)), "{head}");
    assert_eq!((reply.status, reply.json()["a"].as_u64()), (200, Some(1)));
    assert_eq!(reply.headers[CONTENT_TYPE], "application/json");
}

#[tokio::test]
async fn a_certificate_that_nobody_signed_is_taken() {
    let (listener, call) = listener(Wire::H1Tls).await;
    let server = async {
        let stream = acceptor(b"http/1.1").accept(listener.accept().await.unwrap().0).await.unwrap();
        answer(stream, OK).await
    };
    let (_, reply) = tokio::join!(server, call.send());
    assert_eq!(reply.unwrap().text(), "{\"a\":1}");
}

#[tokio::test]
async fn an_answer_over_http_2_is_read() {
    let (listener, call) = listener(Wire::H2Tls).await;
    let server = async {
        let stream = acceptor(b"h2").accept(listener.accept().await.unwrap().0).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (request, mut respond) = connection.accept().await.unwrap().unwrap();
        let mut body = respond.send_response(Response::new(()), false).unwrap();
        body.send_data(Bytes::from_static(b"two"), true).unwrap();
        while connection.accept().await.is_some() {}
        request
    };
    let (request, reply) = tokio::join!(server, call.send());
    assert_eq!(request.uri().path_and_query().unwrap(), "/a?b=c");
    assert_eq!(request.uri().authority().unwrap().as_str(), call.host);
    assert_eq!(reply.unwrap().text(), "two");
}

#[tokio::test]
async fn a_server_without_http_2_is_told_apart() {
    let (listener, call) = listener(Wire::H2Tls).await;
    let server = async {
        let mut acceptor = acceptor(b"h2");
        let mut config = ServerConfig::clone(acceptor.config());
        config.alpn_protocols.clear();
        acceptor = TlsAcceptor::from(Arc::new(config));
        acceptor.accept(listener.accept().await.unwrap().0).await.map(drop)
    };
    let (_, reply) = tokio::join!(server, call.send());
    assert!(matches!(reply, Err(FetchError::NoH2)), "{reply:?}");
}

#[tokio::test]
async fn what_is_enough_is_not_waited_for_any_longer() {
    let (listener, call) = listener(Wire::H1).await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        answer(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nfirst").await;
        stream.read_to_end(&mut Vec::new()).await.unwrap()
    };
    let (_, reply) = tokio::join!(server, async { Call { enough: 1, ..call }.send().await });
    assert_eq!(reply.unwrap().text(), "first");
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let (listener, call) = listener(Wire::H1).await;
    let call = Call { deadline: Duration::from_millis(20), ..call };
    assert!(matches!(call.send().await, Err(FetchError::Late(_))));
    drop(listener);
}

#[tokio::test]
async fn a_closed_port_is_no_connection() {
    let (listener, call) = listener(Wire::H1).await;
    drop(listener);
    let error = call.send().await.unwrap_err();
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
    assert!(error.to_string().starts_with("no connection to 127.0.0.1:"), "{error}");
}
