//! The check that asks with a GET over HTTP/2, for endpoints that speak nothing else.

use h2::RecvStream;
use h2::client::{Builder, SendRequest};
use http::Request;

use super::answer::{BodySearch, Progress, expect_status};
use super::checker::driven;
use super::{Check, Pending, Probe, ProbeError, Stream};
use crate::endpoint::Endpoint;
use crate::net::connector::late_refusal;

/// Bytes of the fields of an answer; the h2 crate alone would take 16 MiB.
const MAX_HEADER_BYTES: u32 = 32 << 10;

/// Passes when a GET is answered with an expected status and, if one is configured, text.
#[derive(Debug)]
pub struct Http2Probe {
    /// What is expected.
    pub settings: Check,
    /// `:scheme`.
    pub scheme: &'static str,
}

impl Http2Probe {
    async fn exchange(
        &self,
        endpoint: &Endpoint,
        sender: SendRequest<bytes::Bytes>,
    ) -> Result<(), ProbeError> {
        let request =
            Request::get(format!("{}://{}{}", self.scheme, endpoint.authority(), self.settings.path))
                .header(http::header::USER_AGENT, "tidegate-health")
                .body(())
                .map_err(ProbeError::Request)?;
        let mut sender = sender.ready().await.map_err(broken)?;
        let (response, _) = sender.send_request(request, true).map_err(ProbeError::Exchange2)?;
        let response = response.await.map_err(broken)?;
        expect_status(&self.settings, response.status())?;
        self.search(response.into_body()).await
    }

    async fn search(&self, mut body: RecvStream) -> Result<(), ProbeError> {
        let mut search = BodySearch::new(&self.settings);
        while search.progress() == Progress::Searching
            && let Some(data) = body.data().await
        {
            let data = data.map_err(ProbeError::Exchange2)?;
            body.flow_control().release_capacity(data.len()).map_err(ProbeError::Exchange2)?;
            search.feed(&data);
        }
        search.finish()
    }
}

/// What it means that an exchange broke.
pub(super) fn broken(error: h2::Error) -> ProbeError {
    match error.get_io().and_then(late_refusal) {
        Some(_) => ProbeError::ClientCertificate,
        None => ProbeError::Exchange2(error),
    }
}

/// Begins HTTP/2 and makes one exchange.
pub(super) async fn drive<F>(
    stream: Box<dyn Stream>,
    exchange: impl FnOnce(SendRequest<bytes::Bytes>) -> F,
) -> Result<(), ProbeError>
where
    F: Future<Output = Result<(), ProbeError>>,
{
    let handshake =
        Builder::new().max_header_list_size(MAX_HEADER_BYTES).enable_push(false).handshake(stream);
    let (sender, connection) = handshake.await.map_err(broken)?;
    driven(exchange(sender), connection, broken).await
}

impl Probe for Http2Probe {
    fn ask<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        stream: Box<dyn Stream>,
    ) -> Pending<'a, Result<(), ProbeError>> {
        Box::pin(drive(stream, |sender| self.exchange(endpoint, sender)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http::Response;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::health::tests::{PLAIN, endpoint};
    use crate::health::{HttpVersion, build};

    /// Checks a server that answers one request so, and returns the URI that was asked for too.
    async fn check(settings: Check, status: u16, body: &'static str) -> (Result<(), ProbeError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = endpoint(listener.local_addr().unwrap());
        let (asked, uri) = tokio::sync::oneshot::channel();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            asked.send(request.uri().to_string()).unwrap();
            let head = Response::builder().status(status).body(()).unwrap();
            respond.send_response(head, false).unwrap().send_data(Bytes::from(body), true).unwrap();
            connection.graceful_shutdown();
            assert!(connection.accept().await.is_none());
        });
        let result = build(&settings, HttpVersion::Http2, Arc::new(PLAIN)).check(&endpoint).await;
        let uri = uri.await.unwrap().replace(endpoint.authority(), "endpoint");
        server.abort();
        (result, uri)
    }

    #[tokio::test]
    async fn an_expected_status_passes_and_another_does_not() {
        let (result, uri) = check(Check::default(), 204, "").await;
        result.unwrap();
        assert_eq!(uri, "http://endpoint/healthz");
        let (result, _) = check(Check::default(), 503, "").await;
        assert_eq!(result.unwrap_err().to_string(), "status 503");
    }

    #[tokio::test]
    async fn the_expected_text_is_looked_for_in_the_body() {
        let settings = Check { body: "well".to_owned(), ..Check::default() };
        check(settings.clone(), 200, "all well").await.0.unwrap();
        let (result, _) = check(settings, 200, "bad").await;
        assert!(matches!(result, Err(ProbeError::Body)), "{result:?}");
    }

    #[tokio::test]
    async fn what_is_not_http2_does_not_pass() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = endpoint(listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        });
        let result = build(&Check::default(), HttpVersion::Http2, Arc::new(PLAIN)).check(&endpoint).await;
        assert!(matches!(result, Err(ProbeError::Exchange2(_))), "{result:?}");
        server.await.unwrap();
    }
}
