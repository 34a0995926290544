//! Endpoints that fail, and clients that must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::harness::{ALL, Origin, Proxy, ok, pass, upstream};

/// One worker and no waiting for passive checks, so that every endpoint is asked again and again.
fn plain(origins: &[&Origin]) -> Proxy {
    Proxy::start(&format!(
        "{ALL}{}balance = \"round_robin\"\n[upstream.origin.outlier]\nconsecutive_failures = 0\nerror_ratio = 0\n\
         [upstream.origin.budget]\nmin_per_second = 1000\n[server]\nworkers = 1\n",
        upstream(origins),
    ))
}

#[test]
fn a_refused_connection_is_tried_elsewhere_for_get_and_for_post() {
    let (mut dead, alive) = (Origin::named("dead"), Origin::named("alive"));
    dead.stop();
    let proxy = plain(&[&dead, &alive]);
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "alive");
        assert_eq!(proxy.post("/", "body").text(), "alive");
    }
    assert!(
        alive
            .requests()
            .iter()
            .filter(|request| request.method() == "POST")
            .all(|request| request.body() == b"body")
    );
}

#[test]
fn without_any_endpoint_the_answer_says_why() {
    let (mut first, mut second) = (Origin::named("first"), Origin::named("second"));
    first.stop();
    second.stop();
    let answer = plain(&[&first, &second]).get("/");
    assert_eq!((answer.status, answer.reason()), (502, "connect_refused"));
    assert!(
        answer.field("proxy-status").unwrap_or_default().contains("connection_refused"),
        "{}",
        answer.head
    );
}

#[test]
fn a_route_that_does_not_retry_tells_the_first_failure() {
    let (mut dead, alive) = (Origin::named("dead"), Origin::named("alive"));
    dead.stop();
    let proxy = Proxy::start(&format!(
        "{ALL}retry = \"off\"\n{}balance = \"round_robin\"\n[server]\nworkers = 1\n",
        upstream(&[&dead, &alive]),
    ));
    let mut statuses: Vec<_> = (0..4).map(|_| proxy.get("/").status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
}

/// Reads each request whole and closes without an answer.
fn resetting() -> Origin {
    Origin::scripted(|conversation| conversation.request().map(drop))
}

#[test]
fn a_reset_before_the_answer_is_tried_elsewhere_for_get_but_not_for_post() {
    let (broken, alive) = (resetting(), Origin::named("alive"));
    let proxy = plain(&[&broken, &alive]);
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "alive");
    }
    let answers: Vec<_> = (0..4).map(|_| proxy.post("/", "x")).collect();
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 502).collect();
    let broken_posts = broken.requests().iter().filter(|request| request.method() == "POST").count();
    assert!(broken_posts > 0, "no POST met the broken endpoint");
    assert_eq!(refused.len(), broken_posts, "a POST that may have been executed was sent again");
    assert!(refused.iter().all(|answer| answer.reason() == "upstream_reset_before_headers"));
}

#[test]
fn a_listed_status_is_tried_elsewhere_and_the_last_one_is_passed_on() {
    let ill = || Origin::saying(b"HTTP/1.1 503 Ill\r\nContent-Length: 3\r\n\r\nill");
    let (first, second, alive) = (ill(), ill(), Origin::named("alive"));
    let settings = "balance = \"round_robin\"\n[upstream.origin.outlier]\nconsecutive_failures = 0\nerror_ratio = 0\n[upstream.origin.budget]\nmin_per_second = 1000\n";
    let on = "[route.retry]\non = [\"503\"]\n";
    let proxy = Proxy::start(&format!("{ALL}{on}{}{settings}", upstream(&[&first, &alive])));
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "alive");
    }
    let proxy = Proxy::start(&format!("{ALL}{on}{}{settings}", upstream(&[&first, &second])));
    let answer = proxy.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (503, "ill"));
}

/// Answers one request per connection, promises to keep it, and closes it a moment later.
fn closing_when_idle(after: Duration) -> Origin {
    Origin::scripted(move |conversation| {
        conversation.request()?;
        conversation.send(ok("ok"))?;
        pass(after);
        Ok(())
    })
}

#[test]
fn a_connection_that_was_closed_while_idle_costs_no_client_an_error() {
    let origin = closing_when_idle(Duration::from_millis(20));
    let proxy = plain(&[&origin]);
    for _ in 0..10 {
        assert_eq!(proxy.get("/").status, 200);
        pass(Duration::from_millis(60));
        assert_eq!(proxy.post("/", "x").status, 200);
        pass(Duration::from_millis(60));
    }
}

#[test]
fn a_request_that_met_a_closing_connection_is_repeated_only_if_it_may_be() {
    // The second request of a connection is read and never answered: a close on the way.
    let origin = Origin::scripted(|conversation| {
        conversation.request()?;
        conversation.send(ok("ok"))?;
        conversation.request().map(drop)
    });
    let proxy = plain(&[&origin]);
    assert_eq!(proxy.get("/warm").status, 200);
    assert_eq!(proxy.get("/get").status, 200, "a GET is sent again on a new connection");
    let gets = origin.requests().iter().filter(|request| request.target() == "/get").count();
    assert_eq!(gets, 2);

    let answer = proxy.post("/post", "x");
    let posts = origin.requests().iter().filter(|request| request.target() == "/post").count();
    assert_eq!(posts, 1, "a POST that the endpoint has read was sent twice");
    assert!(answer.status == 502 || answer.status == 200, "{}", answer.status);
}

#[test]
fn an_endpoint_that_dies_under_load_costs_no_client_an_error() {
    let (mut first, second, third) = (Origin::named("1"), Origin::named("2"), Origin::named("3"));
    let proxy = Proxy::start(&format!(
        "{ALL}{}[upstream.origin.budget]\nmin_per_second = 1000\n",
        upstream(&[&first, &second, &third])
    ));
    let ends = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (ends, mut client) = (ends.clone(), proxy.client());
            std::thread::spawn(move || {
                let mut failed = Vec::new();
                let mut count = 0;
                while !ends.load(Ordering::Relaxed) && count < 5000 {
                    let answer = client.get("/");
                    if answer.status != 200 {
                        failed.push(format!("{} {}", answer.status, answer.reason()));
                    }
                    count += 1;
                    pass(Duration::from_millis(1));
                }
                (count, failed)
            })
        })
        .collect();
    for _ in 0..3 {
        pass(Duration::from_millis(200));
        first.stop();
        pass(Duration::from_millis(200));
        first.start();
    }
    ends.store(true, Ordering::Relaxed);
    let (counts, failed): (Vec<_>, Vec<_>) =
        load.into_iter().map(|one| one.join().expect("no panic")).unzip();
    assert_eq!(failed.concat(), Vec::<String>::new());
    assert!(counts.iter().sum::<u32>() > 200, "there was hardly any load: {counts:?}");
}

#[test]
fn retries_do_not_exceed_their_budget() {
    let ill = || Origin::saying(b"HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n");
    let (first, second) = (ill(), ill());
    let proxy = Proxy::start(&format!(
        "{ALL}[route.retry]\non = [\"503\"]\nattempts = 5\n{}[upstream.origin.outlier]\nconsecutive_failures = 0\nerror_ratio = 0\n\
         [upstream.origin.budget]\nretry = \"20%\"\nmin_per_second = 0\n",
        upstream(&[&first, &second])
    ));
    let mut client = proxy.client();
    (0..200).for_each(|_| assert_eq!(client.get("/").status, 503));
    let attempts = first.requests().len() + second.requests().len();
    assert!((200..=250).contains(&attempts), "{attempts} attempts for 200 requests");
}
