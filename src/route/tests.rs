//! The table against a reference that tries every route, and its precedence as sentences.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::settings::{Condition, HostPattern, Segment};
use super::*;
use crate::http::{Authority, Method};

/// What a test asks with.
#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    host: &'static str,
    target: String,
    headers: Vec<(&'static str, &'static str)>,
    listener: u32,
    client: Ipv4Addr,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            method: "GET",
            host: "a.example",
            target: "/".to_owned(),
            headers: Vec::new(),
            listener: 0,
            client: Ipv4Addr::LOCALHOST,
        }
    }
}

impl Request {
    fn to(host: &'static str, target: &str) -> Request {
        Request { host, target: target.to_owned(), ..Request::default() }
    }

    fn head(&self) -> RequestHead {
        let mut head = RequestHead { method: Method::of(self.method.as_bytes()), ..RequestHead::default() };
        head.method_text = head.fields.append(self.method.as_bytes());
        let authority = head.fields.append(self.host.as_bytes());
        head.authority = Authority::at(authority, &head.fields);
        let (path, query) = self.parts();
        head.path = head.fields.append(path.as_bytes());
        head.query = query.map(|query| head.fields.append(query.as_bytes()));
        for (name, value) in &self.headers {
            head.fields.push(name.as_bytes(), value.as_bytes());
        }
        head
    }

    fn parts(&self) -> (&str, Option<&str>) {
        self.target.split_once('?').map_or((&self.target, None), |(path, query)| (path, Some(query)))
    }

    fn find(&self, table: &Table) -> Option<Match> {
        let head = self.head();
        table.find(&Subject { request: &head, listener: self.listener, client: IpAddr::V4(self.client) })
    }
}

/// Each text is one `[[route]]`; a line `listener N` names a listener.
fn routes(texts: &[&str]) -> Vec<(Settings, Vec<u32>)> {
    let route = |text: &&str| {
        let (listeners, lines): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with("listener "));
        let number = |line: &str| line["listener ".len()..].parse().expect("a number");
        let settings = toml::from_str(&lines.join("\n")).expect("settings of a route");
        (settings, listeners.into_iter().map(number).collect())
    };
    texts.iter().map(route).collect()
}

fn table(routes: &[(Settings, Vec<u32>)]) -> Table {
    Table::new(routes.iter().map(|(settings, listeners)| Entry {
        serves: Serves::Requests,
        settings,
        listeners,
    }))
    .expect("a valid table")
}

fn found(texts: &[&str], request: &Request) -> Option<u32> {
    request.find(&table(&routes(texts))).map(|found| found.route)
}

#[test]
fn priority_comes_before_everything_else() {
    let texts = ["host = 'a.example'\npath = '/x'", "priority = 1", "priority = -1"];
    assert_eq!(found(&texts, &Request::to("a.example", "/x")), Some(1));
    let texts = ["priority = -1\nhost = 'a.example'\npath = '/x'", ""];
    assert_eq!(found(&texts, &Request::to("a.example", "/x")), Some(1));
}

#[test]
fn the_host_comes_before_the_path() {
    let texts = ["path = '/x'", "host = '*.example'", "host = 'a.example'"];
    assert_eq!(found(&texts, &Request::to("a.example:8080", "/x")), Some(2));
    assert_eq!(found(&texts, &Request::to("b.example", "/x")), Some(1));
    assert_eq!(found(&texts, &Request::to("b.test", "/x")), Some(0));
}

#[test]
fn a_less_specific_host_gets_its_turn_when_no_route_of_the_better_one_takes_the_request() {
    let texts =
        ["host = 'a.example'\npath = '/x'", "host = '*.example'\nmethods = ['POST']", "path = '/y/*'"];
    assert_eq!(found(&texts, &Request::to("a.example", "/y/1")), Some(2));
    let post = Request { method: "POST", ..Request::to("a.example", "/y/1") };
    assert_eq!(found(&texts, &post), Some(1));
    assert_eq!(found(&texts, &Request::to("a.example", "/z")), None);
}

#[test]
fn the_path_comes_before_the_conditions() {
    let texts = ["path = '/x/*'\nmethods = ['GET']\nheaders = { x-a = '1' }", "path = '/x/1'"];
    let request = Request { headers: vec![("X-A", "1")], ..Request::to("a.example", "/x/1") };
    assert_eq!(found(&texts, &request), Some(1));
}

#[test]
fn more_conditions_come_first_and_then_the_order_of_the_file() {
    let texts = [
        "",
        "headers = { x-a = '*' }",
        "query = { q = '~^[0-9]+$' }\nmethods = ['GET']",
        "methods = ['GET']",
    ];
    let request = Request { headers: vec![("X-A", "1")], ..Request::to("a.example", "/?q=12") };
    assert_eq!(found(&texts, &request), Some(2));
    let request = Request { headers: vec![("X-A", "1")], ..Request::to("a.example", "/?q=x") };
    assert_eq!(found(&texts, &request), Some(1));
    assert_eq!(found(&texts, &Request::to("a.example", "/")), Some(3));
    assert_eq!(found(&["", ""], &Request::default()), Some(0));
}

#[test]
fn a_listener_is_a_condition_that_does_not_count() {
    let texts = ["", "listener 1", "listener 1\nlistener 2\nclient = ['10.0.0.0/8']"];
    let at = |listener| Request { listener, ..Request::default() };
    assert_eq!(found(&texts, &at(1)), Some(0), "the order of the file decides");
    assert_eq!(found(&texts[1..], &at(0)), None);
    let request = Request { client: Ipv4Addr::new(10, 1, 2, 3), ..at(2) };
    assert_eq!(found(&texts, &request), Some(2));
}

#[test]
fn connect_needs_a_route_that_lists_it() {
    let connect = Request { method: "CONNECT", ..Request::to("a.example", "/rpc") };
    assert_eq!(found(&["", "path = '/rpc'"], &connect), None);
    assert_eq!(found(&["", "methods = ['CONNECT']"], &connect), Some(1));
}

#[test]
fn options_for_the_server_is_taken_only_by_what_takes_every_path() {
    let options = Request { method: "OPTIONS", ..Request::to("a.example", "*") };
    assert_eq!(found(&["path = '/'", "path = '~.*'", "path = '/{x}'", "path = '/*'", ""], &options), Some(3));
    assert_eq!(found(&["path = '/'", ""], &options), Some(1));
}

#[test]
fn a_query_parameter_is_compared_decoded_and_one_of_several_is_enough() {
    let texts = ["query = { 'a b' = 'x&y' }"];
    assert_eq!(found(&texts, &Request::to("a.example", "/?a+b=x%26y")), Some(0));
    assert_eq!(found(&texts, &Request::to("a.example", "/?a%20b=1&&a+b=x%26y&c")), Some(0));
    assert_eq!(found(&texts, &Request::to("a.example", "/?a+b=x&y")), None);
    assert_eq!(found(&["query = { q = '100%' }"], &Request::to("a.example", "/?q=100%")), Some(0));
    assert_eq!(found(&["query = { q = '*' }"], &Request::to("a.example", "/?q")), Some(0));
    assert_eq!(found(&["query = { q = '*' }"], &Request::to("a.example", "/")), None);
}

#[test]
fn captures_come_with_the_match_in_the_order_of_the_first_path() {
    let table = table(&routes(&["path = ['/users/{id}/posts/{post}', '/posts/{post}/{extra}/of/{id}']"]));
    for target in ["/users/7/posts/9", "/posts/9/x/of/7"] {
        let found = Request::to("a.example", target).find(&table).expect("a match");
        let text = |number| found.captures.text(number, target.as_bytes());
        assert_eq!((text(0), text(1), found.captures.len()), (&b"7"[..], &b"9"[..], 2), "{target}");
    }
}

#[test]
fn a_path_with_too_many_captures_is_refused() {
    let path: String = (0..=MAX_CAPTURES).map(|number| format!("/{{a{number}}}")).collect();
    let routes = routes(&["", &format!("path = '{path}'")]);
    let error = Table::new(routes.iter().map(|(settings, listeners)| Entry {
        serves: Serves::Requests,
        settings,
        listeners,
    }))
    .err();
    assert_eq!(error, Some(TableError::TooManyCaptures { route: 1, path }));
}

/// Exact, prefix, template and any on each of so many hosts.
fn fleet(hosts: usize) -> Table {
    let mut routes = Vec::new();
    for host in 0..hosts {
        for path in ["/a/b", "/a/c", "/a/{x}/d", "/a/*", "/b/*", "/b/{x}", "/c", "/d", "/e/*", "/*"] {
            routes.push(format!("host = 'h{host}.example'\npath = '{path}'"));
        }
    }
    let texts: Vec<&str> = routes.iter().map(String::as_str).collect();
    table(&super::tests::routes(&texts))
}

#[test]
fn a_lookup_takes_as_many_steps_among_ten_thousand_routes_as_among_ten() {
    let (small, large) = (fleet(1), fleet(1000));
    for target in ["/a/b", "/a/1/d", "/a/1/e", "/b/1", "/e/f/g/h", "/none", "/"] {
        let request = Request::to("h0.example", target);
        let few = work::steps_of(|| request.find(&small));
        let many = work::steps_of(|| request.find(&large));
        assert_eq!(few, many, "{target}");
        assert!((1..=16).contains(&many), "{target} takes {many} steps");
    }
}

/// The rank of a route for a request, smaller is better, or `None` when it does not match.
type Rank = (Reverse<i32>, (u8, Reverse<usize>), PathRank, Reverse<usize>, usize);
type PathRank = (u8, Reverse<usize>, Vec<u8>);

fn reference(routes: &[(Settings, Vec<u32>)], request: &Request) -> Option<u32> {
    let ranks = routes.iter().enumerate().filter_map(|(number, (settings, listeners))| {
        let hosts = or_any(&settings.host).filter_map(|host| host_rank(host, request.host)).min()?;
        let path = or_any(&settings.path).filter_map(|path| path_rank(path, request.parts().0)).min()?;
        let is_here = listeners.is_empty() || listeners.contains(&request.listener);
        let count = conditions(settings, request).filter(|_| is_here)?;
        Some((Reverse(settings.priority), hosts, path, Reverse(count), number))
    });
    ranks.min().map(|rank: Rank| rank.4 as u32)
}

fn host_rank(pattern: Option<&HostPattern>, host: &str) -> Option<(u8, Reverse<usize>)> {
    match pattern {
        Some(HostPattern::Exact(name)) => (name == host).then_some((0, Reverse(0))),
        Some(HostPattern::Below(name)) => {
            let rank = (1, Reverse(name.len()));
            host.strip_suffix(name.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
                .then_some(rank)
        }
        None => Some((2, Reverse(0))),
    }
}

fn path_rank(pattern: Option<&PathPattern>, path: &str) -> Option<PathRank> {
    let plain = |class: u8, length: usize| (class, Reverse(length), Vec::new());
    match pattern {
        Some(PathPattern::Exact(text)) => (text == path).then_some(plain(0, 0)),
        Some(PathPattern::Template(segments)) => {
            template_rank(segments, path).map(|rank| (1, Reverse(0), rank))
        }
        Some(PathPattern::Prefix(text)) => {
            let is_below = path == text || path.starts_with(&format!("{text}/")) || text.is_empty();
            is_below.then_some(plain(2, text.len()))
        }
        Some(PathPattern::Regex(pattern)) => {
            (path.starts_with('/') && pattern.regex().is_match(path)).then_some(plain(3, 0))
        }
        None => Some(plain(4, 0)),
    }
}

fn template_rank(segments: &[Segment], path: &str) -> Option<Vec<u8>> {
    let elements: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let mut rank = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        match (segment, elements.get(at)) {
            (Segment::Rest, _) => {
                rank.push(2);
                return Some(rank);
            }
            (Segment::Literal(text), Some(element)) if text == element => rank.push(0),
            (Segment::Capture(_), Some(element)) if !element.is_empty() => rank.push(1),
            _ => return None,
        }
    }
    (segments.len() == elements.len()).then_some(rank)
}

/// How many conditions there are, if all hold.
fn conditions(settings: &Settings, request: &Request) -> Option<usize> {
    let holds = |value: &str, condition: &Condition| match condition {
        Condition::Equals(text) => text == value,
        Condition::Present => true,
        Condition::Matches(pattern) => pattern.regex().is_match(value),
    };
    let method = match settings.methods.as_slice() {
        [] => request.method != "CONNECT",
        methods => methods.iter().any(|method| method.get_ref().as_str() == request.method),
    };
    let headers = settings.headers.iter().all(|(name, condition)| {
        let mut lines = request.headers.iter();
        lines.any(|(line, value)| line.eq_ignore_ascii_case(name.as_str()) && holds(value, condition))
    });
    let query = settings.query.iter().all(|(name, condition)| {
        let mut parameters = request.parts().1.unwrap_or_default().split('&').filter(|text| !text.is_empty());
        parameters.any(|text| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            key == name && holds(value, condition)
        })
    });
    let client = settings.client.is_empty()
        || settings.client.iter().any(|network| network.contains(IpAddr::V4(request.client)));
    let lists = usize::from(!settings.methods.is_empty()) + usize::from(!settings.client.is_empty());
    (method && headers && query && client).then_some(lists + settings.headers.len() + settings.query.len())
}

/// One line of a route, or none of its kind.
fn line(choices: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(choices)
}

fn route_texts() -> impl Strategy<Value = String> {
    let lines = (
        line(&["", "", "priority = 1", "priority = -3"]),
        line(&[
            "",
            "host = 'a.example'",
            "host = '*.example'",
            "host = ['*.b.example', 'c.test']",
            "host = ['a.example', '*.example']",
        ]),
        line(&[
            "",
            "path = '/a'",
            "path = '/a/*'",
            "path = '/*'",
            "path = '/a/b/*'",
            "path = ['/a/{x}', '/{x}/b']",
            "path = '/{x}/b/*'",
            "path = '/a/{x}/c'",
            "path = '/{x}/{y}/{z}'",
            "path = '~^/a'",
            "path = ['~b$', '/a/b']",
            "path = '/a/'",
        ]),
        line(&["", "", "methods = ['GET']", "methods = ['GET', 'CONNECT']"]),
        line(&["", "", "headers = { x-a = '1' }", "headers = { X-A = '*', x-b = '~^t' }"]),
        line(&["", "", "query = { q = '1' }", "query = { q = '*' }"]),
        line(&["", "", "", "client = ['10.0.0.0/8']"]),
        line(&["", "", "", "listener 1", "listener 0\nlistener 2"]),
    );
    lines.prop_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h].join("\n"))
}

fn requests() -> impl Strategy<Value = Request> {
    let paths = prop::collection::vec(line(&["/", "/a", "/b", "/c", "/ab"]), 1..5);
    let header = prop::sample::select(vec![("X-A", "1"), ("x-a", "2"), ("X-B", "true"), ("x-b", "no")]);
    let fields = (
        line(&["GET", "POST", "CONNECT"]),
        line(&["a.example", "b.example", "a.b.example", "c.test", ".example", ""]),
        prop_oneof![9 => paths.prop_map(|path| path.concat()), 1 => Just("*".to_owned())],
        line(&["", "", "?q=1", "?q", "?a&q=2&q=1", "?"]),
        prop::collection::vec(header, 0..3),
        0u32..3,
        prop::sample::select(vec![Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 9)]),
    );
    fields.prop_map(|(method, host, path, query, headers, listener, client)| {
        let target = path + query;
        Request { method, host, target, headers, listener, client }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_table_finds_what_trying_every_route_finds(
        texts in prop::collection::vec(route_texts(), 0..16),
        requests in prop::collection::vec(requests(), 1..16),
    ) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let routes = routes(&texts);
        let table = table(&routes);
        for request in requests {
            let found = request.find(&table).map(|found| found.route);
            prop_assert_eq!(found, reference(&routes, &request), "{:?}", request);
        }
    }
}
