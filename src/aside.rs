//! Work of many milliseconds beside the requests.
//!
//! A worker on the same processor is to have it back when a request comes, and not when the kernel
//! finds that the other thread has had its share: under `SCHED_OTHER` that takes up to 4 ms, whatever
//! the nice values are (measured with Linux 6.18). Under `SCHED_IDLE` it takes microseconds, but where
//! somebody always has something to do nothing is left.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use tokio::sync::oneshot::{self, Receiver};
use tokio::time::timeout;

/// How long is waited for processors that nobody else wants. Most work is done by then: a configuration
/// of 10,000 routes takes a twentieth of a second of one.
const PATIENCE: Duration = Duration::from_millis(250);

/// To read less text than this takes a millisecond at most.
const SHORT_BYTES: usize = 32 * 1024;

/// The nice value of work that has waited for so long: beside a worker that always has something to do
/// it gets a tenth of their processor.
const NICE: i32 = 10;

/// How many threads may wait for processors that nobody else wants: where there are none for long they
/// would pile up.
const MOST_PATIENT: usize = 4;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// The system gives no thread.
    #[error("there is no thread for it: {0}")]
    Thread(#[from] io::Error),
    /// The work has panicked.
    #[error("it has panicked")]
    Panic,
}

/// How long work takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Length {
    /// A millisecond at most: nobody notices.
    #[default]
    Short,
    /// Longer.
    Long,
}

impl Length {
    /// That of reading so many bytes of configuration.
    pub fn of_reading(bytes: usize) -> Length {
        if bytes < SHORT_BYTES { Length::Short } else { Length::Long }
    }
}

/// Does `work` on a thread of its own. If it is long, that runs when nobody else wants its processor;
/// when even so it is not done in 0.25 s, it is done once more on one that gets a small share. The first
/// result counts, so the work must bear to be done twice at one time, and hold no lock for long.
///
/// # Errors
/// [`Lost`] when it was not done.
pub async fn aside<T: Send + 'static>(
    length: Length,
    work: impl FnOnce() -> T + Clone + Send + 'static,
) -> Result<T, Lost> {
    let place = if length == Length::Long { Place::take() } else { None };
    let done = match place {
        Some(place) => {
            let again = work.clone();
            let mut patient = begin(Rank::Patient, move || (work(), drop(place)).0)?;
            match timeout(PATIENCE, &mut patient).await {
                Ok(done) => done,
                Err(_) => {
                    let modest = begin(Rank::Modest, again)?;
                    tokio::select! { done = patient => done, done = modest => done }
                }
            }
        }
        None => begin(Rank::Modest, work)?.await,
    };
    done.map_err(|_| Lost::Panic)
}

/// Drops a value when nobody else wants a processor: that of thousands of routes takes milliseconds.
///
/// # Errors
/// [`Lost`] when it was dropped here and now.
pub fn drop_aside(value: impl Send + 'static) -> Result<(), Lost> {
    begin(Rank::Patient, move || drop(value)).map(drop)
}

fn begin<T: Send + 'static>(
    rank: Rank,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Receiver<T>, Lost> {
    let (done, result) = oneshot::channel();
    std::thread::Builder::new().name("aside".to_owned()).spawn(move || {
        rank.take();
        // Nobody may wait any more.
        let _ = done.send(work());
    })?;
    Ok(result)
}

/// What a thread gets of a processor that others want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    /// Nothing.
    Patient,
    /// A small share.
    Modest,
}

impl Rank {
    /// Gives it to the current thread. A sandbox may refuse it; it is only better so.
    fn take(self) {
        const IDLE: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        if self == Rank::Patient {
            match set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, IDLE) {
                Ok(()) => return,
                Err(error) => tracing::debug!(?error, "the scheduling policy stays"),
            }
        }
        // On Linux this is about the calling thread.
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "the priority stays");
        }
    }
}

/// One of the places for patient threads.
struct Place;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Place {
    fn take() -> Option<Place> {
        let free = |taken| (taken < MOST_PATIENT).then_some(taken + 1);
        TAKEN.fetch_update(Relaxed, Relaxed, free).ok().map(|_| Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Barrier};

    use thread_priority::thread_schedule_policy;

    use super::*;

    fn is_idle() -> bool {
        thread_schedule_policy() == Ok(ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle))
    }

    fn nice() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[tokio::test]
    async fn it_gives_way_to_the_thread_that_asks() {
        let before = nice();
        assert!(aside(Length::Long, is_idle).await.unwrap());
        assert_eq!(aside(Length::Short, nice).await.unwrap(), (before + NICE).min(19));
        assert_eq!((is_idle(), nice()), (false, before));
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_is_done_again_with_a_share() {
        // The first one ends after the second one, as where it gets no processor.
        let is_over = Arc::new(Barrier::new(2));
        let end = is_over.clone();
        let share = aside(Length::Long, move || {
            if is_idle() {
                end.wait();
            }
            nice()
        });
        assert_eq!(share.await.unwrap(), (nice() + NICE).min(19));
        is_over.wait();
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        for length in [Length::Short, Length::Long] {
            assert!(matches!(aside(length, || panic!("on purpose")).await, Err::<(), _>(Lost::Panic)));
        }
    }
}
