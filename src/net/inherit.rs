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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::process::{Command, Output};

    use super::*;
    use crate::net::listen::Address;

    /// Set for the process that a test starts: the address that it shall find.
    const EXPECTED: &str = "TIDEGATE_TEST_INHERITED";

    #[test]
    fn every_descriptor_has_a_name() {
        assert_eq!(names_of("web:api", 2), ["web", "api"]);
        assert_eq!(names_of("web", 2), ["web", "unknown"]);
        assert_eq!(names_of(":api", 2), ["unknown", "api"]);
        assert_eq!(names_of("", 1), ["unknown"]);
        assert!(names_of("web", 0).is_empty());
    }

    #[test]
    fn sockets_are_found_by_name_again_and_again() {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(first.local_addr().unwrap());
        let inherited = Inherited::from_sockets(vec![("web".to_owned(), Listener::Tcp(first))]);
        for _ in 0..2 {
            let found = inherited.named("web").unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].local().unwrap(), address);
        }
        assert!(inherited.named("api").unwrap().is_empty());
        assert_eq!(inherited.describe(), "there is: web");
    }

    /// Runs in the process that the two tests below start.
    #[test]
    fn in_a_started_process() {
        let Ok(expected) = env::var(EXPECTED) else { return };
        let found = Inherited::of_process().named("web").unwrap();
        let found: Vec<String> = found.iter().map(|one| one.local().unwrap().to_string()).collect();
        let expected: Vec<&str> = expected.split(' ').filter(|one| !one.is_empty()).collect();
        assert_eq!(found, expected);
        assert!(env::var("LISTEN_FDS").is_err(), "a process that we start must not take them for its own");
    }

    #[test]
    fn sockets_of_a_service_manager_are_taken() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let child = start(socket, "$$", &format!("{address} {address}"));
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    }

    #[test]
    fn sockets_that_were_meant_for_another_process_are_left() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let child = start(socket, "1", "");
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    }

    /// This test program as a service manager would start it: the socket twice, as 3 and 4.
    fn start(socket: TcpListener, pid: &str, expected: &str) -> Output {
        let script = format!(
            "exec 3<&0 4<&0; LISTEN_PID={pid} LISTEN_FDS=2 LISTEN_FDNAMES=web:web \
             exec \"$0\" --exact net::inherit::tests::in_a_started_process"
        );
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(env::current_exe().unwrap()).env(EXPECTED, expected);
        let child = command.stdin(OwnedFd::from(socket)).output().unwrap();
        let ran = String::from_utf8_lossy(&child.stdout).contains("1 passed");
        assert!(ran || !child.status.success(), "the test was not found");
        child
    }
}
