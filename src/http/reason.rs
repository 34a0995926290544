//! Why the proxy itself answered, or why an attempt failed: one closed list.
//!
//! Every reason has a name (access log, metric label, `proxy-status` field), a status, the side at
//! fault and a hint for the person who reads it. `docs/reasons.md` is tested against this file.

/// Which side a reason blames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Side {
    Client,
    Proxy,
    Upstream,
}

/// What a reason means.
#[derive(Clone, Copy, Debug)]
pub struct Meaning {
    /// The name in logs, metrics and `proxy-status`.
    pub name: &'static str,
    /// The status of the answer; 499 is only ever logged.
    pub status: u16,
    /// Who is at fault.
    pub side: Side,
    /// What happened, in one sentence.
    pub text: &'static str,
    /// What to look at first.
    pub hint: &'static str,
}

macro_rules! reasons {
    ($($variant:ident $name:literal $status:literal $side:ident $text:literal $hint:literal)*) => {
        /// Why the proxy itself answered, or why an attempt failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $(#[doc = $text] $variant,)* }

        impl Reason {
            /// All reasons, in the order of the documentation.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// Status, side and texts of the reason.
            pub fn meaning(self) -> &'static Meaning {
                match self {
                    $(Reason::$variant => &Meaning {
                        name: $name, status: $status, side: Side::$side, text: $text, hint: $hint,
                    },)*
                }
            }
        }
    };
}

// A table is what this file is: one line a reason, so the macro earns its place.
reasons! {
    NoRoute "no_route" 404 Client
        "No route matches the request." "Compare host, path, method and conditions of the routes with the request."
    MisdirectedHost "misdirected_host" 421 Client
        "No route serves this host, and the listener answers unknown hosts with 421." "Add the host to a route, or look who sends requests here."
    UnknownHost "unknown_host" 499 Client
        "No route serves this host, and the listener closes such connections." "Add the host to a route, or look who sends requests here."
    BadRequestLine "bad_request.line" 400 Client
        "The request line is not method, target and version with single spaces." "The client does not speak HTTP/1.1, or speaks TLS to a clear-text port."
    BadRequestField "bad_request.field" 400 Client
        "A field line breaks RFC 9110 §5: no colon, bad name, folding or a control byte." "Look at the client's header fields; something between may have rewritten them."
    BadRequestTarget "bad_request.target" 400 Client
        "The target is not a valid URI reference for its method." "Percent-encode the path; hidden dot segments and %00 are refused."
    BadRequestHost "bad_request.host" 400 Client
        "Host or :authority is missing, repeated or invalid." "Send exactly one Host with a valid name and port."
    BadRequestFraming "bad_request.framing" 400 Client
        "The length of the body is ambiguous or invalid (RFC 9112 §6.3)." "Send one Content-Length or Transfer-Encoding: chunked, never both."
    BadRequestChunk "bad_request.chunk" 400 Client
        "A chunk of the request body is malformed (RFC 9112 §7.1)." "The client's chunked encoder is broken, or something tries to smuggle a request."
    BadProxyHeader "bad_proxy_header" 499 Client
        "A connection from a trusted proxy did not begin with a valid PROXY protocol header, so it was closed." "Let the load balancer send the header, or set proxy_protocol of the listener to off."
    BadRequestPseudo "bad_request.pseudo_field" 400 Client
        "The pseudo-fields or connection fields of an HTTP/2 request break RFC 9113 §8." "The client's HTTP/2 library is broken."
    BadRequestH2 "bad_request.h2" 400 Client
        "The client broke a rule of HTTP/2 that ends the connection (RFC 9113 §5.4.1)." "The client's HTTP/2 library is broken, or something that is no client tries the port."
    H2Flood "h2_flood" 499 Client
        "An HTTP/2 client sent too many useless frames; its connection was ended with ENHANCE_YOUR_CALM." "proxy_h2_floods_total says of which kind; an attack, or a client that resets nearly all of its requests."
    BodyTruncated "bad_request.truncated" 400 Client
        "The client closed before its request body was complete." "The client gave up, or its Content-Length is wrong."
    RequestTimeout "request_timeout" 408 Client
        "The request head or body did not arrive in time." "See header_timeout and body_timeout of the listener."
    BodyTooLarge "body_too_large" 413 Client
        "The request body is larger than max_body_bytes." "Raise max_body_bytes of the listener if such uploads are wanted."
    TargetTooLong "target_too_long" 414 Client
        "The request line is longer than 16 KiB." "Move data from the query into a body."
    ExpectationFailed "expectation_failed" 417 Client
        "The Expect field asks for something other than 100-continue." "Remove the Expect field."
    HeaderTooLarge "header_too_large" 431 Client
        "The header block is over max_header_bytes or max_headers." "Cookies are the usual cause; raise the limits of the listener if not."
    ConnectNotAllowed "connect_not_allowed" 405 Client
        "CONNECT is refused: this is not a forward proxy, and no route lists CONNECT for the path." "For Go net/rpc, write methods = [\"CONNECT\"] in a route."
    NotImplemented "not_implemented" 501 Client
        "The transfer coding is not implemented." "Send the body with Content-Length or chunked."
    VersionNotSupported "version_not_supported" 505 Client
        "The version is neither HTTP/1.0, HTTP/1.1 nor HTTP/2." "Use a newer client."
    ClientClosed "client_closed" 499 Client
        "The client went away before the answer was complete." "Its own timeout may be shorter than the endpoint needs."
    ClientStalled "client_stalled" 499 Client
        "The client stopped reading for longer than write_timeout." "A slow or dead reader; see write_timeout."
    BadGrpcWeb "bad_request.grpc_web" 400 Client
        "The body of a gRPC-Web request is not base64 or not complete." "The client's gRPC-Web library is broken."
    ClientDeadline "client_deadline" 408 Client
        "The time that the client has set with grpc-timeout is over." "The client's deadline is shorter than the endpoint needs."
    Internal "internal" 500 Proxy
        "The proxy failed itself; this is a bug." "The log holds the place; please report it."
    NoHealthyEndpoint "no_healthy_endpoint" 503 Upstream
        "The upstream has no endpoint that may take traffic." "See the status page: why is each endpoint unhealthy?"
    Draining "draining" 503 Proxy
        "The proxy is stopping." "Another instance should have taken over."
    Overloaded "overloaded" 503 Proxy
        "A limit of the proxy is reached." "See max_connections and the open-file limit."
    ConnectRefused "connect_refused" 502 Upstream
        "The endpoint refused the connection." "Is the service running on that port?"
    ConnectTimeout "connect_timeout" 502 Upstream
        "The endpoint did not accept a connection within connect_timeout." "A dead host, a firewall, or a full accept queue."
    ConnectFailed "connect_failed" 502 Upstream
        "The connection to the endpoint could not be made." "The log line of level debug has the error of the system."
    TlsNameMismatch "tls_name_mismatch" 502 Upstream
        "The endpoint's certificate is for another name, or the endpoint knows no such name." "Set tls.server_name of the upstream to a name in the certificate; it is the host of the endpoint's address by default."
    TlsUntrusted "tls_untrusted" 502 Upstream
        "The endpoint's certificate is not signed by a trusted authority." "Set tls.ca of the upstream to a file with the authority that signed it; the endpoint must send its intermediate certificates."
    TlsExpired "tls_expired" 502 Upstream
        "The endpoint's certificate has expired or is not valid yet." "Renew the certificate of the endpoint; look at the clocks of both machines."
    TlsClientCertificate "tls_client_certificate" 502 Upstream
        "The endpoint wants a certificate of the proxy, or refuses the one that it was shown." "See tls.client_cert and tls.client_key of the upstream; the endpoint must trust who signed it."
    TlsHandshakeFailed "tls_handshake_failed" 502 Upstream
        "The TLS handshake with the endpoint failed, or HTTP/2 was not agreed by ALPN." "Does the endpoint speak TLS 1.2 or newer on that port, and h2 if protocol = \"h2\"? The log line of level debug has the details."
    UpstreamReset "upstream_reset_before_headers" 502 Upstream
        "The endpoint closed or reset the connection before an answer began." "It crashed, restarted, or its keep-alive time is very short."
    RefusedStream "upstream_refused_stream" 503 Upstream
        "The endpoint refused the HTTP/2 stream before it did anything with it." "It is overloaded, or allows fewer streams than it says."
    UpstreamTruncated "upstream_truncated" 502 Upstream
        "The endpoint closed the connection inside the body." "It crashed or its Content-Length is wrong; if the answer had begun, the client saw it broken off."
    ResponseTimeout "response_timeout" 504 Upstream
        "The endpoint sent no complete response head within timeouts.response." "Raise the route's timeouts.response or find out what the endpoint waits for."
    IdleTimeout "idle_timeout" 504 Upstream
        "No byte moved for timeouts.idle while the endpoint had to send." "The endpoint hangs in the middle of its answer."
    RequestDeadline "request_deadline" 504 Upstream
        "The exchange took longer than timeouts.request." "Raise the route's timeouts.request or make the endpoint faster."
    BadResponseHead "bad_response.head" 502 Upstream
        "The response head is not valid HTTP." "Does the endpoint speak HTTP/1.1 on that port?"
    BadResponseFraming "bad_response.framing" 502 Upstream
        "The length of the response body is ambiguous or invalid." "The endpoint sends two lengths, or a length with chunked."
    BadResponseChunk "bad_response.chunk" 502 Upstream
        "A chunk of the response body is malformed." "The endpoint's chunked encoder is broken."
    ResponseHeaderTooLarge "bad_response.header_too_large" 502 Upstream
        "The response head is over 64 KiB." "Cookies or debugging fields of the endpoint are the usual cause."
    UnexpectedUpgrade "bad_response.unexpected_upgrade" 502 Upstream
        "The endpoint switched to a protocol that nobody asked for, or did not prove itself." "The endpoint is broken or hostile."
    TunnelImpossible "tunnel_impossible" 502 Upstream
        "The request asks for a tunnel, and the upstream speaks HTTP/2 only." "Tunnels (WebSocket, CONNECT) go to endpoints with protocol = \"h1\"."
    UnwantedStatus "unwanted_status" 502 Upstream
        "The endpoint answered with a status that the route retries." "See retry.on of the route."
    TooManyInterim "bad_response.too_many_interim" 502 Upstream
        "The endpoint sent more than 256 interim answers." "The endpoint is broken."
    UpstreamH2 "bad_response.h2" 502 Upstream
        "The endpoint broke the rules of HTTP/2 or reset the stream." "The log line of level debug has the error code."
    UpstreamH2Flood "bad_response.h2_flood" 502 Upstream
        "The endpoint sent too many useless HTTP/2 frames; the connection to it was closed." "The endpoint is broken or hostile."
}

impl Reason {
    /// The name in logs, metrics and `proxy-status`.
    pub fn name(self) -> &'static str {
        self.meaning().name
    }

    /// The status of the answer.
    pub fn status(self) -> u16 {
        self.meaning().status
    }

    /// Who is at fault.
    pub fn side(self) -> Side {
        self.meaning().side
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_reason_has_text_and_hint() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            let meaning = reason.meaning();
            assert!(meaning.text.ends_with('.') && !meaning.hint.is_empty());
            assert!((400..600).contains(&meaning.status), "{}", meaning.name);
        }
    }

    #[test]
    fn a_client_error_blames_the_client_and_a_gateway_error_the_upstream() {
        for reason in Reason::ALL {
            match reason.side() {
                Side::Client => assert!(reason.status() < 500 || matches!(reason.status(), 501 | 505)),
                Side::Upstream => assert!((502..=504).contains(&reason.status())),
                Side::Proxy => assert!(reason.status() >= 500),
            }
        }
    }
}
