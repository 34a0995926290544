//! What the metrics count.

use crate::harness::{ALL, Client, Origin, Proxy, upstream, wait_until};

#[test]
fn requests_are_counted_by_route_and_class() {
    let origin = Origin::answering(|request| match request.target() {
        "/bad" => b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => crate::harness::ok("12345"),
    });
    let proxy = Proxy::start(&format!("{ALL}path = [\"/ok\", \"/bad\"]\n{}", upstream(&[&origin])));
    (0..3).for_each(|_| assert_eq!(proxy.get("/ok").status, 200));
    (0..2).for_each(|_| assert_eq!(proxy.get("/bad").status, 500));
    assert_eq!(proxy.get("/none").status, 404);
    let endpoint = origin.address;
    let attempts = format!("proxy_attempts_total{{upstream=\"origin\",endpoint=\"{endpoint}\"}}");
    for (series, value) in [
        ("proxy_requests_total{route=\"all\",class=\"2xx\"}", 3.0),
        ("proxy_requests_total{route=\"all\",class=\"5xx\"}", 2.0),
        ("proxy_requests_total{route=\"\",class=\"4xx\"}", 1.0),
        ("proxy_replies_total{reason=\"no_route\"}", 1.0),
        ("proxy_sent_bytes_total{route=\"all\"}", 15.0),
        (&attempts, 5.0),
        ("proxy_request_duration_seconds_count{route=\"all\"}", 5.0),
    ] {
        wait_until(&format!("{series} is {value}:\n{}", proxy.page("/metrics").text()), || {
            proxy.metric(series) == value
        });
    }
}

#[test]
fn connections_reloads_and_retries_are_counted() {
    let (mut dead, alive) = (Origin::named("dead"), Origin::named("alive"));
    dead.stop();
    let text = format!("{ALL}{}balance = \"first\"\n[reload]\nwatch = false\n", upstream(&[&dead, &alive]));
    let proxy = Proxy::start(&text);
    assert_eq!(proxy.get("/").text(), "alive");
    wait_until("the retry is counted", || proxy.metric("proxy_retries_total{upstream=\"origin\"}") == 1.0);
    let clients: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
    let open = "proxy_connections_open{listener=\"web\"}";
    wait_until("three connections are open", || proxy.metric(open) == 3.0);
    drop(clients);
    wait_until("they are closed", || proxy.metric(open) == 0.0);
    proxy.reload_with(&text);
    proxy.rewrite("nonsense");
    assert_eq!(proxy.reload().status, 400);
    assert_eq!(proxy.metric("proxy_reloads_total{result=\"success\"}"), 1.0);
    assert_eq!(proxy.metric("proxy_reloads_total{result=\"failure\"}"), 1.0);
    assert_eq!(proxy.metric("proxy_configuration_generation"), proxy.generation() as f64);
}

#[test]
fn the_metrics_page_is_well_formed_openmetrics() {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    proxy.get("/");
    let page = proxy.page("/metrics");
    assert!(page.field("content-type").unwrap_or_default().starts_with("application/openmetrics-text"));
    let text = page.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let value = line.rsplit_once(' ').map(|(_, value)| value.parse::<f64>());
        assert!(line.starts_with("proxy_") && matches!(value, Some(Ok(_))), "{line}");
    }
}

#[test]
fn the_status_page_shows_listeners_routes_and_endpoints() {
    let origin = Origin::named("ok");
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    proxy.get("/");
    let status = proxy.status();
    assert_eq!(status["routes"], serde_json::json!(["all"]));
    assert_eq!(status["listeners"][0]["bind"][0], proxy.web.to_string());
    let endpoint = &status["upstreams"][0]["endpoints"][0];
    assert_eq!((&endpoint["name"], &endpoint["requests"]), (&origin.address.to_string().into(), &1.into()));
}

#[test]
fn a_web_page_can_not_reach_the_admin_listener() {
    let proxy = Proxy::start("[[route]]\nrespond = {}\n");
    for (request, status) in [
        ("GET /status HTTP/1.1\r\nHost: evil.test\r\n\r\n", 403),
        (
            "POST /reload HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.test\r\nContent-Length: 0\r\n\r\n",
            403,
        ),
        ("GET /reload HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    ] {
        let mut client = Client::connect(proxy.admin);
        client.send(request);
        assert_eq!(client.response().status, status, "{request}");
    }
}
