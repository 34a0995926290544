//! Ejection, reload and the background of an upstream.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use toml::Spanned;

use super::*;
use crate::balance::PickContext;
use crate::health::settings::{Check, CheckKind, Outlier};
use crate::health::{Pending, PlainDial, Stream, Target};
use crate::net::proxy_protocol::Greeting;
use crate::tagged::Switch;
use crate::units::{Limit, Timeout};

/// Settings with these endpoints.
pub fn settings(endpoints: &[&str]) -> settings::Upstream {
    let endpoint = |text: &&str| {
        let address = text.parse().unwrap();
        Spanned::new(0..0, settings::Endpoint { address, weight: Default::default(), priority: 0 })
    };
    settings::Upstream {
        endpoints: endpoints.iter().map(endpoint).collect(),
        ..settings::Upstream::default()
    }
}

/// Settings with one name of which a resolver knows without asking that it does not exist: its
/// label is too long (RFC 1035 §2.3.4).
fn unresolvable() -> (settings::Upstream, String) {
    let host = "x".repeat(64);
    let mut settings = settings(&["placeholder.invalid:80"]);
    settings.endpoints[0].get_mut().address = crate::endpoint::Location::Name(host.clone(), 80);
    (settings, host)
}

/// An upstream with these endpoints.
pub fn upstream(endpoints: &[&str]) -> Arc<Upstream> {
    Upstream::build("users", settings(endpoints), None)
}

fn endpoint(upstream: &Upstream, index: usize) -> Arc<Endpoint> {
    upstream.roster().members()[index].endpoint.clone()
}

fn set(upstream: &Upstream) -> Vec<String> {
    upstream.membership().set.iter().map(|member| member.endpoint.to_string()).collect()
}

fn fail(upstream: &Upstream, index: usize, times: u32) {
    let endpoint = endpoint(upstream, index);
    (0..times).for_each(|_| upstream.observe(&endpoint, Outcome::ConnectFailed));
}

/// Waits until something holds, for at most ten minutes of a paused clock.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(600), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

const THREE: [&str; 3] = ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"];

#[test]
fn failures_eject_an_endpoint_from_the_membership_at_once() {
    let upstream = upstream(&THREE);
    let before = upstream.version();
    fail(&upstream, 1, 4);
    assert_eq!(upstream.version(), before);
    fail(&upstream, 1, 1);
    assert_eq!(set(&upstream), ["10.0.0.1:80", "10.0.0.3:80"]);
    assert_eq!(upstream.version(), before + 1);
    assert_eq!(upstream.membership().version, upstream.version());
}

#[test]
fn successes_of_a_sound_endpoint_change_nothing() {
    let upstream = upstream(&THREE);
    let before = upstream.membership();
    let endpoint = endpoint(&upstream, 0);
    (0..100).for_each(|_| upstream.observe(&endpoint, Outcome::Answered(200)));
    assert!(Arc::ptr_eq(&before, &upstream.membership()));
}

#[test]
fn an_abandoned_attempt_says_nothing() {
    let upstream = upstream(&THREE);
    fail(&upstream, 0, 4);
    upstream.observe(&endpoint(&upstream, 0), Outcome::Abandoned);
    assert_eq!(endpoint(&upstream, 0).consecutive_failures(), 4);
}

#[test]
fn no_more_than_the_allowed_share_is_ejected() {
    let upstream = upstream(&THREE);
    (0..3).for_each(|index| fail(&upstream, index, 20));
    assert_eq!(set(&upstream), ["10.0.0.2:80", "10.0.0.3:80"]);
}

#[test]
fn workers_that_fail_together_do_not_eject_more_either() {
    let addresses: Vec<String> = (1..=10).map(|last| format!("10.0.0.{last}:80")).collect();
    let upstream = upstream(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let upstream = &upstream;
            scope.spawn(move || (0..200).for_each(|step| fail(upstream, (step + worker) % 10, 1)));
        }
    });
    assert_eq!(upstream.membership().set.len(), 5);
    assert_eq!(upstream.membership().version, upstream.version());
}

#[test]
fn an_upstream_is_sound_in_panic_or_empty() {
    let mut settings = settings(&THREE);
    settings.health = Switch::On(Check::default());
    let upstream = Upstream::build("users", settings.clone(), None);
    assert_eq!(upstream.membership().condition(), Condition::Sound);
    (0..2).for_each(|index| upstream.set_check(&endpoint(&upstream, index), CheckState::Unhealthy));
    assert_eq!(upstream.membership().condition(), Condition::Panic);
    settings.panic_threshold = Limit::Off;
    let strict = Upstream::build("users", settings, Some(&upstream));
    assert_eq!(strict.membership().condition(), Condition::Sound);
    strict.set_check(&endpoint(&strict, 2), CheckState::Unhealthy);
    assert_eq!(strict.membership().condition(), Condition::Empty);
}

#[test]
fn the_only_endpoint_is_never_ejected() {
    let upstream = upstream(&["10.0.0.1:80"]);
    fail(&upstream, 0, 100);
    assert_eq!(set(&upstream), ["10.0.0.1:80"]);
    assert!(!upstream.membership().panic);
}

#[test]
fn without_outlier_ejection_failures_are_only_counted() {
    let mut settings = settings(&THREE);
    settings.outlier = Switch::Off;
    let upstream = Upstream::build("users", settings, None);
    fail(&upstream, 0, 100);
    assert_eq!(set(&upstream), THREE);
    assert_eq!(endpoint(&upstream, 0).failures(), 100);
    upstream.observe(&endpoint(&upstream, 0), Outcome::Answered(200));
    assert_eq!(endpoint(&upstream, 0).consecutive_failures(), 0);
}

#[test]
fn a_reload_keeps_counters_and_ejections_of_equal_addresses() {
    let old = upstream(&THREE);
    fail(&old, 0, 5);
    let new = Upstream::build("users", settings(&["10.0.0.9:80", "10.0.0.1:80", "10.0.0.2:80"]), Some(&old));
    assert_eq!(set(&new), ["10.0.0.9:80", "10.0.0.2:80"]);
    assert_eq!(endpoint(&new, 1).failures(), 5);
}

#[test]
fn a_reload_without_checks_forgets_their_verdict() {
    let mut checked = settings(&THREE);
    checked.health = Switch::On(Check::default());
    let old = Upstream::build("users", checked, None);
    old.set_check(&endpoint(&old, 0), CheckState::Unhealthy);
    assert_eq!(set(&old).len(), 2);
    assert_eq!(set(&Upstream::build("users", settings(&THREE), Some(&old))).len(), 3);
}

#[test]
fn a_round_robin_goes_on_over_rebuilds_and_reloads() {
    let mut settings = settings(&THREE);
    settings.balance = crate::balance::Settings::RoundRobin;
    let old = Upstream::build("users", settings.clone(), None);
    let next =
        |upstream: &Upstream| upstream.membership().balancer.pick(&PickContext::default(), &[]).unwrap();
    let first = next(&old);
    old.set_check(&endpoint(&old, 0), CheckState::Unhealthy);
    old.set_check(&endpoint(&old, 0), CheckState::Healthy);
    assert_eq!(next(&old), (first + 1) % 3);
    let new = Upstream::build("users", settings, Some(&old));
    assert_eq!(next(&new), (first + 2) % 3);
}

#[test]
fn a_budget_that_is_off_allows_every_retry() {
    let mut settings = settings(&THREE);
    settings.budget = Switch::Off;
    let unlimited = Upstream::build("users", settings, None);
    assert!((0..1_000).all(|_| unlimited.try_retry()));
    let limited = upstream(&THREE);
    assert_eq!((0..1_000).filter(|_| limited.try_retry()).count(), 30);
}

#[test]
fn the_status_says_why_an_endpoint_takes_no_traffic() {
    let mut settings =
        settings(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "api.example:80"]);
    settings.health = Switch::On(Check::default());
    let upstream = Upstream::build("users", settings, None);
    fail(&upstream, 0, 5);
    upstream.set_check(&endpoint(&upstream, 1), CheckState::Unhealthy);
    upstream.set_check(&endpoint(&upstream, 2), CheckState::Healthy);
    let status = upstream.status();
    let states: Vec<_> = status.endpoints.iter().map(|endpoint| endpoint.state).collect();
    assert_eq!(states, [State::Ejected, State::Unhealthy, State::Healthy, State::Unknown]);
    assert_eq!(status.endpoints[0].why.as_deref(), Some("consecutive_failures"));
    assert!((4_000..=5_000).contains(&status.endpoints[0].ejected_for_ms));
    assert_eq!(status.endpoints[2].why, None);
    assert_eq!(status.unresolved, ["api.example:80"]);
    assert!(serde_json::to_string(&status).unwrap().contains(r#""state":"ejected""#));
}

#[tokio::test(start_paused = true)]
async fn an_ejection_ends_by_itself_and_a_failure_then_begins_a_longer_one() {
    // Shorter than the second after which the background looks around anyway.
    let outlier = Outlier { base_ejection: Timeout::from_millis(300), ..Outlier::default() };
    let settings = settings::Upstream { outlier: Switch::On(outlier), ..settings(&THREE) };
    let upstream = Upstream::build("users", settings, None);
    upstream.start(&Handle::current(), Arc::new(PlainDial { greeting: Greeting::Silent }), &Store::default());
    sleep(Duration::from_millis(100)).await;
    fail(&upstream, 0, 5);
    let begun = Instant::now();
    eventually("the first ejection ends", || set(&upstream).len() == 3).await;
    assert!((300..400).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    fail(&upstream, 0, 1);
    assert_eq!(set(&upstream).len(), 2);
    let begun = Instant::now();
    eventually("the second ejection ends", || set(&upstream).len() == 3).await;
    assert!((600..700).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

/// Connects to the endpoints that are up; counts the attempts at each.
#[derive(Debug, Default)]
struct ScriptedDial {
    down: Mutex<Vec<String>>,
    dialled: Mutex<HashMap<String, u32>>,
}

impl ScriptedDial {
    fn set_down(&self, addresses: &[&str]) {
        *self.down.lock().unwrap() = addresses.iter().map(|address| (*address).to_owned()).collect();
    }

    fn dialled(&self, address: &str) -> u32 {
        self.dialled.lock().unwrap().get(address).copied().unwrap_or(0)
    }
}

impl Dial for ScriptedDial {
    fn dial<'a>(&'a self, target: &'a Target) -> Pending<'a, std::io::Result<Box<dyn Stream>>> {
        let address = target.to_string();
        *self.dialled.lock().unwrap().entry(address.clone()).or_default() += 1;
        let up = !self.down.lock().unwrap().contains(&address);
        Box::pin(async move {
            match up {
                true => Ok(Box::new(tokio::io::duplex(64).0) as Box<dyn Stream>),
                false => Err(std::io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }
}

/// A started upstream with TCP checks through a scripted network.
fn checked(mut settings: settings::Upstream) -> (Arc<Upstream>, Arc<ScriptedDial>) {
    settings.health = Switch::On(Check { check: CheckKind::Tcp, ..Check::default() });
    let upstream = Upstream::build("users", settings, None);
    let dial = Arc::new(ScriptedDial::default());
    upstream.start(&Handle::current(), dial.clone(), &Store::default());
    (upstream, dial)
}

#[tokio::test(start_paused = true)]
async fn the_first_check_is_made_at_once() {
    let (upstream, _dial) = checked(settings(&THREE));
    let begun = Instant::now();
    eventually("all are checked", || {
        upstream.status().endpoints.iter().all(|one| one.state == State::Healthy)
    })
    .await;
    assert!(begun.elapsed() < Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_its_checks_leaves_and_comes_back() {
    let (upstream, dial) = checked(settings(&THREE));
    dial.set_down(&THREE[..1]);
    eventually("it leaves", || set(&upstream) == THREE[1..]).await;
    assert_eq!(dial.dialled(THREE[0]), 3);
    let status = upstream.status();
    assert_eq!(status.endpoints[0].state, State::Unhealthy);
    assert!(status.endpoints[0].why.as_ref().is_some_and(|why| why.starts_with("connect: ")), "{status:?}");
    assert_eq!(status.endpoints[0].checks.len(), 3);
    dial.set_down(&[]);
    eventually("it comes back", || set(&upstream) == THREE).await;
}

#[tokio::test(start_paused = true)]
async fn with_most_checks_failing_health_is_ignored() {
    let (upstream, dial) = checked(settings(&THREE));
    dial.set_down(&THREE[..2]);
    eventually("panic", || upstream.membership().panic).await;
    assert_eq!(set(&upstream), THREE);
}

#[tokio::test(start_paused = true)]
async fn checks_end_with_the_upstream() {
    let (upstream, dial) = checked(settings(&THREE));
    eventually("checks run", || dial.dialled(THREE[0]) > 2).await;
    let background = Arc::downgrade(&upstream);
    drop(upstream);
    assert!(background.upgrade().is_none(), "a task keeps the upstream");
    sleep(Duration::from_secs(1)).await;
    let dialled = dial.dialled(THREE[0]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(dial.dialled(THREE[0]), dialled);
}

#[tokio::test(start_paused = true)]
async fn new_addresses_of_a_name_are_checked_and_old_ones_are_not() {
    let (settings, host) = unresolvable();
    let (upstream, dial) = checked(settings);
    upstream.set_addresses(&host, 80, &["10.0.0.1:80".parse().unwrap()]);
    eventually("the first is checked", || dial.dialled("10.0.0.1:80") > 0).await;
    upstream.set_addresses(&host, 80, &["10.0.0.2:80".parse().unwrap()]);
    eventually("the second is checked", || dial.dialled("10.0.0.2:80") > 0).await;
    let dialled = dial.dialled("10.0.0.1:80");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(dial.dialled("10.0.0.1:80"), dialled);
    assert_eq!(set(&upstream), [format!("10.0.0.2:80 ({host})")]);
}

#[tokio::test]
async fn a_name_is_resolved_and_takes_traffic() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let upstream = upstream(&[&format!("localhost:{port}")]);
    assert!(upstream.membership().pick(&PickContext::default(), &[]).is_none());
    upstream.start(&Handle::current(), Arc::new(PlainDial { greeting: Greeting::Silent }), &Store::default());
    timeout(Duration::from_secs(10), upstream.looked_up()).await.unwrap();
    assert!(set(&upstream).contains(&format!("127.0.0.1:{port} (localhost)")), "{:?}", set(&upstream));
}

#[tokio::test]
async fn a_name_that_can_not_be_resolved_leaves_an_empty_set_and_stops_nothing() {
    let (settings, host) = unresolvable();
    let upstream = Upstream::build("users", settings, None);
    upstream.start(&Handle::current(), Arc::new(PlainDial { greeting: Greeting::Silent }), &Store::default());
    timeout(Duration::from_secs(10), upstream.looked_up()).await.unwrap();
    assert!(upstream.membership().pick(&PickContext::default(), &[]).is_none());
    assert_eq!(upstream.status().unresolved, [format!("{host}:80")]);
}

#[tokio::test]
async fn a_drain_does_not_outlive_its_endpoint_over_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (list, pushed) = (directory.path().join("list.json"), directory.path().join("pushed-users.json"));
    std::fs::write(&list, "[\"10.0.0.1:80\"]").unwrap();
    let text = r#"{"added": [], "drained": ["10.0.0.1:80", "10.0.0.9:80"]}"#;
    std::fs::write(&pushed, text).unwrap();
    let file = discovery::file::Settings { path: list };
    let settings =
        settings::Upstream { discover: Switch::On(discovery::Settings::File(file)), ..settings(&[]) };
    let upstream = Upstream::build("users", settings, None);
    let store = Store::new(Some(directory.path().to_owned()));
    upstream.start(&Handle::current(), Arc::new(PlainDial { greeting: Greeting::Silent }), &store);
    let is_forgotten = || {
        let stored = std::fs::read_to_string(&pushed).unwrap();
        stored.contains("10.0.0.1:80") && !stored.contains("10.0.0.9:80")
    };
    let forgotten = eventually("the drain of the one that is gone is forgotten", is_forgotten);
    timeout(Duration::from_secs(10), forgotten).await.expect("it is forgotten");
}
