//! What one HTTP/2 connection may cost its peer: useless frames are paid from buckets that time and
//! useful work refill.
//!
//! A peer that is over its budget floods, and its connection is to be ended with
//! ENHANCE_YOUR_CALM (RFC 9113 §7). docs/design.md has the reasons for the figures.

use super::frames::{Frame, Frames, PREFACE, kind};
use crate::clock::Millis;
pub use crate::observe::metrics::Useless;

/// Useless frames at once, and how many more in a second.
const FRAMES: (u64, u64) = (500, 50);

/// Streams reset at once, and how many more in a second.
const RESETS: (u64, u64) = (150, 50);

/// What a request that was answered earns.
const EARNED_BY_ANSWER: u64 = 5;

/// A reset of a stream that has lived so long, in milliseconds, is no rapid one; the number of
/// streams at one time bounds those.
const RAPID: u64 = 1_000;

/// Most resets of old streams that the streams which were opened can have allowed: there are
/// never more of them at one time.
const MOST_OLD: u32 = 256;

/// Payload below which a DATA frame earns nothing: a gRPC message has five bytes at least, and a
/// window that is opened byte by byte is to be paid for.
const TINY: u32 = 5;

/// Most WINDOW_UPDATE and PING frames that DATA can have earned.
const MOST_EARNED: u32 = 10_000;

/// Streams that were opened and not yet given to us; more than the library lets wait.
const MOST_UNSEEN: usize = 1024;

/// Refused streams that are kept until somebody asks.
const MOST_REFUSED: usize = 64;

/// Who sits at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A client: it opens streams.
    Client,
    /// An endpoint: we open streams.
    Endpoint,
}

/// What a frame of this type would be blamed for.
fn blame(kind: u8) -> Useless {
    match kind {
        kind::DATA => Useless::EmptyData,
        kind::HEADERS | kind::CONTINUATION => Useless::Headers,
        kind::RST_STREAM => Useless::Reset,
        kind::SETTINGS => Useless::Settings,
        kind::PING => Useless::Ping,
        kind::WINDOW_UPDATE => Useless::WindowUpdate,
        kind::PRIORITY | kind::PRIORITY_UPDATE => Useless::Priority,
        _ => Useless::Other,
    }
}

/// Error codes (RFC 9113 §7) that blame the peer when we reset a stream with them.
const BLAMING: [u32; 6] = [1, 3, 5, 6, 9, 11];
const REFUSED_STREAM: u32 = 7;

/// A budget in thousandths.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: u64,
    most: u64,
    /// What comes back in a second, so in thousandths a millisecond.
    rate: u64,
    at: Millis,
}

impl Bucket {
    fn full((most, rate): (u64, u64)) -> Bucket {
        Bucket { left: most * 1000, most: most * 1000, rate, at: Millis(0) }
    }

    fn earn(&mut self, count: u64) {
        self.left = self.most.min(self.left + count * 1000);
    }

    /// Whether there was enough.
    fn spend(&mut self, now: Millis) -> bool {
        let passed = now.0.saturating_sub(self.at.0);
        self.at = now;
        self.left = self.most.min(self.left.saturating_add(passed.saturating_mul(self.rate)));
        let enough = self.left >= 1000;
        self.left = self.left.saturating_sub(1000);
        enough
    }
}

/// Knows of each stream whether it was opened longer than [`RAPID`] ago, at most a quarter late.
#[derive(Clone, Copy, Debug, Default)]
struct Ages {
    /// The highest stream at the end of each of the last quarters, the newest first.
    highest: [u32; 5],
    quarter: u64,
}

impl Ages {
    fn turn(&mut self, now: Millis) {
        let quarter = now.0 / (RAPID / 4);
        for _ in 0..quarter.saturating_sub(self.quarter).min(5) {
            self.highest.copy_within(0..4, 1);
        }
        self.quarter = quarter;
    }

    fn open(&mut self, stream: u32, now: Millis) {
        self.turn(now);
        self.highest[0] = self.highest[0].max(stream);
    }

    fn is_old(&mut self, stream: u32, now: Millis) -> bool {
        self.turn(now);
        stream <= self.highest[4]
    }
}

/// A stream that the library refused by itself, without ever giving it to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its head was larger than the library reads: 431.
    TooLarge,
    /// It broke a rule of RFC 9113 §8: RST_STREAM.
    Malformed,
}

/// The account of one connection.
#[derive(Debug)]
pub struct Meter {
    peer: Peer,
    incoming: Frames,
    outgoing: Frames,
    frames: Bucket,
    resets: Bucket,
    /// WINDOW_UPDATE and PING that DATA of ours explains.
    earned: u32,
    /// SETTINGS and PING of ours that are not acknowledged.
    unanswered: (u32, u32),
    ages: Ages,
    /// Streams that were opened and may be reset when they are old.
    opened: u32,
    highest: u32,
    unseen: Vec<u32>,
    refused: Vec<Refused>,
    last: u8,
    /// The error code that we have ended the connection with.
    ended: u32,
    flood: Option<Useless>,
}

impl Meter {
    /// The account of a fresh connection.
    pub fn new(peer: Peer) -> Meter {
        let (incoming, outgoing) = match peer {
            Peer::Client => (Frames::after(PREFACE), Frames::default()),
            Peer::Endpoint => (Frames::default(), Frames::after(PREFACE)),
        };
        Meter {
            peer,
            incoming,
            outgoing,
            frames: Bucket::full(FRAMES),
            resets: Bucket::full(RESETS),
            earned: 0,
            unanswered: (0, 0),
            ages: Ages::default(),
            opened: 0,
            highest: 0,
            unseen: Vec::new(),
            refused: Vec::new(),
            last: kind::SETTINGS,
            ended: 0,
            flood: None,
        }
    }

    /// Bytes have come.
    pub fn read(&mut self, bytes: &[u8], now: Millis) {
        let mut frames = self.incoming;
        frames.read(bytes, |frame| self.came(frame, now));
        self.incoming = frames;
    }

    /// Bytes have gone out.
    pub fn wrote(&mut self, bytes: &[u8], now: Millis) {
        let mut frames = self.outgoing;
        frames.read(bytes, |frame| self.went(frame, now));
        self.outgoing = frames;
    }

    /// Whether what was written last ended with a whole frame.
    pub fn is_between(&self) -> bool {
        self.outgoing.is_between()
    }

    /// What the peer sends too much of, once it is too much.
    pub fn flood(&self) -> Option<Useless> {
        self.flood
    }

    /// The error code of a GOAWAY that has gone out; 0 for none.
    pub fn ended(&self) -> u32 {
        self.ended
    }

    /// What is to blame when the library has found a flood by itself: what came last.
    pub fn blamed(&self) -> Useless {
        self.flood.unwrap_or(blame(self.last))
    }

    /// A request was answered.
    pub fn useful(&mut self) {
        self.frames.earn(EARNED_BY_ANSWER);
    }

    /// The peer has cost something for nothing.
    pub fn useless(&mut self, what: Useless, now: Millis) {
        let bucket = match what {
            Useless::Reset | Useless::MadeReset => &mut self.resets,
            Useless::Ping
            | Useless::Settings
            | Useless::Priority
            | Useless::WindowUpdate
            | Useless::EmptyData
            | Useless::Headers
            | Useless::Refused
            | Useless::Other => &mut self.frames,
        };
        if !bucket.spend(now) && self.flood.is_none() {
            self.flood = Some(what);
        }
    }

    /// A stream was given to us.
    pub fn accepted(&mut self, stream: u32) {
        self.forget(stream);
    }

    /// One of the streams that were refused without being given to us.
    pub fn next_refused(&mut self) -> Option<Refused> {
        self.refused.pop()
    }

    fn came(&mut self, frame: Frame, now: Millis) {
        self.last = frame.kind;
        let what = blame(frame.kind);
        match frame.kind {
            kind::DATA if frame.length > 0 || frame.flagged => {}
            kind::HEADERS => self.came_head(frame, now),
            kind::RST_STREAM if self.opened > 0 && self.ages.is_old(frame.stream, now) => self.opened -= 1,
            kind::SETTINGS if frame.flagged && self.unanswered.0 > 0 => self.unanswered.0 -= 1,
            kind::PING if frame.flagged && self.unanswered.1 > 0 => self.unanswered.1 -= 1,
            kind::PING | kind::WINDOW_UPDATE if self.earned > 0 => self.earned -= 1,
            _ => self.useless(what, now),
        }
    }

    fn came_head(&mut self, frame: Frame, now: Millis) {
        match self.peer {
            Peer::Endpoint => self.useful(),
            Peer::Client if frame.stream > self.highest => {
                self.highest = frame.stream;
                self.opened = MOST_OLD.min(self.opened + 1);
                self.ages.open(frame.stream, now);
                if self.unseen.len() < MOST_UNSEEN {
                    self.unseen.push(frame.stream);
                }
            }
            Peer::Client => {}
        }
    }

    fn went(&mut self, frame: Frame, now: Millis) {
        match frame.kind {
            kind::DATA if frame.length >= TINY => {
                let earned = 3 + frame.length / 1024;
                self.earned = self.earned.saturating_add(earned).min(MOST_EARNED);
            }
            kind::HEADERS => {
                self.resets.earn(1);
                if self.forget(frame.stream) {
                    self.refuse(Refused::TooLarge);
                }
            }
            kind::RST_STREAM => self.went_reset(frame, now),
            kind::SETTINGS if !frame.flagged => self.unanswered.0 += 1,
            kind::PING if !frame.flagged => self.unanswered.1 += 1,
            kind::GOAWAY => self.ended = frame.code,
            _ => {}
        }
    }

    fn went_reset(&mut self, frame: Frame, now: Millis) {
        let was_unseen = self.forget(frame.stream);
        if frame.code == REFUSED_STREAM {
            self.useless(Useless::Refused, now);
        } else if BLAMING.contains(&frame.code) {
            self.useless(Useless::MadeReset, now);
            if was_unseen {
                self.refuse(Refused::Malformed);
            }
        }
    }

    fn refuse(&mut self, refused: Refused) {
        if self.refused.len() < MOST_REFUSED {
            self.refused.push(refused);
        }
    }

    /// Whether the stream was waiting to be given to us.
    fn forget(&mut self, stream: u32) -> bool {
        let found = self.unseen.iter().position(|unseen| *unseen == stream);
        found.map(|index| self.unseen.swap_remove(index)).is_some()
    }
}

#[cfg(test)]
mod tests;
