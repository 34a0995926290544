//! Takes the framing off a body, strictly and in place.

use super::lines::{self, Ends, is_token_byte};
use crate::http::framing::Framing;
use crate::http::{Fields, Name};

/// Longest chunk-size line with its extensions, in bytes.
const MAX_CHUNK_LINE: usize = 4096;
/// Longest trailer section, in bytes.
const MAX_TRAILERS: usize = 8 * 1024;
/// Most trailer fields.
const MAX_TRAILER_FIELDS: usize = 64;

/// The body breaks RFC 9112 §7.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads one body. Bytes go through in place: [`Decoder::decode`] moves payload to the front of
/// the buffer and drops the framing between.
#[derive(Debug, Default)]
pub struct Decoder {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Done,
    Length(u64),
    ToTheEnd,
    ChunkLine,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
}

/// What one call of [`Decoder::decode`] has made of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Payload bytes, moved to the front.
    pub payload: usize,
    /// Raw bytes left behind the payload; they follow it directly.
    pub raw: usize,
}

impl Decoder {
    /// A decoder for one body.
    pub fn new(framing: Framing) -> Decoder {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose | Framing::Tunnel => State::ToTheEnd,
        };
        Decoder { state }
    }

    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the end of the connection is the regular end of this body.
    pub fn ends_with_connection(&self) -> bool {
        self.state == State::ToTheEnd
    }

    /// How many bytes a length still promises beyond those that were decoded.
    pub fn promised(&self) -> u64 {
        match self.state {
            State::Length(left) => left,
            _ => 0,
        }
    }

    /// Counts promised bytes that went past the decoder: there is no framing between them.
    pub fn pass(&mut self, count: u64) {
        if let State::Length(left) = self.state {
            self.state = self.after_data(left.saturating_sub(count));
        }
    }

    /// Decodes `bytes`: as much payload as there is moves to the front, what can not be decoded
    /// yet follows it. `trailers` receives the trailer fields that may be passed on.
    pub fn decode(
        &mut self,
        bytes: &mut [u8],
        trailers: &mut Option<Box<Fields>>,
    ) -> Result<Decoded, Malformed> {
        let total = bytes.len();
        if let State::Length(left) = self.state {
            // The usual body: its payload stands where it is.
            let payload = usize::try_from(left).unwrap_or(usize::MAX).min(total);
            self.state = self.after_data(left - payload as u64);
            return Ok(Decoded { payload, raw: total - payload });
        }
        let (mut payload, mut at) = (0, 0);
        while at < total {
            match self.state {
                State::Done | State::Length(_) => break,
                State::ToTheEnd => {
                    (payload, at) = (total, total);
                }
                State::ChunkData(left) => {
                    let take = left.min((total - at) as u64);
                    let count = take as usize;
                    if payload != at {
                        bytes.copy_within(at..at + count, payload);
                    }
                    payload += count;
                    at += count;
                    self.state = self.after_data(left - take);
                }
                State::ChunkEnd => {
                    if total - at < 2 {
                        if bytes[at] != b'\r' {
                            return Err(Malformed);
                        }
                        break;
                    }
                    if &bytes[at..at + 2] != b"\r\n" {
                        return Err(Malformed);
                    }
                    at += 2;
                    self.state = State::ChunkLine;
                }
                State::ChunkLine => {
                    let Some(length) = line_length(&bytes[at..], MAX_CHUNK_LINE)? else { break };
                    let size = chunk_size(&bytes[at..at + length - 2])?;
                    at += length;
                    self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                }
                State::Trailers => {
                    let Some(length) = trailers_length(&bytes[at..])? else { break };
                    if length > 2 {
                        read_trailers(&bytes[at..at + length], trailers.get_or_insert_default())?;
                    }
                    at += length;
                    self.state = State::Done;
                }
            }
        }
        if payload != at {
            bytes.copy_within(at..total, payload);
        }
        Ok(Decoded { payload, raw: total - at })
    }

    fn after_data(&self, left: u64) -> State {
        match (self.state, left) {
            (State::ChunkData(_), 0) => State::ChunkEnd,
            (State::ChunkData(_), left) => State::ChunkData(left),
            (_, 0) => State::Done,
            (_, left) => State::Length(left),
        }
    }
}

/// The length of the first line with its CRLF, when it is complete.
fn line_length(bytes: &[u8], limit: usize) -> Result<Option<usize>, Malformed> {
    match memchr::memchr(b'\n', bytes) {
        Some(feed) if feed >= limit || feed == 0 || bytes[feed - 1] != b'\r' => Err(Malformed),
        Some(feed) => Ok(Some(feed + 1)),
        None if bytes.len() >= limit => Err(Malformed),
        None => Ok(None),
    }
}

/// `chunk-size [chunk-ext]` without its CRLF. Extensions are checked, then dropped.
fn chunk_size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    // 15 digits and any number of leading zeros fit: a size below 2^60.
    let significant = line[..digits].iter().skip_while(|byte| **byte == b'0').count();
    if digits == 0 || significant > 15 {
        return Err(Malformed);
    }
    let value = |byte: u8| u64::from((byte as char).to_digit(16).unwrap_or(0));
    let size = line[..digits].iter().fold(0, |size, byte| size << 4 | value(*byte));
    extensions(&line[digits..]).then_some(size).ok_or(Malformed)
}

/// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )` of RFC 9112 §7.1.1.
fn extensions(mut rest: &[u8]) -> bool {
    loop {
        let trimmed = skip_space(rest);
        if trimmed.is_empty() {
            return rest.is_empty();
        }
        let Some(after) = trimmed.strip_prefix(b";") else { return false };
        let after = skip_space(after);
        let name = token_length(after);
        if name == 0 {
            return false;
        }
        rest = &after[name..];
        if let Some(value) = skip_space(rest).strip_prefix(b"=") {
            let value = skip_space(value);
            let length =
                if value.first() == Some(&b'"') { quoted_length(value) } else { token_length(value) };
            if length == 0 {
                return false;
            }
            rest = &value[length..];
        }
    }
}

fn skip_space(bytes: &[u8]) -> &[u8] {
    let space = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[space..]
}

fn token_length(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_token_byte(**byte)).count()
}

/// The length of a quoted string at the front, 0 when there is none.
fn quoted_length(bytes: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            0..=8 | 10..=31 | 127 => return 0,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    0
}

/// The length of the trailer section with its empty line, when it is complete.
fn trailers_length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut at = 0;
    loop {
        match line_length(&bytes[at..], MAX_TRAILERS - at.min(MAX_TRAILERS - 1))? {
            Some(2) => return Ok(Some(at + 2)),
            Some(length) => at += length,
            None if bytes.len() >= MAX_TRAILERS => return Err(Malformed),
            None => return Ok(None),
        }
    }
}

/// Trailer fields are checked like header fields; what frames or routes is dropped (RFC 9110
/// §6.5.1).
fn read_trailers(bytes: &[u8], trailers: &mut Fields) -> Result<(), Malformed> {
    trailers.clear();
    trailers.append(bytes);
    let end = lines::read(bytes, 0, Ends::Strict, MAX_TRAILER_FIELDS, trailers).map_err(|_| Malformed)?;
    debug_assert_eq!(end, bytes.len(), "the section was searched for its end");
    trailers.retain(|_, name, _| may_be_trailer(name));
    Ok(())
}

/// Whether a field may be passed on in a trailer section.
pub fn may_be_trailer(name: &[u8]) -> bool {
    let known = Name::of(name);
    !known.is_hop_by_hop()
        && known.is_removable_by_connection()
        && !matches!(known, Name::Trailer | Name::Expect | Name::ContentType)
        && (known != Name::Other || !Name::is_alias(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `input` in pieces of `step` bytes; the payload, the trailers, and what was left over.
    fn feed(
        framing: Framing,
        input: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, Fields, Vec<u8>, bool), Malformed> {
        let mut decoder = Decoder::new(framing);
        let (mut out, mut pending, mut trailers) = (Vec::new(), Vec::new(), None);
        for piece in input.chunks(step) {
            pending.extend_from_slice(piece);
            let decoded = decoder.decode(&mut pending, &mut trailers)?;
            pending.truncate(decoded.payload + decoded.raw);
            out.extend(pending.drain(..decoded.payload));
        }
        let trailers: Option<Box<Fields>> = trailers;
        Ok((out, trailers.map(|fields| *fields).unwrap_or_default(), pending, decoder.is_done()))
    }

    #[test]
    fn chunks_are_joined_whatever_the_pieces() {
        let input =
            b"5\r\nhello\r\n000A;a=b;c=\"d;\\\"e\"\r\n0123456789\r\n0\r\nX-T: 1\r\nHost: evil\r\n\r\nGET /";
        for step in 1..input.len() {
            let (out, trailers, rest, done) = feed(Framing::Chunked, input, step).unwrap();
            assert_eq!(out, b"hello0123456789", "step {step}");
            assert!(done);
            assert_eq!(rest, b"GET /");
            assert_eq!(trailers.find(b"x-t"), Some(&b"1"[..]));
            assert_eq!(trailers.find(b"host"), None, "routing names in trailers are dropped");
        }
    }

    #[test]
    fn a_length_takes_exactly_its_bytes() {
        let (out, _, rest, done) = feed(Framing::Length(5), b"hello!", 4).unwrap();
        assert_eq!((out, rest, done), (b"hello".to_vec(), b"!".to_vec(), true));
        let (_, _, _, done) = feed(Framing::Length(7), b"hello!", 6).unwrap();
        assert!(!done);
    }

    #[test]
    fn a_malformed_chunk_is_refused() {
        for input in [
            &b"\r\n"[..],
            b"x\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello",
            b"5 \r\nhello",
            b"5\nhello",
            b"5;\r\nhello",
            b"5;a=\r\nhello",
            b"5;a=\"\x01\"\r\nhello",
            b"5\r\nhelloX",
            b"5\r\nhello\n0\r\n\r\n",
            b"-1\r\n",
            b"1000000000000000\r\n",
            b"0\r\nX : 1\r\n\r\n",
            b"0\r\nX\r\n\r\n",
            b"0\r\n X: 1\r\n\r\n",
            b"0\r\nX: \0\r\n\r\n",
            b"5;a\rb\r\nhello",
        ] {
            assert!(
                feed(Framing::Chunked, input, input.len()).is_err(),
                "{}",
                String::from_utf8_lossy(input)
            );
        }
    }

    #[test]
    fn lines_and_trailers_without_end_are_refused() {
        let line = [b"5;a=", "b".repeat(MAX_CHUNK_LINE).as_bytes()].concat();
        assert!(feed(Framing::Chunked, &line, 512).is_err());
        let trailers = [b"0\r\n", "A: b\r\n".repeat(3000).as_bytes()].concat();
        assert!(feed(Framing::Chunked, &trailers, 512).is_err());
    }
}
