//! The check of the gRPC health protocol (`grpc.health.v1.Health/Check`), always over HTTP/2.
//!
//! Its two messages have one field each, so they are written and read by hand.

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode, header};

use super::http2::{broken, drive};
use super::{Pending, Probe, ProbeError, Stream};
use crate::endpoint::Endpoint;
use crate::http::grpc::percent_decoded;

/// Bytes of an answer, whose message has two.
const MAX_BODY: usize = 1 << 10;
/// Bytes of an error message that are shown.
const MAX_TEXT: usize = 200;

/// Passes when the endpoint says that the service is serving.
#[derive(Debug)]
pub struct GrpcProbe {
    /// The service that is asked for; empty is the whole server.
    pub service: String,
    /// `:scheme`.
    pub scheme: &'static str,
}

impl GrpcProbe {
    async fn exchange(&self, endpoint: &Endpoint, sender: SendRequest<Bytes>) -> Result<(), ProbeError> {
        let sender = sender.ready().await.map_err(broken)?;
        let (response, _stream) = self.call(endpoint, sender)?;
        let response = response.await.map_err(broken)?;
        if response.status() != StatusCode::OK {
            return Err(ProbeError::Status(response.status().as_u16()));
        }
        let (head, body) = response.into_parts();
        // An answer without a body has its status in the head.
        refused(&head.headers)?;
        let (message, trailers) = read(body).await?;
        refused(&trailers)?;
        match serving_status(&message) {
            Some(SERVING) => Ok(()),
            Some(status) => Err(ProbeError::NotServing(name(status))),
            None => Err(ProbeError::NotServing("an answer that is no HealthCheckResponse")),
        }
    }

    fn call(
        &self,
        endpoint: &Endpoint,
        mut sender: SendRequest<Bytes>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), ProbeError> {
        let uri = format!("{}://{}/grpc.health.v1.Health/Check", self.scheme, endpoint.authority());
        let request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, "tidegate-health")
            .body(())
            .map_err(ProbeError::Request)?;
        let (response, mut stream) = sender.send_request(request, false).map_err(ProbeError::Exchange2)?;
        let message = request_message(&self.service);
        stream.send_data(message.into(), true).map_err(ProbeError::Exchange2)?;
        Ok((response, stream))
    }
}

impl Probe for GrpcProbe {
    fn ask<'a>(
        &'a self,
        endpoint: &'a Endpoint,
        stream: Box<dyn Stream>,
    ) -> Pending<'a, Result<(), ProbeError>> {
        Box::pin(drive(stream, |sender| self.exchange(endpoint, sender)))
    }
}

/// An error when the fields tell of another status than OK.
fn refused(fields: &HeaderMap) -> Result<(), ProbeError> {
    let Some(code) = fields.get("grpc-status") else { return Ok(()) };
    let code: u32 = code.to_str().ok().and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN);
    if code == OK {
        return Ok(());
    }
    let text = fields.get("grpc-message").map_or(String::new(), |text| percent_decoded(text.as_bytes()));
    let text: String = text.chars().filter(|one| !one.is_control()).take(MAX_TEXT).collect();
    Err(ProbeError::Grpc(code, if text.is_empty() { meaning(code).to_owned() } else { text }))
}

/// The whole of a short body, with its trailers.
async fn read(mut body: RecvStream) -> Result<(Vec<u8>, HeaderMap), ProbeError> {
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(ProbeError::Exchange2)?;
        body.flow_control().release_capacity(data.len()).map_err(ProbeError::Exchange2)?;
        message.extend(data.iter().take(MAX_BODY.saturating_sub(message.len())));
    }
    let trailers = body.trailers().await.map_err(ProbeError::Exchange2)?;
    Ok((message, trailers.unwrap_or_default()))
}

const OK: u32 = 0;
const UNKNOWN: u32 = 2;
const SERVING: u64 = 1;

/// What a status code means that comes without a text.
fn meaning(code: u32) -> &'static str {
    match code {
        5 => "the endpoint does not know this service",
        12 => "the endpoint has no health service",
        _ => "no text",
    }
}

/// The name of a `ServingStatus`.
fn name(status: u64) -> &'static str {
    match status {
        0 => "UNKNOWN",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "a status that is not known",
    }
}

/// A frame with a `HealthCheckRequest`: field 1, a string, left out when it is empty.
fn request_message(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(1 << 3 | 2);
        put_varint(service.len() as u64, &mut message);
        message.extend_from_slice(service.as_bytes());
    }
    // Not compressed; as long as that.
    let mut frame = vec![0];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Field 1 of a `HealthCheckResponse` in its frame, 0 when it is left out; fields that later
/// versions may add are skipped. `None` when it is something else.
fn serving_status(frame: &[u8]) -> Option<u64> {
    let (head, mut message) = frame.split_at_checked(5)?;
    if head != [&[0][..], &(message.len() as u32).to_be_bytes()].concat() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let skipped = match key & 7 {
            0 => {
                let value = take_varint(&mut message)?;
                if key >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => usize::try_from(take_varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        message = message.get(skipped..)?;
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Response;
    use tokio::net::TcpListener;

    use super::*;
    use crate::health::tests::{PLAIN, endpoint};
    use crate::health::{Check, CheckKind, HttpVersion, build};

    /// What a server answers: the frame of a message and its trailers, or only a head.
    #[derive(Clone, Copy)]
    enum Answer {
        Message(&'static [u8]),
        Trailers(&'static [(&'static str, &'static str)]),
        Status(u16),
    }

    /// Checks a server that answers one call so; what it was asked comes too.
    async fn check(service: &str, answer: Answer) -> (Result<(), ProbeError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = endpoint(listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            let reply = tokio::spawn(async move {
                assert_eq!(request.method(), "POST");
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                assert_eq!(request.headers()["content-type"], "application/grpc");
                assert_eq!(request.headers()["te"], "trailers");
                let (asked, _) = read(request.into_body()).await.unwrap();
                let mut head = Response::builder().header("content-type", "application/grpc");
                match answer {
                    Answer::Message(message) => {
                        let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
                        stream.send_data(Bytes::from(message), false).unwrap();
                        let mut trailers = HeaderMap::new();
                        trailers.insert("grpc-status", "0".parse().unwrap());
                        stream.send_trailers(trailers).unwrap();
                    }
                    Answer::Trailers(fields) => {
                        for (name, value) in fields {
                            head = head.header(*name, *value);
                        }
                        respond.send_response(head.body(()).unwrap(), true).unwrap();
                    }
                    Answer::Status(status) => {
                        respond.send_response(head.status(status).body(()).unwrap(), true).unwrap();
                    }
                }
                asked
            });
            while connection.accept().await.is_some() {}
            reply.await.unwrap()
        });
        let settings = Check { check: CheckKind::Grpc, service: service.to_owned(), ..Check::default() };
        let result = build(&settings, HttpVersion::Agreed, Arc::new(PLAIN)).check(&endpoint).await;
        (result, server.await.unwrap())
    }

    async fn error(answer: Answer) -> String {
        check("", answer).await.0.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn an_endpoint_that_serves_passes_and_is_asked_for_the_service() {
        let (result, asked) = check("users", Answer::Message(b"\0\0\0\0\x02\x08\x01")).await;
        result.unwrap();
        assert_eq!(asked, b"\0\0\0\0\x07\x0a\x05users");
        let (result, asked) = check("", Answer::Message(b"\0\0\0\0\x02\x08\x01")).await;
        result.unwrap();
        assert_eq!(asked, b"\0\0\0\0\0");
    }

    #[tokio::test]
    async fn an_endpoint_that_does_not_serve_fails_with_its_own_words() {
        assert_eq!(error(Answer::Message(b"\0\0\0\0\x02\x08\x02")).await, "the service is NOT_SERVING");
        assert_eq!(error(Answer::Message(b"\0\0\0\0\x02\x08\x03")).await, "the service is SERVICE_UNKNOWN");
        assert_eq!(error(Answer::Message(b"\0\0\0\0\0")).await, "the service is UNKNOWN");
        let text = error(Answer::Message(b"\0\0\0\0\x09\x08\x01")).await;
        assert_eq!(text, "the service is an answer that is no HealthCheckResponse");
    }

    #[tokio::test]
    async fn a_status_of_grpc_or_http_fails_with_its_text() {
        let text = error(Answer::Trailers(&[("grpc-status", "5"), ("grpc-message", "unknown%20service")]));
        assert_eq!(text.await, "grpc-status 5: unknown service");
        let text = error(Answer::Trailers(&[("grpc-status", "12")]));
        assert_eq!(text.await, "grpc-status 12: the endpoint has no health service");
        assert_eq!(error(Answer::Status(404)).await, "status 404");
    }

    #[test]
    fn a_message_with_further_fields_is_read_and_a_broken_one_is_not() {
        let read = |message: &[u8]| {
            serving_status(&[&[0][..], &(message.len() as u32).to_be_bytes(), message].concat())
        };
        assert_eq!(read(b"\x12\x03abc\x08\x01\x1d\0\0\0\0"), Some(1));
        assert_eq!(read(b"\x08"), None);
        assert_eq!(read(b"\x12\x09abc"), None);
        assert_eq!(read(b"\x0b"), None);
        assert_eq!(serving_status(b"\x01\0\0\0\x02\x08\x01"), None, "compressed, though nobody asked for it");
        assert_eq!(serving_status(b""), None);
    }

    #[test]
    fn the_length_of_a_service_may_need_two_bytes() {
        let frame = request_message(&"a".repeat(300));
        assert_eq!(frame[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }
}
