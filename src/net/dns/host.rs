//! The addresses of a host name.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_proto::rr::{RData, Record};

use super::question::{Question, Wanted};
use super::setup::{Resolver, Setup};
use super::{Answer, LookupError};

/// How long what the file of hosts says holds.
const LOCAL: Duration = Duration::from_secs(5);

/// A host name that is asked for again and again.
#[derive(Clone, Debug)]
pub struct Host(Question);

impl Host {
    /// A name as somebody has written it, with or without the last dot.
    pub fn new(name: &str) -> Host {
        Host(Question::new(name, Wanted::Addresses))
    }

    /// Its addresses of both families. A family that can not be asked for has those of before while
    /// the other one answers, and none of a family that this machine has no way to while the other
    /// one has some. Cancel-safe; every wait in it has a deadline.
    ///
    /// # Errors
    /// When nobody answers, or with a failure: what was known before still counts.
    pub async fn ask(&mut self, resolver: &Resolver) -> Result<Answer<IpAddr>, LookupError> {
        self.ask_with(&resolver.setup().await?).await
    }

    pub(super) async fn ask_with(&mut self, setup: &Setup) -> Result<Answer<IpAddr>, LookupError> {
        if let Some(addresses) = setup.local(self.0.name()) {
            return Ok(Answer { records: usable(addresses), ttl: LOCAL, exists: true });
        }
        let (answer, _) = self.0.ask(setup).await?;
        let addresses = answer.records.iter().filter_map(address).collect();
        Ok(Answer { records: usable(addresses), ttl: answer.ttl, exists: answer.exists })
    }
}

/// The address that a record says.
pub(super) fn address(record: &Record) -> Option<IpAddr> {
    match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// Each address once, in order. Of two families only that one which this machine has a way to.
pub(super) fn usable(mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    addresses.sort_unstable();
    addresses.dedup();
    let first = addresses.iter().find(|address| address.is_ipv4());
    let last = addresses.iter().find(|address| address.is_ipv6());
    if let (Some(four), Some(six)) = (first.copied(), last.copied()) {
        match (has_way_to(four), has_way_to(six)) {
            (true, false) => addresses.retain(IpAddr::is_ipv4),
            (false, true) => addresses.retain(IpAddr::is_ipv6),
            (true, true) | (false, false) => {}
        }
    }
    addresses
}

/// Whether the kernel knows a way; it looks that up for a socket without sending anything.
fn has_way_to(address: IpAddr) -> bool {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => ([0; 4], 0).into(),
        IpAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    UdpSocket::bind(any).and_then(|socket| socket.connect((address, 9))).is_ok()
}
