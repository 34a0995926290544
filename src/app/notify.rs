//! Tells the service manager how the process is: the datagrams of sd_notify(3).
//!
//! Without `NOTIFY_SOCKET` everything here does nothing. A message that can not be sent is an error
//! for the caller to log; it never stops the proxy.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How long a message may wait for room in the manager's queue.
const SEND_TIMEOUT: Duration = Duration::from_millis(200);

/// Bytes of a status text; longer ones are cut.
const MAX_STATUS: usize = 1024;

/// The service manager that waits for news, if there is one.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The manager that the environment of the process names.
    ///
    /// # Errors
    /// When `NOTIFY_SOCKET` is set and can not be reached.
    pub fn from_environment() -> io::Result<Manager> {
        Manager::new(|name| std::env::var_os(name))
    }

    /// The manager that these variables name: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`.
    ///
    /// # Errors
    /// When `NOTIFY_SOCKET` is set and can not be reached.
    pub fn new(variable: impl Fn(&str) -> Option<OsString>) -> io::Result<Manager> {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Manager::default());
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(&name)?)?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Manager { socket: Some(socket), watchdog: watchdog(&variable) })
    }

    /// Whether somebody listens.
    pub fn is_present(&self) -> bool {
        self.socket.is_some()
    }

    /// Requests are served: after the start, and after each reload, with a line about it.
    ///
    /// # Errors
    /// When the message can not be sent.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)))
    }

    /// A reload begins; [`Manager::ready`] ends it, also when the old configuration stays.
    ///
    /// # Errors
    /// When the message can not be sent.
    pub fn reloading(&self) -> io::Result<()> {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"))
    }

    /// The drain begins.
    ///
    /// # Errors
    /// When the message can not be sent.
    pub fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1\nSTATUS=draining")
    }

    /// A line for `systemctl status`; line ends in it become spaces.
    ///
    /// # Errors
    /// When the message can not be sent.
    pub fn status(&self, text: &str) -> io::Result<()> {
        self.send(&format!("STATUS={}", one_line(text)))
    }

    /// How often [`Manager::alive`] is expected: half of the time after which the manager would
    /// end the process. `None` when there is no watchdog for this process.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The process is alive.
    ///
    /// # Errors
    /// When the message can not be sent.
    pub fn alive(&self) -> io::Result<()> {
        self.send("WATCHDOG=1")
    }

    /// Says that the process is alive, as often as expected, for as long as it is polled. It has
    /// to run where a hang of the process would stop it too. Cancel-safe.
    pub async fn keep_alive(&self) {
        let Some(every) = self.watchdog else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if let Err(error) = self.alive() {
                tracing::warn!(%error, "the service manager was not told that the process is alive");
            }
        }
    }

    fn send(&self, message: &str) -> io::Result<()> {
        match &self.socket {
            Some(socket) => socket.send(message.as_bytes()).map(drop),
            None => Ok(()),
        }
    }
}

/// A path, or a name in the abstract namespace behind "@".
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("NOTIFY_SOCKET={} is neither a path nor an abstract name", name.display()),
        )),
    }
}

/// Half of WATCHDOG_USEC, if it is meant for this process.
fn watchdog(variable: &impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name: &str| variable(name)?.to_str()?.parse::<u64>().ok();
    let is_ours = variable("WATCHDOG_PID").is_none()
        || number("WATCHDOG_PID").is_some_and(|pid| pid == u64::from(std::process::id()));
    let micros = number("WATCHDOG_USEC").filter(|micros| *micros > 1 && is_ours)?;
    Some(Duration::from_micros(micros / 2))
}

/// The text as one line: a line end would begin another variable of the message.
fn one_line(text: &str) -> String {
    let line: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=MAX_STATUS.min(line.len())).rev().find(|at| line.is_char_boundary(*at));
    line.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager that this process talks to, and where its messages arrive.
    fn manager(variables: &[(&str, &str)]) -> (Manager, UnixDatagram, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let inbox = UnixDatagram::bind(&path).unwrap();
        inbox.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let lookup = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
            _ => variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()),
        };
        (Manager::new(lookup).unwrap(), inbox, directory)
    }

    fn received(inbox: &UnixDatagram) -> String {
        let mut buffer = [0; 4096];
        let length = inbox.recv(&mut buffer).expect("a message arrives");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn each_state_is_one_datagram() {
        let (manager, inbox, _directory) = manager(&[]);
        manager.ready("serving 2 listeners").unwrap();
        assert_eq!(received(&inbox), "READY=1\nSTATUS=serving 2 listeners");
        manager.status("generation 2").unwrap();
        assert_eq!(received(&inbox), "STATUS=generation 2");
        manager.alive().unwrap();
        assert_eq!(received(&inbox), "WATCHDOG=1");
        manager.stopping().unwrap();
        assert_eq!(received(&inbox), "STOPPING=1\nSTATUS=draining");
    }

    #[test]
    fn a_reload_carries_the_time_of_the_monotonic_clock() {
        let (manager, inbox, _directory) = manager(&[]);
        let seconds = || clock_gettime(ClockId::Monotonic).tv_sec;
        let before = seconds();
        manager.reloading().unwrap();
        let message = received(&inbox);
        let micros: i64 = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!((before..=seconds()).contains(&(micros / 1_000_000)), "{message}");
    }

    #[test]
    fn a_status_can_not_bring_variables_of_its_own() {
        let (manager, inbox, _directory) = manager(&[]);
        manager.status("refused:\nMAINPID=1\r\nREADY=1\n").unwrap();
        assert_eq!(received(&inbox), "STATUS=refused: MAINPID=1  READY=1");
    }

    #[test]
    fn a_long_status_is_cut_between_characters() {
        let line = one_line(&"ä".repeat(MAX_STATUS));
        assert_eq!(line.len(), MAX_STATUS);
        assert_eq!(one_line(&format!("a{}", "ä".repeat(MAX_STATUS))).len(), MAX_STATUS - 1);
    }

    #[test]
    fn a_name_behind_an_at_sign_is_abstract() {
        let name = format!("tidegate-test-{}", std::process::id());
        let inbox =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name.as_bytes()).unwrap()).unwrap();
        inbox.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let lookup = |variable: &str| (variable == "NOTIFY_SOCKET").then(|| format!("@{name}").into());
        Manager::new(lookup).unwrap().alive().unwrap();
        assert_eq!(received(&inbox), "WATCHDOG=1");
    }

    #[test]
    fn without_a_socket_nothing_happens() {
        let manager = Manager::new(|name| (name == "WATCHDOG_USEC").then(|| "1000000".into())).unwrap();
        assert!(!manager.is_present());
        assert_eq!(manager.watchdog(), None);
        manager.ready("unheard").unwrap();
    }

    #[test]
    fn a_socket_that_is_not_there_is_an_error() {
        let missing = |name: &str| (name == "NOTIFY_SOCKET").then(|| "/nonexistent/notify".into());
        assert_eq!(Manager::new(missing).unwrap_err().kind(), io::ErrorKind::NotFound);
        let unknown = |name: &str| (name == "NOTIFY_SOCKET").then(|| "vsock:2:1".into());
        assert_eq!(Manager::new(unknown).unwrap_err().kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_fed() {
        let own = std::process::id().to_string();
        let half = Some(Duration::from_millis(500));
        for (variables, expected) in [
            (vec![("WATCHDOG_USEC", "1000000")], half),
            (vec![("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", &own)], half),
            (vec![("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "1")], None),
            (vec![("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "me")], None),
            (vec![("WATCHDOG_USEC", "0")], None),
            (vec![("WATCHDOG_USEC", "soon")], None),
            (vec![], None),
        ] {
            let (manager, _inbox, _directory) = manager(&variables);
            assert_eq!(manager.watchdog(), expected, "{variables:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_at_half_of_its_time() {
        let (manager, inbox, _directory) = manager(&[("WATCHDOG_USEC", "1000000")]);
        let fed = tokio::time::timeout(Duration::from_millis(1100), manager.keep_alive()).await;
        assert!(fed.is_err());
        inbox.set_nonblocking(true).unwrap();
        let mut buffer = [0; 64];
        let count = std::iter::from_fn(|| inbox.recv(&mut buffer).ok()).count();
        assert_eq!(count, 3, "at 0, 500 and 1000 ms");
    }
}
