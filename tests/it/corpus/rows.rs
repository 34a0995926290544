//! Request lines, hosts and fields.

use super::Row;

/// Request lines before `Host: a`, and how they are refused.
const BAD_LINES: &[(&str, u16, &str)] = &[
    ("GET  / HTTP/1.1", 400, "bad_request.line"),
    ("GET /  HTTP/1.1", 400, "bad_request.line"),
    (" GET / HTTP/1.1", 400, "bad_request.line"),
    ("GET / HTTP/1.1 ", 400, "bad_request.line"),
    ("GET\t/ HTTP/1.1", 400, "bad_request.line"),
    ("GET /\tHTTP/1.1", 400, "bad_request.line"),
    ("GET /a b HTTP/1.1", 400, "bad_request.line"),
    ("GET /", 400, "bad_request.line"),
    ("GET", 400, "bad_request.line"),
    ("/ HTTP/1.1", 400, "bad_request."),
    ("GET HTTP/1.1", 400, "bad_request.line"),
    ("G(T / HTTP/1.1", 400, "bad_request.line"),
    ("GET: / HTTP/1.1", 400, "bad_request.line"),
    ("\"GET\" / HTTP/1.1", 400, "bad_request.line"),
    ("GET / http/1.1", 400, "bad_request.line"),
    ("GET / HTTP/1", 400, "bad_request.line"),
    ("GET / HTTP/11", 400, "bad_request.line"),
    ("GET / HTTP/1.10", 400, "bad_request.line"),
    ("GET / HTTP/01.1", 400, "bad_request.line"),
    ("GET / HTTP/1,1", 400, "bad_request.line"),
    ("GET / HTTP /1.1", 400, "bad_request.line"),
    ("GET / HTTPS/1.1", 400, "bad_request.line"),
    ("GET / HTTP/1.1 HTTP/1.1", 400, "bad_request.line"),
    ("GET / HTTP/0.9", 505, "version_not_supported"),
    ("GET / HTTP/1.2", 505, "version_not_supported"),
    ("GET / HTTP/1.9", 505, "version_not_supported"),
    ("GET / HTTP/2.0", 505, "version_not_supported"),
    ("GET / HTTP/3.0", 505, "version_not_supported"),
    ("GET a HTTP/1.1", 400, "bad_request.target"),
    ("GET a.example:80 HTTP/1.1", 400, "bad_request.target"),
    ("GET * HTTP/1.1", 400, "bad_request.target"),
    ("OPTIONS ** HTTP/1.1", 400, "bad_request.target"),
    ("OPTIONS *?q HTTP/1.1", 400, "bad_request.target"),
    ("GET /a#b HTTP/1.1", 400, "bad_request.target"),
    ("GET /a?b#c HTTP/1.1", 400, "bad_request.target"),
    ("GET ?a HTTP/1.1", 400, "bad_request.target"),
    ("GET ftp://a/ HTTP/1.1", 400, "bad_request.target"),
    ("GET http:/a HTTP/1.1", 400, "bad_request.target"),
    ("GET http:// HTTP/1.1", 400, "bad_request.target"),
    ("GET http:///a HTTP/1.1", 400, "bad_request.target"),
    ("GET http://?a HTTP/1.1", 400, "bad_request.target"),
    ("GET http://a@b/ HTTP/1.1", 400, "bad_request.host"),
    ("GET http://a:b@c/ HTTP/1.1", 400, "bad_request.host"),
    ("GET http://a:x/ HTTP/1.1", 400, "bad_request.host"),
    ("GET http://a,b/ HTTP/1.1", 400, "bad_request.host"),
    ("GET http://[::g]/ HTTP/1.1", 400, "bad_request.host"),
    ("GET http://a\\b/ HTTP/1.1", 400, "bad_request.host"),
    ("GET /%00 HTTP/1.1", 400, "bad_request.target"),
    ("GET /a%0 HTTP/1.1", 400, "bad_request.target"),
    ("GET /a% HTTP/1.1", 400, "bad_request.target"),
    ("GET /a%zz HTTP/1.1", 400, "bad_request.target"),
    ("GET /a%u002e HTTP/1.1", 400, "bad_request.target"),
    ("GET /a%-1 HTTP/1.1", 400, "bad_request.target"),
    ("GET /a\\b HTTP/1.1", 400, "bad_request.target"),
    ("GET /..\\b HTTP/1.1", 400, "bad_request.target"),
    ("GET /a/..%2fb HTTP/1.1", 400, "bad_request.target"),
    ("GET /a/..%2Fb HTTP/1.1", 400, "bad_request.target"),
    ("GET /a/%2e%2e%2fb HTTP/1.1", 400, "bad_request.target"),
    ("GET /a/..%5cb HTTP/1.1", 400, "bad_request.target"),
    ("GET /a%5C..%5Cb HTTP/1.1", 400, "bad_request.target"),
    ("GET /a%2f.%2Fb HTTP/1.1", 400, "bad_request.target"),
    ("GET /%2f.. HTTP/1.1", 400, "bad_request.target"),
    ("CONNECT a:443 HTTP/1.1", 405, "connect_not_allowed"),
    ("CONNECT / HTTP/1.1", 405, "connect_not_allowed"),
];

/// Values of the only Host that are refused.
const BAD_HOSTS: &[&str] = &[
    "",
    "a b",
    "a,b",
    "a, a",
    "a/b",
    "a\\b",
    "a?b",
    "a#b",
    "user@a",
    "user:pw@a",
    "@a",
    "a@",
    "a:x",
    "a:-1",
    "a:+80",
    "a:65536",
    "a:99999",
    "a:000080",
    "a:80:80",
    "a:80 ",
    "a::",
    ":80",
    ":",
    "http://a",
    "[",
    "]",
    "[]",
    "[::1",
    "::1",
    "[::g]",
    "[::1]x",
    "[::1]:x",
    "[fe80::1%25eth0]",
    "[fe80::1%eth0]",
    "[v1.a]",
    "[127.0.0.1]",
    "a\"b",
    "a<b>",
    "a\u{e9}",
    "a|b",
    "a`b",
    "{a}",
    "a^b",
];

/// Values that pass, and what the endpoint reads.
const GOOD_HOSTS: &[(&str, &str)] = &[
    ("a.example", "a.example"),
    ("A.Example:8080", "a.example:8080"),
    ("a.example:", "a.example"),
    ("a:0", "a:0"),
    ("a:65535", "a:65535"),
    ("a_b.example", "a_b.example"),
    ("a.example.", "a.example."),
    ("127.0.0.1:80", "127.0.0.1:80"),
    ("[::1]", "[::1]"),
    ("[2001:DB8::1]:443", "[2001:db8::1]:443"),
    ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ("\ta", "a"),
    (" a", "a"),
];

/// Targets that pass, and what the endpoint reads.
const TARGETS: &[(&str, &str)] = &[
    ("/", "/"),
    ("//", "//"),
    ("/a//b///c", "/a//b///c"),
    ("/a/./b", "/a/b"),
    ("/a/../b", "/b"),
    ("/a/%2e%2E/b", "/b"),
    ("/a/.%2e/b", "/b"),
    ("/a/%2E/b", "/a/b"),
    ("/../../b", "/b"),
    ("/a/..", "/"),
    ("/a/.", "/a/"),
    ("/a//../b", "/a/b"),
    ("/...", "/..."),
    ("/.a", "/.a"),
    ("/a%2eb", "/a%2eb"),
    ("/a%2Fb%5cc", "/a%2Fb%5cc"),
    ("/a%2f%2Fb", "/a%2f%2Fb"),
    ("/%252e%252e/b", "/%252e%252e/b"),
    ("/a%252f..%252fb", "/a%252f..%252fb"),
    ("/..;/b", "/..;/b"),
    ("/a;x=1/b", "/a;x=1/b"),
    ("/%c0%ae%c0%ae/b", "/%c0%ae%c0%ae/b"),
    ("/%e2%82%AC", "/%e2%82%AC"),
    ("/a%0d%0aX:%201", "/a%0d%0aX:%201"),
    ("/a%20b%7f", "/a%20b%7f"),
    ("/a?", "/a?"),
    ("/a??b", "/a??b"),
    ("/a?b=../../c", "/a?b=../../c"),
    ("/a?%zz&;=%00", "/a?%zz&;=%00"),
    ("/a?b=http://c/d\\e", "/a?b=http://c/d\\e"),
    ("/a:b@c", "/a:b@c"),
    ("/http://b/../c", "/http://c"),
];

/// Field lines that are refused between `Host: a` and the end of the head.
const BAD_FIELDS: &[(&str, u16, &str)] = &[
    ("no colon", 400, "bad_request.field"),
    ("x", 400, "bad_request.field"),
    (": a", 400, "bad_request.field"),
    (":", 400, "bad_request.field"),
    ("X : a", 400, "bad_request.field"),
    ("X\t: a", 400, "bad_request.field"),
    (" X: a", 400, "bad_request.field"),
    ("\tX: a", 400, "bad_request.field"),
    ("X: a\r\n b", 400, "bad_request.field"),
    ("X: a\r\n\tb", 400, "bad_request.field"),
    ("X:\r\n b", 400, "bad_request.field"),
    ("X: a\r\n \r\nY: b", 400, "bad_request.field"),
    ("X Y: a", 400, "bad_request.field"),
    ("X(Y): a", 400, "bad_request.field"),
    ("\"X\": a", 400, "bad_request.field"),
    ("X\u{e9}: a", 400, "bad_request.field"),
    ("Host: a", 400, "bad_request.host"),
    ("host: b", 400, "bad_request.host"),
    ("HOST:", 400, "bad_request.host"),
    ("Expect: cake", 417, "expectation_failed"),
    ("Expect: 100-continue, cake", 417, "expectation_failed"),
    ("Expect: 100-continue\r\nExpect: 100-continue", 417, "expectation_failed"),
    ("Expect: 100-continue;q=1", 417, "expectation_failed"),
    ("Expect:", 417, "expectation_failed"),
    ("Expect: y 100-continue", 417, "expectation_failed"),
];

/// Field lines, and those of them that the endpoint reads.
const FIELDS: &[(&str, &str)] = &[
    ("X-A: b", "X-A: b"),
    ("x-A:b", "x-A: b"),
    ("X-A: \t b\t ", "X-A: b"),
    ("X-A:", "X-A: "),
    ("X-A: a: b", "X-A: a: b"),
    ("X-A: a\tb  c", "X-A: a\tb  c"),
    ("X-A: 1\r\nX-B: 2\r\nX-A: 3", "X-A: 1\nX-B: 2\nX-A: 3"),
    ("!#$%&'*+-.^_`|~09: a", "!#$%&'*+-.^_`|~09: a"),
    ("Cookie: a=1\r\nCookie: b=2", "Cookie: a=1\nCookie: b=2"),
    ("Connection: X-Hop\r\nX-Hop: 1\r\nX-A: b", "X-A: b"),
    ("X-Hop: 1\r\nConnection: a, X-HOP , b", ""),
    ("Connection: X-A\r\nConnection: X-B\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3", "X-C: 3"),
    (
        "Connection: Host, Cookie, Authorization\r\nCookie: a\r\nAuthorization: b",
        "Cookie: a\nAuthorization: b",
    ),
    ("Connection: ,, ,", ""),
    ("Keep-Alive: timeout=5", ""),
    ("Proxy-Connection: keep-alive", ""),
    ("Proxy: http://evil", ""),
    ("TE: gzip", ""),
    ("TE: gzip, trailers", "te: trailers\nconnection: TE"),
    ("Upgrade: websocket", ""),
    ("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings", ""),
    ("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade", ""),
    ("Content_Length: 5", ""),
    ("Transfer_Encoding: chunked", ""),
    ("X_Forwarded_For: 1.2.3.4", ""),
    ("X-Forwarded_For: 1.2.3.4", ""),
    ("Ho_st: b\r\nX_A: b", "Ho_st: b\nX_A: b"),
    ("X-Forwarded-For: 1.2.3.4", ""),
    ("Forwarded: for=1.2.3.4", ""),
    ("X-Request-Id: me", ""),
    ("Trailer: X-T", "Trailer: X-T"),
    ("Max-Forwards: 5", "Max-Forwards: 5"),
];

pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for (line, status, reason) in BAD_LINES {
        rows.push(Row::refused(format!("{line}\r\nHost: a\r\n\r\n"), *status, reason));
    }
    for host in BAD_HOSTS.iter().filter(|host| !host.ends_with(' ')) {
        rows.push(Row::refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400, "bad_request.host"));
        let old = format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n");
        rows.push(Row::refused(old, 400, "bad_request.host"));
    }
    rows.push(Row::refused("GET / HTTP/1.1\r\n\r\n", 400, "bad_request.host"));
    rows.push(Row::refused("GET http://a/ HTTP/1.1\r\n\r\n", 400, "bad_request.host"));
    for (host, seen) in GOOD_HOSTS {
        let bytes = format!("GET /x HTTP/1.1\r\nHost:{host}\r\n\r\n");
        rows.push(Row::passes(bytes, format!("GET /x HTTP/1.1\nhost: {seen}")));
    }
    for (target, seen) in TARGETS {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        rows.push(Row::passes(bytes, format!("GET {seen} HTTP/1.1\nhost: a")));
        let bytes = format!("GET HTTP://Right.example{target} HTTP/1.1\r\nHost: wrong\r\n\r\n");
        rows.push(Row::passes(bytes, format!("GET {seen} HTTP/1.1\nhost: right.example")));
    }
    for (fields, status, reason) in BAD_FIELDS {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        rows.push(Row::refused(bytes, *status, reason));
    }
    for (fields, seen) in FIELDS {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let gap = if seen.is_empty() { "" } else { "\n" };
        rows.push(Row::passes(bytes, format!("GET / HTTP/1.1\nhost: a{gap}{seen}")));
    }
    rows.extend(odd_requests());
    rows
}

/// Methods, versions, forms and empty lines.
fn odd_requests() -> Vec<Row> {
    let mut rows = Vec::new();
    let long = "M".repeat(200);
    for method in ["get", "PURGE", "M-SEARCH", "G!T", "0", "TRACE", "DELETE", &long] {
        let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        rows.push(Row::passes(bytes, format!("{method} / HTTP/1.1\nhost: a")));
    }
    let target = format!("/{}", "a".repeat(8000));
    let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    rows.push(Row::passes(bytes, format!("GET {target} HTTP/1.1\nhost: a")));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(17_000));
    rows.push(Row::refused(long, 414, "target_too_long"));
    let many = "X: y\r\n".repeat(100);
    rows.push(Row::refused(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), 431, "header_too_large"));
    let wide = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(40_000));
    rows.push(Row::refused(wide, 431, "header_too_large"));
    for (line, seen) in [
        ("OPTIONS http://a", "OPTIONS * HTTP/1.1\nhost: a"),
        ("OPTIONS http://a/", "OPTIONS / HTTP/1.1\nhost: a"),
        ("OPTIONS http://a?q", "OPTIONS /?q HTTP/1.1\nhost: a"),
        ("GET http://a", "GET / HTTP/1.1\nhost: a"),
        ("GET http://a?q", "GET /?q HTTP/1.1\nhost: a"),
        ("GET https://a:443/x", "GET /x HTTP/1.1\nhost: a:443"),
    ] {
        rows.push(Row::passes(format!("{line} HTTP/1.1\r\nHost: b\r\n\r\n"), seen));
    }
    rows.push(Row::passes("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\nhost: a"));
    rows.push(Row::passes("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a"));
    rows.push(Row::refused("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request."));
    rows.push(Row::refused("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request."));
    rows.push(Row::refused("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request."));
    rows.push(Row::passes_last("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nhost: a"));
    rows.push(Row::passes(
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\nhost: a",
    ));
    for close in ["close", "Close", "x, close", "close, keep-alive", "keep-alive\r\nConnection: close"] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {close}\r\n\r\n");
        rows.push(Row::passes_last(bytes, "GET / HTTP/1.1\nhost: a"));
    }
    rows
}
