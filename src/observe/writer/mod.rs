//! A thread that writes logs, so that a full disk or a stopped reader never holds up a request.
//!
//! Workers hand over whole batches of lines. The queue between them and the thread is bounded in
//! bytes; what does not fit is dropped and counted. The thread may block for as long as the disk
//! likes, and goes on by itself when it can.

mod output;
mod queue;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

pub use output::{Output, Target};

use output::Written;
use queue::{Batch, Queue, Task};

/// Bytes that wait at most, by default: some seconds of a busy proxy.
pub const CAPACITY: usize = 4 << 20;

/// How long to wait for a descriptor that would block.
const PAUSE: Duration = Duration::from_millis(20);

/// Hands lines to a thread that writes them.
#[derive(Debug)]
pub struct Writer(Arc<Queue>);

/// How a [`Writer::stop`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All lines are written, or counted as dropped.
    Complete,
    /// The time was over before; what is left is lost, and counted as dropped.
    Late,
}

impl Writer {
    /// Starts the thread. At most `capacity` bytes wait.
    ///
    /// # Errors
    ///
    /// When the system has no thread.
    pub fn start(output: Output, capacity: usize) -> std::io::Result<Writer> {
        let queue = Arc::new(Queue::new(output.is_on(), capacity));
        let shared = queue.clone();
        // Not joined: a thread that hangs in a write can not be woken. `stop` waits for it to say
        // that it is done, and it ends when the last writer is dropped.
        thread::Builder::new().name("log-writer".to_owned()).spawn(move || run(&shared, output))?;
        Ok(Writer(queue))
    }

    /// Whether lines are wanted at all: one relaxed load.
    pub fn is_on(&self) -> bool {
        self.0.is_on()
    }

    /// Hands over a batch of so many whole lines and leaves an empty buffer in its place, if
    /// possible one that was used before. Never waits for the output; a batch that does not fit
    /// is dropped.
    pub fn submit(&self, batch: &mut Vec<u8>, lines: u32) {
        let spare = self.0.push(Batch { text: std::mem::take(batch), lines });
        *batch = spare;
    }

    /// Lines that were lost so far.
    pub fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Opens the file again, for instance after it was renamed. Lines that wait go to the old one.
    pub fn reopen(&self) {
        self.0.control(Task::Reopen);
    }

    /// Goes on with another output. Lines that wait go to the old one.
    pub fn switch(&self, output: Output) {
        self.0.set_on(output.is_on());
        self.0.control(Task::Switch(output));
    }

    /// Waits until all that was submitted before is written, at most so long. Blocks the thread.
    pub fn flush(&self, limit: Duration) -> Flushed {
        self.0.wait_until_idle(Instant::now() + limit)
    }

    /// Writes what waits, for at most so long, and ends the thread. Blocks the calling thread.
    /// What is submitted later is dropped.
    pub fn stop(&self, limit: Duration) -> Flushed {
        self.0.close();
        let flushed = self.flush(limit);
        self.0.abandon();
        flushed
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The thread: writes until the queue is closed and empty.
fn run(queue: &Queue, mut output: Output) {
    let mut is_failing = false;
    while let Some(task) = queue.next() {
        match task {
            Task::Write(batch) => {
                let written = output.write(&batch.text, || queue.pause(PAUSE));
                is_failing = tell(&output, &written, is_failing);
                if !matches!(written, Written::All) {
                    queue.count_dropped(u64::from(batch.lines));
                }
                queue.give_back(batch.text);
            }
            Task::Reopen => {
                if let Err(error) = output.reopen() {
                    tracing::warn!(target = %output, %error, "log file can not be opened again, the old one is kept");
                }
            }
            Task::Switch(other) => {
                output = other;
                is_failing = false;
            }
        }
        queue.done();
    }
}

/// One log line when writing begins to fail, one when it works again.
fn tell(output: &Output, written: &Written, was_failing: bool) -> bool {
    match written {
        Written::All => {
            if was_failing {
                tracing::info!(target = %output, "log is written again");
            }
            false
        }
        Written::Failed(error) => {
            if !was_failing {
                tracing::warn!(target = %output, %error, "log can not be written, lines are dropped");
            }
            true
        }
        Written::Stopped => was_failing,
    }
}
