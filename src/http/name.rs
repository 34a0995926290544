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

/// The known names with their texts.
const KNOWN: [(Name, &[u8]); 27] = [
    (Name::Te, b"te"),
    (Name::Host, b"host"),
    (Name::Date, b"date"),
    (Name::Proxy, b"proxy"),
    (Name::Accept, b"accept"),
    (Name::Cookie, b"cookie"),
    (Name::Expect, b"expect"),
    (Name::Server, b"server"),
    (Name::Trailer, b"trailer"),
    (Name::Upgrade, b"upgrade"),
    (Name::Referer, b"referer"),
    (Name::Forwarded, b"forwarded"),
    (Name::Connection, b"connection"),
    (Name::KeepAlive, b"keep-alive"),
    (Name::UserAgent, b"user-agent"),
    (Name::Traceparent, b"traceparent"),
    (Name::ContentType, b"content-type"),
    (Name::XRequestId, b"x-request-id"),
    (Name::Authorization, b"authorization"),
    (Name::ContentLength, b"content-length"),
    (Name::Http2Settings, b"http2-settings"),
    (Name::XForwardedFor, b"x-forwarded-for"),
    (Name::ProxyConnection, b"proxy-connection"),
    (Name::XForwardedHost, b"x-forwarded-host"),
    (Name::XForwardedPort, b"x-forwarded-port"),
    (Name::TransferEncoding, b"transfer-encoding"),
    (Name::XForwardedProto, b"x-forwarded-proto"),
];

/// The longest known name.
const LONGEST: usize = 17;

/// A name as two numbers: its first and its last bytes, as many as fit one of eight, four or two,
/// in lower case. Names of one length up to sixteen have the same ends only if they are the same; one
/// of seventeen has a byte between them.
type Ends = (u64, u64);

const fn ends(name: &[u8]) -> Ends {
    let (first, last) = if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64)
    } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        (u16::from_le_bytes(*first) as u64, u16::from_le_bytes(*last) as u64)
    } else {
        (0, 0)
    };
    (lower(first), lower(last))
}

/// Eight bytes in lower case. What is no letter may change as well, but never into a byte that known
/// names have.
const fn lower(bytes: u64) -> u64 {
    bytes | ((bytes & 0x4040_4040_4040_4040) >> 1)
}

/// A known name as it is compared.
#[derive(Clone, Copy)]
struct Slot {
    ends: Ends,
    length: u8,
    /// What is between the ends of the longest.
    middle: u8,
    name: Name,
}

/// Where a name with these ends would be: a multiplicative hash whose factor was searched for until no
/// two known names met.
const fn slot((first, last): Ends) -> usize {
    (first.wrapping_add(last).wrapping_mul(0xa9dd_b8c4_7eb0_801d) >> 58) as usize
}

const fn middle(name: &[u8]) -> u8 {
    lower(name[name.len() / 2] as u64) as u8
}

static SLOTS: [Slot; 64] = {
    let mut slots = [Slot { ends: (0, 0), length: 0, middle: 0, name: Name::Other }; 64];
    let mut at = 0;
    while at < KNOWN.len() {
        let (name, text) = KNOWN[at];
        let place = slot(ends(text));
        assert!(slots[place].length == 0, "two names meet: another factor is needed");
        slots[place] = Slot { ends: ends(text), length: text.len() as u8, middle: middle(text), name };
        at += 1;
    }
    slots
};

impl Name {
    /// Recognises a name, in any letter case.
    pub fn of(name: &[u8]) -> Name {
        if name.is_empty() || name.len() > LONGEST {
            return Name::Other;
        }
        let ends = ends(name);
        let known = &SLOTS[slot(ends)];
        let is_it = known.ends == ends && usize::from(known.length) == name.len();
        if is_it && (name.len() < LONGEST || known.middle == middle(name)) { known.name } else { Name::Other }
    }

    /// The bit of this name in a set of names.
    pub(super) const fn bit(self) -> u32 {
        1 << self as u32
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
        for near in
            [&b"transfer+encoding"[..], b"x-forwaRDed_proto", b"h\x0fst", b"Content\rLength", b"d\xc1te"]
        {
            assert_eq!(Name::of(near), Name::Other, "{near:?}");
        }
    }

    #[test]
    fn every_known_name_is_recognised() {
        assert!(KNOWN.iter().all(|(_, text)| (2..=LONGEST).contains(&text.len())));
        for (name, text) in KNOWN {
            assert_eq!(Name::of(text), name);
            assert_eq!(Name::of(&text.to_ascii_uppercase()), name);
        }
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
