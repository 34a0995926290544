//! Heads of HTTP/2 frames, read along a byte stream (RFC 9113 §4.1). Nothing is kept but one head.

/// Bytes of the head of a frame.
const HEAD: usize = 9;

/// Payload that is looked at: an error code stands in the first four bytes of RST_STREAM and in the
/// second four of GOAWAY.
const LOOK: usize = 8;

/// What a client sends before its first frame (RFC 9113 §3.4), in bytes.
pub(super) const PREFACE: u32 = 24;

/// Types of frames (RFC 9113 §6, RFC 9218 §7.1).
#[allow(missing_docs)]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
    pub const PRIORITY_UPDATE: u8 = 16;
}

/// The END_STREAM flag of DATA and HEADERS, the ACK flag of SETTINGS and PING.
const FLAG: u8 = 1;

/// The head of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// One of [`kind`], or any other.
    pub kind: u8,
    /// Whether END_STREAM (DATA, HEADERS) or ACK (SETTINGS, PING) is set.
    pub flagged: bool,
    /// Its stream; 0 is the connection.
    pub stream: u32,
    /// Bytes of payload, padding included.
    pub length: u32,
    /// The error code of RST_STREAM and GOAWAY; else 0.
    pub code: u32,
}

/// Where a byte stream stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    seen: [u8; HEAD + LOOK],
    filled: usize,
    /// Bytes to pass over before the next head.
    skip: u32,
}

impl Frames {
    /// A stream that begins with so many bytes which are no frame.
    pub fn after(skip: u32) -> Frames {
        Frames { skip, ..Frames::default() }
    }

    /// Whether the stream stands between two frames.
    pub fn is_between(&self) -> bool {
        self.filled == 0 && self.skip == 0
    }

    /// Reads on and reports each frame as soon as what is looked at has come.
    pub fn read(&mut self, mut bytes: &[u8], mut report: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let passed = bytes.len().min(self.skip as usize);
            self.skip -= passed as u32;
            bytes = &bytes[passed..];
            let count = bytes.len().min(self.wanted() - self.filled);
            self.seen[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            // What is wanted may be more, now that the head shows the type.
            if self.filled >= HEAD && self.filled == self.wanted() {
                let frame = self.frame();
                self.skip = frame.length.saturating_sub((self.filled - HEAD) as u32);
                self.filled = 0;
                report(frame);
            }
        }
    }

    fn length(&self) -> u32 {
        u32::from_be_bytes([0, self.seen[0], self.seen[1], self.seen[2]])
    }

    /// How many bytes the current frame is looked at.
    fn wanted(&self) -> usize {
        if self.filled < HEAD {
            return HEAD;
        }
        let look = match self.seen[3] {
            kind::RST_STREAM => 4,
            kind::GOAWAY => 8,
            _ => 0,
        };
        HEAD + look.min(self.length() as usize)
    }

    fn frame(&self) -> Frame {
        let [_, _, _, kind, flags, a, b, c, d, first @ ..] = self.seen;
        let code = match (kind, self.filled - HEAD) {
            (kind::RST_STREAM, 4) => [first[0], first[1], first[2], first[3]],
            (kind::GOAWAY, 8) => [first[4], first[5], first[6], first[7]],
            _ => [0; 4],
        };
        Frame {
            kind,
            flagged: flags & FLAG != 0,
            stream: u32::from_be_bytes([a & 0x7f, b, c, d]),
            length: self.length(),
            code: u32::from_be_bytes(code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn all(frames: &mut Frames, pieces: &[&[u8]]) -> Vec<Frame> {
        let mut seen = Vec::new();
        pieces.iter().for_each(|piece| frames.read(piece, |frame| seen.push(frame)));
        seen
    }

    #[test]
    fn frames_are_seen_however_the_bytes_are_cut() {
        let bytes = [
            vec![b'P'; PREFACE as usize],
            frame(kind::SETTINGS, 0, 0, b""),
            frame(kind::HEADERS, 5, 1, b"fields"),
            frame(kind::RST_STREAM, 0, 1, &8u32.to_be_bytes()),
            frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11, b'x', b'y']),
            frame(kind::DATA, 1, 3, &[b'd'; 300]),
        ]
        .concat();
        let whole = all(&mut Frames::after(PREFACE), &[&bytes]);
        let kinds: Vec<_> = whole.iter().map(|frame| (frame.kind, frame.stream, frame.code)).collect();
        assert_eq!(kinds, [(4, 0, 0), (1, 1, 0), (3, 1, 8), (7, 0, 11), (0, 3, 0)]);
        assert_eq!((whole[1].length, whole[1].flagged, whole[0].flagged), (6, true, false));
        for size in 1..40 {
            let pieces: Vec<_> = bytes.chunks(size).collect();
            let mut frames = Frames::after(PREFACE);
            assert_eq!(all(&mut frames, &pieces), whole, "in pieces of {size}");
            assert!(frames.is_between());
        }
    }

    #[test]
    fn a_frame_that_is_too_short_for_its_type_is_seen_without_a_code() {
        let mut frames = Frames::default();
        let seen = all(&mut frames, &[&frame(kind::RST_STREAM, 0, 1, b"\x01"), &[0]]);
        assert_eq!(seen.iter().map(|frame| (frame.kind, frame.code)).collect::<Vec<_>>(), [(3, 0)]);
        assert!(!frames.is_between(), "the next head has begun");
    }
}
