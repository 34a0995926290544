//! Handshakes take processor time from everybody else on their thread: how many run at one time,
//! and how they take turns.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Lets one piece of heavy work run in each round of the event loop of a worker.
///
/// The answer to a ClientHello costs a key exchange and a signature, 0.2 to 1 ms. When a thousand
/// clients come at once, open connections would wait for a thousand of those; here they wait for
/// one.
#[derive(Debug)]
pub struct Turn(Semaphore);

impl Default for Turn {
    fn default() -> Turn {
        Turn(Semaphore::new(1))
    }
}

impl Turn {
    /// Does the work when its turn has come, first come, first served. Everything that is ready on
    /// this thread runs before the next one has its turn.
    pub async fn take<T>(&self, work: impl FnOnce() -> T) -> T {
        // Nobody closes the semaphore.
        let _turn = self.0.acquire().await.ok();
        let done = work();
        tokio::task::yield_now().await;
        done
    }
}

/// Places for those that may run at one time; others wait, and the caller's deadline bounds that.
#[derive(Debug)]
pub struct Places {
    free: Semaphore,
    size: usize,
    waiting: AtomicUsize,
}

/// Who holds places, and who waits for one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Places that are taken.
    pub running: usize,
    /// Those that wait for one.
    pub waiting: usize,
}

impl Places {
    /// So many places.
    pub fn new(size: usize) -> Places {
        Places { free: Semaphore::new(size), size, waiting: AtomicUsize::new(0) }
    }

    /// A place, given back when dropped. Cancel-safe.
    pub async fn take(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.free.try_acquire() {
            return Some(place);
        }
        let _waiting = Waiting::begin(&self.waiting);
        self.free.acquire().await.ok()
    }

    /// How full it is.
    pub fn occupancy(&self) -> Occupancy {
        let running = self.size.saturating_sub(self.free.available_permits());
        Occupancy { running, waiting: self.waiting.load(Relaxed) }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Waiting<'a> {
        count.fetch_add(1, Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    #[tokio::test]
    async fn others_run_between_two_turns() {
        let (turn, order) = (Rc::new(Turn::default()), Rc::new(RefCell::new(Vec::new())));
        let local = LocalSet::new();
        for _ in 0..3 {
            let (turn, order) = (turn.clone(), order.clone());
            local.spawn_local(async move { turn.take(|| order.borrow_mut().push("heavy")).await });
        }
        let light = order.clone();
        local.spawn_local(async move {
            for _ in 0..3 {
                light.borrow_mut().push("light");
                yield_now().await;
            }
        });
        local.await;
        let order = order.take();
        assert_eq!(order.iter().filter(|one| **one == "heavy").count(), 3);
        assert!(order.windows(2).all(|two| two != ["heavy", "heavy"]), "{order:?}");
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_and_is_counted() {
        let places = Places::new(1);
        let first = places.take().await;
        let mut second = std::pin::pin!(places.take());
        let polled =
            std::future::poll_fn(|context| std::task::Poll::Ready(second.as_mut().poll(context))).await;
        assert!(polled.is_pending());
        assert_eq!(places.occupancy(), Occupancy { running: 1, waiting: 1 });
        drop(first);
        assert!(second.await.is_some());
        assert_eq!(places.occupancy(), Occupancy { running: 0, waiting: 0 });
    }
}
