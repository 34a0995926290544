//! The Location of a redirect, from a template such as `https://{host}{path}`.

use std::net::IpAddr;

use toml::Spanned;

use super::captures::Captures;
use super::settings::{self, Part, PathPattern, Template};
use super::variables::{TemplateError, capture};
use crate::http::{Exchange, Scheme};

/// Where a route sends its clients.
///
/// Variables: `{scheme}`, `{host}` without its port, `{port}`, `{path}`, `{query}` with its `?` and
/// the captures of the route. A template with neither `?` nor `{query}` keeps the query of the
/// request. The host never depends on the path, and a path never becomes a host.
#[derive(Clone, Debug)]
pub struct Redirect {
    pieces: Box<[Piece]>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Scheme,
    Host,
    Port,
    Path(Place),
    Capture(usize, Place),
    /// The query behind this separator, and nothing at all when there is no query.
    Query(Option<char>),
}

/// Where in a URL a variable stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before anything that tells a URL from a path.
    Front,
    /// Between `://` and the next slash.
    Host,
    /// In the path.
    Path,
    /// After `?`, where `&` and its like separate.
    Query,
    /// After `#`.
    Fragment,
}

impl Redirect {
    /// What every request has; no capture may take one of these names.
    pub const VARIABLES: [&str; 5] = ["scheme", "host", "port", "path", "query"];

    /// Compiles the target of a redirect for a route with these paths.
    ///
    /// # Errors
    /// [`TemplateError`] when a variable is unknown, or the target is no URL and no path, or
    /// would let a client choose the host.
    pub fn new(
        redirect: &settings::Redirect,
        paths: &[Spanned<PathPattern>],
    ) -> Result<Redirect, TemplateError> {
        let template = redirect.to.get_ref();
        check(template)?;
        let mut compiler = Compiler { place: Place::Front, keeps_query: true, paths, pieces: Vec::new() };
        for part in &template.parts {
            match part {
                Part::Text(text) => compiler.text(text),
                Part::Variable(name) => compiler.variable(name)?,
            }
        }
        compiler.keep_query();
        Ok(Redirect { pieces: compiler.pieces.into() })
    }

    /// Appends the Location for a request. Without a Host (HTTP/1.0) the address that the client
    /// connected to stands for it.
    pub fn render(&self, exchange: &Exchange, captures: &Captures, out: &mut Vec<u8>) {
        let start = out.len();
        let path = exchange.request.path();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Scheme => out.extend_from_slice(exchange.client.scheme.name().as_bytes()),
                Piece::Host => write_host(exchange, out),
                Piece::Port => write_port(exchange, out),
                Piece::Path(place) => {
                    write_value(if path.starts_with(b"/") { path } else { b"/" }, *place, out)
                }
                Piece::Capture(number, place) => write_value(captures.text(*number, path), *place, out),
                Piece::Query(separator) => {
                    if let Some(query) = exchange.request.query() {
                        out.extend(separator.map(|separator| separator as u8));
                        out.extend_from_slice(query);
                    }
                }
            }
        }
        // A path that starts with two slashes would be read as a host.
        while out.get(start..).is_some_and(|location| location.starts_with(b"//")) {
            out.remove(start);
        }
    }
}

fn write_host(exchange: &Exchange, out: &mut Vec<u8>) {
    let host = exchange.request.host();
    if !host.is_empty() {
        return out.extend_from_slice(host);
    }
    out.extend_from_slice(
        match exchange.client.local.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        }
        .as_bytes(),
    );
}

fn write_port(exchange: &Exchange, out: &mut Vec<u8>) {
    match exchange.request.port() {
        Some(port) if !port.is_empty() => out.extend_from_slice(port),
        Some(_) | None => out.extend_from_slice(match exchange.client.scheme {
            Scheme::Http => b"80",
            Scheme::Https => b"443",
        }),
    }
}

/// Writes a part of the path. In a query it is one value, so that what separates there is escaped.
fn write_value(value: &[u8], place: Place, out: &mut Vec<u8>) {
    if place != Place::Query {
        return out.extend_from_slice(value);
    }
    for byte in value {
        match byte {
            b'&' => out.extend_from_slice(b"%26"),
            b'+' => out.extend_from_slice(b"%2B"),
            b';' => out.extend_from_slice(b"%3B"),
            b'=' => out.extend_from_slice(b"%3D"),
            byte => out.push(*byte),
        }
    }
}

/// Refuses what is neither `http://`, `https://` or `{scheme}://` with a host, nor a path.
fn check(template: &Template) -> Result<(), TemplateError> {
    let wrong = || TemplateError::Location(template.to_string());
    let mut sample = String::new();
    for part in &template.parts {
        sample.push_str(match part {
            Part::Text(text) => text,
            Part::Variable(name) => match name.as_str() {
                "scheme" => "https",
                "port" => "443",
                // A second slash has an error of its own.
                "path" if sample.ends_with('/') => "x",
                "path" => "/x",
                "query" => "?q",
                _ => "x",
            },
        });
    }
    let target = sample.split('#').next().unwrap_or_default();
    let uri: http::Uri = target.parse().map_err(|_| wrong())?;
    let is_url =
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
    let is_path = target.starts_with('/') && !target.starts_with("//");
    let is_plain = sample.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_plain && (is_url || is_path) { Ok(()) } else { Err(wrong()) }
}

/// Walks a checked template from the left and knows where in the URL it is.
struct Compiler<'a> {
    place: Place,
    keeps_query: bool,
    paths: &'a [Spanned<PathPattern>],
    pieces: Vec<Piece>,
}

impl Compiler<'_> {
    fn text(&mut self, text: &str) {
        let mut rest = text;
        if self.place == Place::Front {
            self.place = Place::Path;
            if let Some(colon) = text.find("://") {
                let (scheme, tail) = text.split_at(colon + 3);
                self.push(scheme);
                self.place = Place::Host;
                rest = tail;
            }
        }
        for sign in rest.split_inclusive(|_| true) {
            self.place = match (self.place, sign) {
                (Place::Host, "/") => Place::Path,
                (Place::Host | Place::Path, "?") => {
                    self.keeps_query = false;
                    Place::Query
                }
                (Place::Host | Place::Path | Place::Query, "#") => {
                    self.keep_query();
                    Place::Fragment
                }
                (place, _) => place,
            };
            self.push(sign);
        }
    }

    fn variable(&mut self, name: &str) -> Result<(), TemplateError> {
        let piece = match name {
            "scheme" => Piece::Scheme,
            "host" => Piece::Host,
            "port" => Piece::Port,
            "path" => self.path()?,
            "query" => self.query(),
            _ => match (capture(name, &Redirect::VARIABLES, self.paths)?, self.place) {
                (_, Place::Host) => return Err(TemplateError::Host(name.to_owned())),
                (number, place) => Piece::Capture(number, place),
            },
        };
        self.pieces.push(piece);
        Ok(())
    }

    fn path(&mut self) -> Result<Piece, TemplateError> {
        let follows_slash = matches!(self.pieces.last(), Some(Piece::Text(text)) if text.ends_with('/'));
        match self.place {
            Place::Host if follows_slash => return Err(TemplateError::Host("path".to_owned())),
            Place::Path if follows_slash => return Err(TemplateError::DoubleSlash),
            Place::Front | Place::Host => self.place = Place::Path,
            Place::Path | Place::Query | Place::Fragment => {}
        }
        Ok(Piece::Path(self.place))
    }

    /// The separator belongs to the query, so that none is left when there is no query.
    fn query(&mut self) -> Piece {
        self.keeps_query = false;
        if matches!(self.place, Place::Front | Place::Host | Place::Path) {
            self.place = Place::Query;
            return Piece::Query(Some('?'));
        }
        let separator = match self.pieces.last_mut() {
            Some(Piece::Text(text)) if text.ends_with(['?', '&']) => text.pop(),
            _ => None,
        };
        Piece::Query(separator)
    }

    fn push(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some(Piece::Text(before)) => before.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    /// The query of the request goes between the path and the fragment.
    fn keep_query(&mut self) {
        if std::mem::take(&mut self.keeps_query) {
            self.pieces.push(Piece::Query(Some('?')));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::super::paths::PathIndex;
    use super::*;
    use crate::http::{Authority, Client};

    const PATH: &str = "/t/{tenant}/{page}";

    fn redirect(to: &str) -> Result<Redirect, TemplateError> {
        let route: settings::Settings =
            toml::from_str(&format!("path = {PATH:?}\nredirect = {{ to = {to:?} }}")).expect("settings");
        Redirect::new(route.redirect.expect("a redirect").get_ref(), &route.path)
    }

    fn exchange(authority: &str, path: &str, query: Option<&str>) -> Exchange {
        let local = SocketAddr::from(([192, 0, 2, 1], 8080));
        let mut exchange = Exchange::default();
        exchange.client = Client { local, ..Client::default() };
        let request = &mut exchange.request;
        let authority = request.fields.append(authority.as_bytes());
        request.authority = Authority::at(authority, &request.fields);
        request.path = request.fields.append(path.as_bytes());
        request.query = query.map(|query| request.fields.append(query.as_bytes()));
        exchange
    }

    fn location(to: &str, exchange: &Exchange) -> String {
        let mut paths = PathIndex::default();
        paths.add(Some(&PATH.parse().expect("a pattern")), 0);
        let found = paths.find(exchange.request.path(), &mut |_| true);
        let captures = found.map(|(_, captures)| captures).unwrap_or_default();
        let mut out = Vec::new();
        redirect(to).expect("a valid target").render(exchange, &captures, &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_target_without_a_query_keeps_that_of_the_request() {
        let with = exchange("a.example:8080", "/t/x/y", Some("q=1&r"));
        let without = exchange("a.example:8080", "/t/x/y", None);
        for (to, expected, expected_without) in [
            ("https://{host}{path}", "https://a.example/t/x/y?q=1&r", "https://a.example/t/x/y"),
            ("https://{host}{path}{query}", "https://a.example/t/x/y?q=1&r", "https://a.example/t/x/y"),
            ("https://{host}{path}?{query}", "https://a.example/t/x/y?q=1&r", "https://a.example/t/x/y"),
            ("/new?a=b&{query}", "/new?a=b&q=1&r", "/new?a=b"),
            ("/new?a=b", "/new?a=b", "/new?a=b"),
            ("/new#part", "/new?q=1&r#part", "/new#part"),
            ("https://b.example", "https://b.example?q=1&r", "https://b.example"),
        ] {
            assert_eq!(location(to, &with), expected, "{to}");
            assert_eq!(location(to, &without), expected_without, "{to}");
        }
    }

    #[test]
    fn scheme_host_port_and_captures_are_filled_in() {
        let plain = exchange("[::1]:81", "/t/x/y", None);
        assert_eq!(location("{scheme}://{host}:{port}/{page}/{tenant}", &plain), "http://[::1]:81/y/x");
        let without_port = exchange("a.example", "/t/x/y", None);
        assert_eq!(location("http://{host}:{port}/", &without_port), "http://a.example:80/");
    }

    #[test]
    fn without_a_host_the_local_address_stands_for_it() {
        assert_eq!(location("https://{host}{path}", &exchange("", "/a", None)), "https://192.0.2.1/a");
    }

    #[test]
    fn a_path_never_becomes_a_host() {
        let evil = exchange("a.example", "//evil.example/x", None);
        assert_eq!(location("{path}", &evil), "/evil.example/x");
        assert_eq!(location("https://{host}{path}", &evil), "https://a.example//evil.example/x");
        assert_eq!(location("https://{host}{path}", &exchange("a.example", "*", None)), "https://a.example/");
    }

    #[test]
    fn a_part_of_the_path_is_one_value_in_a_query() {
        let evil = exchange("a.example", "/t/x&admin=1/y+z", None);
        assert_eq!(location("/login?next={path}", &evil), "/login?next=/t/x%26admin%3D1/y%2Bz");
        assert_eq!(location("/login?page={page}", &evil), "/login?page=y%2Bz");
    }

    #[test]
    fn a_client_can_not_choose_the_host() {
        for to in [
            "https://{path}",
            "https://{tenant}.example{path}",
            "https://a.example{page}",
            "https://{host}.{page}/",
        ] {
            assert!(matches!(redirect(to), Err(TemplateError::Host(_))), "{to}");
        }
    }

    #[test]
    fn a_target_that_is_neither_url_nor_path_is_refused() {
        for to in [
            "",
            "a.example/x",
            "//b.example/",
            "ftp://a/",
            "javascript:x",
            "{host}/x",
            "{tenant}",
            "/a\\b",
            "https://",
            "https:///x",
            "{query}/x",
        ] {
            assert!(redirect(to).is_err(), "{to}");
        }
        assert_eq!(redirect("/{path}").err(), Some(TemplateError::DoubleSlash));
        assert_eq!(redirect("https://a.example/{path}").err(), Some(TemplateError::DoubleSlash));
        assert!(matches!(redirect("/{id}"), Err(TemplateError::Unknown { .. })));
    }

    proptest! {
        #[test]
        fn whatever_the_path_is_the_host_is_that_of_the_template(
            to in prop::sample::select(vec![
                "https://b.example{path}", "https://b.example/{page}{path}", "https://b.example?{page}", "{path}",
                "/{tenant}{path}", "https://b.example/#{path}",
            ]),
            path in prop::collection::vec(prop::sample::select(vec!["/", "t", "@", ":", "a.test", "%2F", "&", ";"]), 0..9),
            query in prop::option::of(prop::sample::select(vec!["", "a=b", "//c.test/@?"])),
        ) {
            let path = format!("/{}", path.concat());
            let location = location(to, &exchange("a.example", &path, query));
            let target = location.split('#').next().unwrap_or_default();
            let uri: http::Uri = target.parse().expect("a URI");
            prop_assert_eq!(uri.host(), to.contains("b.example").then_some("b.example"), "{}", location);
            prop_assert!(!location.starts_with("//"), "{}", location);
        }
    }
}
