//! Who the client is, behind proxies that are trusted to say so.

use std::net::{IpAddr, SocketAddr};

use super::element;
use crate::http::fields::{Fields, items};
use crate::http::name::Name;

/// The right-most address of X-Forwarded-For, or of Forwarded where that is absent, which is not
/// itself a trusted proxy. An entry that is no address ends the walk, since whoever wrote it did
/// not say whom it speaks for. `peer` when no entry tells.
///
/// To be asked only about a head that a trusted proxy has sent.
pub fn client_of(fields: &Fields, peer: IpAddr, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let mut chain = Chain { found: None, is_trusted };
    if fields.get(Name::XForwardedFor).is_some() {
        fields.all(Name::XForwardedFor).flat_map(items).for_each(|entry| chain.hop(address(entry)));
    } else {
        for list in fields.all(Name::Forwarded) {
            element::sources(list, |source| chain.hop(source.and_then(address)));
        }
    }
    chain.found.unwrap_or(peer)
}

/// The walk from the right, made from the left so that nothing needs to be kept: what is found
/// holds if all that follow are trusted, and is replaced if one is not.
struct Chain<F> {
    found: Option<IpAddr>,
    is_trusted: F,
}

impl<F: Fn(IpAddr) -> bool> Chain<F> {
    fn hop(&mut self, entry: Option<IpAddr>) {
        self.found = match (entry, self.found) {
            (Some(entry), Some(found)) if (self.is_trusted)(entry) => Some(found),
            (entry, _) => entry,
        };
    }
}

/// An address as proxies write it: bare, or with a port, IPv6 also in brackets.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare =
        text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|text| text.contains(':'));
    let parsed = bare.unwrap_or(text).parse::<IpAddr>();
    let parsed = parsed.or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    parsed.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client, seen by a proxy that trusts 10.0.0.0/8 and fd00::/8 and is asked by 10.0.0.1.
    fn client(lines: &[(&str, &str)]) -> String {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        let trusted = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.octets()[0] == 10,
            IpAddr::V6(v6) => v6.octets()[0] == 0xfd,
        };
        client_of(&fields, IpAddr::from([10, 0, 0, 1]), trusted).to_string()
    }

    fn x_forwarded_for(value: &str) -> String {
        client(&[("X-Forwarded-For", value)])
    }

    #[test]
    fn the_right_most_address_that_is_not_trusted_is_the_client() {
        assert_eq!(x_forwarded_for("192.0.2.7"), "192.0.2.7");
        assert_eq!(x_forwarded_for("6.6.6.6, 192.0.2.7, 10.0.0.3,10.0.0.2"), "192.0.2.7");
        assert_eq!(x_forwarded_for("6.6.6.6, 10.0.0.3, 192.0.2.7"), "192.0.2.7");
        let lines = [("x-forwarded-for", "6.6.6.6"), ("X-Forwarded-For", "2001:db8::1, fd00::2")];
        assert_eq!(client(&lines), "2001:db8::1", "several lines are one list");
    }

    #[test]
    fn a_chain_of_trusted_proxies_begins_with_the_client() {
        assert_eq!(x_forwarded_for("10.0.0.9, 10.0.0.3"), "10.0.0.9");
    }

    #[test]
    fn what_is_no_address_ends_the_walk() {
        assert_eq!(x_forwarded_for("192.0.2.7, unknown, 10.0.0.3"), "10.0.0.3");
        assert_eq!(x_forwarded_for("192.0.2.7, unknown"), "10.0.0.1");
        for wrong in ["192.0.2.07", "192.0.2.7:x", "[192.0.2.7]", "[::1", "_hidden", "\u{fffd}"] {
            assert_eq!(x_forwarded_for(&format!("6.6.6.6, {wrong}")), "10.0.0.1", "{wrong}");
        }
        assert_eq!(client(&[]), "10.0.0.1");
        assert_eq!(x_forwarded_for(""), "10.0.0.1");
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_understood() {
        for (written, meant) in [
            ("192.0.2.7:5000", "192.0.2.7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:db8::7]:5000", "2001:db8::7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
        ] {
            assert_eq!(x_forwarded_for(written), meant);
        }
        assert_eq!(x_forwarded_for("192.0.2.7, ::ffff:10.0.0.3"), "192.0.2.7", "a trusted one");
    }

    #[test]
    fn forwarded_tells_where_x_forwarded_for_is_absent() {
        let forwarded = |value| client(&[("Forwarded", value)]);
        assert_eq!(forwarded("for=6.6.6.6, for=192.0.2.7;proto=https, For=10.0.0.3"), "192.0.2.7");
        assert_eq!(forwarded("for=\"[2001:db8::7]:5000\";host=\"a,b;c\", for=10.0.0.3"), "2001:db8::7");
        assert_eq!(forwarded("for=192.0.2.7, proto=https, for=10.0.0.3"), "10.0.0.3", "nobody is told");
        assert_eq!(forwarded("for=192.0.2.7, for=\"10.0.0.3"), "10.0.0.1", "an open quote");
        assert_eq!(forwarded("for=192.0.2.7, for=_x"), "10.0.0.1");
        let both = [("Forwarded", "for=6.6.6.6"), ("X-Forwarded-For", "192.0.2.7")];
        assert_eq!(client(&both), "192.0.2.7");
    }
}
