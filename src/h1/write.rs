//! Writes heads, chunk frames and trailers.

use crate::http::fields::Span;
use crate::http::forwarded::AboutClient;
use crate::http::validate::content_length;
use crate::http::{Exchange, Fields, Framing, Method, Name, Put, ResponseHead, Version, forwarded};

/// Writes the head of the request that goes to an endpoint, from its parsed form only.
pub fn request(exchange: &Exchange, host: &[u8], out: &mut impl Put) {
    let request = &exchange.request;
    out.put([request.method_text(), b" ", request.path()]);
    if let Some(query) = request.query() {
        out.put([b"?", query]);
    }
    out.put([b" HTTP/1.1\r\nhost: ", host, b"\r\n"]);
    lines(&request.fields, Span::default(), forwarded::reaches_endpoint, out);
    about_client(&AboutClient::of(exchange), out);
    let trailers = forwarded::wants_trailers(&request.fields);
    if trailers {
        out.put([b"te: trailers\r\n"]);
    }
    // RFC 9110 §7.6.1: what speaks of this connection only says so.
    match (request.upgrade(), trailers) {
        (Some(protocol), _) => {
            field(out, b"upgrade", protocol);
            out.put([if trailers { b"connection: upgrade, TE\r\n" } else { b"connection: upgrade\r\n" }]);
        }
        (None, true) => out.put([b"connection: TE\r\n"]),
        (None, false) => {}
    }
    framing_fields(request.framing, out);
    out.put([b"\r\n"]);
}

fn about_client(client: &AboutClient<'_>, out: &mut impl Put) {
    let (addresses, port) = (client.addresses(), client.port());
    out.put([
        b"x-forwarded-for: ",
        addresses,
        b"\r\nx-forwarded-proto: ",
        client.proto,
        b"\r\nx-forwarded-port: ",
        port,
        b"\r\nx-request-id: ",
        client.request_id,
        b"\r\n",
    ]);
    if !client.host.is_empty() {
        field(out, b"x-forwarded-host", client.host);
    }
    if let Some(element) = client.forwarded() {
        field(out, b"forwarded", element);
    }
}

/// Whether the one length of an answer can be told as it stands: in the canonical form, with the
/// number that counts.
fn length_stands(response: &ResponseHead, framing: Framing) -> bool {
    let Framing::Length(length) = framing else { return false };
    let Ok(Some(value)) = response.fields.single_value(Name::ContentLength) else { return false };
    content_length(value) == Some(length) && (value.len() == 1 || !value.starts_with(b"0"))
}

/// Writes what is before the fields and those of them that pass. Neighbours that stand in the head as
/// they are written go in one piece.
fn lines(fields: &Fields, before: Span, passes: impl Fn(Name) -> bool, out: &mut impl Put) {
    let mut piece = before;
    for line in fields.list().iter().filter(|line| passes(line.known)) {
        let end = line.value.end + 2;
        if line.is_plain && line.name.start == piece.end {
            piece.end = end;
            continue;
        }
        if !piece.is_empty() {
            out.put([fields.text(piece)]);
        }
        piece = if line.is_plain { Span { start: line.name.start, end } } else { Span::default() };
        if !line.is_plain {
            field(out, fields.text(line.name), fields.text(line.value));
        }
    }
    out.put([fields.text(piece)]);
}

/// How a connection goes on after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays open, as is usual for the version.
    Keep,
    /// It stays open for an 1.0 client, which must be told.
    KeepTold,
    /// It closes.
    Close,
    /// It becomes a tunnel.
    Tunnel,
}

/// Writes the head of an answer. `framing` is how the body goes to this client, `length` what a
/// body-less answer says of the body that it leaves out (HEAD, 304).
pub fn response(
    response: &ResponseHead,
    framing: Framing,
    length: Option<&[u8]>,
    persistence: Persistence,
    out: &mut impl Put,
) {
    let stands = length_stands(response, framing);
    let passes =
        |name| forwarded::reaches_client(name, response.status) || (name == Name::ContentLength && stands);
    lines(&response.fields, status_line(response, out), passes, out);
    match (framing, length) {
        _ if stands => {}
        // RFC 9110 §8.6: 204 has no length, not even a true one.
        (Framing::None, _) if response.status == 204 => {}
        (Framing::None, Some(length)) => field(out, b"content-length", length),
        _ => framing_fields(framing, out),
    }
    match persistence {
        Persistence::Keep => {}
        Persistence::KeepTold => out.put([b"connection: keep-alive\r\n"]),
        Persistence::Close => out.put([b"connection: close\r\n"]),
        Persistence::Tunnel if response.status == 101 => out.put([b"connection: upgrade\r\n"]),
        Persistence::Tunnel => {}
    }
    out.put([b"\r\n"]);
}

/// Writes the answer that opens a tunnel for a client which ends its lines as Go's net/rpc does:
/// a status line and an empty one, as such a server sends them itself.
pub fn bare_response(response: &ResponseHead, out: &mut impl Put) {
    out.put([b"HTTP/1.0 ", &digits(response.status), b" ", response.fields.text(response.reason), b"\n\n"]);
}

/// Writes an interim answer (1xx).
pub fn interim(response: &ResponseHead, out: &mut impl Put) {
    let passes = |name| forwarded::reaches_client(name, response.status);
    lines(&response.fields, status_line(response, out), passes, out);
    out.put([b"\r\n"]);
}

/// Says where the status line stands as it is to be written, else writes it.
fn status_line(response: &ResponseHead, out: &mut impl Put) -> Span {
    let [hundreds, tens, ones] = digits(response.status);
    let front = [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', hundreds, tens, ones, b' '];
    let reason = response.reason;
    let whole = Span { start: 0, end: reason.end + 2 };
    let text = response.fields.text(whole);
    let is_told = !reason.is_empty() && reason.start as usize == front.len();
    if is_told && text.starts_with(&front) && text.ends_with(b"\r\n") {
        return whole;
    }
    let reason = response.fields.text(reason);
    let reason = if reason.is_empty() { phrase(response.status) } else { reason };
    out.put([&front, reason, b"\r\n"]);
    Span::default()
}

fn digits(status: u16) -> [u8; 3] {
    [100, 10, 1].map(|unit| b'0' + (status / unit % 10) as u8)
}

/// The usual reason phrase of a status.
fn phrase(status: u16) -> &'static [u8] {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default()
        .as_bytes()
}

#[inline(always)]
fn field(out: &mut impl Put, name: &[u8], value: &[u8]) {
    out.put([name, b": ", value, b"\r\n"]);
}

fn framing_fields(framing: Framing, out: &mut impl Put) {
    match framing {
        Framing::None | Framing::UntilClose | Framing::Tunnel => {}
        Framing::Length(length) => {
            let mut text = [0; 20];
            field(out, b"content-length", decimal(length, &mut text));
        }
        Framing::Chunked => out.put([b"transfer-encoding: chunked\r\n"]),
    }
}

fn decimal(number: u64, text: &mut [u8; 20]) -> &[u8] {
    let (mut at, mut left) = (text.len(), number);
    loop {
        at -= 1;
        text[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            return &text[at..];
        }
    }
}

/// The line before a chunk of `length` bytes; `length` is not 0.
pub fn chunk_line(length: usize, out: &mut impl Put) {
    debug_assert!(length > 0, "a chunk of no bytes ends the body");
    let mut text = [0; 18];
    let (mut at, mut left) = (16, length);
    while left > 0 {
        at -= 1;
        text[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    text[16..].copy_from_slice(b"\r\n");
    out.put([&text[at..]]);
}

/// The end of a chunked body, with its trailers.
pub fn chunked_end(trailers: &Fields, out: &mut impl Put) {
    out.put([b"0\r\n"]);
    lines(trailers, Span::default(), |_| true, out);
    out.put([b"\r\n"]);
}

/// How a body of this framing goes to a client of this version.
pub fn framing_for(version: Version, method: Method, status: u16, framing: Framing) -> Framing {
    let has_none = method == Method::Head || matches!(status, 204 | 304);
    match framing {
        Framing::Tunnel => Framing::Tunnel,
        _ if has_none => Framing::None,
        Framing::None => Framing::Length(0),
        Framing::Length(length) => Framing::Length(length),
        // A chunked body shows its end; one that ends with the connection does not.
        Framing::Chunked | Framing::UntilClose if version == Version::Http11 => Framing::Chunked,
        Framing::Chunked | Framing::UntilClose => Framing::UntilClose,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_written_from_its_parsed_form() {
        let mut exchange = Exchange::default();
        let head = &mut exchange.request;
        let bytes = b"POST /a/../b?q HTTP/1.1\r\nHost: a.example\r\nX-A: 1\r\nContent-Length: 05\r\n\r\n";
        let limits = crate::h1::request::HeadLimits { bytes: 1000, fields: 100 };
        crate::h1::request::parse(bytes, crate::h1::Ends::Strict, limits, head).unwrap();
        crate::http::validate::request(head, crate::http::path::EncodedSlashes::Keep).unwrap();
        let out = text(|out| request(&exchange, b"a.example", out));
        assert!(out.starts_with("POST /b?q HTTP/1.1\r\nhost: a.example\r\nX-A: 1\r\n"), "{out}");
        assert!(out.ends_with("content-length: 5\r\n\r\n"), "{out}");
    }

    #[test]
    fn an_answer_keeps_its_phrase_and_gets_one_framing() {
        let mut head = ResponseHead::default();
        let bytes = b"HTTP/1.1 200 Fine\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        crate::h1::response::parse(bytes, Method::Get, &mut head).unwrap();
        let out = text(|out| response(&head, Framing::Chunked, None, Persistence::Close, out));
        assert_eq!(
            out,
            "HTTP/1.1 200 Fine\r\nX-A: 1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_head_goes_on_as_it_stands_but_for_what_is_not_as_it_would_be_written() {
        let written = |bytes: &[u8], status| {
            let mut head = ResponseHead::default();
            crate::h1::response::parse(bytes, Method::Get, &mut head).unwrap();
            head.status = status;
            text(|out| response(&head, head.framing, None, Persistence::Keep, out))
        };
        let whole = "HTTP/1.1 200 Fine\r\nX-A: 1\r\nContent-Length: 5\r\nX-B: 2\r\n\r\n";
        assert_eq!(written(whole.as_bytes(), 200), whole);
        // Another status, an old version, no phrase, a length in another form.
        assert!(written(whole.as_bytes(), 206).starts_with("HTTP/1.1 206 Fine\r\nX-A: 1\r\n"));
        let old = written(b"HTTP/1.0 200 Fine\r\nContent-Length: 5\r\n\r\n", 200);
        assert_eq!(old, "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\n");
        let odd = written(b"HTTP/1.1 200 \r\nContent-Length: 05\r\nX-A: 1\r\n\r\n", 200);
        assert_eq!(odd, "HTTP/1.1 200 OK\r\nX-A: 1\r\ncontent-length: 5\r\n\r\n");
    }

    #[test]
    fn chunks_are_framed_in_hexadecimal() {
        assert_eq!(text(|out| chunk_line(0x1a2f, out)), "1a2f\r\n");
        let mut trailers = Fields::default();
        trailers.push(b"x-t", b"1");
        assert_eq!(text(|out| chunked_end(&trailers, out)), "0\r\nx-t: 1\r\n\r\n");
    }

    #[test]
    fn an_old_client_gets_no_chunks() {
        let for_client = |version| framing_for(version, Method::Get, 200, Framing::Chunked);
        assert_eq!(for_client(Version::Http10), Framing::UntilClose);
        assert_eq!(for_client(Version::Http11), Framing::Chunked);
        assert_eq!(framing_for(Version::Http11, Method::Head, 200, Framing::Length(5)), Framing::None);
    }
}
