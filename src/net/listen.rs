//! Listening sockets: where to listen, and one socket per worker for it.
//!
//! Workers do not share an accept queue: each has its own socket of a `SO_REUSEPORT` group and the
//! kernel spreads connections over them. An inherited or UNIX socket is one queue, duplicated for
//! all workers.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::inherit::Inherited;

/// Length of the accept queue of each socket; the kernel cuts it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address to listen on (or, for the admin client, to connect to).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `127.0.0.1:8080`, `[::1]:8080`; port 0 lets the kernel choose.
    Tcp(SocketAddr),
    /// `unix:/path`.
    Unix(PathBuf),
    /// `systemd:NAME`: every socket that the service manager passed under this name.
    Inherited(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Inherited(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// Why a text is not an [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `ip:port` nor one of the prefixes.
    #[error("{0:?} is not an address to listen on; write \"ip:port\", \"unix:/path\" or \"systemd:NAME\"")]
    Form(String),
    /// `:8080` or `localhost:8080`: which interfaces are meant must be said.
    #[error(
        "{0:?} has no IP address; write \"0.0.0.0{1}\" or \"[::]{1}\" for all, \"127.0.0.1{1}\" for this machine only"
    )]
    NoIp(String, String),
    /// `unix:` without an absolute path.
    #[error("\"unix:\" needs an absolute path, as in \"unix:/run/tidegate/web.sock\"")]
    UnixPath,
    /// `systemd:` without a name.
    #[error("\"systemd:\" needs the FileDescriptorName= of a socket unit, as in \"systemd:web\"")]
    InheritedName,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') {
                return Err(AddressError::UnixPath);
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            if name.is_empty() {
                return Err(AddressError::InheritedName);
            }
            return Ok(Self::Inherited(name.to_owned()));
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Tcp(address));
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') && port.parse::<u16>().is_ok() => {
                Err(AddressError::NoIp(text.to_owned(), format!(":{port}")))
            }
            _ => Err(AddressError::Form(text.to_owned())),
        }
    }
}

/// A listening socket, not yet bound to a runtime; always non-blocking.
#[derive(Debug)]
pub enum Listener {
    /// TCP. Accepted sockets inherit `TCP_NODELAY` from it (Linux), which saves a call each.
    Tcp(TcpListener),
    /// UNIX stream socket.
    Unix(UnixListener),
}

impl Listener {
    /// The address it listens on, with the port that the kernel chose.
    pub fn local(&self) -> io::Result<Address> {
        match self {
            Self::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?)),
            Self::Unix(listener) => {
                let address = listener.local_addr()?;
                Ok(Address::Unix(address.as_pathname().unwrap_or(Path::new("")).to_owned()))
            }
        }
    }

    /// Another descriptor of the same socket: both accept from one queue.
    pub fn duplicate(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }

    fn listen(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => SockRef::from(listener).listen(BACKLOG),
            Self::Unix(listener) => SockRef::from(listener).listen(BACKLOG),
        }
    }

    /// Sets what an inherited socket may lack: non-blocking mode and `TCP_NODELAY`.
    pub(super) fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                SockRef::from(listener).set_tcp_nodelay(true)
            }
            Self::Unix(listener) => listener.set_nonblocking(true),
        }
    }
}

/// One bound address with a socket for every worker.
#[derive(Debug)]
pub struct Bound {
    /// Where it really listens (the chosen port when 0 was asked for).
    pub local: Address,
    /// As many as were asked for, at least one; worker `i` accepts from `sockets[i]`.
    pub sockets: Vec<Listener>,
    stage: Stage,
}

/// Whether connections are queued already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Bound,
    Listening,
}

impl Bound {
    /// Begins to listen, unless it does already.
    ///
    /// # Errors
    /// What the system says, which it does not where the address was bound.
    pub fn listen(&self) -> io::Result<()> {
        match self.stage {
            Stage::Bound => self.sockets.iter().try_for_each(Listener::listen),
            Stage::Listening => Ok(()),
        }
    }
}

/// Why an address cannot be listened on; the message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another socket listens there.
    #[error(
        "cannot listen on {address}: another process already does (`ss -ltnp` shows which); stop it or choose another port"
    )]
    InUse {
        /// The refused address.
        address: Address,
    },
    /// A port below 1024 without the right to it.
    #[error(
        "cannot listen on {address}: ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= in the unit, or `setcap cap_net_bind_service=+ep` on the binary) or a systemd socket"
    )]
    Privileged {
        /// The refused address.
        address: Address,
    },
    /// The address is of no interface of this machine.
    #[error(
        "cannot listen on {address}: no interface of this machine has that address (`ip address` lists them)"
    )]
    NotLocal {
        /// The refused address.
        address: Address,
    },
    /// A file is in the way of a UNIX socket and it is not a socket.
    #[error("cannot listen on {address}: a file that is not a socket is already there; it was left alone")]
    NotSocket {
        /// The refused address.
        address: Address,
    },
    /// The service manager passed no socket of that name.
    #[error("cannot listen on systemd:{name}: no socket of that name was passed; {known}")]
    NotInherited {
        /// The name that was asked for.
        name: String,
        /// What was passed instead, as a sentence.
        known: String,
    },
    /// Anything else, with the step that failed.
    #[error("cannot listen on {address}: {step} failed")]
    Io {
        /// The refused address.
        address: Address,
        /// The system call or step.
        step: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Opens `address` with one socket for each of `workers` (at least one).
///
/// The result has one entry, except for an inherited name under which several sockets were passed.
///
/// # Errors
/// The first thing that failed; no socket stays open then.
pub fn bind(address: &Address, workers: usize, inherited: &Inherited) -> Result<Vec<Bound>, BindError> {
    let workers = workers.max(1);
    match address {
        Address::Tcp(at) => Ok(vec![bind_tcp(*at, workers)?]),
        Address::Unix(path) => {
            let listener = Listener::Unix(bind_unix(path)?);
            Ok(vec![share(address, listener, workers)?])
        }
        Address::Inherited(name) => {
            let listeners = inherited.named(name).map_err(|source| failed(address, "dup", source))?;
            if listeners.is_empty() {
                return Err(BindError::NotInherited { name: name.clone(), known: inherited.describe() });
            }
            listeners.into_iter().map(|listener| share(address, listener, workers)).collect()
        }
    }
}

/// A group of `SO_REUSEPORT` sockets that no other process can have joined.
///
/// With `SO_REUSEPORT` alone a second process of the same user would silently take a share of the
/// connections. So the first socket binds *and listens* without it, which the kernel refuses if
/// anybody listens there; only then is the option set and the others join the listening socket.
/// Two processes that start at the same moment are decided by `listen`, so there is no gap.
fn bind_tcp(address: SocketAddr, workers: usize) -> Result<Bound, BindError> {
    let first = open_tcp(address, Sharing::Alone, Stage::Listening)?;
    let at = first.local_addr().map_err(|error| classify(address, "getsockname", error))?;
    SockRef::from(&first)
        .set_reuse_port(true)
        .map_err(|error| classify(at, "setsockopt SO_REUSEPORT", error))?;
    let mut sockets = Vec::with_capacity(workers);
    sockets.push(Listener::Tcp(first));
    for _ in 1..workers {
        sockets.push(Listener::Tcp(open_tcp(at, Sharing::Joins, Stage::Listening)?));
    }
    Ok(Bound { local: Address::Tcp(at), sockets, stage: Stage::Listening })
}

/// Binds an address at which this process itself is in the way and is about to leave. Until
/// [`Bound::listen`] all connections are those of the sockets that are there, so giving up loses none.
///
/// # Errors
/// The first thing that failed; no socket stays open then.
pub fn bind_beside(address: SocketAddr, workers: usize) -> Result<Bound, BindError> {
    let open = |_| open_tcp(address, Sharing::Joins, Stage::Bound).map(Listener::Tcp);
    let sockets = (0..workers.max(1)).map(open).collect::<Result<_, _>>()?;
    Ok(Bound { local: Address::Tcp(address), sockets, stage: Stage::Bound })
}

/// Whether a socket must be the only one on its port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Joins,
}

fn open_tcp(address: SocketAddr, sharing: Sharing, stage: Stage) -> Result<TcpListener, BindError> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))
        .map_err(|error| classify(address, "socket", error))?;
    let option =
        |step: &'static str, result: io::Result<()>| result.map_err(|error| classify(address, step, error));
    // Without it a restart waits for the TIME_WAIT of the old connections.
    option("setsockopt SO_REUSEADDR", socket.set_reuse_address(true))?;
    if sharing == Sharing::Joins {
        option("setsockopt SO_REUSEPORT", socket.set_reuse_port(true))?;
    }
    if address.is_ipv6() {
        // "[::]:80" next to "0.0.0.0:80" is two listeners, whatever the sysctl says.
        option("setsockopt IPV6_V6ONLY", socket.set_only_v6(true))?;
    }
    option("setsockopt TCP_NODELAY", socket.set_tcp_nodelay(true))?;
    option("bind", socket.bind(&address.into()))?;
    if stage == Stage::Listening {
        option("listen", socket.listen(BACKLOG))?;
    }
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> Result<UnixListener, BindError> {
    let address = Address::Unix(path.to_owned());
    remove_stale(path, &address)?;
    let listener = UnixListener::bind(path).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address: address.clone() },
        _ => failed(&address, "bind", source),
    })?;
    listener.set_nonblocking(true).map_err(|source| failed(&address, "fcntl", source))?;
    Ok(listener)
}

/// Removes the socket file of a process that is gone. A socket that answers, or that we may not
/// ask, is in use; a file that is no socket is never touched.
fn remove_stale(path: &Path, address: &Address) -> Result<(), BindError> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotSocket { address: address.clone() });
    }
    match connects(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|source| failed(address, "removing the stale socket", source))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(()) | Err(_) => Err(BindError::InUse { address: address.clone() }),
    }
}

/// Asks without waiting: a process that hangs may have a full queue for ever.
fn connects(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.connect(&SockAddr::unix(path)?)
}

fn share(address: &Address, listener: Listener, workers: usize) -> Result<Bound, BindError> {
    let local = listener.local().map_err(|source| failed(address, "getsockname", source))?;
    let mut sockets = Vec::with_capacity(workers);
    for _ in 1..workers {
        sockets.push(listener.duplicate().map_err(|source| failed(address, "dup", source))?);
    }
    sockets.push(listener);
    Ok(Bound { local, sockets, stage: Stage::Listening })
}

fn classify(at: SocketAddr, step: &'static str, source: io::Error) -> BindError {
    let address = Address::Tcp(at);
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        io::ErrorKind::PermissionDenied if at.port() < 1024 => BindError::Privileged { address },
        io::ErrorKind::AddrNotAvailable => BindError::NotLocal { address },
        _ => BindError::Io { address, step, source },
    }
}

fn failed(address: &Address, step: &'static str, source: io::Error) -> BindError {
    BindError::Io { address: address.clone(), step, source }
}

/// Whether only programs of this machine can reach the address.
pub fn is_local(address: &Address) -> bool {
    match address {
        Address::Tcp(at) => at.ip().is_loopback(),
        Address::Unix(_) => true,
        Address::Inherited(_) => false,
    }
}

#[cfg(test)]
mod tests;
