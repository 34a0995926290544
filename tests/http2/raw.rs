//! HTTP/2 frame by frame, for what no honest library would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::harness::{Proxy, soon};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames (RFC 9113 §6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Error codes (RFC 9113 §7).
pub const PROTOCOL_ERROR: u32 = 1;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// Fields that a request needs.
pub const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/")];

/// One frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields in the plainest form of HPACK: literals that are not indexed (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, 0, 7, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// RFC 7541 §5.1.
pub fn integer(out: &mut Vec<u8>, first: u8, bits: u8, mut value: usize) {
    let most = (1usize << bits) - 1;
    if value < most {
        out.push(first | value as u8);
        return;
    }
    out.push(first | most as u8);
    value -= most;
    while value >= 128 {
        out.push((value % 128) as u8 | 128);
        value /= 128;
    }
    out.push(value as u8);
}

/// The head of a whole request.
pub fn request(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))
}

/// A frame that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A connection on which everything is said by hand.
pub struct Raw {
    pub reader: Reader,
    pub writer: OwnedWriteHalf,
}

/// What comes on it.
pub struct Reader(OwnedReadHalf);

impl Raw {
    /// A client of the proxy that has made its settings known.
    pub async fn connect(proxy: &Proxy) -> Raw {
        Raw::with(proxy, &[]).await
    }

    /// The same with these settings: identifier and value.
    pub async fn with(proxy: &Proxy, settings: &[(u16, u32)]) -> Raw {
        let mut raw = Raw::over(TcpStream::connect(proxy.address).await.unwrap());
        let told: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        raw.send(&[PREFACE, &frame(SETTINGS, 0, 0, &told), &frame(SETTINGS, ACK, 0, &[])].concat()).await;
        assert_eq!(raw.reader.next().await.unwrap().kind, SETTINGS);
        raw
    }

    /// The endpoint's side of a connection that the proxy has opened.
    pub async fn accept(stream: TcpStream) -> Raw {
        let mut raw = Raw::over(stream);
        let mut preface = [0; 24];
        soon(raw.reader.0.read_exact(&mut preface)).await.unwrap();
        raw.send(&[frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat()).await;
        raw
    }

    fn over(stream: TcpStream) -> Raw {
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        Raw { reader: Reader(reader), writer }
    }

    /// Sends bytes; a peer that has closed meanwhile takes none.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = soon(self.writer.write_all(bytes)).await;
    }

    /// The next frame of a type.
    pub async fn next_of(&mut self, kind: u8) -> Frame {
        loop {
            let frame = self.reader.next().await.expect("the connection lives");
            if frame.kind == kind {
                return frame;
            }
        }
    }

    /// Asserts that the connection is well: a PING comes back.
    pub async fn assert_alive(&mut self) {
        self.send(&frame(PING, 0, 0, b"are you?")).await;
        loop {
            let frame = self.reader.next().await.expect("the connection lives");
            if frame.kind == PING && frame.flags & ACK != 0 && frame.payload == b"are you?" {
                return;
            }
        }
    }
}

impl Reader {
    /// The next frame; `None` at the end or a reset.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        soon(self.0.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        soon(self.0.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap()) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads to the end and returns the error code of the GOAWAY before it.
    pub async fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }
}
