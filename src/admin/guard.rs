//! Keeps web pages out.
//!
//! A page can make the operator's browser send requests to 127.0.0.1. Two checks stop it. A page
//! whose own name was rebound to a loopback address (DNS rebinding) is told by its Host, which is
//! neither an IP literal nor a loopback name. A page that sends a POST across origins, which needs
//! no permission, is told by the Origin field that browsers add to it.

use std::net::IpAddr;

use hyper::header::{HOST, ORIGIN};
use hyper::{Method, Request, StatusCode, Version};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: &'static str,
}

const NO_HOST: Refusal =
    Refusal { status: StatusCode::BAD_REQUEST, text: "send exactly one Host with a valid name" };
const STRANGE_HOST: Refusal = Refusal {
    status: StatusCode::FORBIDDEN,
    text: "the admin listener answers to localhost and to IP addresses only, so that no web page can reach it under its own name",
};
const FROM_A_PAGE: Refusal =
    Refusal { status: StatusCode::FORBIDDEN, text: "requests of web pages change nothing here" };

/// Checks where a request was sent to and where it comes from.
pub(super) fn check<B>(request: &Request<B>) -> Result<(), Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let host = host.to_str().map_err(|_| NO_HOST)?;
            if !is_ours(host) {
                return Err(STRANGE_HOST);
            }
        }
        // Browsers do not speak HTTP/1.0; simple probes do.
        (None, _) if request.version() == Version::HTTP_10 => {}
        _ => return Err(NO_HOST),
    }
    if request.uri().authority().is_some_and(|authority| !is_ours(authority.as_str())) {
        return Err(STRANGE_HOST);
    }
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if changes && request.headers().contains_key(ORIGIN) { Err(FROM_A_PAGE) } else { Ok(()) }
}

/// Whether `host` or `host:port` can only be this machine, or names an address as such.
fn is_ours(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return matches!(inner.parse(), Ok(IpAddr::V6(_)));
    }
    // RFC 6761 §6.3: names under localhost are loopback for every resolver.
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || matches!(host.parse(), Ok(IpAddr::V4(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_addresses_are_ours() {
        for host in [
            "localhost",
            "localhost:9901",
            "LOCALHOST",
            "localhost.",
            "admin.localhost:9901",
            "127.0.0.1",
            "127.0.0.1:9901",
            "10.1.2.3:9901",
            "[::1]",
            "[::1]:9901",
        ] {
            assert!(is_ours(host), "{host}");
        }
    }

    #[test]
    fn all_other_names_are_not() {
        for host in [
            "",
            ":9901",
            "evil.example",
            "evil.example:9901",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "user@127.0.0.1",
            "::1",
            "[127.0.0.1]",
            "[::1",
            "127.1",
        ] {
            assert!(!is_ours(host), "{host}");
        }
    }

    fn checked(request: hyper::http::request::Builder) -> Result<(), Refusal> {
        check(&request.body(()).unwrap())
    }

    #[test]
    fn a_request_names_one_host_by_field_and_by_target() {
        let get = || Request::builder().uri("/metrics");
        assert_eq!(checked(get().header(HOST, "127.0.0.1:1")), Ok(()));
        assert_eq!(checked(get()), Err(NO_HOST));
        assert_eq!(checked(get().version(Version::HTTP_10)), Ok(()));
        assert_eq!(checked(get().header(HOST, "localhost").header(HOST, "localhost")), Err(NO_HOST));
        assert_eq!(checked(get().header(HOST, "evil.example")), Err(STRANGE_HOST));
        let absolute = Request::builder().uri("http://evil.example/metrics").header(HOST, "localhost");
        assert_eq!(checked(absolute), Err(STRANGE_HOST));
    }

    #[test]
    fn a_post_of_a_page_is_refused_and_that_of_a_tool_is_not() {
        let post = || Request::builder().method(Method::POST).uri("/reload").header(HOST, "localhost:1");
        assert_eq!(checked(post()), Ok(()));
        for origin in ["http://evil.example", "null", "http://localhost:1"] {
            assert_eq!(checked(post().header(ORIGIN, origin)), Err(FROM_A_PAGE));
        }
    }
}
