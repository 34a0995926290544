//! One address and everything that is counted about it.
//!
//! An [`Endpoint`] outlives every set, membership and snapshot that mentions it: a rebuild or a
//! reload shares the same `Arc`, so counters, health and what was learned stay. It decides nothing;
//! `health` writes its [`Standing`], `balance` reads its load.

mod address;
mod history;
mod idle;
mod location;
mod moment;
mod standing;

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

pub use address::{Address, NotAnAddress};
pub use history::{CheckHistory, CheckRecord};
pub use idle::IdleTimeout;
pub use location::Location;
pub use moment::Moment;
pub use standing::{CheckState, EjectionCause, Standing, WindowStart};

/// One address and its counters; shared as `Arc<Endpoint>`, compared by pointer.
///
/// Of many endpoints most are in no cache when their turn comes, so the fields lie in this order: what a
/// request needs in the first cache line, what shows whether it is fit in the second. No two endpoints
/// share a line, nor a pair of lines, because processors fetch lines in pairs; nor does an endpoint
/// share one with the count of its `Arc`.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Endpoint {
    traffic: Traffic,
    /// How long the endpoint keeps an idle connection, as far as it has shown.
    pub idle_timeout: IdleTimeout,
    name: Box<str>,
    authority: Box<str>,
    /// Health by check and by traffic; written by `health`.
    pub standing: Standing,
    address: Address,
    /// The last active checks.
    pub checks: CheckHistory,
}

/// The counters that change with every request.
#[derive(Debug, Default)]
struct Traffic {
    in_flight: AtomicU32,
    suspicion: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
}

/// Set while an endpoint is ejected or has just come back and not yet answered.
const PROBATION: u32 = 1 << 31;

impl Endpoint {
    /// An endpoint that was written as an address.
    pub fn new(address: Address) -> Endpoint {
        let name = address.to_string();
        let authority = match &address {
            Address::Ip(_) => name.clone(),
            Address::Unix(_) => "localhost".to_owned(),
        };
        Endpoint::with(address, authority, name)
    }

    /// One of the addresses that `host` stands for.
    pub fn resolved(host: &str, address: SocketAddr) -> Endpoint {
        let authority = format!("{host}:{}", address.port());
        Endpoint::with(address.into(), authority, format!("{address} ({host})"))
    }

    fn with(address: Address, authority: String, name: String) -> Endpoint {
        Endpoint {
            traffic: Traffic::default(),
            idle_timeout: IdleTimeout::default(),
            name: name.into(),
            authority: authority.into(),
            standing: Standing::default(),
            address,
            checks: CheckHistory::default(),
        }
    }

    /// What makes two endpoints the same, so that one may stand for the other with its counters:
    /// the address, under the same name.
    pub fn identity(&self) -> (&Address, &str) {
        (&self.address, &self.authority)
    }

    /// Where to connect.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Host and port as written in the configuration: what a `Host` field says that names the
    /// endpoint. `localhost` for a UNIX socket.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host of [`Endpoint::authority`], without brackets: what a certificate must be for.
    pub fn host(&self) -> &str {
        let host = self.authority.rsplit_once(':').map_or(&*self.authority, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The name in logs, metrics and status: the address, and the host name that led to it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Attempts that are running now, over all workers.
    pub fn in_flight(&self) -> u32 {
        self.traffic.in_flight.load(Relaxed)
    }

    /// Attempts begun so far.
    pub fn requests(&self) -> u64 {
        self.traffic.requests.load(Relaxed)
    }

    /// Attempts that failed by the endpoint's fault so far.
    pub fn failures(&self) -> u64 {
        self.traffic.failures.load(Relaxed)
    }

    /// Failures since the last success.
    pub fn consecutive_failures(&self) -> u32 {
        self.traffic.suspicion.load(Relaxed) & !PROBATION
    }

    /// Whether the last thing known is bad: failures without a success after them, or probation.
    /// A single relaxed load, which is all that a success of a sound endpoint costs.
    pub fn is_suspected(&self) -> bool {
        self.traffic.suspicion.load(Relaxed) != 0
    }

    /// Whether the next failure ejects at once.
    pub fn on_probation(&self) -> bool {
        self.traffic.suspicion.load(Relaxed) & PROBATION != 0
    }

    /// Counts a failure and returns how many there are in a row.
    pub fn count_failure(&self) -> u32 {
        self.traffic.failures.fetch_add(1, Relaxed);
        // 2^31 failures in a row would touch the probation bit; an endpoint in that state is ejected.
        (self.traffic.suspicion.fetch_add(1, Relaxed) & !PROBATION) + 1
    }

    /// Forgets failures and probation.
    pub fn clear_suspicion(&self) {
        self.traffic.suspicion.store(0, Relaxed);
    }

    /// Forgets failures and lets the next one eject at once.
    pub fn begin_probation(&self) {
        self.traffic.suspicion.store(PROBATION, Relaxed);
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// An attempt that is counted at its endpoint until this guard is dropped. It borrows the endpoint
/// where it can: the count of an `Arc` is one more cache line, which all workers write.
#[derive(Debug)]
pub struct InFlight<E: Deref<Target = Endpoint> = Arc<Endpoint>>(E);

impl<E: Deref<Target = Endpoint>> InFlight<E> {
    /// Counts an attempt as begun.
    pub fn begin(endpoint: E) -> InFlight<E> {
        endpoint.traffic.in_flight.fetch_add(1, Relaxed);
        endpoint.traffic.requests.fetch_add(1, Relaxed);
        InFlight(endpoint)
    }
}

impl<E: Deref<Target = Endpoint>> Drop for InFlight<E> {
    fn drop(&mut self) {
        self.0.traffic.in_flight.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    fn endpoint() -> Arc<Endpoint> {
        Arc::new(Endpoint::new("127.0.0.1:1".parse().unwrap()))
    }

    #[test]
    fn an_attempt_is_in_flight_until_its_guard_is_dropped() {
        let endpoint = endpoint();
        let first = InFlight::begin(&*endpoint);
        let second = InFlight::begin(endpoint.clone());
        assert_eq!((endpoint.in_flight(), endpoint.requests()), (2, 2));
        drop(first);
        assert_eq!((endpoint.in_flight(), endpoint.requests()), (1, 2));
        drop(second);
        assert_eq!(endpoint.in_flight(), 0);
    }

    #[test]
    fn what_a_request_needs_of_an_endpoint_is_one_cache_line() {
        assert!(offset_of!(Endpoint, standing) <= 64, "{} bytes", offset_of!(Endpoint, standing));
        assert_eq!(align_of::<Endpoint>(), 128);
    }

    #[test]
    fn failures_in_a_row_are_counted_through_probation() {
        let endpoint = endpoint();
        assert_eq!(endpoint.count_failure(), 1);
        assert_eq!(endpoint.count_failure(), 2);
        assert!(endpoint.is_suspected() && !endpoint.on_probation());
        endpoint.begin_probation();
        assert_eq!(endpoint.consecutive_failures(), 0);
        assert_eq!(endpoint.count_failure(), 1);
        assert!(endpoint.on_probation());
        endpoint.clear_suspicion();
        assert!(!endpoint.is_suspected());
        assert_eq!(endpoint.failures(), 3);
    }

    #[test]
    fn a_resolved_endpoint_is_called_by_address_and_host_and_addressed_by_host() {
        let endpoint = Endpoint::resolved("api.example", "10.0.0.1:80".parse().unwrap());
        assert_eq!(endpoint.to_string(), "10.0.0.1:80 (api.example)");
        assert_eq!(endpoint.authority(), "api.example:80");
        assert_ne!(endpoint.identity(), Endpoint::new("10.0.0.1:80".parse().unwrap()).identity());
    }

    #[test]
    fn an_endpoint_without_a_host_is_called_and_addressed_by_its_address() {
        assert_eq!(endpoint().to_string(), "127.0.0.1:1");
        assert_eq!(endpoint().authority(), "127.0.0.1:1");
        assert_eq!(Endpoint::new("unix:/run/a.sock".parse().unwrap()).authority(), "localhost");
    }

    #[test]
    fn the_host_of_an_endpoint_has_neither_port_nor_brackets() {
        let host = |endpoint: Endpoint| endpoint.host().to_owned();
        assert_eq!(host(Endpoint::new("10.0.0.1:443".parse().unwrap())), "10.0.0.1");
        assert_eq!(host(Endpoint::new("[fd00::1]:443".parse().unwrap())), "fd00::1");
        assert_eq!(host(Endpoint::new("unix:/run/a.sock".parse().unwrap())), "localhost");
        assert_eq!(host(Endpoint::resolved("api.example", "10.0.0.1:443".parse().unwrap())), "api.example");
    }
}
