//! The head of an HTTP/2 request, as the exchange sees it.

use ::http::request::Parts;
use h2::ext::Protocol;

use crate::h1::request::HeadLimits;
use crate::http::path::EncodedSlashes;
use crate::http::validate::{self, MAX_REQUEST_LINE};
use crate::http::{Framing, Method, Name, Reason, RequestHead, Version, upgrade};

/// Whether the head was the end of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// DATA may follow.
    Follows,
    /// There is none.
    Absent,
}

/// Fills `head` and judges it. The library has refused already what breaks the order and the
/// number of pseudo-fields, upper-case names and connection-specific fields (RFC 9113 §8.2, §8.3).
pub(super) fn read(
    parts: &Parts,
    body: Body,
    limits: HeadLimits,
    slashes: EncodedSlashes,
    head: &mut RequestHead,
) -> Result<(), Reason> {
    head.clear();
    head.version = Version::Http2;
    let method = method(parts, head)?;
    head.method = Method::of(method);
    head.method_text = head.fields.append(method);
    if size(parts) > limits.bytes {
        return Err(Reason::HeaderTooLarge);
    }
    read_target(parts, head)?;
    read_authority(parts, head)?;
    read_fields(parts, head)?;
    if head.fields.list().len() > limits.fields {
        return Err(Reason::HeaderTooLarge);
    }
    validate::request(head, slashes)?;
    if head.framing == Framing::None && body == Body::Follows && head.upgrade.is_none() {
        head.framing = Framing::Chunked;
    }
    Ok(())
}

/// The method, which for an extended CONNECT is what asks for the same over HTTP/1.1 (RFC 8441 §4).
fn method<'p>(parts: &'p Parts, head: &mut RequestHead) -> Result<&'p [u8], Reason> {
    let Some(protocol) = parts.extensions.get::<Protocol>().map(Protocol::as_str) else {
        return Ok(parts.method.as_str().as_bytes());
    };
    if parts.headers.contains_key(::http::header::CONTENT_LENGTH) {
        return Err(Reason::BadRequestFraming);
    }
    head.upgrade = Some(upgrade::adopt(head, protocol.as_bytes()).ok_or(Reason::BadRequestPseudo)?);
    Ok(b"GET")
}

/// Bytes of the head as HTTP/1.1 would write it, so that one limit means the same in both versions.
fn size(parts: &Parts) -> usize {
    const LINE: usize = ": \r\n".len();
    let target = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    let fields = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE);
    parts.method.as_str().len() + target + authority + fields.sum::<usize>()
}

/// `:path`, which has no other form than `/…` and `*` here, and `:scheme` (RFC 9113 §8.3.1).
fn read_target(parts: &Parts, head: &mut RequestHead) -> Result<(), Reason> {
    let uri = &parts.uri;
    match uri.scheme_str() {
        Some(scheme) if !matches!(scheme, "http" | "https") => return Err(Reason::BadRequestPseudo),
        Some(scheme) => head.scheme = head.fields.append(scheme.as_bytes()),
        None => {}
    }
    if head.method == Method::Connect {
        head.target =
            head.fields.append(uri.authority().map_or("", |authority| authority.as_str()).as_bytes());
        return Ok(());
    }
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    if path.len() > MAX_REQUEST_LINE {
        return Err(Reason::TargetTooLong);
    }
    if !path.starts_with('/') && path != "*" {
        return Err(Reason::BadRequestTarget);
    }
    head.target = head.fields.append(path.as_bytes());
    Ok(())
}

/// `:authority` becomes the Host field; where both are sent they agree.
fn read_authority(parts: &Parts, head: &mut RequestHead) -> Result<(), Reason> {
    let told = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut hosts = parts.headers.get_all(::http::header::HOST).iter();
    match (told, hosts.next()) {
        (None, None) => return Err(Reason::BadRequestHost),
        (Some(told), Some(host)) if !told.eq_ignore_ascii_case(host.as_bytes()) => {
            return Err(Reason::BadRequestHost);
        }
        (Some(authority), _) => head.fields.push(b"host", authority),
        (None, Some(host)) => head.fields.push(b"host", host.as_bytes()),
    }
    if hosts.next().is_some() { Err(Reason::BadRequestHost) } else { Ok(()) }
}

/// Everything but Host, with cookie crumbs in one field (RFC 9113 §8.2.3).
fn read_fields(parts: &Parts, head: &mut RequestHead) -> Result<(), Reason> {
    let mut cookies = Vec::new();
    for (name, value) in &parts.headers {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        let outer = [value.first(), value.last()];
        if outer.iter().flatten().any(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(Reason::BadRequestField);
        }
        match Name::of(name) {
            Name::Host => {}
            Name::Cookie => {
                if !cookies.is_empty() {
                    cookies.extend_from_slice(b"; ");
                }
                cookies.extend_from_slice(value);
            }
            _ => head.fields.push(name, value),
        }
    }
    if !cookies.is_empty() {
        head.fields.push(b"cookie", &cookies);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 32 * 1024, fields: 100 };

    fn judge(uri: &str, fields: &[(&str, &str)], body: Body) -> Result<RequestHead, Reason> {
        let mut request = ::http::Request::builder().method("POST").uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut head = RequestHead::default();
        read(&parts, body, LIMITS, EncodedSlashes::Keep, &mut head).map(|()| head)
    }

    fn refused(uri: &str, fields: &[(&str, &str)]) -> Option<Reason> {
        judge(uri, fields, Body::Absent).err()
    }

    #[test]
    fn a_request_gets_its_authority_its_path_and_one_cookie_field() {
        let cookies = [("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2")];
        let head = judge("http://A.example:80/x/../y?q", &cookies, Body::Absent).unwrap();
        assert_eq!(head.authority(), b"a.example:80");
        assert_eq!((head.path(), head.query()), (&b"/y"[..], Some(&b"q"[..])));
        assert_eq!(head.fields.all(Name::Cookie).collect::<Vec<_>>(), [b"a=1; b=2"]);
        assert_eq!(head.fields.all(Name::Host).count(), 1);
        assert_eq!((head.version, head.framing), (Version::Http2, Framing::None));
    }

    #[test]
    fn authority_and_host_must_agree_and_one_of_them_must_be_there() {
        assert!(judge("http://a.example/", &[("host", "A.example")], Body::Absent).is_ok());
        let head = judge("/", &[("host", "a.example")], Body::Absent).unwrap();
        assert_eq!(head.authority(), b"a.example");
        assert_eq!(refused("http://a.example/", &[("host", "b.example")]), Some(Reason::BadRequestHost));
        assert_eq!(
            refused("/", &[("host", "a.example"), ("host", "a.example")]),
            Some(Reason::BadRequestHost)
        );
        assert_eq!(refused("/", &[]), Some(Reason::BadRequestHost));
        assert_eq!(refused("http://user@a.example/", &[]), Some(Reason::BadRequestHost));
    }

    #[test]
    fn what_the_library_lets_through_is_refused() {
        assert_eq!(refused("ftp://a.example/", &[]), Some(Reason::BadRequestPseudo));
        assert_eq!(refused("http://a.example/", &[("x-a", " b")]), Some(Reason::BadRequestField));
        assert_eq!(refused("http://a.example/", &[("x-a", "b\t")]), Some(Reason::BadRequestField));
        let twice = [("content-length", "1"), ("content-length", "1")];
        assert_eq!(refused("http://a.example/", &twice), Some(Reason::BadRequestFraming));
        let long = "x".repeat(33 * 1024);
        assert_eq!(refused("http://a.example/", &[("x-a", &long)]), Some(Reason::HeaderTooLarge));
        let names: Vec<String> = (0..100).map(|number| format!("x-{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        assert_eq!(refused("http://a.example/", &many), Some(Reason::HeaderTooLarge));
    }

    #[test]
    fn a_body_without_a_length_is_framed_by_the_stream() {
        let framing = |fields: &[_], body| judge("http://a.example/", fields, body).unwrap().framing;
        assert_eq!(framing(&[], Body::Follows), Framing::Chunked);
        assert_eq!(framing(&[("content-length", "5")], Body::Follows), Framing::Length(5));
        assert_eq!(framing(&[("content-length", "0")], Body::Absent), Framing::Length(0));
    }
}
