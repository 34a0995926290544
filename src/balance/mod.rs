//! Which endpoint of a set takes a request: one trait, one file per strategy.
//!
//! A strategy is built for one immutable set and replaced with it. It is pure: the seed is an
//! argument and the only thing it reads besides is the load of the endpoints, so that tests and
//! benches run it as it is.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::endpoint::Endpoint;
use crate::units::Weight;

mod alias;
mod first;
mod least_request;
mod p2c;
mod random;
mod round_robin;
mod schedule;
pub mod settings;

pub use settings::Settings;

/// The role of an endpoint in one upstream.
#[derive(Clone, Debug)]
pub struct Member {
    /// The address and its counters.
    pub endpoint: Arc<Endpoint>,
    /// Its share of the requests; 0 takes none.
    pub weight: Weight,
    /// Endpoints of a lower number come first.
    pub priority: u32,
}

impl Member {
    /// The weight in sums and products, which do not overflow in 64 bits for any real set.
    fn weight(&self) -> u64 {
        u64::from(self.weight.0)
    }

    /// Whether it may take a request that has been tried at `tried`.
    fn is_open(&self, tried: &[Arc<Endpoint>]) -> bool {
        self.weight() > 0 && !tried.iter().any(|endpoint| Arc::ptr_eq(endpoint, &self.endpoint))
    }
}

/// What a strategy may know about the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickContext {
    /// Uniform random bits, fresh for every pick.
    pub random: u64,
}

/// Chooses among the members of the set that it was built for.
pub trait Balancer: Debug + Send + Sync {
    /// The index of the member that takes the request: never one of `tried`, never one of weight 0.
    /// `None` when no other is left.
    fn pick(&self, request: &PickContext, tried: &[Arc<Endpoint>]) -> Option<usize>;
}

/// The position that all workers share in a rotation. It belongs to the upstream and outlives the
/// balancers, so that a new set is entered anywhere and not by everybody at its first member.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Cursor(AtomicU64);

impl Cursor {
    /// A rotation that begins at `start`; random, so that many processes do not begin alike.
    pub fn starting_at(start: u64) -> Cursor {
        Cursor(AtomicU64::new(start))
    }

    /// This turn; the next caller has the next one.
    fn advance(&self) -> u64 {
        self.0.fetch_add(1, Relaxed)
    }
}

/// The balancer of a set.
pub fn build(settings: &Settings, members: Arc<[Member]>, cursor: &Arc<Cursor>) -> Box<dyn Balancer> {
    match settings {
        Settings::RoundRobin => Box::new(round_robin::RoundRobin::new(members, cursor.clone())),
        Settings::Random => Box::new(random::Random::new(members)),
        Settings::LeastRequest => Box::new(least_request::LeastRequest::new(members)),
        Settings::P2c => Box::new(p2c::PowerOfTwoChoices::new(members)),
        Settings::First => Box::new(first::First::new(members)),
    }
}

/// One of the open members by weight, exactly; reads all of them, so it is for retries.
pub fn draw_open(members: &[Member], random: u64, tried: &[Arc<Endpoint>]) -> Option<usize> {
    let open = || members.iter().enumerate().filter(|(_, member)| member.is_open(tried));
    let total: u64 = open().map(|(_, member)| member.weight()).sum();
    let mut remaining = scale(random, total);
    open()
        .find(|(_, member)| match remaining.checked_sub(member.weight()) {
            Some(rest) => {
                remaining = rest;
                false
            }
            None => true,
        })
        .map(|(index, _)| index)
}

/// Maps uniform bits to `0..limit` with an error below `limit / 2^64`.
fn scale(random: u64, limit: u64) -> u64 {
    ((u128::from(random) * u128::from(limit)) >> 64) as u64
}

/// Further uniform bits from a seed (the finaliser of SplitMix64).
fn remix(seed: u64) -> u64 {
    let mut bits = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Whether the load of one member is below another's: in flight per weight, without division.
fn is_less_loaded(one: &Member, other: &Member) -> bool {
    let load = |member: &Member| u64::from(member.endpoint.in_flight());
    load(one) * other.weight() < load(other) * one.weight()
}

#[cfg(test)]
mod tests;
