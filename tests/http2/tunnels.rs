//! WebSocket over a stream of HTTP/2 (RFC 8441), to an endpoint that speaks HTTP/1.1.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Client, Proxy, read, soon};

/// Reads a request head, answers with what the function makes of it, then sends back all bytes.
async fn websocket(answer: fn(&str) -> String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream, answer));
        }
    });
    address
}

async fn echo(mut stream: TcpStream, answer: fn(&str) -> String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer(std::str::from_utf8(&head).unwrap()).as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    writer.shutdown().await.unwrap();
}

fn field<'head>(head: &'head str, name: &str) -> &'head str {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {head}")).split_once(':').unwrap().1.trim()
}

/// Agrees as RFC 6455 §4.2.2 wants.
fn agree(head: &str) -> String {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    assert!(head.starts_with("GET /chat?x HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(head, "host"), "a.example");
    assert_eq!((field(head, "upgrade"), field(head, "connection")), ("websocket", "upgrade"));
    assert_eq!(field(head, "sec-websocket-version"), "13");
    let key = [field(head, "sec-websocket-key"), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    let proof = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        BASE64_STANDARD.encode(proof)
    )
}

/// Waits until the server has said that it takes extended CONNECT, which is the first thing it says.
async fn client(proxy: &Proxy) -> Client {
    let client = proxy.client().await;
    let said = async {
        while !client.sender.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
    };
    soon(said).await;
    client
}

fn connect(protocol: &'static str) -> Request<()> {
    let mut request = Request::builder()
        .method("CONNECT")
        .uri("http://a.example/chat?x")
        .header("sec-websocket-version", "13")
        .body(())
        .unwrap();
    request.extensions_mut().insert(Protocol::from_static(protocol));
    request
}

async fn open(client: &mut Client) -> (http::response::Parts, RecvStream, SendStream<Bytes>) {
    let (response, stream) = client.sender.send_request(connect("websocket"), false).unwrap();
    let (head, body) = soon(response).await.unwrap().into_parts();
    (head, body, stream)
}

#[tokio::test]
async fn an_extended_connect_opens_a_websocket_and_either_side_ends_its_own() {
    let proxy = Proxy::start("", "", &[websocket(agree).await]);
    let mut client = client(&proxy).await;
    let (head, mut body, mut stream) = open(&mut client).await;
    assert_eq!(head.status, 200);
    assert_eq!(head.headers["sec-websocket-protocol"], "chat");
    for name in ["upgrade", "connection", "sec-websocket-accept", "content-length"] {
        assert!(!head.headers.contains_key(name), "{name} has no place in HTTP/2");
    }
    stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
    assert_eq!(soon(body.data()).await.unwrap().unwrap(), "hello");
    stream.send_data(Bytes::from_static(b"bye"), true).unwrap();
    assert_eq!(read(body).await.unwrap().0, b"bye");
}

#[tokio::test]
async fn many_tunnels_and_requests_share_one_connection() {
    let proxy = Proxy::start("", "", &[websocket(agree).await]);
    let mut client = client(&proxy).await;
    let mut open_ones = Vec::new();
    for _ in 0..20 {
        open_ones.push(open(&mut client).await);
    }
    for (number, (_, body, stream)) in open_ones.iter_mut().enumerate() {
        stream.send_data(Bytes::from(vec![number as u8; 3]), false).unwrap();
        assert_eq!(soon(body.data()).await.unwrap().unwrap(), vec![number as u8; 3]);
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_prove_itself_opens_nothing() {
    let liar = |_: &str| {
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n".to_owned()
    };
    let proxy = Proxy::start("", "", &[websocket(liar).await]);
    let mut client = client(&proxy).await;
    assert_eq!(open(&mut client).await.0.status, 502);
}

#[tokio::test]
async fn an_answer_that_opens_no_tunnel_is_passed_on_as_it_is() {
    let refusal = |_: &str| "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned();
    let proxy = Proxy::start("", "", &[websocket(refusal).await]);
    let mut client = client(&proxy).await;
    let (head, body, _stream) = open(&mut client).await;
    assert_eq!(head.status, 403);
    assert_eq!(read(body).await.unwrap().0, b"no");
}

#[tokio::test]
async fn protocols_that_hide_http_and_a_plain_connect_are_refused() {
    let proxy = Proxy::start("", "", &[websocket(agree).await]);
    let mut client = client(&proxy).await;
    let (response, _stream) = client.sender.send_request(connect("h2c"), false).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), 400);
    let plain = Request::builder().method("CONNECT").uri("a.example:80").body(()).unwrap();
    let (response, _stream) = client.sender.send_request(plain, false).unwrap();
    assert_eq!(soon(response).await.unwrap().status(), 405);
}

#[tokio::test]
async fn a_client_that_resets_its_stream_ends_the_endpoints_side() {
    let (gone, mut ended) = tokio::sync::mpsc::channel(1);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        echo(stream, agree).await;
        gone.send(()).await.unwrap();
    });
    let proxy = Proxy::start("", "", &[address]);
    let mut client = client(&proxy).await;
    let (_, body, mut stream) = open(&mut client).await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(body);
    assert!(soon(ended.recv()).await.is_some());
}
