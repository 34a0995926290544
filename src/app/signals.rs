//! What the outside asks of a running process: reload, stop, reopen the logs.

use std::io;

use tokio::signal::unix::{self, SignalKind};
use tokio::sync::oneshot;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Read the configuration again (SIGHUP).
    Reload,
    /// Drain, then end (the first SIGTERM or SIGINT).
    Stop,
    /// End without waiting for what still runs (the second SIGTERM or SIGINT).
    StopNow,
    /// Open the log files again, they were rotated (SIGUSR1).
    ReopenLogs,
}

/// Who sends them.
#[derive(Debug)]
pub enum Origin {
    /// The signals of the process.
    Process,
    /// Whoever holds the other end: a message or its drop is [`Signal::Stop`], once. The signals
    /// of the process keep their meaning for the rest of it.
    Owner(oneshot::Receiver<()>),
}

/// The stream of signals.
#[derive(Debug)]
pub struct Signals {
    source: Source,
    has_stopped: bool,
}

#[derive(Debug)]
enum Source {
    Process(Box<Handlers>),
    Owner(oneshot::Receiver<()>),
}

#[derive(Debug)]
struct Handlers {
    hangup: unix::Signal,
    terminate: unix::Signal,
    interrupt: unix::Signal,
    user1: unix::Signal,
}

impl Signals {
    /// Begins to listen; from here on a signal of the process no longer ends it by itself, for as
    /// long as the process lives. Needs a runtime with I/O.
    ///
    /// # Errors
    /// When a handler can not be installed.
    pub fn listen(origin: Origin) -> io::Result<Signals> {
        let source = match origin {
            Origin::Process => Source::Process(Box::new(Handlers::install()?)),
            Origin::Owner(stop) => Source::Owner(stop),
        };
        Ok(Signals { source, has_stopped: false })
    }

    /// The next signal; several of one kind that came meanwhile may be one. Cancel-safe.
    pub async fn next(&mut self) -> Signal {
        match &mut self.source {
            Source::Process(handlers) => match handlers.next().await {
                Received::Hangup => Signal::Reload,
                Received::User1 => Signal::ReopenLogs,
                Received::End => self.stop(),
            },
            Source::Owner(_) if self.has_stopped => std::future::pending().await,
            Source::Owner(stop) => {
                // An owner that is gone can not stop it later.
                let _told_or_gone = stop.await;
                self.stop()
            }
        }
    }

    fn stop(&mut self) -> Signal {
        match std::mem::replace(&mut self.has_stopped, true) {
            false => Signal::Stop,
            true => Signal::StopNow,
        }
    }
}

enum Received {
    Hangup,
    End,
    User1,
}

impl Handlers {
    fn install() -> io::Result<Handlers> {
        Ok(Handlers {
            hangup: unix::signal(SignalKind::hangup())?,
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            user1: unix::signal(SignalKind::user_defined1())?,
        })
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            // Whoever sends many SIGHUP can still stop the process.
            biased;
            _ = self.terminate.recv() => Received::End,
            _ = self.interrupt.recv() => Received::End,
            _ = self.hangup.recv() => Received::Hangup,
            _ = self.user1.recv() => Received::User1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal as Raw, getpid, kill_process};
    use tokio::time::timeout;

    use super::*;

    async fn next(signals: &mut Signals) -> Signal {
        timeout(Duration::from_secs(5), signals.next()).await.expect("a signal comes")
    }

    #[tokio::test]
    async fn the_signals_of_the_process_have_their_meaning() {
        let mut signals = Signals::listen(Origin::Process).unwrap();
        for (raw, meaning) in [
            (Raw::HUP, Signal::Reload),
            (Raw::USR1, Signal::ReopenLogs),
            (Raw::TERM, Signal::Stop),
            (Raw::HUP, Signal::Reload),
            (Raw::INT, Signal::StopNow),
        ] {
            kill_process(getpid(), raw).unwrap();
            assert_eq!(next(&mut signals).await, meaning, "{raw:?}");
        }
    }

    #[tokio::test]
    async fn an_owner_stops_it_once() {
        let (stop, origin) = oneshot::channel();
        let mut signals = Signals::listen(Origin::Owner(origin)).unwrap();
        stop.send(()).unwrap();
        assert_eq!(next(&mut signals).await, Signal::Stop);
        assert!(timeout(Duration::from_millis(1), signals.next()).await.is_err());
    }

    #[tokio::test]
    async fn an_owner_that_is_gone_has_stopped_it() {
        let (stop, origin) = oneshot::channel();
        let mut signals = Signals::listen(Origin::Owner(origin)).unwrap();
        drop(stop);
        assert_eq!(next(&mut signals).await, Signal::Stop);
    }
}
