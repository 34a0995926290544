//! Waits for the next request on a connection: its head, or that nothing comes for a while.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use super::super::opening::recognise;
use super::super::rest::NAP;
use super::{Arrived, Connection, DRAIN_TIME, Opening};
use crate::clock::{Millis, Timer};
use crate::config::listener::Protocol;
use crate::h1::scan::Scan;
use crate::h1::{Ends, request};
use crate::http::Reason;
use crate::http::upgrade::BareConnect;
use crate::http::validate::MAX_REQUEST_LINE;
use crate::proxy::Worker;

impl Connection {
    /// Waits for the next head; `None` when the connection has ended or stayed idle too long.
    /// Cancel-safe: what was read stays in the wire.
    pub(super) async fn head(&mut self, worker: &Worker, timer: &Timer, opening: Opening) -> Option<Arrived> {
        self.answering = None;
        let until = std::mem::replace(&mut self.idle_until, Millis::NEVER);
        let resumes = until != Millis::NEVER;
        if !resumes {
            self.scan = Scan::default();
        }
        // A new client has no more time than one that has begun its head.
        let first = opening != Opening::Past;
        let since = match first || resumes {
            true => timer.clock().now(),
            false => timer.clock().recent().millis(),
        };
        let patience = if first { self.limits().header_timeout } else { self.limits().idle_timeout };
        let mut due = until.min(since.after(Some(patience.get())));
        let rests_at = if first { Millis::NEVER } else { since.after(Some(NAP)) };
        let (mut started, mut draining) = (first, false);
        poll_fn(|context| {
            if let Poll::Ready(arrived) = self.poll_arrived(context, worker, opening) {
                return Poll::Ready(arrived);
            }
            if self.wire.input.is_empty() {
                self.wire.rest();
            } else if !started {
                started = true;
                due = timer.clock().now().after(Some(self.limits().header_timeout.get()));
            }
            if worker.is_draining() && self.wire.input.is_empty() && !draining {
                // A request may be on its way already, so an idle connection is not cut at once.
                draining = true;
                due = due.min(timer.clock().now().after(Some(DRAIN_TIME)));
            }
            if !self.wire.input.is_empty() {
                ready!(timer.poll(context, due));
                return Poll::Ready(Some(Arrived::Refused(Reason::RequestTimeout)));
            }
            let rests = rests_at < due && !draining;
            ready!(timer.poll(context, if rests { rests_at } else { due }));
            Poll::Ready(rests.then_some(Arrived::Nothing(due)))
        })
        .await
    }

    /// Reads until a head is there; pending when nothing more comes now.
    fn poll_arrived(
        &mut self,
        context: &mut Context<'_>,
        worker: &Worker,
        opening: Opening,
    ) -> Poll<Option<Arrived>> {
        loop {
            if let Some(arrived) = self.look(worker, opening) {
                return Poll::Ready(Some(arrived.unwrap_or_else(Arrived::Refused)));
            }
            match self.wire.poll_fill(context) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// What there is to be made of the bytes that are there.
    fn look(&mut self, worker: &Worker, opening: Opening) -> Option<Result<Arrived, Reason>> {
        if self.wire.input.is_empty() {
            return None;
        }
        let beginning = match opening {
            Opening::Open => recognise(self.wire.input.filled())?,
            Opening::Agreed | Opening::Past => Protocol::H1,
        };
        match beginning {
            Protocol::H1 => self.look_for_head(worker),
            Protocol::H2 => Some(Ok(Arrived::Http2)),
        }
    }

    /// The head that is there, or why what is there is refused.
    fn look_for_head(&mut self, worker: &Worker) -> Option<Result<Arrived, Reason>> {
        if self.scan.skips_empty_line(self.wire.input.filled()) {
            self.wire.input.consume(2);
        }
        let bytes = self.wire.input.filled();
        if bytes.is_empty() {
            return None;
        }
        self.bare = false;
        if bytes.starts_with(b"CONNECT ") {
            match BareConnect::of(bytes) {
                BareConnect::Complete(length) => {
                    self.bare = true;
                    return self.parse(length, Ends::Bare, worker).transpose();
                }
                BareConnect::Begun if bytes.ends_with(b"\n") => return None,
                BareConnect::Begun | BareConnect::No => {}
            }
        }
        // Most heads come whole, and reading one finds its end. What comes in pieces is searched for its
        // end first, once over every byte.
        let end = match self.scan.is_fresh() {
            true => Some(bytes.len()),
            false => self.scan.end_of_head(bytes).unwrap_or(Some(bytes.len())),
        };
        match end.map(|end| self.parse(end, Ends::Strict, worker)) {
            Some(Ok(Some(arrived))) => return Some(Ok(arrived)),
            Some(Err(reason)) => return Some(Err(reason)),
            Some(Ok(None)) | None => {}
        }
        let bytes = self.wire.input.filled();
        // What is wrong with it was said just now.
        let _ = self.scan.end_of_head(bytes);
        self.refuse_early().map(Err)
    }

    /// Reads a head in the first bytes that are there; `None` when its end has not come.
    fn parse(&mut self, length: usize, ends: Ends, worker: &Worker) -> Result<Option<Arrived>, Reason> {
        let mut room = worker.room();
        let bytes = &self.wire.input.filled()[..length];
        match request::parse(bytes, ends, self.head_limits(), &mut room.exchange.request) {
            Ok(Some(length)) if length <= self.head_limits().bytes => Ok(Some(Arrived::Head(room, length))),
            refused => {
                worker.give_back(room);
                refused.and_then(|length| length.map_or(Ok(None), |_| Err(Reason::HeaderTooLarge)))
            }
        }
    }

    /// Why a head is refused though its end has not come.
    fn refuse_early(&self) -> Option<Reason> {
        let bytes = self.wire.input.filled();
        if bytes.len() >= MAX_REQUEST_LINE && memchr::memchr(b'\n', bytes).is_none() {
            return Some(Reason::TargetTooLong);
        }
        if bytes.len() >= self.head_limits().bytes {
            return Some(Reason::HeaderTooLarge);
        }
        request::early(bytes)
    }
}
