//! Time on a worker: a coarse clock and deadlines without a timer per request.
//!
//! A tokio `Sleep` for each request costs 6–12 % of a proxied request. Here every connection owns
//! one slot in a table of due times; setting a deadline is one store, and a single task per worker
//! wakes whoever is due. Granularity is [`GRANULARITY`].

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

/// Deadlines fire up to this much late, never early.
pub const GRANULARITY: Duration = Duration::from_millis(10);

/// Milliseconds since the worker's clock was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// A time that never comes.
    pub const NEVER: Millis = Millis(u64::MAX);

    /// This time and a span more; never when there is no span.
    pub fn after(self, span: Option<Duration>) -> Millis {
        span.map_or(Millis::NEVER, |span| Millis(self.0.saturating_add(span.as_millis() as u64)))
    }
}

/// Nanoseconds since the worker's clock was made: what durations are measured by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    /// The same on the clock of deadlines.
    pub fn millis(self) -> Millis {
        Millis(self.0 / 1_000_000)
    }

    /// The span since an earlier one.
    pub fn since(self, earlier: Stamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The deadlines of one worker, shared by its connections.
#[derive(Clone, Debug)]
pub struct Timers(Rc<Shared>);

/// The clock is read as two numbers of the system, since `Instant` computes its differences with
/// care that a count of nanoseconds does not need: 100 instructions, several times a request.
#[derive(Debug)]
struct Shared {
    origin: u64,
    /// What the clock said when it was last read.
    recent: Cell<Stamp>,
    /// Unix time at `origin`, in nanoseconds.
    epoch: Cell<u64>,
    table: RefCell<Table>,
    earlier: Notify,
}

#[derive(Debug)]
struct Table {
    due: Vec<Millis>,
    wakers: Vec<Option<Waker>>,
    free: Vec<u32>,
    /// The sweeper sleeps until then; no slot is due before.
    next: Millis,
    /// What was due by then has been woken.
    fired: Millis,
}

impl Default for Timers {
    fn default() -> Timers {
        let table = Table {
            due: Vec::new(),
            wakers: Vec::new(),
            free: Vec::new(),
            next: Millis::NEVER,
            fired: Millis(0),
        };
        let timers = Timers(Rc::new(Shared {
            origin: nanoseconds(ClockId::Monotonic),
            recent: Cell::default(),
            epoch: Cell::default(),
            table: RefCell::new(table),
            earlier: Notify::new(),
        }));
        timers.set();
        timers
    }
}

impl Timers {
    /// Reads the clock.
    pub fn stamp(&self) -> Stamp {
        let stamp = Stamp(nanoseconds(ClockId::Monotonic).saturating_sub(self.0.origin));
        self.0.recent.set(stamp);
        stamp
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        self.stamp().millis()
    }

    /// What the clock said when it was last read, on this worker: for whoever knows that this was a
    /// moment ago, since nothing was awaited meanwhile.
    pub fn recent(&self) -> Stamp {
        self.0.recent.get()
    }

    /// Milliseconds of Unix time at a stamp.
    pub fn unix_millis(&self, stamp: Stamp) -> u64 {
        (self.0.epoch.get() + stamp.0) / 1_000_000
    }

    /// Follows the system's clock, should that have been set.
    pub fn set(&self) {
        let stamp = self.stamp();
        self.0.epoch.set(nanoseconds(ClockId::Realtime).saturating_sub(stamp.0));
    }

    /// A slot of one's own, given back when dropped.
    pub fn slot(&self) -> Timer {
        let mut table = self.0.table.borrow_mut();
        let slot = table.free.pop().unwrap_or_else(|| {
            table.due.push(Millis::NEVER);
            table.wakers.push(None);
            (table.due.len() - 1) as u32
        });
        drop(table);
        Timer { timers: self.clone(), slot }
    }

    /// Wakes everybody, so that each looks anew at what it waits for.
    pub fn wake_all(&self) {
        for waker in self.0.table.borrow_mut().wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    /// Wakes whoever is due, for as long as the worker runs. Cancel-safe.
    pub async fn sweep(&self) {
        loop {
            let next = self.0.table.borrow_mut().fire(self.now());
            if next == Millis::NEVER {
                self.0.earlier.notified().await;
                continue;
            }
            let wait = Duration::from_millis(next.0.saturating_sub(self.now().0)).max(GRANULARITY);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.0.earlier.notified() => {}
            }
        }
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

impl Table {
    /// Wakes the slots that are due and returns when the next one is.
    fn fire(&mut self, now: Millis) -> Millis {
        let mut next = Millis::NEVER;
        for (due, waker) in self.due.iter_mut().zip(&mut self.wakers) {
            if *due <= now {
                *due = Millis::NEVER;
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
            }
            next = next.min(*due);
        }
        (self.next, self.fired) = (next, now);
        next
    }
}

/// One slot of [`Timers`]: at most one deadline at a time.
#[derive(Debug)]
pub struct Timer {
    timers: Timers,
    slot: u32,
}

impl Timer {
    /// The clock that this deadline is on.
    pub fn clock(&self) -> &Timers {
        &self.timers
    }

    /// Ready when `due` has come; otherwise the task is woken then. A call with another time
    /// replaces the deadline. No clock is read here: the sweeper says what is due.
    pub fn poll(&self, context: &mut Context<'_>, due: Millis) -> Poll<()> {
        let shared = &self.timers.0;
        let mut table = shared.table.borrow_mut();
        let slot = self.slot as usize;
        let Table { due: dues, wakers, next, fired, .. } = &mut *table;
        let (Some(entry), Some(waker)) = (dues.get_mut(slot), wakers.get_mut(slot)) else {
            return Poll::Pending;
        };
        if due <= *fired && due != Millis::NEVER {
            return Poll::Ready(());
        }
        *entry = due;
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        if due < *next {
            *next = due;
            shared.earlier.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut table = self.timers.0.table.borrow_mut();
        let slot = self.slot as usize;
        table.due[slot] = Millis::NEVER;
        table.wakers[slot] = None;
        table.free.push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn a_deadline_wakes_its_task_and_a_later_one_replaces_it() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let timers = Timers::default();
            let timer = timers.slot();
            let far = timers.now().after(Some(Duration::from_secs(3600)));
            let near = timers.now().after(Some(Duration::from_millis(20)));
            let mut armed = false;
            let wait = poll_fn(|context| {
                if !armed {
                    assert!(timer.poll(context, far).is_pending());
                    armed = true;
                }
                timer.poll(context, near)
            });
            tokio::select! {
                () = timers.sweep() => unreachable!("the sweep never ends"),
                () = wait => {}
            }
            assert!(timers.now() >= near);
        });
    }

    #[test]
    fn a_dropped_slot_is_used_again() {
        let timers = Timers::default();
        let first = timers.slot();
        let number = first.slot;
        drop(first);
        assert_eq!(timers.slot().slot, number);
    }

    #[test]
    fn a_stamp_tells_spans_deadlines_and_unix_time() {
        let timers = Timers::default();
        let first = timers.stamp();
        assert_eq!(timers.recent(), first);
        assert!(timers.stamp() >= first && first.since(timers.recent()) == Duration::ZERO);
        assert_eq!(Stamp(12_345_678).millis(), Millis(12));
        assert_eq!(Stamp(12_345_678).since(Stamp(345_678)), Duration::from_millis(12));
        let told = timers.unix_millis(timers.stamp());
        let known = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        assert!(known.abs_diff(u128::from(told)) < 1000);
    }

    #[test]
    fn no_span_means_never() {
        assert_eq!(Millis(5).after(None), Millis::NEVER);
        assert_eq!(Millis(5).after(Some(Duration::from_millis(7))), Millis(12));
    }
}
