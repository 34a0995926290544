//! Sockets that the service manager opened for us (`sd_listen_fds(3)`).
//!
//! They are taken from the environment once per process and kept: a reload that still names a
//! socket gets another descriptor of it, and a listener that is removed and comes back finds it.

use std::env;
use std::io;
use std::sync::OnceLock;

use listenfd::ListenFd;

use super::listen::Listener;

/// Name of a socket that was passed without one.
const UNNAMED: &str = "unknown";

/// Sockets with the names under which they were passed.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, Listener)>,
}

impl Inherited {
    /// The sockets of this process; the environment is read at the first call only.
    pub fn of_process() -> &'static Self {
        static SOCKETS: OnceLock<Inherited> = OnceLock::new();
        SOCKETS.get_or_init(Self::take)
    }

    /// A set that was made by hand.
    pub fn from_sockets(sockets: Vec<(String, Listener)>) -> Self {
        Self { sockets }
    }

    /// Duplicates of all sockets with this name, in the order in which they were passed.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn named(&self, name: &str) -> io::Result<Vec<Listener>> {
        self.sockets.iter().filter(|(own, _)| own == name).map(|(_, socket)| socket.duplicate()).collect()
    }

    /// What there is, as a sentence for an error message.
    pub fn describe(&self) -> String {
        if self.sockets.is_empty() {
            return "the process was started without any (is the socket unit enabled and listed in Sockets=?)"
                .to_owned();
        }
        let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
        format!("there is: {}", names.join(", "))
    }

    fn take() -> Self {
        // Read before `from_env`, which takes the variables away.
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let names = names_of(&names, passed.len());
        let mut sockets = Vec::with_capacity(passed.len());
        for (index, name) in names.into_iter().enumerate() {
            match take_one(&mut passed, index) {
                Ok(listener) => sockets.push((name, listener)),
                Err(error) => tracing::warn!(name, %error, "an inherited descriptor is not a usable socket"),
            }
        }
        Self { sockets }
    }
}

/// The name of each of `count` descriptors: `LISTEN_FDNAMES` is separated by colons and may be
/// short or absent, then systemd's own word for an unnamed one is used.
fn names_of(names: &str, count: usize) -> Vec<String> {
    let mut given = names.split(':').filter(|_| !names.is_empty());
    (0..count)
        .map(|_| match given.next() {
            Some(name) if !name.is_empty() => name.to_owned(),
            Some(_) | None => UNNAMED.to_owned(),
        })
        .collect()
}

fn take_one(passed: &mut ListenFd, index: usize) -> io::Result<Listener> {
    let listener = match passed.take_tcp_listener(index) {
        Ok(Some(listener)) => Listener::Tcp(listener),
        Ok(None) => return Err(io::ErrorKind::NotFound.into()),
        // Not a TCP socket: the descriptor is still at its place.
        Err(_) => match passed.take_unix_listener(index)? {
            Some(listener) => Listener::Unix(listener),
            None => return Err(io::ErrorKind::NotFound.into()),
        },
    };
    listener.prepare()?;
    Ok(listener)
}
