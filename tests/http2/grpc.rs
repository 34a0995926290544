//! gRPC calls: answers that the proxy makes, deadlines, cancellation, and gRPC-Web.

use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::sync::mpsc;

use super::{H2, h1, nowhere, trailers};
use crate::harness::{Endpoint, Proxy, read, request, soon};

const WEB: &str = "use = [\"web\"]\n[middleware.web.grpc_web]";

/// A call with these further fields.
fn call(fields: &[(&'static str, &'static str)]) -> Request<()> {
    let mut call = request("POST", "/a.B/C");
    for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(fields) {
        call.headers_mut().insert(*name, value.parse().unwrap());
    }
    call
}

/// An answer that has begun.
fn begun() -> Response<()> {
    Response::builder().header("content-type", "application/grpc").body(()).unwrap()
}

/// Status and message of an answer that is nothing but a head.
fn told(response: &Response<RecvStream>) -> (&str, &str) {
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert!(response.body().is_end_stream(), "the head is all of the answer");
    assert_eq!(response.headers().get("content-length"), None);
    let text = |name| response.headers()[name].to_str().unwrap();
    assert!(text("proxy-status").starts_with("tidegate; error="));
    (text("grpc-status"), text("grpc-message"))
}

#[tokio::test]
async fn a_call_that_no_endpoint_takes_ends_with_a_status_in_its_head() {
    let proxy = Proxy::start("", H2, &[nowhere()]);
    let response = proxy.client().await.ask(call(&[]), b"\0\0\0\0\0").await.unwrap();
    let (code, message) = told(&response);
    assert_eq!(code, "14");
    assert_eq!(message, "tidegate: connect_refused: The endpoint refused the connection.");
}

#[tokio::test]
async fn a_call_that_is_refused_before_a_route_is_looked_for_has_a_status_as_well() {
    let proxy = Proxy::start("limits = { max_body_bytes = 4 }", H2, &[nowhere()]);
    let response = proxy.client().await.ask(call(&[("content-length", "5")]), b"\0\0\0\0\0").await.unwrap();
    assert_eq!(told(&response).0, "8");
}

#[tokio::test]
async fn other_requests_and_calls_over_http1_get_a_page() {
    let proxy = Proxy::start("", H2, &[nowhere()]);
    let response = proxy.client().await.ask(request("POST", "/"), b"").await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let answer = h1(
        &proxy,
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[tokio::test]
async fn an_error_of_the_endpoint_that_is_no_grpc_passes_as_it_is() {
    let endpoint = Endpoint::start(|_, mut respond| async move {
        let head = Response::builder().status(503).header("content-type", "text/html").body(()).unwrap();
        respond.send_response(head, false).unwrap().send_data(Bytes::from("<p>"), true).unwrap();
    })
    .await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let response = proxy.client().await.ask(call(&[]), b"").await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"text/html".parse().unwrap())
    );
    assert_eq!(read(response.into_body()).await.unwrap().0, b"<p>");
}

/// An endpoint that begins to answer when `begins`, and tells the reset that each call ends with.
async fn silent(begins: bool) -> (Endpoint, mpsc::Receiver<Reason>) {
    let (tell, told) = mpsc::channel(16);
    let endpoint = Endpoint::start(move |request, mut respond| {
        let tell = tell.clone();
        async move {
            let _body = request.into_body();
            let reset = if begins {
                let mut stream = respond.send_response(begun(), false).unwrap();
                stream.send_data(Bytes::from_static(b"\0\0\0\0\x01a"), false).unwrap();
                std::future::poll_fn(|context| stream.poll_reset(context)).await
            } else {
                std::future::poll_fn(|context| respond.poll_reset(context)).await
            };
            tell.send(reset.unwrap()).await.unwrap();
        }
    })
    .await;
    (endpoint, told)
}

#[tokio::test]
async fn the_deadline_of_the_client_ends_a_call_and_cancels_it_at_the_endpoint() {
    let (endpoint, mut resets) = silent(false).await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let begin = Instant::now();
    let response = proxy.client().await.ask(call(&[("grpc-timeout", "150m")]), b"").await.unwrap();
    let (code, message) = told(&response);
    assert_eq!(code, "4");
    assert!(message.contains("client_deadline"), "{message}");
    assert!(begin.elapsed() >= Duration::from_millis(150));
    assert_eq!(soon(resets.recv()).await, Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_deadline_after_the_first_message_is_told_in_the_trailers() {
    let (endpoint, mut resets) = silent(true).await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let response = proxy.client().await.ask(call(&[("grpc-timeout", "150000u")]), b"").await.unwrap();
    let (body, trailers) = read(response.into_body()).await.unwrap();
    assert_eq!((body.as_slice(), &trailers["grpc-status"]), (&b"\0\0\0\0\x01a"[..], &"4".parse().unwrap()));
    assert_eq!(soon(resets.recv()).await, Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_call_that_its_client_cancels_in_the_middle_of_a_duplex_ends_at_the_endpoint() {
    let (endpoint, mut resets) = silent(true).await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    let (response, mut stream) = client.sender.send_request(call(&[]), false).unwrap();
    stream.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
    let mut body = soon(response).await.unwrap().into_body();
    assert_eq!(soon(body.data()).await.unwrap().unwrap().len(), 6);
    stream.send_reset(Reason::CANCEL);
    assert_eq!(soon(resets.recv()).await, Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_quiet_client_of_a_call_has_the_time_of_the_route() {
    let endpoint = Endpoint::start(|request, mut respond| async move {
        let (body, _) = read(request.into_body()).await.unwrap();
        let mut stream = respond.send_response(begun(), false).unwrap();
        stream.send_data(body.into(), false).unwrap();
        stream.send_trailers(trailers("grpc-status", "0")).unwrap();
    })
    .await;
    let proxy = Proxy::start("limits = { body_timeout = \"50ms\" }", H2, &[endpoint.address]);
    let mut client = proxy.client().await;
    let (response, mut stream) = client.sender.send_request(call(&[]), false).unwrap();
    let (page, _open) = client.sender.send_request(request("POST", "/"), false).unwrap();
    // When an upload that is no call has been given up, the call has been quiet for as long.
    assert_eq!(soon(page).await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    stream.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
    let (body, trailers) = read(soon(response).await.unwrap().into_body()).await.unwrap();
    assert_eq!((body.as_slice(), &trailers["grpc-status"]), (&b"\0\0\0\0\0"[..], &"0".parse().unwrap()));
}

/// An endpoint that answers so much of a message and is gone.
async fn broken(part: &'static [u8]) -> Endpoint {
    Endpoint::start(move |_, mut respond| async move {
        let mut stream = respond.send_response(begun(), false).unwrap();
        stream.send_data(Bytes::from_static(part), false).unwrap();
        stream.send_reset(Reason::INTERNAL_ERROR);
    })
    .await
}

/// An endpoint over HTTP/1.1 that breaks off after a whole message.
async fn broken_h1(part: &'static [u8]) -> std::net::SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).await.unwrap() > 0);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
        stream.write_all(&[head.as_bytes(), &chunk].concat()).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    address
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_with_a_status_in_its_trailers() {
    let proxy = Proxy::start("", "", &[broken_h1(b"\0\0\0\0\x01a").await]);
    let response = proxy.client().await.ask(call(&[]), b"").await.unwrap();
    let (body, trailers) = read(response.into_body()).await.unwrap();
    assert_eq!(body, b"\0\0\0\0\x01a");
    assert_eq!(trailers["grpc-status"], "14");
    assert!(trailers["grpc-message"].to_str().unwrap().contains("upstream_truncated"));
    let endpoint = broken(b"\0\0\0\0\x05a").await;
    let proxy = Proxy::start("", H2, &[endpoint.address]);
    let response = proxy.client().await.ask(call(&[]), b"").await;
    // The reset may overtake the head of the answer.
    let response = response.unwrap();
    let code = match response.headers().get("grpc-status") {
        Some(code) => code.clone(),
        None => read(response.into_body()).await.unwrap().1["grpc-status"].clone(),
    };
    assert_eq!(code, "14");
}

/// The answer of a request over HTTP/1.1 without its head, chunks joined.
async fn web(proxy: &Proxy, content_type: &str, body: &str) -> (String, Vec<u8>) {
    let length = body.len();
    let answer = h1(
        proxy,
        &format!(
            "POST /a.B/C HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
             content-length: {length}\r\n\r\n{body}"
        ),
    )
    .await;
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    let mut body = Vec::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend(after.chars().take(size).map(|one| one as u8));
        rest = after.char_indices().nth(size + 2).map_or("", |(at, _)| &after[at..]);
    }
    (head.to_owned(), body)
}

#[tokio::test]
async fn a_browser_reaches_a_grpc_endpoint_in_text_and_reads_its_trailers() {
    let endpoint = Endpoint::start(|request, mut respond| async move {
        let (head, body) = request.into_parts();
        assert_eq!(head.headers["content-type"], "application/grpc+proto");
        assert_eq!(head.headers["te"], "trailers");
        assert_eq!(head.headers.get("content-length"), None);
        let (body, _) = read(body).await.unwrap();
        let mut stream = respond.send_response(begun(), false).unwrap();
        stream.send_data(body.into(), false).unwrap();
        stream.send_trailers(trailers("grpc-status", "0")).unwrap();
    })
    .await;
    let proxy = Proxy::start_with(WEB, H2, &[endpoint.address]);
    let (head, body) = web(&proxy, "application/grpc-web-text+proto", "AAAAAAVoZWxsbw==").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: application/grpc-web-text+proto"), "{head}");
    assert_eq!(body, b"AAAAAAVoZWxsbw==gAAAABBncnBjLXN0YXR1czogMA0K");
}

#[tokio::test]
async fn a_browser_gets_errors_of_the_proxy_in_its_own_form() {
    let proxy = Proxy::start_with(WEB, H2, &[nowhere()]);
    let (head, body) = web(&proxy, "application/grpc-web+proto", "\0\0\0\0\0").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("proxy-status: tidegate; error=connection_refused"), "{head}");
    assert!(!head.contains("grpc-status"), "{head}");
    assert_eq!(body[..2], [0x80, 0]);
    assert!(String::from_utf8_lossy(&body).contains("grpc-status: 14\r\n"));
}

#[tokio::test]
async fn a_text_request_that_is_no_base64_is_refused() {
    let (endpoint, mut resets) = silent(false).await;
    let proxy = Proxy::start_with(WEB, H2, &[endpoint.address]);
    let (head, _) = web(&proxy, "application/grpc-web-text", "!!!!").await;
    assert!(head.contains("details=\"bad_request.grpc_web\""), "{head}");
    assert_eq!(soon(resets.recv()).await, Some(Reason::CANCEL));
}

#[tokio::test]
async fn a_browser_learns_that_an_answer_broke_off_between_messages() {
    let ask = async |part| {
        let proxy = Proxy::start_with(WEB, "", &[broken_h1(part).await]);
        let mut call = call(&[]);
        call.headers_mut().insert("content-type", "application/grpc-web-text".parse().unwrap());
        let response = proxy.client().await.ask(call, b"AAAAAAA=").await?;
        read(response.into_body()).await
    };
    let (body, _) = ask(b"\0\0\0\0\x01a").await.unwrap();
    assert!(body.starts_with(b"AAAAAAFhgAAA"), "{}", String::from_utf8_lossy(&body));
    // Inside a message it would be taken for a part of it.
    assert!(ask(b"\0\0\0\0\x05a").await.is_err());
}

#[tokio::test]
async fn a_browser_may_speak_http2() {
    let endpoint = Endpoint::start(|_, mut respond| async move {
        let mut head = begun();
        head.headers_mut().insert("grpc-status", "5".parse().unwrap());
        respond.send_response(head, true).unwrap();
    })
    .await;
    let proxy = Proxy::start_with(WEB, H2, &[endpoint.address]);
    let mut call = call(&[]);
    call.headers_mut().insert("content-type", "application/grpc-web".parse().unwrap());
    let response = proxy.client().await.ask(call, b"\0\0\0\0\0").await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/grpc-web+proto");
    let (body, trailers) = read(response.into_body()).await.unwrap();
    assert_eq!(body, b"\x80\0\0\0\x10grpc-status: 5\r\n");
    assert_eq!(trailers, HeaderMap::new());
}
