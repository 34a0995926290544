//! A connection that waits longer for its next request, in a task of its own: a task keeps room for all
//! that serving needs for as long as it lives, and of many open connections most wait.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::task::spawn_local;

use super::h1;
use super::visit::Visit;
use crate::clock::{Millis, Timer};
use crate::h1::scan::Scan;
use crate::net::Stream;
use crate::units::Generation;

/// How long a connection waits for a request in the task that serves it. Moving it out and back costs
/// about as much as a tenth of a request.
pub(super) const NAP: Duration = Duration::from_millis(100);

/// What is left of a connection while nothing goes over it.
pub(super) struct Resting {
    pub visit: Visit,
    pub stream: Stream,
    pub timer: Timer,
    /// It ends then, if nothing comes.
    pub due: Millis,
    /// It has seen what came before a request, if anything.
    pub scan: Scan,
    pub opened: Millis,
    pub requests: u32,
    /// The configuration that it has followed so far.
    pub generation: Generation,
}

/// Waits in a small task, and goes on in one that serves when something comes or the worker drains.
pub(super) fn begin(resting: Resting) {
    let mut resting = Some(Box::new(resting));
    spawn_local(poll_fn(move |context| {
        let Some(still) = &resting else { return Poll::Ready(()) };
        let Resting { visit, stream, timer, due, .. } = &**still;
        if stream.poll_read_ready(context).is_pending() && !visit.worker.is_draining() {
            return timer.poll(context, *due);
        }
        if let Some(awake) = resting.take() {
            spawn_local(h1::resume(*awake));
        }
        Poll::Ready(())
    }));
}
