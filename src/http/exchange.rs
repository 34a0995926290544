//! One request and its response, as middlewares see them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::fields::Span;
use super::forwarded::Forwarded;
use super::head::{RequestHead, ResponseHead};
use super::identity::Identity;
use super::name::Name;
use super::recode::Recoder;

/// The scheme that the client used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

impl Scheme {
    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// As logs and metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            TlsVersion::Tls12 => "1.2",
            TlsVersion::Tls13 => "1.3",
        }
    }
}

/// Who asks: facts of the connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address of the peer, or what a PROXY protocol header told; `0.0.0.0:0` for a unix socket.
    pub address: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// Plain or TLS.
    pub scheme: Scheme,
    /// The version of TLS; `None` on clear text.
    pub tls: Option<TlsVersion>,
    /// What its certificate says, when it has shown one.
    pub identity: Option<Arc<Identity>>,
    /// Number of the listener in the snapshot, for routes that name listeners.
    pub listener: u32,
    /// Whether the peer is in `trusted_proxies`, so that its forwarding fields are believed.
    pub trusted: bool,
    /// Whether the endpoint is always told by Forwarded.
    pub forwarded: Forwarded,
}

impl Default for Client {
    fn default() -> Client {
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Client {
            address: nobody,
            local: nobody,
            scheme: Scheme::Http,
            tls: None,
            identity: None,
            listener: 0,
            trusted: false,
            forwarded: Forwarded::Continue,
        }
    }
}

/// How the body of a gRPC-Web answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcWeb {
    /// As bytes.
    Binary,
    /// In base64.
    Text,
}

/// One request and its response.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Who asks.
    pub client: Client,
    /// The client that trusted proxies speak for, as far as it is known; `None` when the peer speaks
    /// for itself.
    pub spoken_for: Option<IpAddr>,
    /// What is asked; after validation, canonical.
    pub request: RequestHead,
    /// What is answered; filled by the endpoint or by a middleware.
    pub response: ResponseHead,
    /// The body of an answer that a middleware or the proxy itself made.
    pub reply: Vec<u8>,
    /// How the client writes gRPC-Web, when a middleware translates it.
    pub grpc_web: Option<GrpcWeb>,
    /// What changes the body of the request, whose framing in the head fits the changed one.
    pub upload: Option<Box<Recoder>>,
    /// What changes the body of the answer, likewise.
    pub download: Option<Box<Recoder>>,
    request_id: RequestId,
}

#[derive(Clone, Copy, Debug)]
enum RequestId {
    /// Made here, as text.
    Made([u8; 36]),
    /// Taken over from a trusted proxy.
    Believed(Span),
}

impl Default for RequestId {
    fn default() -> RequestId {
        RequestId::Made([b'0'; 36])
    }
}

/// Longest X-Request-Id that is taken over, in bytes.
const MAX_REQUEST_ID: usize = 128;

impl Exchange {
    /// Makes it ready for the next request, keeping the memory.
    pub fn clear(&mut self) {
        self.request.clear();
        self.response.clear();
        self.reply.clear();
        (self.grpc_web, self.upload, self.download) = (None, None, None);
        self.client.identity = None;
    }

    /// The address of the client: behind trusted proxies that of whom they speak for.
    pub fn client_address(&self) -> IpAddr {
        self.spoken_for.unwrap_or(self.client.address.ip())
    }

    /// Gives the request an identity: that of a trusted proxy, else these bytes as a UUIDv7
    /// (RFC 9562 §5.7: 48 bits of Unix milliseconds, then random bits).
    pub fn identify(&mut self, bytes: [u8; 16]) {
        let told = self.request.fields.first(Name::XRequestId).map(|field| field.value);
        match told {
            Some(span) if self.client.trusted && (1..=MAX_REQUEST_ID).contains(&span.len()) => {
                self.request_id = RequestId::Believed(span);
            }
            _ => self.set_request_id(bytes),
        }
    }

    /// The identity of the request, as X-Request-Id tells it.
    pub fn request_id(&self) -> &[u8] {
        match &self.request_id {
            RequestId::Made(text) => text,
            RequestId::Believed(span) => self.request.fields.text(*span),
        }
    }

    pub(super) fn set_request_id(&mut self, mut bytes: [u8; 16]) {
        bytes[6] = bytes[6] & 0x0f | 0x70;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut text = [b'-'; 36];
        for (at, byte) in PLACES.into_iter().zip(bytes) {
            [text[at], text[at + 1]] = HEX[usize::from(byte)];
        }
        self.request_id = RequestId::Made(text);
    }
}

/// Where the bytes of a UUID stand in its text.
const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];

const HEX: [[u8; 2]; 256] = {
    let (mut table, mut byte) = ([[0; 2]; 256], 0);
    while byte < 256 {
        let digits = b"0123456789abcdef";
        table[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    table
};
