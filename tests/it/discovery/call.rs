//! Requests to the API of a registry.

use std::net::SocketAddr;

use serde_json::Value;

use crate::harness::{Client, Response};

/// One request with a JSON body on a connection of its own; `null` is no body. Panics when nobody
/// answers.
pub fn call(registry: SocketAddr, request: &str, token: Option<(&str, &str)>, body: &Value) -> Response {
    try_call(registry, request, token, body).unwrap_or_else(|| panic!("{registry} answers {request}"))
}

/// The same; `None` when nobody answers.
pub fn try_call(
    registry: SocketAddr,
    request: &str,
    token: Option<(&str, &str)>,
    body: &Value,
) -> Option<Response> {
    let is_there = std::net::TcpStream::connect(registry).is_ok();
    let mut client = is_there.then(|| Client::connect(registry))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let token = token.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
    let length = body.len();
    client.send(format!(
        "{request} HTTP/1.1\r\nHost: registry\r\n{token}Content-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ));
    client.try_response().ok()
}
