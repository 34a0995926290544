//! The check that asks with a GET over HTTP/1.1.

use std::error::Error as _;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::answer::{BodySearch, Progress, expect_status};
use super::checker::driven;
use super::{Check, Pending, Probe, ProbeError, Stream};
use crate::endpoint::Endpoint;
use crate::net::connector::late_refusal;

/// Passes when a GET is answered with an expected status and, if one is configured, text.
#[derive(Debug)]
pub struct Http1Probe {
    /// What is expected.
    pub settings: Check,
}

impl Http1Probe {
    async fn drive(&self, endpoint: &Endpoint, stream: Box<dyn Stream>) -> Result<(), ProbeError> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(ProbeError::Exchange)?;
        driven(self.exchange(endpoint, sender), connection, broken).await
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        mut sender: SendRequest<Empty<Bytes>>,
    ) -> Result<(), ProbeError> {
        let request = Request::get(&self.settings.path)
            .header(HOST, endpoint.authority())
            .header(USER_AGENT, "tidegate-health")
            .header(CONNECTION, "close")
            .body(Empty::new())
            .map_err(ProbeError::Request)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        expect_status(&self.settings, response.status())?;
        self.search(response).await
    }

    async fn search(&self, mut response: Response<Incoming>) -> Result<(), ProbeError> {
        let mut search = BodySearch::new(&self.settings);
        while search.progress() == Progress::Searching
            && let Some(frame) = response.frame().await
        {
            if let Some(data) = frame.map_err(ProbeError::Exchange)?.data_ref() {
                search.feed(data);
            }
        }
        search.finish()
    }
}

/// What it means that an exchange broke.
fn broken(error: hyper::Error) -> ProbeError {
    let cause = error.source().and_then(|cause| cause.downcast_ref()).and_then(late_refusal);
    cause.map_or(ProbeError::Exchange(error), |_| ProbeError::ClientCertificate)
}

impl Probe for Http1Probe {
    fn ask<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        stream: Box<dyn Stream>,
    ) -> Pending<'a, Result<(), ProbeError>> {
        Box::pin(self.drive(endpoint, stream))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::health::tests::{PLAIN, endpoint};
    use crate::health::{HttpVersion, build};

    /// Reads a request head, answers with these bytes, closes, and returns what it read.
    async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &str) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(bytes.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap()
    }

    /// A server for one request.
    async fn server(bytes: &'static str) -> (Endpoint, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = endpoint(listener.local_addr().unwrap());
        let served = tokio::spawn(async move { answer(listener.accept().await.unwrap().0, bytes).await });
        (endpoint, served)
    }

    async fn check(settings: Check, bytes: &'static str) -> Result<(), ProbeError> {
        let (endpoint, _served) = server(bytes).await;
        build(&settings, HttpVersion::Http1, Arc::new(PLAIN)).check(&endpoint).await
    }

    fn expecting(body: &str) -> Check {
        Check { body: body.to_owned(), ..Check::default() }
    }

    #[tokio::test]
    async fn an_expected_status_passes_and_another_does_not() {
        check(Check::default(), "HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        let failed = check(Check::default(), "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(failed.unwrap_err().to_string(), "status 503");
        let settings = Check { expect: vec!["418".parse().unwrap()], ..Check::default() };
        check(settings, "HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    }

    #[tokio::test]
    async fn the_request_names_path_and_endpoint() {
        let (endpoint, served) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let settings = Check { path: "/ready?deep=1".to_owned(), ..Check::default() };
        build(&settings, HttpVersion::Http1, Arc::new(PLAIN)).check(&endpoint).await.unwrap();
        let head = served.await.unwrap();
        assert!(head.starts_with("GET /ready?deep=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {}\r\n", endpoint.authority())), "{head}");
    }

    #[tokio::test]
    async fn the_expected_text_is_found_anywhere_in_the_body() {
        let chunked =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n5\r\n well\r\n0\r\n\r\n";
        check(expecting("all well"), chunked).await.unwrap();
        check(expecting("well"), "HTTP/1.1 200 OK\r\n\r\nwell until close").await.unwrap();
    }

    #[tokio::test]
    async fn a_body_without_the_expected_text_does_not_pass() {
        let failed = check(expecting("all well"), "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad").await;
        assert!(matches!(failed, Err(ProbeError::Body)), "{failed:?}");
    }

    #[tokio::test]
    async fn what_is_not_http_does_not_pass() {
        let failed = check(Check::default(), "SSH-2.0-OpenSSH\r\n").await;
        assert!(matches!(failed, Err(ProbeError::Exchange(_))), "{failed:?}");
    }

    #[tokio::test]
    async fn a_unix_socket_is_asked_as_localhost() {
        let folder = tempfile::tempdir().unwrap();
        let path: &Path = &folder.path().join("app.sock");
        let listener = UnixListener::bind(path).unwrap();
        let served = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            answer(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await
        });
        let endpoint = Endpoint::new(crate::endpoint::Address::Unix(path.into()));
        build(&Check::default(), HttpVersion::Http1, Arc::new(PLAIN)).check(&endpoint).await.unwrap();
        assert!(served.await.unwrap().contains("host: localhost\r\n"));
    }
}
