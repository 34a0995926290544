//! Which request goes where, and what is changed on the way.

use crate::harness::{Origin, Proxy, upstream_named};

/// Each route answers with its own name.
fn responding(routes: &[(&str, &str)]) -> String {
    let route = |(name, conditions): &(&str, &str)| {
        format!("[[route]]\nname = \"{name}\"\n{conditions}\nrespond = {{ body = \"{name}\" }}\n")
    };
    routes.iter().map(route).collect()
}

#[test]
fn the_most_specific_host_and_path_win_whatever_the_order_of_the_file() {
    let proxy = Proxy::start(&responding(&[
        ("rest", ""),
        ("below", "path = \"/a/*\""),
        ("exact", "path = \"/a/b\""),
        ("template", "path = \"/a/{id}/x\""),
        ("wildcard", "host = \"*.example.com\""),
        ("host", "host = \"api.example.com\"\npath = \"/a/*\""),
    ]));
    for (host, path, name) in [
        ("other.test", "/", "rest"),
        ("other.test", "/ab", "rest"),
        ("other.test", "/a", "below"),
        ("other.test", "/a/", "below"),
        ("other.test", "/a/b", "exact"),
        ("other.test", "/a/b/c", "below"),
        ("other.test", "/a/7/x", "template"),
        ("www.example.com", "/a/b", "wildcard"),
        ("example.com", "/zzz", "rest"),
        ("api.example.com", "/a/b", "host"),
        ("API.Example.COM:8080", "/a/b", "host"),
        ("api.example.com", "/other", "wildcard"),
    ] {
        assert_eq!(proxy.get_from(host, path).text(), name, "{host}{path}");
    }
}

#[test]
fn conditions_on_method_field_and_query_choose_among_equal_paths() {
    let proxy = Proxy::start(&responding(&[
        ("any", "path = \"/x\""),
        ("post", "path = \"/x\"\nmethods = [\"POST\"]"),
        ("canary", "path = \"/x\"\nheaders = { x-env = \"canary\" }"),
        ("debug", "path = \"/x\"\nquery = { debug = \"*\" }"),
    ]));
    assert_eq!(proxy.get("/x").text(), "any");
    assert_eq!(proxy.post("/x", "").text(), "post");
    assert_eq!(proxy.get("/x?debug=1").text(), "debug");
    let mut client = proxy.client();
    client.send("GET /x HTTP/1.1\r\nHost: test\r\nX-Env: canary\r\n\r\n");
    assert_eq!(client.response().text(), "canary");
}

#[test]
fn what_no_route_takes_is_404_with_its_reason() {
    let proxy = Proxy::start(&responding(&[("only", "path = \"/only\"")]));
    let answer = proxy.get("/other");
    assert_eq!((answer.status, answer.reason()), (404, "no_route"));
}

#[test]
fn a_listener_answers_unknown_hosts_as_it_is_told() {
    let routes = responding(&[("known", "host = \"known.test\"")]);
    let misdirected = Proxy::start(&format!("{routes}{}", unknown_host("misdirected")));
    assert_eq!(misdirected.get_from("known.test", "/").status, 200);
    let answer = misdirected.get_from("stranger.test", "/");
    assert_eq!((answer.status, answer.reason()), (421, "misdirected_host"));

    let closing = Proxy::start(&format!("{routes}{}", unknown_host("close")));
    assert_eq!(closing.exchange("GET / HTTP/1.1\r\nHost: stranger.test\r\n\r\n"), b"");
}

fn unknown_host(choice: &str) -> String {
    format!("[listener.web]\nunknown_host = \"{choice}\"\n")
}

#[test]
fn a_redirect_keeps_host_path_and_query() {
    let proxy = Proxy::start(
        "[[route]]\nredirect = { to = \"https://{host}{path}\", status = 301 }\n\
         [[route]]\npath = \"/old/{id}\"\nredirect = { to = \"/new/{id}\" }\n",
    );
    let answer = proxy.get_from("shop.test:8080", "/a%20b?x=1;y");
    assert_eq!((answer.status, answer.field("location")), (301, Some("https://shop.test/a%20b?x=1;y")));
    let answer = proxy.get("/old/7");
    assert_eq!((answer.status, answer.field("location")), (308, Some("/new/7")));
}

#[test]
fn a_fixed_answer_has_its_status_fields_and_body() {
    let proxy = Proxy::start(
        "[[route]]\nrespond = { status = 418, body = \"{}\", headers = { content-type = \"application/json\", x-a = \"1\" } }\n",
    );
    let answer = proxy.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (418, "{}"));
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("x-a"), Some("1"));
}

#[test]
fn a_split_follows_its_weights() {
    let (stable, canary, never) = (Origin::named("stable"), Origin::named("canary"), Origin::named("never"));
    let proxy = Proxy::start(&format!(
        "[[route]]\nsplit = {{ stable = 90, canary = 10, never = 0 }}\n{}{}{}",
        upstream_named("stable", &[&stable]),
        upstream_named("canary", &[&canary]),
        upstream_named("never", &[&never]),
    ));
    let mut client = proxy.client();
    let answers: Vec<_> = (0..1000).map(|_| client.get("/").text()).collect();
    let share = answers.iter().filter(|answer| *answer == "canary").count();
    // Five standard deviations of 1,000 draws at 10 % are 47.
    assert!((53..=147).contains(&share), "{share} of 1,000 went to the canary");
    assert_eq!(never.requests().len(), 0);
}

#[test]
fn a_prefix_is_cut_off_and_a_path_is_rewritten() {
    let origin = Origin::named("origin");
    let proxy = Proxy::start(&format!(
        "[[route]]\npath = \"/users/*\"\nstrip_prefix = \"/users\"\nto = \"origin\"\n\
         [[route]]\npath = \"/u/{{id}}\"\nrewrite = \"/v2/users/{{id}}\"\nto = \"origin\"\n\
         [[route]]\npath = \"/old/*\"\nrewrite = \"/new{{path}}\"\nto = \"origin\"\n{}",
        upstream_named("origin", &[&origin]),
    ));
    for path in ["/users", "/users/", "/users/1?a=%zz;b", "/u/7?q", "/old/x"] {
        assert_eq!(proxy.get(path).status, 200, "{path}");
    }
    let targets: Vec<_> = origin.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/", "/", "/1?a=%zz;b", "/v2/users/7?q", "/new/old/x"]);
}

#[test]
fn the_endpoint_sees_the_host_that_the_route_says() {
    let origin = Origin::named("origin");
    let proxy = Proxy::start(&format!(
        "[[route]]\npath = \"/preserve\"\nto = \"origin\"\n\
         [[route]]\npath = \"/endpoint\"\nhost_header = \"endpoint\"\nto = \"origin\"\n\
         [[route]]\npath = \"/literal\"\nhost_header = \"internal.test\"\nto = \"origin\"\n{}",
        upstream_named("origin", &[&origin]),
    ));
    for path in ["/preserve", "/endpoint", "/literal"] {
        proxy.get_from("shop.test", path);
    }
    let hosts: Vec<_> =
        origin.requests().iter().map(|request| request.field("host").map(str::to_owned)).collect();
    let address = origin.address.to_string();
    assert_eq!(hosts, [Some("shop.test".to_owned()), Some(address), Some("internal.test".to_owned())]);
}

#[test]
fn a_headers_middleware_changes_requests_and_answers_in_order() {
    let origin =
        Origin::saying(b"HTTP/1.1 200 OK\r\nServer: secret\r\nX-Kept: 1\r\nContent-Length: 2\r\n\r\nok");
    let proxy = Proxy::start(&format!(
        "[[route]]\nuse = [\"first\", \"second\"]\nto = \"origin\"\n\
         [middleware.first.headers]\nrequest = {{ set = {{ x-a = \"first\" }}, remove = [\"cookie2\"] }}\n\
         response = {{ remove = [\"server\"], set = {{ x-b = \"first\" }} }}\n\
         [middleware.second.headers]\nrequest = {{ set = {{ x-a = \"second\" }} }}\n\
         response = {{ set = {{ x-b = \"second\" }} }}\n{}",
        upstream_named("origin", &[&origin]),
    ));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\nX-A: client\r\nCookie2: x\r\n\r\n");
    let answer = client.response();
    let request = origin.request();
    assert_eq!((request.field("x-a"), request.field("cookie2")), (Some("second"), None));
    assert_eq!((answer.field("server"), answer.field("x-kept")), (None, Some("1")));
    assert_eq!(answer.field("x-b"), Some("first"), "answers pass the middlewares in reverse");
}

#[test]
fn routes_of_one_listener_are_not_seen_on_another() {
    let other = crate::harness::free_address();
    let proxy = Proxy::start(&format!(
        "{}[listener.internal]\nbind = \"{other}\"\n",
        responding(&[
            ("public", "listeners = [\"web\"]"),
            ("private", "listeners = [\"internal\"]\npath = \"/p\"")
        ]),
    ));
    assert_eq!(proxy.get("/p").text(), "public");
    let mut client = crate::harness::Client::connect(other);
    assert_eq!(client.get("/p").text(), "private");
    assert_eq!(client.get("/q").status, 404);
}

#[test]
fn dot_segments_are_resolved_before_the_route_is_chosen() {
    let origin = Origin::named("origin");
    let proxy = Proxy::start(&format!(
        "[[route]]\npath = \"/admin/*\"\nrespond = {{ status = 403 }}\n[[route]]\nto = \"origin\"\n{}",
        upstream_named("origin", &[&origin]),
    ));
    for path in ["/admin/x", "/a/../admin/x", "/a/%2e%2E/admin", "/./admin", "//../admin/x/.."] {
        assert_eq!(proxy.get(path).status, 403, "{path}");
    }
    for path in ["/a/%2E%2e%2fadmin", "/a%2f..%2fadmin", "/%2e%5c..%5cx/..%2f"] {
        let answer = proxy.get(path);
        assert_eq!((answer.status, answer.reason()), (400, "bad_request.target"), "{path}");
    }
    assert_eq!(proxy.get("/a/./b/../c%2Fd//e").status, 200);
    assert_eq!(origin.request().target(), "/a/c%2Fd//e");
}
