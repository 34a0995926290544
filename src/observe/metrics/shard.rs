//! What one worker counts.

use std::sync::Arc;
use std::time::Duration;

use super::counter::Counter;
use super::histogram::{Histogram, Totals};
use super::names::{ListenerId, RouteId};
use super::table::Table;
use super::useless::Useless;

type Routes = Table<RouteStats, 32, 512>;
type Listeners = Table<ListenerStats, 16, 64>;

/// Routes by name that a process can ever count apart; later ones share one series.
pub(super) const MAX_ROUTES: usize = Routes::CAPACITY;
/// The same for listeners.
pub(super) const MAX_LISTENERS: usize = Listeners::CAPACITY;

/// The metrics of one worker. Only the thread of that worker may write; any may read.
///
/// To count is a load and a store in memory that no other thread writes: no lock, no hash, no
/// text, and no allocation but for the first request of the first of 32 routes.
#[derive(Debug)]
#[repr(align(128))]
pub struct Shard {
    routes: Routes,
    listeners: Listeners,
    reasons: Box<[Counter]>,
    floods: [Counter; Useless::ALL.len()],
    begun: Counter,
    ended: Counter,
}

/// One route: a cache line of counters, then the histogram.
#[derive(Debug, Default)]
#[repr(align(64))]
struct RouteStats {
    classes: [Counter; 5],
    nanoseconds: Counter,
    sent: Counter,
    received: Counter,
    durations: Histogram,
}

/// One listener: a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct ListenerStats {
    accepted: Counter,
    closed: Counter,
    handshakes: [Counter; Handshake::ALL.len()],
}

/// How a TLS handshake with a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// With a connection.
    Done(TlsVersion, Resumption),
    /// With an alert, or the peer left.
    Failed,
    /// Not in time.
    TimedOut,
}

/// The version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl TlsVersion {
    /// "1.2" or "1.3".
    pub fn name(self) -> &'static str {
        match self {
            TlsVersion::Tls12 => "1.2",
            TlsVersion::Tls13 => "1.3",
        }
    }
}

/// Whether a handshake continued an earlier session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resumption {
    /// It was a full handshake.
    Full,
    /// It continued a session.
    Resumed,
}

impl Handshake {
    /// All of them, in the order of their counters.
    pub(super) const ALL: [Handshake; 6] = [
        Handshake::Done(TlsVersion::Tls12, Resumption::Full),
        Handshake::Done(TlsVersion::Tls12, Resumption::Resumed),
        Handshake::Done(TlsVersion::Tls13, Resumption::Full),
        Handshake::Done(TlsVersion::Tls13, Resumption::Resumed),
        Handshake::Failed,
        Handshake::TimedOut,
    ];

    fn index(self) -> usize {
        match self {
            Handshake::Done(TlsVersion::Tls12, Resumption::Full) => 0,
            Handshake::Done(TlsVersion::Tls12, Resumption::Resumed) => 1,
            Handshake::Done(TlsVersion::Tls13, Resumption::Full) => 2,
            Handshake::Done(TlsVersion::Tls13, Resumption::Resumed) => 3,
            Handshake::Failed => 4,
            Handshake::TimedOut => 5,
        }
    }
}

impl Shard {
    /// A shard that counts so many reasons.
    pub(super) fn new(reasons: usize) -> Shard {
        Shard {
            routes: Table::new(),
            listeners: Table::new(),
            reasons: (0..reasons).map(|_| Counter::default()).collect(),
            floods: Default::default(),
            begun: Counter::default(),
            ended: Counter::default(),
        }
    }

    /// An exchange has begun; it runs until the guard is dropped.
    #[must_use = "the exchange counts as running while this lives"]
    pub fn exchange(&self) -> Running<'_> {
        self.begun.add(1);
        Running(self)
    }

    /// A request has been answered, with the bytes of all of it in both directions. A status that
    /// is none counts as 5xx.
    pub fn request(&self, route: RouteId, status: u16, duration: Duration, sent: u64, received: u64) {
        let Some(stats) = self.routes.entry(route.0) else { return };
        let class = match status / 100 {
            class @ 1..=5 => usize::from(class) - 1,
            _ => 4,
        };
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        stats.classes[class].add(1);
        stats.nanoseconds.add(nanoseconds);
        stats.sent.add(sent);
        stats.received.add(received);
        stats.durations.record(nanoseconds);
    }

    /// The proxy itself has answered, for the reason of that number.
    pub fn reason(&self, index: usize) {
        if let Some(counter) = self.reasons.get(index) {
            counter.add(1);
        }
    }

    /// An HTTP/2 connection of a client was ended for a flood of that kind.
    pub fn flood(&self, kind: Useless) {
        self.floods[kind.index()].add(1);
    }

    /// A connection has been accepted; it is open until the guard is dropped. Drop it on the
    /// worker's own thread.
    #[must_use = "the connection counts as open while this lives"]
    pub fn connection_opened(self: &Arc<Shard>, listener: ListenerId) -> OpenConnection {
        if let Some(stats) = self.listeners.entry(listener.0) {
            stats.accepted.add(1);
        }
        OpenConnection { shard: self.clone(), listener }
    }

    /// A TLS handshake has ended.
    pub fn handshake(&self, listener: ListenerId, handshake: Handshake) {
        if let Some(stats) = self.listeners.entry(listener.0) {
            stats.handshakes[handshake.index()].add(1);
        }
    }

    /// Adds what this shard knows of a route.
    pub(super) fn add_route(&self, route: u32, totals: &mut RouteTotals) {
        let Some(stats) = self.routes.find(route) else { return };
        totals.classes.iter_mut().zip(&stats.classes).for_each(|(total, class)| *total += class.total());
        totals.sent += stats.sent.total();
        totals.received += stats.received.total();
        totals.durations.add(&stats.durations, stats.nanoseconds.total());
    }

    /// Adds what this shard knows of a listener.
    pub(super) fn add_listener(&self, listener: u32, totals: &mut ListenerTotals) {
        let Some(stats) = self.listeners.find(listener) else { return };
        // Closed is read first: an open connection may be missed, but never less than none.
        let closed = stats.closed.total();
        let accepted = stats.accepted.total();
        totals.accepted += accepted;
        totals.open += accepted.saturating_sub(closed);
        let handshakes = totals.handshakes.iter_mut().zip(&stats.handshakes);
        handshakes.for_each(|(total, counter)| *total += counter.total());
    }

    /// Exchanges that are running.
    pub(super) fn running(&self) -> u64 {
        let ended = self.ended.total();
        self.begun.total().saturating_sub(ended)
    }

    /// How often the proxy has answered for the reason of that number.
    pub(super) fn answers(&self, reason: usize) -> u64 {
        self.reasons.get(reason).map_or(0, Counter::total)
    }

    /// How many connections were ended for a flood of that kind.
    pub(super) fn floods(&self, kind: Useless) -> u64 {
        self.floods[kind.index()].total()
    }
}

/// A route, all shards added up.
#[derive(Clone, Debug, Default)]
pub(super) struct RouteTotals {
    pub(super) classes: [u64; 5],
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) durations: Totals,
}

/// A listener, all shards added up.
#[derive(Clone, Debug, Default)]
pub(super) struct ListenerTotals {
    pub(super) accepted: u64,
    pub(super) open: u64,
    pub(super) handshakes: [u64; Handshake::ALL.len()],
}

/// An exchange that is running.
#[derive(Debug)]
pub struct Running<'a>(&'a Shard);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.ended.add(1);
    }
}

/// A connection that is open.
#[derive(Debug)]
pub struct OpenConnection {
    shard: Arc<Shard>,
    listener: ListenerId,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        if let Some(stats) = self.shard.listeners.entry(self.listener.0) {
            stats.closed.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_of_a_route_fill_whole_cache_lines() {
        assert_eq!(size_of::<RouteStats>(), 192);
        assert_eq!(size_of::<ListenerStats>(), 64);
    }

    #[test]
    fn every_handshake_has_a_counter_of_its_own() {
        for (index, handshake) in Handshake::ALL.into_iter().enumerate() {
            assert_eq!(handshake.index(), index);
        }
    }

    #[test]
    fn a_dropped_guard_ends_its_exchange_and_its_connection() {
        let shard = Arc::new(Shard::new(0));
        let mut totals = ListenerTotals::default();
        let (exchange, connection) = (shard.exchange(), shard.connection_opened(ListenerId(2)));
        assert_eq!(shard.running(), 1);
        shard.add_listener(2, &mut totals);
        assert_eq!((totals.accepted, totals.open), (1, 1));
        drop((exchange, connection));
        let mut totals = ListenerTotals::default();
        shard.add_listener(2, &mut totals);
        assert_eq!((shard.running(), totals.accepted, totals.open), (0, 1, 0));
    }

    #[test]
    fn a_status_that_is_none_counts_as_5xx() {
        let shard = Shard::new(0);
        for status in [0, 99, 600, u16::MAX] {
            shard.request(RouteId::NONE, status, Duration::ZERO, 0, 0);
        }
        let mut totals = RouteTotals::default();
        shard.add_route(0, &mut totals);
        assert_eq!(totals.classes, [0, 0, 0, 0, 4]);
    }
}
