//! The targets of a service by its SRV records (RFC 2782), with their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use hickory_proto::rr::rdata::SRV;
use hickory_proto::rr::{Name, RData, Record};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::answer::lives;
use super::host::{Host, address, usable};
use super::question::{Question, Wanted};
use super::setup::{Resolver, Setup};
use super::{Answer, LONGEST, LookupError};

/// For how long a host keeps its addresses while the answer is that it has none.
const ABSENCE: Duration = Duration::from_secs(60);
/// Hosts that are asked for at the same time.
const AT_ONCE: usize = 16;

/// One record of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Lower ones come first.
    pub priority: u16,
    /// Its host, in lower case and without the last dot.
    pub host: String,
    /// The port there.
    pub port: u16,
    /// Its share among those of the same priority; 0 = hardly any.
    pub weight: u16,
    /// The addresses of the host; none when they are not known.
    pub addresses: Vec<IpAddr>,
}

/// A service that is asked for again and again.
#[derive(Debug)]
pub struct Service {
    question: Question,
    hosts: BTreeMap<Name, Known>,
}

/// A host, and its addresses as they were told last.
#[derive(Clone, Debug)]
struct Known {
    host: Host,
    addresses: Vec<IpAddr>,
    /// Until when they hold.
    until: Option<Instant>,
    /// Since when the answer is that there are none.
    absent_since: Option<Instant>,
}

/// The addresses of hosts, and how long they hold.
type Addresses = BTreeMap<Name, (Vec<IpAddr>, Duration)>;

impl Service {
    /// The name that has the records, such as `_http._tcp.users.example`.
    pub fn new(name: &str) -> Service {
        Service { question: Question::new(name, Wanted::Services), hosts: BTreeMap::new() }
    }

    /// Its targets in the order of their priority and name; none when there is no such service, or
    /// it says so with the target ".". Addresses that came along with the answer are used; for the
    /// rest their hosts are asked for when their time to live is over, and one that can not be asked
    /// for has those of before. Cancel-safe; every wait in it has a deadline.
    ///
    /// # Errors
    /// When the service, or every one of its hosts, can not be asked for.
    pub async fn ask(&mut self, resolver: &Resolver) -> Result<Answer<Target>, LookupError> {
        let setup = resolver.setup().await?;
        let (answer, more) = self.question.ask(&setup).await?;
        let services = answer.records.iter().filter_map(|record| match &record.data {
            RData::SRV(service) if !service.target.is_root() => Some(service.clone()),
            _ => None,
        });
        let services: Vec<SRV> = services.collect();
        let wanted: BTreeSet<Name> = services.iter().map(|service| service.target.clone()).collect();
        self.hosts.retain(|name, _| wanted.contains(name));
        let mut found = sent_along(&wanted, &more);
        let now = Instant::now();
        let missing: Vec<Name> = wanted.into_iter().filter(|name| !found.contains_key(name)).collect();
        let (fresh, old) = missing.into_iter().partition(|name| self.is_fresh(name, now));
        found.extend(self.known(fresh, now));
        let (asked, failed) = self.look_up(old, &setup).await;
        found.extend(asked);
        if let (Some(error), true) = (failed, found.is_empty()) {
            return Err(error);
        }
        let ttl = found.values().map(|(_, ttl)| *ttl).fold(answer.ttl, Duration::min);
        self.remember(&found, now);
        let mut records: Vec<Target> = services.iter().map(|service| target(service, &found)).collect();
        records.sort();
        records.dedup();
        Ok(Answer { records, ttl, exists: answer.exists })
    }

    /// Asks for these hosts. The failure is one of a host of which nothing was known before.
    async fn look_up(&mut self, names: Vec<Name>, setup: &Setup) -> (Addresses, Option<LookupError>) {
        let (mut found, mut failed) = (Addresses::new(), None);
        let mut names = names.into_iter();
        let mut tasks = JoinSet::new();
        loop {
            for name in names.by_ref().take(AT_ONCE.saturating_sub(tasks.len())) {
                let known = self.hosts.get(&name).cloned().unwrap_or_else(|| Known::new(&name));
                tasks.spawn(known.ask(name, setup.clone()));
            }
            let Some(ended) = tasks.join_next().await else { break };
            // A task panics with the process, and is not aborted while we wait for it.
            let Ok((name, mut known, answer)) = ended else { continue };
            match known.after(answer, Instant::now()) {
                Ok(addresses) => _ = found.insert(name.clone(), addresses),
                Err(error) => failed = Some(error),
            }
            self.hosts.insert(name, known);
        }
        (found, failed)
    }

    fn is_fresh(&self, name: &Name, now: Instant) -> bool {
        self.hosts.get(name).is_some_and(|known| known.until.is_some_and(|until| until > now))
    }

    /// The addresses of hosts that were told a while ago and still hold.
    fn known(&self, names: Vec<Name>, now: Instant) -> Addresses {
        let known = |name: Name| {
            let known = self.hosts.get(&name)?;
            let rest = known.until?.saturating_duration_since(now);
            Some((name, (known.addresses.clone(), rest)))
        };
        names.into_iter().filter_map(known).collect()
    }

    fn remember(&mut self, found: &Addresses, now: Instant) {
        for (name, (addresses, ttl)) in found {
            let known = self.hosts.entry(name.clone()).or_insert_with(|| Known::new(name));
            known.addresses.clone_from(addresses);
            known.until = now.checked_add((*ttl).min(LONGEST));
        }
    }
}

impl Known {
    fn new(name: &Name) -> Known {
        Known { host: Host::new(&name.to_ascii()), addresses: Vec::new(), until: None, absent_since: None }
    }

    /// The addresses after an answer, and how long they hold. A failure keeps the last ones, and so does
    /// for a while the answer that there are none.
    fn after(
        &mut self,
        answer: Result<Answer<IpAddr>, LookupError>,
        now: Instant,
    ) -> Result<(Vec<IpAddr>, Duration), LookupError> {
        match answer {
            Ok(answer) if answer.records.is_empty() => {
                let since = *self.absent_since.get_or_insert(now);
                let keeps = now - since < ABSENCE;
                Ok((if keeps { self.addresses.clone() } else { Vec::new() }, answer.ttl))
            }
            Ok(answer) => {
                self.absent_since = None;
                Ok((answer.records, answer.ttl))
            }
            Err(error) => {
                self.absent_since = None;
                match self.addresses.is_empty() {
                    true => Err(error),
                    false => Ok((self.addresses.clone(), Duration::ZERO)),
                }
            }
        }
    }

    async fn ask(mut self, name: Name, setup: Setup) -> (Name, Known, Result<Answer<IpAddr>, LookupError>) {
        let answer = self.host.ask_with(&setup).await;
        (name, self, answer)
    }
}

/// The addresses that came along, for those hosts of which they are complete: of each family that
/// came for any host. What did not fit into a message was left out of it.
fn sent_along(wanted: &BTreeSet<Name>, more: &[Record]) -> Addresses {
    let mut found = Addresses::new();
    for record in more.iter().filter(|record| wanted.contains(&record.name)) {
        let Some(address) = address(record) else { continue };
        let (addresses, ttl) = found.entry(record.name.clone()).or_insert((Vec::new(), Duration::MAX));
        addresses.push(address);
        *ttl = (*ttl).min(lives(record));
    }
    let any_four = found.values().any(|(addresses, _)| addresses.iter().any(IpAddr::is_ipv4));
    let any_six = found.values().any(|(addresses, _)| addresses.iter().any(IpAddr::is_ipv6));
    found.retain(|_, (addresses, _)| {
        let is_complete = (!any_four || addresses.iter().any(IpAddr::is_ipv4))
            && (!any_six || addresses.iter().any(IpAddr::is_ipv6));
        *addresses = usable(std::mem::take(addresses));
        is_complete
    });
    found
}

fn target(service: &SRV, found: &Addresses) -> Target {
    let addresses = found.get(&service.target).map(|(addresses, _)| addresses.clone());
    Target {
        priority: service.priority,
        host: service.target.to_lowercase().to_ascii().trim_end_matches('.').to_owned(),
        port: service.port,
        weight: service.weight,
        addresses: addresses.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_does_not_exist_any_more_keeps_its_addresses_for_a_minute() {
        let (mut known, now) = (Known::new(&Name::root()), Instant::now());
        let answer =
            |records: &[IpAddr]| Ok(Answer { records: records.to_vec(), ttl: LONGEST, exists: false });
        let address: IpAddr = [10, 0, 0, 1].into();
        known.addresses = known.after(answer(&[address]), now).unwrap().0;
        assert_eq!(known.addresses, [address]);
        assert_eq!(known.after(answer(&[]), now).unwrap().0, [address]);
        assert_eq!(known.after(answer(&[]), now + ABSENCE / 2).unwrap().0, [address]);
        assert!(known.after(answer(&[]), now + ABSENCE).unwrap().0.is_empty());
        let failure = || Err(LookupError::Timeout(([10, 0, 0, 2], 53).into()));
        assert_eq!(known.after(failure(), now + ABSENCE).unwrap(), (vec![address], Duration::ZERO));
        assert_eq!(known.after(answer(&[]), now + ABSENCE).unwrap().0, [address], "it begins anew");
        assert!(Known::new(&Name::root()).after(failure(), now).is_err());
    }
}
