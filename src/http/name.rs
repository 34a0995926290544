//! Field names that the proxy itself acts on; every other name is passed through as bytes.

/// A field name, recognised once when a head is read, so that no later step compares strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Any name without a rule of its own.
    Other,
    /// `Accept`
    Accept,
    /// `Authorization`
    Authorization,
    /// `Connection`
    Connection,
    /// `Content-Length`
    ContentLength,
    /// `Content-Type`
    ContentType,
    /// `Cookie`
    Cookie,
    /// `Date`
    Date,
    /// `Expect`
    Expect,
    /// `Forwarded` (RFC 7239)
    Forwarded,
    /// `Host`
    Host,
    /// `HTTP2-Settings` (obsolete, RFC 9113 §3.1)
    Http2Settings,
    /// `Keep-Alive`
    KeepAlive,
    /// `Proxy`, dropped because CGI servers turn it into `HTTP_PROXY`
    Proxy,
    /// `Proxy-Connection`
    ProxyConnection,
    /// `Referer`
    Referer,
    /// `Server`
    Server,
    /// `TE`
    Te,
    /// `traceparent` (W3C Trace Context)
    Traceparent,
    /// `Trailer`
    Trailer,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Upgrade`
    Upgrade,
    /// `User-Agent`
    UserAgent,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Forwarded-Port`
    XForwardedPort,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Request-Id`
    XRequestId,
}

impl Name {
    /// Recognises a name, in any letter case.
    pub fn of(name: &[u8]) -> Name {
        // Two candidates at most share a length and a first letter, so one comparison decides.
        let (known, text): (Name, &[u8]) = match (name.len(), name.first().map(u8::to_ascii_lowercase)) {
            (2, Some(b't')) => (Name::Te, b"te"),
            (4, Some(b'h')) => (Name::Host, b"host"),
            (4, Some(b'd')) => (Name::Date, b"date"),
            (5, Some(b'p')) => (Name::Proxy, b"proxy"),
            (6, Some(b'a')) => (Name::Accept, b"accept"),
            (6, Some(b'c')) => (Name::Cookie, b"cookie"),
            (6, Some(b'e')) => (Name::Expect, b"expect"),
            (6, Some(b's')) => (Name::Server, b"server"),
            (7, Some(b't')) => (Name::Trailer, b"trailer"),
            (7, Some(b'u')) => (Name::Upgrade, b"upgrade"),
            (7, Some(b'r')) => (Name::Referer, b"referer"),
            (9, Some(b'f')) => (Name::Forwarded, b"forwarded"),
            (10, Some(b'c')) => (Name::Connection, b"connection"),
            (10, Some(b'k')) => (Name::KeepAlive, b"keep-alive"),
            (10, Some(b'u')) => (Name::UserAgent, b"user-agent"),
            (11, Some(b't')) => (Name::Traceparent, b"traceparent"),
            (12, Some(b'c')) => (Name::ContentType, b"content-type"),
            (12, Some(b'x')) => (Name::XRequestId, b"x-request-id"),
            (13, Some(b'a')) => (Name::Authorization, b"authorization"),
            (14, Some(b'c')) => (Name::ContentLength, b"content-length"),
            (14, Some(b'h')) => (Name::Http2Settings, b"http2-settings"),
            (15, Some(b'x')) => (Name::XForwardedFor, b"x-forwarded-for"),
            (16, Some(b'p')) => (Name::ProxyConnection, b"proxy-connection"),
            (16, Some(b'x')) if name[12].eq_ignore_ascii_case(&b'h') => {
                (Name::XForwardedHost, b"x-forwarded-host")
            }
            (16, Some(b'x')) => (Name::XForwardedPort, b"x-forwarded-port"),
            (17, Some(b't')) => (Name::TransferEncoding, b"transfer-encoding"),
            (17, Some(b'x')) => (Name::XForwardedProto, b"x-forwarded-proto"),
            _ => return Name::Other,
        };
        if name.eq_ignore_ascii_case(text) { known } else { Name::Other }
    }

    /// Whether the field speaks of this connection only and is never passed on (RFC 9110 §7.6.1).
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Name::Connection
                | Name::KeepAlive
                | Name::Proxy
                | Name::ProxyConnection
                | Name::Te
                | Name::TransferEncoding
                | Name::Upgrade
                | Name::Http2Settings
        )
    }

    /// Whether an unknown name becomes one that frames, routes or authenticates when its `_` are
    /// read as `-`, as CGI environments and some servers do.
    pub fn is_alias(name: &[u8]) -> bool {
        let mut plain = [0u8; 24];
        let Some(plain) = plain.get_mut(..name.len()) else { return false };
        plain.copy_from_slice(name);
        plain.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = b'-');
        let known = Name::of(plain);
        known.is_hop_by_hop() || !known.is_removable_by_connection() || known == Name::Expect
    }

    /// Whether a `Connection` option may remove the field. It may not remove what frames, routes
    /// or authenticates a request, nor what the proxy itself says about the client.
    pub fn is_removable_by_connection(self) -> bool {
        !matches!(
            self,
            Name::Host
                | Name::ContentLength
                | Name::TransferEncoding
                | Name::Authorization
                | Name::Cookie
                | Name::Forwarded
                | Name::XForwardedFor
                | Name::XForwardedHost
                | Name::XForwardedPort
                | Name::XForwardedProto
                | Name::XRequestId
                | Name::Traceparent
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_name_is_recognised_in_any_case_and_a_near_one_is_not() {
        assert_eq!(Name::of(b"TRANSFER-encoding"), Name::TransferEncoding);
        assert_eq!(Name::of(b"X-Forwarded-Host"), Name::XForwardedHost);
        assert_eq!(Name::of(b"x-forwarded-port"), Name::XForwardedPort);
        assert_eq!(Name::of(b"transfer_encoding"), Name::Other);
        assert_eq!(Name::of(b"hosts"), Name::Other);
        assert_eq!(Name::of(b""), Name::Other);
    }

    #[test]
    fn an_underscore_makes_an_alias_of_a_name_that_frames_routes_or_authenticates() {
        for name in [&b"Content_Length"[..], b"transfer_encoding", b"X_FORWARDED-for", b"Keep_Alive"] {
            assert!(Name::is_alias(name));
        }
        for name in [&b"x_a"[..], b"user_agent", b"content_length_", b"_host", &[b'_'; 40]] {
            assert!(!Name::is_alias(name));
        }
    }

    #[test]
    fn connection_can_not_remove_what_routes_or_authenticates() {
        for name in [&b"host"[..], b"Authorization", b"cookie", b"x-forwarded-for", b"content-length"] {
            assert!(!Name::of(name).is_removable_by_connection());
        }
        assert!(Name::of(b"x-anything").is_removable_by_connection());
    }
}
