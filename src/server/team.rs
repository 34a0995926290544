//! The workers as each of them and the control plane see them: their loads and their mailboxes.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{mpsc, oneshot};

use crate::net::listen;

/// How many commands may wait for a worker.
const MAILBOX: usize = 1024;

/// A connection stays with the worker that accepted it unless another one has this many fewer.
const MIN_IMBALANCE: usize = 4;

/// What a worker can be told.
#[derive(Debug)]
pub enum Command {
    /// Accept on this socket for a listener.
    Listen(Gate, listen::Listener),
    /// Accept no more at that gate.
    Unlisten(Gate),
    /// Serve this connection, which another worker accepted and has counted here already.
    Adopt(Handed, Presence),
    /// Finish what runs and begin nothing new; say so once nothing more is accepted.
    Drain(oneshot::Sender<()>),
    /// End now.
    Stop,
}

/// A connection on its way to another worker.
#[derive(Debug)]
pub struct Handed {
    /// The number of the listener.
    pub listener: u32,
    /// The connection.
    pub stream: TcpStream,
    /// Where the client is.
    pub peer: SocketAddr,
    /// The address that it connected to.
    pub local: SocketAddr,
}

/// One bound address of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gate {
    /// The number of the listener in the snapshot.
    pub listener: u32,
    /// The number of the address, never used again.
    pub address: u32,
}

/// All workers.
#[derive(Clone, Debug)]
pub struct Team(Arc<Members>);

#[derive(Debug)]
struct Members {
    all: Box<[Member]>,
    /// How many connections there may be.
    limit: AtomicUsize,
}

#[derive(Debug)]
struct Member {
    /// Open connections, on a cache line of its own.
    load: Load,
    mailbox: mpsc::Sender<Command>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

impl Team {
    /// A team of so many workers, and the mailbox of each.
    pub fn new(size: usize) -> (Team, Vec<mpsc::Receiver<Command>>) {
        let (members, mailboxes): (Vec<_>, Vec<_>) = (0..size)
            .map(|_| {
                let (mailbox, commands) = mpsc::channel(MAILBOX);
                (Member { load: Load::default(), mailbox }, commands)
            })
            .unzip();
        let members = Members { all: members.into(), limit: AtomicUsize::new(usize::MAX) };
        (Team(Arc::new(members)), mailboxes)
    }

    /// How many workers there are.
    pub fn size(&self) -> usize {
        self.0.all.len()
    }

    /// Open connections of all workers.
    pub fn connections(&self) -> usize {
        self.0.all.iter().map(|member| member.load.0.load(Relaxed)).sum()
    }

    /// Whether there are more connections than there may be.
    pub fn is_over(&self) -> bool {
        self.connections() > self.0.limit.load(Relaxed)
    }

    /// Sets how many connections there may be.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Relaxed);
    }

    /// Tells one worker; `false` when it has ended. Cancel-safe.
    pub async fn tell(&self, worker: usize, command: Command) -> bool {
        match self.0.all.get(worker) {
            Some(member) => member.mailbox.send(command).await.is_ok(),
            None => false,
        }
    }

    /// Lets all workers finish what runs; returns once none accepts any more, so that
    /// [`Self::connections`] only falls from then on.
    pub async fn drain(&self) {
        let mut drained = Vec::with_capacity(self.size());
        for worker in 0..self.size() {
            let (done, is_done) = oneshot::channel();
            self.tell(worker, Command::Drain(done)).await;
            drained.push(is_done);
        }
        for is_done in drained {
            // A worker that has ended accepts nothing either.
            let _ = is_done.await;
        }
    }

    /// Counts a connection of a worker until the guard is dropped.
    pub fn enter(&self, worker: usize) -> Presence {
        self.0.all[worker].load.0.fetch_add(1, Relaxed);
        Presence { team: self.clone(), worker }
    }

    /// The worker that should take a connection which `worker` has accepted, when that is another.
    pub fn less_loaded(&self, worker: usize) -> Option<usize> {
        let load = |member: &Member| member.load.0.load(Relaxed);
        let (least, fewest) = self.0.all.iter().map(load).enumerate().min_by_key(|(_, load)| *load)?;
        let own = load(self.0.all.get(worker)?);
        (own >= fewest + MIN_IMBALANCE.max(fewest / 8)).then_some(least)
    }

    /// Hands a connection to another worker without waiting; gives it back when that one is busy.
    ///
    /// # Errors
    /// The command, when the mailbox is full or closed.
    pub fn hand_over(&self, worker: usize, command: Command) -> Result<(), Command> {
        let Some(member) = self.0.all.get(worker) else { return Err(command) };
        member.mailbox.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(command) | mpsc::error::TrySendError::Closed(command) => command,
        })
    }
}

/// One open connection, counted.
#[derive(Debug)]
pub struct Presence {
    team: Team,
    worker: usize,
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.team.0.all[self.worker].load.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_connection_is_handed_over_only_when_the_loads_are_clearly_uneven() {
        let (team, _mailboxes) = Team::new(2);
        let mut open: Vec<_> = (0..3).map(|_| team.enter(0)).collect();
        assert_eq!(team.less_loaded(0), None);
        open.push(team.enter(0));
        assert_eq!(team.less_loaded(0), Some(1));
        open.push(team.enter(1));
        assert_eq!(team.less_loaded(0), None);
        assert_eq!(team.connections(), 5);
        drop(open);
        assert_eq!(team.connections(), 0);
    }
    #[tokio::test]
    async fn a_drain_is_over_only_when_every_worker_has_ceased_to_accept() {
        let (team, mut mailboxes) = Team::new(2);
        let mut drain = std::pin::pin!(team.drain());
        let context = &mut Context::from_waker(Waker::noop());
        assert!(drain.as_mut().poll(context).is_pending());
        for mailbox in &mut mailboxes {
            assert!(drain.as_mut().poll(context).is_pending());
            let Some(Command::Drain(done)) = mailbox.recv().await else { panic!("not told to drain") };
            done.send(()).unwrap();
        }
        assert!(drain.as_mut().poll(context).is_ready());
    }

    #[tokio::test]
    async fn a_worker_that_has_ended_is_not_waited_for() {
        let (team, mailboxes) = Team::new(2);
        drop(mailboxes);
        team.drain().await;
    }
}
