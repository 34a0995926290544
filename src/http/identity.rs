//! Who a client is by its certificate, as endpoints are told.
//!
//! The field names in question belong to the proxy alone: what a client sends under one of them,
//! or under an alias with an underscore, never passes, whether or not it has shown a certificate
//! and whichever listener it has come through.

use super::exchange::Exchange;
use super::fields::Fields;
use super::name::Name;

/// What of a certificate a field tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The subject as text (RFC 4514).
    Subject,
    /// The alternative names of the subject.
    San,
    /// SHA-256 of the certificate.
    Fingerprint,
    /// The certificate itself (RFC 9440).
    Certificate,
}

/// What the certificate of a client says.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// The subject as text (RFC 4514), for the access log.
    pub subject: Box<str>,
    /// Names and values of the fields that endpoints get.
    pub fields: Box<[(Box<str>, Box<str>)]>,
}

/// The names of fields that tell an identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved(Box<[Box<str>]>);

impl Reserved {
    /// Of these names, in any letter case.
    pub fn new(names: impl IntoIterator<Item = String>) -> Reserved {
        Reserved(names.into_iter().map(|name| name.to_ascii_lowercase().into()).collect())
    }

    /// Whether no name is reserved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes what the client has sent under these names, and puts in what its certificate says.
    pub fn settle(&self, exchange: &mut Exchange) {
        if !self.0.is_empty() {
            let fields = &mut exchange.request.fields;
            fields.retain(|known, name, _| known != Name::Other || !self.has(name));
        }
        let Some(identity) = exchange.client.identity.clone() else { return };
        for (name, value) in &identity.fields {
            // A reload may have renamed the field since the handshake.
            exchange.request.fields.set(name.as_bytes(), value.as_bytes());
        }
    }

    /// Whether any of these fields has one of the names.
    pub fn is_in(&self, fields: &Fields) -> bool {
        !self.0.is_empty() && fields.iter().any(|(_, name, _)| self.has(name))
    }

    fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|own| is_alias(own.as_bytes(), name))
    }
}

/// Whether the names are equal for an endpoint that does not tell `_` from `-`, as CGI does not.
fn is_alias(own: &[u8], name: &[u8]) -> bool {
    let plain = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    own.len() == name.len() && own.iter().zip(name).all(|(own, byte)| plain(*own) == plain(*byte))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn settled(identity: Option<Identity>, sent: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut exchange = Exchange::default();
        exchange.client.identity = identity.map(Arc::new);
        for (name, value) in sent {
            exchange.request.fields.push(name.as_bytes(), value.as_bytes());
        }
        Reserved::new(["X-Client-Subject".to_owned()]).settle(&mut exchange);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        exchange.request.fields.iter().map(|(_, name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn what_a_client_says_of_itself_never_passes() {
        let sent = [
            ("X-Client-Subject", "CN=admin"),
            ("x_client_subject", "CN=admin"),
            ("X-Client_Subject", "CN=admin"),
            ("x-client-subjects", "other"),
        ];
        let left = settled(None, &sent);
        assert_eq!(left, [("x-client-subjects".to_owned(), "other".to_owned())]);
    }

    #[test]
    fn what_the_certificate_says_takes_its_place() {
        let field = ("x-client-subject".into(), "CN=alice".into());
        let identity = Identity { subject: "CN=alice".into(), fields: [field].into() };
        let left = settled(Some(identity), &[("x_client_subject", "CN=admin")]);
        assert_eq!(left, [("x-client-subject".to_owned(), "CN=alice".to_owned())]);
    }
}
