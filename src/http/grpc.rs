//! gRPC over HTTP/2 as far as a proxy has to speak it: who asks in it, what a reason is called in
//! it, how a message is written, and how long the client waits.

use std::time::Duration;

use super::exchange::Exchange;
use super::fields::Fields;
use super::head::Version;
use super::name::Name;
use super::reason::Reason;

/// How the gRPC call is written that the client makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// gRPC over HTTP/2.
    Native,
    /// gRPC-Web, which a middleware translates.
    Web,
}

/// The dialect of a request; `None` when it is no gRPC call, or one over HTTP/1.1, which no gRPC
/// client makes.
pub fn dialect(exchange: &Exchange) -> Option<Dialect> {
    if exchange.grpc_web.is_some() {
        return Some(Dialect::Web);
    }
    let native = exchange.request.version == Version::Http2 && is_grpc(&exchange.request.fields);
    native.then_some(Dialect::Native)
}

/// Whether the content type is `application/grpc`, with or without a codec.
pub fn is_grpc(fields: &Fields) -> bool {
    fields.get(Name::ContentType).and_then(|value| codec(value, b"application/grpc")).is_some()
}

/// What follows the media type: nothing, `+proto` or another codec, parameters. `None` when the
/// value is of another type.
pub fn codec<'value>(value: &'value [u8], media_type: &[u8]) -> Option<&'value [u8]> {
    let (front, rest) = value.split_at_checked(media_type.len())?;
    let is_whole = matches!(rest.first(), None | Some(b'+' | b';' | b' '));
    (is_whole && front.eq_ignore_ascii_case(media_type)).then_some(rest)
}

/// A gRPC status that the proxy uses itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Code {
    Cancelled = 1,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

impl Code {
    /// The code of a reason. Most follow from the status of the reason ("HTTP to gRPC Status Code
    /// Mapping" of the gRPC documentation), which lacks deadlines and sizes.
    pub fn of(reason: Reason) -> Code {
        match reason {
            // Another try would meet the same broken endpoint.
            Reason::BadResponseHead
            | Reason::BadResponseFraming
            | Reason::BadResponseChunk
            | Reason::ResponseHeaderTooLarge
            | Reason::UnexpectedUpgrade
            | Reason::TooManyInterim => Code::Internal,
            _ => Code::of_status(reason.status()),
        }
    }

    fn of_status(status: u16) -> Code {
        match status {
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            408 | 504 => Code::DeadlineExceeded,
            413 | 414 | 429 | 431 => Code::ResourceExhausted,
            404 | 405 | 421 | 501 | 505 => Code::Unimplemented,
            499 => Code::Cancelled,
            502 | 503 => Code::Unavailable,
            _ => Code::Internal,
        }
    }

    /// The name in the documentation of gRPC.
    pub fn name(self) -> &'static str {
        match self {
            Code::Cancelled => "CANCELLED",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

/// Appends `grpc-status` and `grpc-message` for a reason.
pub fn put_status(reason: Reason, fields: &mut Fields) {
    let meaning = reason.meaning();
    fields.push(b"grpc-status", (Code::of(reason) as u8).to_string().as_bytes());
    let text = format!("tidegate: {}: {}", meaning.name, meaning.text);
    fields.push(b"grpc-message", &percent_encoded(text.as_bytes()));
}

/// A message as the field carries it: printable ASCII but `%` stands for itself ("Requests" of
/// the gRPC over HTTP/2 protocol).
pub fn percent_encoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b' '..=b'~' => out.push(*byte),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    out
}

/// The text of a `grpc-message` field; what is no escape stands for itself.
pub fn percent_decoded(value: &[u8]) -> String {
    let digit = |at: usize| value.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How long the client of a call waits, from `grpc-timeout`: up to eight digits and a unit. `None`
/// when it waits for ever or does not say it well.
pub fn timeout(fields: &Fields) -> Option<Duration> {
    let (unit, digits) = fields.find(b"grpc-timeout")?.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: &str, value: &str) -> Fields {
        let mut fields = Fields::default();
        fields.push(name.as_bytes(), value.as_bytes());
        fields
    }

    #[test]
    fn a_call_is_known_by_its_content_type() {
        let is = |value| is_grpc(&fields("Content-Type", value));
        for value in ["application/grpc", "Application/gRPC+proto", "application/grpc;charset=utf-8"] {
            assert!(is(value), "{value}");
        }
        for value in ["application/grpc-web", "application/grpcx", "application/json", ""] {
            assert!(!is(value), "{value}");
        }
        assert!(!is_grpc(&Fields::default()));
    }

    #[test]
    fn only_http2_carries_a_call_that_nobody_translates() {
        let mut exchange = Exchange::default();
        exchange.request.fields = fields("content-type", "application/grpc");
        assert_eq!(dialect(&exchange), None);
        exchange.request.version = Version::Http2;
        assert_eq!(dialect(&exchange), Some(Dialect::Native));
    }

    #[test]
    fn reasons_have_the_code_that_clients_act_on() {
        for (reason, code) in [
            (Reason::NoRoute, Code::Unimplemented),
            (Reason::NoHealthyEndpoint, Code::Unavailable),
            (Reason::ConnectRefused, Code::Unavailable),
            (Reason::UpstreamReset, Code::Unavailable),
            (Reason::Overloaded, Code::Unavailable),
            (Reason::ResponseTimeout, Code::DeadlineExceeded),
            (Reason::RequestDeadline, Code::DeadlineExceeded),
            (Reason::ClientDeadline, Code::DeadlineExceeded),
            (Reason::HeaderTooLarge, Code::ResourceExhausted),
            (Reason::BodyTooLarge, Code::ResourceExhausted),
            (Reason::BadRequestField, Code::Internal),
            (Reason::BadResponseHead, Code::Internal),
            (Reason::Internal, Code::Internal),
        ] {
            assert_eq!(Code::of(reason), code, "{}", reason.name());
        }
    }

    #[test]
    fn a_message_is_escaped_and_read_back() {
        assert_eq!(percent_encoded("nö: 100%\n".as_bytes()), b"n%C3%B6: 100%25%0A");
        assert_eq!(percent_decoded(b"n%C3%B6: 100%25%0a"), "nö: 100%\n");
        assert_eq!(percent_decoded(b"5% or %zz%"), "5% or %zz%");
    }

    #[test]
    fn the_patience_of_a_client_has_a_unit_and_up_to_eight_digits() {
        let told = |value| timeout(&fields("grpc-timeout", value));
        assert_eq!(told("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(told("3M"), Some(Duration::from_secs(180)));
        assert_eq!(told("100S"), Some(Duration::from_secs(100)));
        assert_eq!(told("250m"), Some(Duration::from_millis(250)));
        assert_eq!(told("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(told("1n"), Some(Duration::from_nanos(1)));
        for wrong in ["", "S", "1", "-1S", "1.5S", "123456789S", "1s", "1 S"] {
            assert_eq!(told(wrong), None, "{wrong}");
        }
        assert_eq!(timeout(&Fields::default()), None);
    }
}
