//! What one worker owns: nothing here is shared with another thread, so nothing is locked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::journal::Journal;
use super::pool::{Pool, Resort};
use super::replay::Replay;
use crate::balance::PickContext;
use crate::clock::{Stamp, Timers};
use crate::endpoint::Endpoint;
use crate::http::{Exchange, Reason};
use crate::observe::access::Batch;
use crate::observe::metrics::Shard;
use crate::snapshot::{Live, Snapshot};
use crate::units::Generation;
use crate::upstream::{Membership, Upstream};

/// The state of one worker.
#[derive(Debug)]
pub struct Worker {
    live: Arc<Live>,
    view: RefCell<Rc<View>>,
    /// Connection pools by endpoint and TLS settings, kept over reloads.
    pools: RefCell<FxHashMap<(usize, usize), Rc<Pool>>>,
    #[expect(
        clippy::vec_box,
        reason = "a room is lent as it lies; unboxed, each request would copy it twice"
    )]
    rooms: RefCell<Vec<Box<Room>>>,
    random: RefCell<fastrand::Rng>,
    draining: Cell<bool>,
    /// Deadlines.
    pub timers: Timers,
    /// Metrics that only this worker writes.
    pub shard: Arc<Shard>,
    /// Access lines that wait for the writer.
    pub access: RefCell<Batch>,
}

/// A snapshot as this worker sees it.
#[derive(Debug)]
pub struct View {
    /// The compiled configuration.
    pub snapshot: Arc<Snapshot>,
    /// The upstreams of the snapshot, by number.
    pub fleets: Vec<Fleet>,
}

/// The memory of one exchange, used again and again.
#[derive(Debug, Default)]
pub struct Room {
    /// Request and response.
    pub exchange: Exchange,
    /// What of the request body is kept for another attempt.
    pub replay: Replay,
    /// Endpoints that this request has been tried at.
    pub tried: Vec<Arc<Endpoint>>,
    /// One entry for each attempt that failed.
    pub failed: Vec<Failed>,
    /// What will be logged and counted.
    pub journal: Journal,
    /// A text while it is made.
    pub draft: Vec<u8>,
}

/// An attempt that failed.
#[derive(Debug)]
pub struct Failed {
    /// Where.
    pub endpoint: Arc<Endpoint>,
    /// Why.
    pub reason: Reason,
    /// After how long.
    pub took: std::time::Duration,
}

/// How many free rooms a worker keeps.
const KEPT_ROOMS: usize = 256;
/// What a room keeps of its memory: the text of a head and its field lines.
const KEPT_TEXT: usize = 8 * 1024;
const KEPT_FIELDS: usize = 64;

impl Worker {
    /// A worker on the current thread.
    pub fn new(live: Arc<Live>, shard: Arc<Shard>, access: Batch) -> Worker {
        let snapshot = live.load();
        let worker = Worker {
            live,
            view: RefCell::new(Rc::new(View { snapshot: snapshot.clone(), fleets: Vec::new() })),
            pools: RefCell::default(),
            rooms: RefCell::default(),
            random: RefCell::new(fastrand::Rng::new()),
            draining: Cell::new(false),
            timers: Timers::default(),
            shard,
            access: RefCell::new(access),
        };
        worker.adopt(snapshot);
        worker
    }

    /// The generation of the current snapshot.
    pub fn generation(&self) -> Generation {
        self.live.generation()
    }

    /// The current snapshot. A request keeps the one that it began with.
    pub fn view(&self) -> Rc<View> {
        if self.live.generation() != self.view.borrow().snapshot.generation {
            self.adopt(self.live.load());
        }
        self.view.borrow().clone()
    }

    fn adopt(&self, snapshot: Arc<Snapshot>) {
        let fleets = snapshot.upstreams.iter().map(|upstream| Fleet::new(upstream.clone())).collect();
        *self.view.borrow_mut() = Rc::new(View { snapshot, fleets });
    }

    /// Uniform random bits.
    pub fn random(&self) -> u64 {
        self.random.borrow_mut().u64(..)
    }

    /// Sixteen bytes for a UUIDv7: the time in milliseconds, then random bits.
    pub fn identity(&self, at: Stamp) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&self.timers.unix_millis(at).to_be_bytes()[2..]);
        bytes[6..14].copy_from_slice(&self.random().to_be_bytes());
        bytes[14..].copy_from_slice(&self.random().to_be_bytes()[..2]);
        bytes
    }

    /// Memory for an exchange.
    pub fn room(&self) -> Box<Room> {
        self.rooms.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes the memory back.
    pub fn give_back(&self, mut room: Box<Room>) {
        room.exchange.clear();
        room.exchange.request.fields.shrink(KEPT_TEXT, KEPT_FIELDS);
        room.exchange.response.fields.shrink(KEPT_TEXT, KEPT_FIELDS);
        room.replay.clear();
        room.tried.clear();
        room.failed.clear();
        room.journal.pool = None;
        room.draft.clear();
        room.draft.shrink_to(KEPT_TEXT);
        let mut rooms = self.rooms.borrow_mut();
        if rooms.len() < KEPT_ROOMS {
            rooms.push(room);
        }
    }

    /// Whether the process is stopping, so that answers close their connections.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// From now on answers close their connections.
    pub fn drain(&self) {
        self.draining.set(true);
        self.timers.wake_all();
    }

    /// Closes old idle connections and forgets pools that no upstream uses any more.
    pub fn tidy(&self) {
        self.timers.set();
        let now = self.timers.recent().millis();
        let view = self.view();
        for fleet in &view.fleets {
            fleet.refresh(self);
        }
        let mut pools = self.pools.borrow_mut();
        pools.retain(|_, pool| {
            pool.tidy(now);
            Rc::strong_count(pool) > 1
        });
    }

    /// The pool of an endpoint, made when it is first needed.
    fn pool(&self, endpoint: &Arc<Endpoint>, upstream: &Arc<Upstream>) -> Rc<Pool> {
        let connector = upstream.connector();
        // The pool keeps its endpoint and its connector alive, so no others can come to these
        // addresses. Connections that were made under other TLS settings are in another pool.
        let identity =
            (Arc::as_ptr(endpoint).addr(), connector.map_or(0, |connector| Arc::as_ptr(connector).addr()));
        let mut pools = self.pools.borrow_mut();
        let pool =
            pools.entry(identity).or_insert_with(|| Rc::new(Pool::new(endpoint.clone(), upstream.clone())));
        pool.follow(upstream);
        pool.clone()
    }
}

/// One upstream as this worker sees it: its members with the pools to them.
#[derive(Debug)]
pub struct Fleet {
    /// The upstream that all workers share.
    pub upstream: Arc<Upstream>,
    members: RefCell<Option<Members>>,
}

#[derive(Debug)]
struct Members {
    membership: Arc<Membership>,
    pools: Box<[Rc<Pool>]>,
}

impl Fleet {
    fn new(upstream: Arc<Upstream>) -> Fleet {
        Fleet { upstream, members: RefCell::new(None) }
    }

    /// The pool of the endpoint that takes the request; `None` when no endpoint may.
    pub fn pick(&self, worker: &Worker, tried: &[Arc<Endpoint>]) -> Option<Rc<Pool>> {
        self.refresh(worker);
        let members = self.members.borrow();
        let members = members.as_ref()?;
        let index = members.membership.pick(&PickContext { random: worker.random() }, tried)?;
        members.pools.get(index).cloned()
    }

    /// Whether there is an endpoint that the request has not been tried at.
    pub fn has_other(&self, tried: &[Arc<Endpoint>]) -> bool {
        let members = self.members.borrow();
        members.as_ref().is_some_and(|members| members.membership.set.len() > tried.len() + 1)
    }

    /// The same for the patience with the endpoint that was picked.
    pub fn resort(&self, tried: &[Arc<Endpoint>]) -> Resort {
        if self.has_other(tried) { Resort::More } else { Resort::Last }
    }

    /// Follows the membership when it has changed: one relaxed load when it has not.
    fn refresh(&self, worker: &Worker) {
        let version = self.upstream.version();
        if self.members.borrow().as_ref().is_some_and(|members| members.membership.version == version) {
            return;
        }
        let membership = self.upstream.membership();
        let pools =
            membership.set.iter().map(|member| worker.pool(&member.endpoint, &self.upstream)).collect();
        *self.members.borrow_mut() = Some(Members { membership, pools });
    }
}
