//! Which servers are asked, and under which full names: what `/etc/resolv.conf` and `/etc/hosts` say,
//! or one server of our own choice.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::rr::Name;
use serde::{Deserialize, Deserializer};
use tokio::net::lookup_host;

use super::LookupError;
use crate::units::{self, UnitError};

/// Longest time that one server has for one answer; `options timeout` may shorten it.
const LONGEST_TRY: Duration = Duration::from_secs(2);
/// Most servers and search domains, as in the C library.
const MOST_SERVERS: usize = 3;
const MOST_DOMAINS: usize = 32;
/// Largest `ndots`, as in the C library.
const MOST_DOTS: usize = 15;

/// Who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Server {
    /// The servers of `/etc/resolv.conf`, after `/etc/hosts`.
    #[default]
    System,
    /// The one at this address.
    Ip(SocketAddr),
    /// The one at this host, which the system looks up.
    Name(String, u16),
}

impl FromStr for Server {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Server, UnitError> {
        if text.is_empty() {
            return Ok(Server::System);
        }
        let wrong = || {
            UnitError::new(format!("`{text}` is no resolver; write \"10.0.0.2:53\" or \"dns.internal:53\""))
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(wrong()) } else { Ok(Server::Ip(address)) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
        match is_host(host) {
            true => Ok(Server::Name(host.to_ascii_lowercase(), port)),
            false => Err(wrong()),
        }
    }
}

fn is_host(host: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !host.is_empty() && host.bytes().all(is_allowed) && Name::from_ascii(host).is_ok()
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::System => f.write_str("the system's resolver"),
            Server::Ip(address) => address.fmt(f),
            Server::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

impl<'de> Deserialize<'de> for Server {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Server, D::Error> {
        units::text(deserializer, "an address such as \"10.0.0.2:53\", or \"\"")
    }
}

/// A name that can be asked for, with or without the last dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryName(String);

impl QueryName {
    /// As it is written, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueryName {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<QueryName, UnitError> {
        let is_address = text.parse::<IpAddr>().is_ok();
        match is_host(text) && !is_address && text != "." {
            true => Ok(QueryName(text.to_ascii_lowercase())),
            false => Err(UnitError::new(format!(
                "`{text}` is no name in the DNS; write \"users.service.consul\" or \"_http._tcp.users.example\""
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for QueryName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<QueryName, D::Error> {
        units::text(deserializer, "a name such as \"users.service.consul\"")
    }
}

/// Answers questions by asking servers.
#[derive(Clone, Debug)]
pub struct Resolver {
    server: Server,
    resolv_conf: PathBuf,
    hosts: PathBuf,
    /// The place of the server that answered last: a dead one is not tried first every time.
    first: Arc<AtomicUsize>,
}

impl Resolver {
    /// A resolver that asks there. Files are read and addresses looked up for every question, so
    /// that changes of them need nothing.
    pub fn new(server: Server) -> Resolver {
        Resolver::with_files(server, "/etc/resolv.conf", "/etc/hosts")
    }

    /// The same with other files.
    pub(super) fn with_files(
        server: Server,
        resolv_conf: impl Into<PathBuf>,
        hosts: impl Into<PathBuf>,
    ) -> Resolver {
        Resolver { server, resolv_conf: resolv_conf.into(), hosts: hosts.into(), first: Arc::default() }
    }

    /// What holds now.
    pub(super) async fn setup(&self) -> Result<Setup, LookupError> {
        let first = self.first.clone();
        let servers = match &self.server {
            Server::System => {
                // As in the C library, a file that is not there is an empty one.
                let text = tokio::fs::read(&self.resolv_conf).await.unwrap_or_default();
                let hosts = tokio::fs::read(&self.hosts).await.unwrap_or_default();
                let hosts = Some(String::from_utf8_lossy(&hosts).into_owned());
                return Ok(Setup { hosts, first, ..system(&String::from_utf8_lossy(&text)) });
            }
            Server::Ip(address) => vec![*address],
            Server::Name(host, port) => {
                let wrong = |error| LookupError::Resolver(host.clone(), error);
                // The system's own lookup ends by its own deadlines; it is not ours to wait for.
                let looking = tokio::time::timeout(LONGEST_TRY, lookup_host((host.as_str(), *port)));
                let found = looking.await.map_err(|late| wrong(late.into()))?.map_err(wrong)?;
                found.take(MOST_SERVERS).collect()
            }
        };
        Ok(Setup { servers, first, limit: LONGEST_TRY, dots: 0, search: Vec::new(), hosts: None })
    }
}

/// Whom to ask, and how names are made full.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// In the order in which they are asked.
    pub(super) servers: Vec<SocketAddr>,
    /// The place of the one to begin with.
    pub(super) first: Arc<AtomicUsize>,
    /// How long one of them has for an answer.
    pub(super) limit: Duration,
    /// A name with so many dots is first tried as it is.
    dots: usize,
    search: Vec<Name>,
    /// The text of the file of hosts, where it counts.
    hosts: Option<String>,
}

impl Setup {
    /// The full names that `name` may stand for, in the order in which they are asked for.
    pub(super) fn candidates(&self, name: &str) -> Result<Vec<Name>, LookupError> {
        let mut full = Name::from_ascii(name).map_err(|_| LookupError::Name(name.to_owned()))?;
        let is_full = full.is_fqdn();
        full.set_fqdn(true);
        if is_full {
            return Ok(vec![full]);
        }
        let longer = self.search.iter().filter_map(|domain| full.clone().append_domain(domain).ok());
        let mut candidates: Vec<Name> = longer.collect();
        let dots = name.bytes().filter(|byte| *byte == b'.').count();
        let place = if dots >= self.dots { 0 } else { candidates.len() };
        candidates.insert(place, full);
        Ok(candidates)
    }

    /// An answer that comes later than it is waited for.
    pub(super) fn late(&self) -> LookupError {
        let server = self.servers.get(self.first.load(Ordering::Relaxed)).or(self.servers.first());
        LookupError::Timeout(server.copied().unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into()))
    }

    /// The addresses that this machine itself knows for `name`, which nobody is asked for then.
    pub(super) fn local(&self, name: &str) -> Option<Vec<IpAddr>> {
        let name = name.trim_end_matches('.');
        let listed: Vec<IpAddr> =
            self.hosts.as_deref()?.lines().filter_map(|line| listed(line, name)).collect();
        // RFC 6761 §6.3: names under localhost are loopback for every resolver.
        let is_localhost = name == "localhost" || name.ends_with(".localhost");
        match listed.is_empty() {
            true if is_localhost => Some(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]),
            true => None,
            false => Some(listed),
        }
    }
}

/// The address of a line of the file of hosts, if it is one for `name`.
fn listed(line: &str, name: &str) -> Option<IpAddr> {
    let mut words = line.split('#').next()?.split_whitespace();
    let address = words.next()?.parse().ok()?;
    words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
}

/// The setup of a file with other servers.
#[cfg(test)]
pub(super) fn with_servers(text: &str, servers: &[SocketAddr]) -> Setup {
    Setup { servers: servers.to_vec(), ..system(text) }
}

/// What `resolv.conf` says; like the C library, lines that are not understood say nothing.
fn system(text: &str) -> Setup {
    let mut setup = Setup {
        servers: Vec::new(),
        first: Arc::default(),
        limit: LONGEST_TRY,
        dots: 1,
        search: Vec::new(),
        hosts: None,
    };
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                setup.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
            }
            Some("search" | "domain") => {
                let full = |word| {
                    let mut name = Name::from_ascii(word).ok()?;
                    name.set_fqdn(true);
                    Some(name).filter(|name| !name.is_root())
                };
                setup.search = words.filter_map(full).take(MOST_DOMAINS).collect();
            }
            Some("options") => words.for_each(|word| option(&mut setup, word)),
            Some(_) | None => {}
        }
    }
    setup.servers.truncate(MOST_SERVERS);
    if setup.servers.is_empty() {
        setup.servers.push((Ipv4Addr::LOCALHOST, 53).into());
    }
    setup
}

fn option(setup: &mut Setup, word: &str) {
    match word.split_once(':').map(|(name, value)| (name, value.parse::<usize>())) {
        Some(("ndots", Ok(dots))) => setup.dots = dots.min(MOST_DOTS),
        Some(("timeout", Ok(seconds))) => {
            setup.limit = Duration::from_secs(seconds.max(1) as u64).min(LONGEST_TRY);
        }
        Some(_) | None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local\n\
        # a comment\nnameserver 10.96.0.10\noptions ndots:5 timeout:1 edns0\nnonsense\nnameserver nonsense\n";

    fn candidates(setup: &Setup, name: &str) -> Vec<String> {
        setup.candidates(name).unwrap().iter().map(Name::to_ascii).collect()
    }

    #[test]
    fn short_names_are_searched_as_on_kubernetes() {
        let setup = system(CLUSTER);
        assert_eq!(setup.servers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!(setup.limit, Duration::from_secs(1));
        let users =
            ["users.shop.svc.cluster.local.", "users.svc.cluster.local.", "users.cluster.local.", "users."];
        assert_eq!(candidates(&setup, "users"), users);
        assert_eq!(candidates(&setup, "users.shop")[1], "users.shop.svc.cluster.local.");
        assert_eq!(candidates(&setup, "users.shop.svc.cluster.local").last().unwrap(), &users[0]);
        assert_eq!(candidates(&setup, "users.shop.svc.cluster.local."), [users[0]]);
        assert_eq!(candidates(&setup, "_http._tcp.users.shop.svc.cluster.local").len(), 4);
        assert_eq!(
            candidates(&setup, "_http._tcp.users.shop.svc.cluster.local")[0].matches("cluster").count(),
            1
        );
    }

    #[test]
    fn an_empty_file_means_the_server_of_this_machine_and_no_search() {
        let setup = system("");
        assert_eq!(setup.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(candidates(&setup, "users.example"), ["users.example."]);
        assert_eq!(candidates(&setup, "users"), ["users."]);
        assert_eq!(candidates(&system("domain example\n"), "a.b"), ["a.b.", "a.b.example."]);
    }

    #[test]
    fn the_file_of_hosts_comes_first_and_localhost_needs_no_line() {
        let hosts = "10.0.0.1 users.example Users # users.commented\nbad users\nfd00::1\tusers\n";
        let setup = Setup { hosts: Some(hosts.to_owned()), ..system("") };
        assert_eq!(
            setup.local("users").unwrap(),
            ["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]
        );
        assert_eq!(setup.local("users.example.").unwrap().len(), 1);
        assert_eq!(setup.local("users.commented"), None);
        assert_eq!(setup.local("localhost").unwrap().len(), 2);
        assert_eq!(Setup { hosts: None, ..setup }.local("localhost"), None);
    }

    #[test]
    fn a_name_is_no_address_and_no_url() {
        for text in ["users.service.consul", "users", "users.example.", "_http._tcp.users.example"] {
            assert_eq!(text.parse::<QueryName>().unwrap().as_str(), text);
        }
        for text in ["", ".", "10.0.0.1", "a..b", "http://users", "users:80", &"x".repeat(64)] {
            assert!(text.parse::<QueryName>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_resolver_is_an_address_with_a_port_or_the_system() {
        assert_eq!("".parse::<Server>().unwrap(), Server::System);
        assert_eq!("10.0.0.2:53".parse::<Server>().unwrap(), Server::Ip("10.0.0.2:53".parse().unwrap()));
        assert_eq!("[::1]:53".parse::<Server>().unwrap(), Server::Ip("[::1]:53".parse().unwrap()));
        assert_eq!("Dns.internal:53".parse::<Server>().unwrap(), Server::Name("dns.internal".into(), 53));
        for text in ["10.0.0.2", "dns.internal", "10.0.0.2:0", ":53", "udp://10.0.0.2:53", "a b:53", "a:x"] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }
}
