//! The life of one worker thread.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::accept::Door;
use super::team::{Command, Gate, Team};
use crate::proxy::Worker;

/// How often access lines that wait are handed to their writer.
const FLUSH: Duration = Duration::from_millis(200);
/// At every so many flushes idle upstream connections are looked through.
const TIDY: u32 = 5;

/// Starts the thread of one worker. It ends on [`Command::Stop`] or when all senders are gone.
///
/// # Errors
/// When the system gives no thread.
pub fn start(
    number: usize,
    team: Team,
    commands: mpsc::Receiver<Command>,
    make: impl FnOnce() -> Worker + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>> {
    std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        // It owns every task of the worker and ends them when it is dropped. A `LocalSet` in a runtime
        // does the same with two schedulers, one in the other.
        let runtime = runtime::Builder::new_current_thread().enable_all().build_local(Default::default())?;
        runtime.block_on(run(number, team, commands, Rc::new(make())));
        Ok(())
    })
}

async fn run(number: usize, team: Team, mut commands: mpsc::Receiver<Command>, worker: Rc<Worker>) {
    let sweeper = worker.clone();
    tokio::task::spawn_local(async move { sweeper.timers.sweep().await });
    let (mut tidy, mut ticks) = (tokio::time::interval(FLUSH), 0u32);
    tidy.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let door = Rc::new(Door { number, team, worker, turn: Rc::default() });
    let mut listening: HashMap<Gate, AbortHandle> = HashMap::new();
    loop {
        let command = tokio::select! {
            command = commands.recv() => command,
            _ = tidy.tick() => {
                ticks = ticks.wrapping_add(1);
                door.worker.access.borrow_mut().flush();
                if ticks.is_multiple_of(TIDY) {
                    door.worker.tidy();
                }
                continue;
            }
        };
        match command {
            Some(Command::Listen(gate, socket)) => match door.clone().open(gate.listener, socket) {
                Ok(task) => drop(listening.insert(gate, task)),
                Err(error) => tracing::error!(listener = gate.listener, %error, "can not accept"),
            },
            Some(Command::Unlisten(gate)) => listening.remove(&gate).iter().for_each(AbortHandle::abort),
            Some(Command::Adopt(handed, presence)) => door.adopt(handed, presence),
            Some(Command::Drain(done)) => {
                listening.drain().for_each(|(_, task)| task.abort());
                door.worker.drain();
                let _ = done.send(());
            }
            Some(Command::Stop) | None => {
                door.worker.access.borrow_mut().flush();
                return;
            }
        }
    }
}
