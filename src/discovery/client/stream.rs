//! The body of an answer: whole, or line by line as it comes.

use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderMap;
use tokio::task::{JoinSet, consume_budget};
use tokio::time::timeout;

use super::super::failure::{Failure, Kind};
use super::base::Base;
use super::broken;

/// Longest line of a stream.
const LONGEST_LINE: usize = 4 << 20;

/// An answer whose body is being read.
#[derive(Debug)]
pub(super) struct Reading {
    base: Base,
    pub(super) status: u16,
    pub(super) fields: HeaderMap,
    body: Incoming,
    /// Moves the connection; ends with this value.
    _moving: JoinSet<()>,
}

impl Reading {
    pub(super) fn new(
        base: Base,
        status: u16,
        fields: HeaderMap,
        body: Incoming,
        moving: JoinSet<()>,
    ) -> Reading {
        Reading { base, status, fields, body, _moving: moving }
    }

    /// The next piece; `None` at the proper end. Cancel-safe.
    async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(|error| broken(&self.base, error))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// All that is left, at most so many bytes.
    pub(super) async fn rest(&mut self, most: usize) -> Result<Bytes, Failure> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > most {
                return Err(too_large(most));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }
}

/// An answer that is read line by line: a watch.
#[derive(Debug)]
pub struct Lines {
    reading: Reading,
    buffer: LineBuffer,
}

impl Lines {
    pub(super) fn new(reading: Reading) -> Lines {
        Lines { reading, buffer: LineBuffer::default() }
    }

    /// The header fields of the answer.
    pub fn fields(&self) -> &HeaderMap {
        &self.reading.fields
    }

    /// The next line without its end, which waits at most `idle` for each piece; `None` at the
    /// proper end. What stands behind the last line end is a line too. Cancel-safe.
    ///
    /// # Errors
    /// Silence for that long, a connection that breaks, a line of more than 4 MiB.
    pub async fn next(&mut self, idle: Duration) -> Result<Option<Bytes>, Failure> {
        // Lines that have come do not wait, so a burst of them would hold the thread.
        consume_budget().await;
        loop {
            if let Some(line) = self.buffer.line()? {
                return Ok(Some(line));
            }
            let piece = timeout(idle, self.reading.piece()).await.map_err(|_| {
                let (base, seconds) = (&self.reading.base, idle.as_secs());
                Failure::new(Kind::Timeout, format!("no word from {base} for {seconds} s"))
            })??;
            match piece {
                Some(piece) => self.buffer.push(&piece),
                None => return Ok(self.buffer.rest()),
            }
        }
    }
}

/// What has come of a stream of lines.
#[derive(Debug, Default)]
pub struct LineBuffer {
    /// What is no whole line yet, behind lines that were not taken.
    buffer: BytesMut,
    /// How much of the buffer has been searched.
    searched: usize,
}

impl LineBuffer {
    /// Adds what has come.
    pub fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next whole line without its end.
    ///
    /// # Errors
    /// A line of more than 4 MiB.
    pub fn line(&mut self) -> Result<Option<Bytes>, Failure> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        if let Some(end) = memchr::memchr(b'\n', unsearched) {
            let mut line = self.buffer.split_to(self.searched + end + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            return Ok(Some(line.freeze()));
        }
        self.searched = self.buffer.len();
        match self.buffer.len() > LONGEST_LINE {
            true => Err(too_large(LONGEST_LINE)),
            false => Ok(None),
        }
    }

    /// What stands behind the last line end.
    fn rest(&mut self) -> Option<Bytes> {
        self.searched = 0;
        Some(std::mem::take(&mut self.buffer).freeze()).filter(|rest| !rest.is_empty())
    }
}

pub(super) fn too_large(most: usize) -> Failure {
    Failure::new(Kind::Invalid, format!("the answer is larger than {} MiB", most >> 20))
}
