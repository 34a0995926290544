//! Messages as bytes, taken apart just enough to be compared.

use std::io::{self, Read};

/// A request as an origin has read it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and fields, without the empty line.
    pub head: String,
    /// The body as it came, with its chunk lines and trailers.
    pub raw_body: Vec<u8>,
}

/// An answer as a client has read it.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Status line and fields, without the empty line.
    pub head: String,
    /// The body as it came, with its chunk lines and trailers.
    pub raw_body: Vec<u8>,
}

impl Request {
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of the only field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    pub fn body(&self) -> Vec<u8> {
        decoded(&self.head, &self.raw_body)
    }
}

impl Response {
    /// The value of the only field of that name.
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// The body without its framing.
    pub fn body(&self) -> Vec<u8> {
        decoded(&self.head, &self.raw_body)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body()).into_owned()
    }

    /// The name of the reason for which the proxy answered itself.
    pub fn reason(&self) -> &str {
        let details = self.field("proxy-status").and_then(|value| value.split("details=\"").nth(1));
        details.and_then(|rest| rest.split('"').next()).unwrap_or_default()
    }
}

/// An answer 200 with this body.
pub fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn field<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    let mut values = head.lines().skip(1).filter_map(|line| {
        let (own, value) = line.split_once(':')?;
        own.eq_ignore_ascii_case(name).then(|| value.trim())
    });
    let value = values.next();
    assert!(values.next().is_none(), "the field {name} is there more than once:\n{head}");
    value
}

fn decoded(head: &str, raw: &[u8]) -> Vec<u8> {
    if !is_chunked(head) {
        return raw.to_vec();
    }
    let mut body = Vec::new();
    let mut rest = raw;
    loop {
        let (size, after) = chunk_line(rest).expect("chunks are well-formed");
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&after[..size]);
        rest = &after[size + 2..];
    }
}

fn is_chunked(head: &str) -> bool {
    field(head, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
}

fn chunk_line(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.windows(2).position(|part| part == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
    Some((size, &bytes[end + 2..]))
}

/// Reads messages from a stream.
pub struct Reader<S> {
    pub stream: S,
    pub buffer: Vec<u8>,
}

/// What the length of a body follows from.
#[derive(Clone, Copy)]
pub enum Expect {
    Request,
    /// The answer to a request of this kind.
    Response {
        to_head: bool,
    },
}

impl<S: Read> Reader<S> {
    pub fn new(stream: S) -> Reader<S> {
        Reader { stream, buffer: Vec::new() }
    }

    /// Reads more; 0 at the end.
    pub fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    /// A head, without the empty line; `None` when the peer has closed before it.
    pub fn head(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 4);
                return Ok(Some(head));
            }
            if self.fill()? == 0 {
                return match self.buffer.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        }
    }

    /// The body that belongs to the head, with its framing.
    pub fn body(&mut self, head: &str, expect: Expect) -> io::Result<Vec<u8>> {
        if is_chunked(head) {
            return self.chunks();
        }
        if let Some(length) = field(head, "content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            return match expect {
                Expect::Response { to_head: true } => Ok(Vec::new()),
                Expect::Request | Expect::Response { .. } => self.exactly(length),
            };
        }
        match expect {
            Expect::Request | Expect::Response { to_head: true } => Ok(Vec::new()),
            Expect::Response { .. } if has_no_body(head) => Ok(Vec::new()),
            Expect::Response { .. } => {
                while self.fill()? > 0 {}
                Ok(std::mem::take(&mut self.buffer))
            }
        }
    }

    pub fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut raw = Vec::new();
        loop {
            let line = self.line()?;
            let size = chunk_line(&line).ok_or(io::ErrorKind::InvalidData)?.0;
            raw.extend_from_slice(&line);
            if size == 0 {
                break;
            }
            raw.extend(self.exactly(size + 2)?);
        }
        loop {
            let line = self.line()?;
            raw.extend_from_slice(&line);
            if line == b"\r\n" {
                return Ok(raw);
            }
        }
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|part| part == b"\r\n") {
                return Ok(self.buffer.drain(..end + 2).collect());
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn has_no_body(head: &str) -> bool {
    let status = status_of(head);
    status < 200 || status == 204 || status == 304
}

/// The status of a status line.
pub fn status_of(head: &str) -> u16 {
    let status = head.split(' ').nth(1).and_then(|status| status.get(..3));
    status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status line: {head}"))
}
