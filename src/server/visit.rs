//! A connection between its acceptance and its first request.

use std::rc::Rc;
use std::sync::Arc;

use super::team::Presence;
use crate::http::Client as Peer;
use crate::observe::metrics::OpenConnection;
use crate::proxy::Worker;
use crate::snapshot::Listener;

/// A connection that has come in: who it is, where, and what counts it while it lasts.
pub(super) struct Visit {
    pub worker: Rc<Worker>,
    pub listener: Arc<Listener>,
    pub peer: Peer,
    pub guard: Guard,
}

/// Counts an open connection until it is dropped.
pub(super) type Guard = (Presence, OpenConnection);
