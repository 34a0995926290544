//! A host name among the endpoints, looked up by its time to live as long as the upstream has it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Weak;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Upstream;
use crate::discovery::DOUBT;
use crate::net::dns::{self, Answer, Host, LookupError, Resolver, Server};

/// Longest pause while a name does not resolve.
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// Looks one name up, at once and then again and again. A failure keeps the last addresses, and so
/// does the answer that there are none, until it has been repeated for a minute.
pub(super) async fn resolve(upstream: Weak<Upstream>, host: String, port: u16) {
    let (resolver, mut name) = (Resolver::new(Server::System), Host::new(&host));
    let mut course = Course::default();
    loop {
        let answer = name.ask(&resolver).await;
        let step = course.step(&answer, Instant::now(), fastrand::f64());
        {
            let Some(upstream) = upstream.upgrade() else { return };
            match step.news {
                Some(News::Fails(why)) => warn!(upstream = upstream.name(), host, why, "name not resolved"),
                Some(News::Works) => info!(upstream = upstream.name(), host, "name resolved again"),
                None => {}
            }
            if let Some(addresses) = step.addresses {
                let addresses: Vec<_> = addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
                upstream.set_addresses(&host, port, &addresses);
            }
            upstream.lookups.send_if_modified(|tried| tried.insert((host.clone(), port)));
        }
        sleep(step.pause).await;
    }
}

/// How it has gone so far.
#[derive(Debug, Default)]
struct Course {
    /// Lookups without addresses in a row.
    failures: u32,
    /// Since when the answer is that there are none.
    absent_since: Option<Instant>,
}

/// What follows from an answer.
#[derive(Debug, PartialEq)]
struct Step {
    /// All addresses from now on; `None` when those of before stay.
    addresses: Option<Vec<IpAddr>>,
    news: Option<News>,
    pause: Duration,
}

/// What the log is told.
#[derive(Debug, PartialEq)]
enum News {
    Fails(String),
    Works,
}

impl Course {
    fn step(&mut self, answer: &Result<Answer<IpAddr>, LookupError>, now: Instant, random: f64) -> Step {
        let (why, addresses) = match answer {
            Ok(answer) if !answer.records.is_empty() => {
                let news = (self.failures > 0).then_some(News::Works);
                *self = Course::default();
                let pause = dns::pause(answer.ttl, dns::SHORTEST, dns::LONGEST, random);
                return Step { addresses: Some(answer.records.clone()), news, pause };
            }
            Ok(answer) => {
                let since = *self.absent_since.get_or_insert(now);
                let why = if answer.exists { "it has no addresses" } else { "it does not exist" };
                (why.to_owned(), (now - since >= DOUBT).then(Vec::new))
            }
            Err(error) => {
                self.absent_since = None;
                (told(error), None)
            }
        };
        let news = (self.failures == 0).then_some(News::Fails(why));
        let full = dns::SHORTEST.saturating_mul(1 << self.failures.min(16)).min(LONGEST_RETRY);
        self.failures += 1;
        Step { addresses, news, pause: full.mul_f64(0.5 + random / 2.0) }
    }
}

/// The error with its cause.
fn told(error: &LookupError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(addresses: &[&str], ttl: u64) -> Result<Answer<IpAddr>, LookupError> {
        let records: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Ok(Answer { exists: !records.is_empty(), records, ttl: Duration::from_secs(ttl) })
    }

    fn silence() -> Result<Answer<IpAddr>, LookupError> {
        Err(LookupError::Timeout("10.0.0.2:53".parse().unwrap()))
    }

    #[test]
    fn a_name_is_looked_up_by_its_time_to_live_within_bounds() {
        let mut course = Course::default();
        let mut pause = |ttl| course.step(&answer(&["10.0.0.1"], ttl), Instant::now(), 0.0).pause.as_secs();
        assert_eq!([pause(0), pause(5), pause(86_400)], [1, 5, 60]);
    }

    #[test]
    fn a_failure_keeps_the_addresses_and_is_told_once() {
        let (mut course, now) = (Course::default(), Instant::now());
        let first = course.step(&silence(), now, 1.0);
        assert_eq!((first.addresses, first.pause.as_secs()), (None, 1));
        assert_eq!(first.news, Some(News::Fails("no answer in time from 10.0.0.2:53".to_owned())));
        let later = course.step(&silence(), now + DOUBT * 10, 1.0);
        assert_eq!(later, Step { addresses: None, news: None, pause: Duration::from_secs(2) });
        (0..5).for_each(|_| assert!(course.step(&silence(), now, 1.0).pause <= LONGEST_RETRY));
        let again = course.step(&answer(&["10.0.0.1"], 5), now, 0.0);
        assert_eq!((again.addresses.unwrap().len(), again.news), (1, Some(News::Works)));
    }

    #[test]
    fn a_name_that_does_not_exist_keeps_its_addresses_for_a_minute() {
        let (mut course, now) = (Course::default(), Instant::now());
        assert_eq!(course.step(&answer(&[], 5), now, 0.0).addresses, None);
        assert_eq!(course.step(&answer(&[], 5), now + DOUBT / 2, 0.0).addresses, None);
        assert_eq!(course.step(&answer(&[], 5), now + DOUBT, 0.0).addresses, Some(Vec::new()));
        course.step(&silence(), now + DOUBT, 0.0);
        assert_eq!(course.step(&answer(&[], 5), now + DOUBT * 2, 0.0).addresses, None, "it begins anew");
    }
}
