//! What waits to be written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Flushed;
use super::output::Output;

/// Buffers that are kept to be used again.
const SPARES: usize = 16;
/// A larger buffer is not kept.
const SPARE_SIZE: usize = 256 << 10;
/// Control tasks that wait; they come from an operator.
const MAX_CONTROLS: usize = 16;

/// Whole lines.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) text: Vec<u8>,
    pub(super) lines: u32,
}

/// What the thread has to do.
#[derive(Debug)]
pub(super) enum Task {
    Write(Batch),
    Reopen,
    Switch(Output),
}

/// Tasks in order, bounded in bytes. Its mutex guards a few lines and is never held in a write.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is a task, or no more will come.
    ready: Condvar,
    /// A task is done, or nobody waits for it any more.
    idle: Condvar,
    capacity: usize,
    is_on: AtomicBool,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    tasks: VecDeque<Task>,
    /// Bytes of all batches, and of the one that is being written.
    bytes: usize,
    /// Bytes of the batch that is being written.
    in_hand: usize,
    is_busy: bool,
    spares: Vec<Vec<u8>>,
    is_closed: bool,
    is_abandoned: bool,
}

impl Queue {
    pub(super) fn new(is_on: bool, capacity: usize) -> Queue {
        Queue {
            state: Mutex::default(),
            ready: Condvar::new(),
            idle: Condvar::new(),
            capacity,
            is_on: AtomicBool::new(is_on),
            dropped: AtomicU64::new(0),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub(super) fn set_on(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Takes a batch, or drops it when there is no room; gives an empty buffer for the next one.
    pub(super) fn push(&self, mut batch: Batch) -> Vec<u8> {
        if batch.text.is_empty() {
            return batch.text;
        }
        let mut state = self.state();
        if state.is_closed || state.bytes + batch.text.len() > self.capacity {
            drop(state);
            self.count_dropped(u64::from(batch.lines));
            batch.text.clear();
            return batch.text;
        }
        state.bytes += batch.text.len();
        state.tasks.push_back(Task::Write(batch));
        let spare = state.spares.pop();
        drop(state);
        self.ready.notify_one();
        spare.unwrap_or_default()
    }

    /// Adds what an operator wants; ignored when closed or when the operator is too quick.
    pub(super) fn control(&self, task: Task) {
        let mut state = self.state();
        let waiting = state.tasks.iter().filter(|task| !matches!(task, Task::Write(_))).count();
        // A switch is never lost: the newest configuration must win.
        if state.is_closed || (waiting >= MAX_CONTROLS && matches!(task, Task::Reopen)) {
            return;
        }
        state.tasks.push_back(task);
        drop(state);
        self.ready.notify_one();
    }

    /// Waits for a task; `None` when closed and empty.
    pub(super) fn next(&self) -> Option<Task> {
        let mut state = self.state();
        loop {
            if let Some(task) = state.tasks.pop_front() {
                state.is_busy = true;
                if let Task::Write(batch) = &task {
                    state.in_hand = batch.text.len();
                }
                return Some(task);
            }
            if state.is_closed {
                return None;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The task that [`Queue::next`] gave is done.
    pub(super) fn done(&self) {
        let mut state = self.state();
        state.bytes -= std::mem::take(&mut state.in_hand);
        state.is_busy = false;
        drop(state);
        self.idle.notify_all();
    }

    /// Keeps a buffer for another batch.
    pub(super) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut state = self.state();
        if state.spares.len() < SPARES && buffer.capacity() <= SPARE_SIZE {
            state.spares.push(buffer);
        }
    }

    /// Waits until there is nothing to do.
    pub(super) fn wait_until_idle(&self, until: Instant) -> Flushed {
        let state = self.state();
        let limit = until.saturating_duration_since(Instant::now());
        let waited =
            self.idle.wait_timeout_while(state, limit, |state| state.is_busy || !state.tasks.is_empty());
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        if timeout.timed_out() { Flushed::Late } else { Flushed::Complete }
    }

    /// No more batches; those that wait are still written.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.ready.notify_all();
    }

    /// Nobody waits any more: what is left counts as dropped.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.is_abandoned = true;
        let left = std::mem::take(&mut state.tasks);
        let batches = left.iter().filter_map(|task| match task {
            Task::Write(batch) => Some(u64::from(batch.lines)),
            Task::Reopen | Task::Switch(_) => None,
        });
        let lines = batches.sum();
        state.bytes = state.in_hand;
        drop(state);
        self.idle.notify_all();
        self.count_dropped(lines);
    }

    /// Waits a little for an output that is not ready; says whether to go on trying.
    pub(super) fn pause(&self, span: Duration) -> bool {
        let waited = self.idle.wait_timeout_while(self.state(), span, |state| !state.is_abandoned);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !state.is_abandoned
    }

    pub(super) fn count_dropped(&self, lines: u64) {
        self.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
