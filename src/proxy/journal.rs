//! What is remembered of an exchange until its last byte: then it is counted and logged.

use std::rc::Rc;
use std::time::Duration;

use super::pool::Pool;
use crate::clock::Stamp;
use crate::http::Reason;

/// What will be counted and logged of one exchange.
#[derive(Debug, Default)]
pub struct Journal {
    /// When the head had come.
    pub started: Stamp,
    /// When its answer had gone, where that is known already.
    pub ended: Option<Stamp>,
    /// The route that took it.
    pub route: Option<u32>,
    /// The upstream that it went to.
    pub upstream: Option<usize>,
    /// How many middlewares saw the request.
    pub middlewares: usize,
    /// The pool of the endpoint that answered.
    pub pool: Option<Rc<Pool>>,
    /// The status that the client got; 0 for none.
    pub status: u16,
    /// Until the head of the answer had come.
    pub first_byte: Duration,
    /// Body bytes of the request.
    pub received: u64,
    /// Body bytes of the answer.
    pub sent: u64,
    /// Why the proxy answered itself or broke off.
    pub reason: Option<Reason>,
}

impl Journal {
    /// A request has come.
    pub fn begin(&mut self, started: Stamp) {
        *self = Journal { started, ..Journal::default() };
    }

    /// What is logged: an answer that the client did not wait for has no status of its own.
    pub(super) fn status(&self) -> u16 {
        match (self.status, self.reason) {
            (0, Some(reason)) => reason.status(),
            (status, _) => status,
        }
    }

    /// An endpoint has answered.
    pub fn answered(&mut self, pool: &Rc<Pool>, status: u16, now: Stamp) {
        self.pool = Some(pool.clone());
        self.status = status;
        self.first_byte = now.since(self.started);
    }
}
