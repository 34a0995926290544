//! What the certificate of a client says, as text that can not break out of a header field.

use std::fmt::Write as _;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::CertificateDer;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::http::Identity;
use crate::http::identity::Part;

/// Longest value of a field, in bytes: what an endpoint takes in one header line.
const MAX_VALUE: usize = 8 * 1024;

/// Why an identity can not be told.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not what the library has verified.
    #[error("the certificate of the client is not valid X.509")]
    NotX509,
    /// A value that no endpoint would take.
    #[error("the certificate of the client is too large for a header field, over 8 KiB")]
    TooLarge,
}

/// What a verified certificate says: each part under its field name.
///
/// # Errors
/// A certificate that can not be told to endpoints. Its client is to be refused: a request without
/// its identity would look like one from nobody.
pub fn identity(
    certificate: &CertificateDer<'_>,
    fields: &[(Part, Box<str>)],
) -> Result<Identity, IdentityError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| IdentityError::NotX509)?;
    let subject = distinguished(parsed.subject());
    let value = |part: &Part| match part {
        Part::Subject => Ok(subject.clone()),
        Part::San => alternative(&parsed),
        Part::Fingerprint => Ok(fingerprint(certificate)),
        // RFC 9440 §2.2, a byte sequence of RFC 8941.
        Part::Certificate => Ok(format!(":{}:", BASE64_STANDARD.encode(certificate))),
    };
    let fields = fields.iter().map(|(part, name)| Ok((name.clone(), value(part)?.into())));
    let fields: Box<[(Box<str>, Box<str>)]> = fields.collect::<Result<_, IdentityError>>()?;
    let is_bounded = subject.len() <= MAX_VALUE && fields.iter().all(|(_, value)| value.len() <= MAX_VALUE);
    match is_bounded {
        true => Ok(Identity { subject: subject.into(), fields }),
        false => Err(IdentityError::TooLarge),
    }
}

/// SHA-256 in lower-case hex.
fn fingerprint(certificate: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    let suite = TLS13_AES_128_GCM_SHA256.tls13();
    let hash = suite.map(|suite| suite.common.hash_provider.hash(certificate));
    for byte in hash.iter().flat_map(|hash| hash.as_ref()) {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// RFC 4514: the most specific part first, `CN=alice,O=Example`.
fn distinguished(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let parts = parts.iter().rev().map(|part| part.iter().map(attribute).collect::<Vec<_>>().join("+"));
    parts.collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type();
    let mut text = oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
    text.push('=');
    match attribute.as_str() {
        Ok(value) => escape(value, &mut text),
        Err(_) => {
            text.push('#');
            attribute.as_slice().iter().for_each(|byte| hex(&mut text, "", *byte));
        }
    }
    text
}

/// RFC 4514 §2.4, and everything that is not visible ASCII as `\XX`.
fn escape(value: &str, out: &mut String) {
    for (at, byte) in value.bytes().enumerate() {
        let is_outer = at == 0 || at + 1 == value.len();
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => out.extend(['\\', char::from(byte)]),
            b'#' if at == 0 => out.push_str("\\#"),
            b' ' if is_outer => out.push_str("\\ "),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => hex(out, "\\", byte),
        }
    }
}

/// `DNS:a.example,URI:spiffe://example/a`: the kinds that name somebody, in their order.
fn alternative(certificate: &X509Certificate<'_>) -> Result<String, IdentityError> {
    let extension = certificate.subject_alternative_name().map_err(|_| IdentityError::NotX509)?;
    let mut text = String::new();
    for name in extension.iter().flat_map(|extension| &extension.value.general_names) {
        let (kind, value) = match name {
            GeneralName::DNSName(name) => ("DNS:", (*name).to_owned()),
            GeneralName::URI(uri) => ("URI:", (*uri).to_owned()),
            GeneralName::RFC822Name(address) => ("email:", (*address).to_owned()),
            GeneralName::IPAddress(bytes) => match address(bytes) {
                Some(address) => ("IP:", address.to_string()),
                None => continue,
            },
            _ => continue,
        };
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(kind);
        // A comma within a name would begin another one.
        for byte in value.bytes() {
            match byte {
                b',' | b'"' | b'\\' | b' ' => hex(&mut text, "%", byte),
                b'!'..=b'~' => text.push(char::from(byte)),
                _ => hex(&mut text, "%", byte),
            }
        }
    }
    Ok(text)
}

fn hex(out: &mut String, mark: &str, byte: u8) {
    // Writing to a String does not fail.
    let _ = write!(out, "{mark}{byte:02X}");
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn told(name: &[(DnType, &str)], alternative: Vec<SanType>) -> (Identity, CertificateDer<'static>) {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in name {
            parameters.distinguished_name.push(kind.clone(), *value);
        }
        parameters.subject_alt_names = alternative;
        let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let parts = [Part::Subject, Part::San, Part::Fingerprint, Part::Certificate];
        let fields: Vec<_> = parts.iter().map(|part| (*part, format!("{part:?}").into())).collect();
        (identity(certificate.der(), &fields).unwrap(), certificate.der().clone())
    }

    #[test]
    fn every_part_is_told_in_its_usual_form() {
        let names = vec![
            SanType::DnsName("a.example".try_into().unwrap()),
            SanType::URI("spiffe://example/a".try_into().unwrap()),
            SanType::IpAddress("127.0.0.1".parse().unwrap()),
        ];
        let subject = [(DnType::OrganizationName, "Example"), (DnType::CommonName, "alice")];
        let (identity, der) = told(&subject, names);
        assert_eq!(&*identity.subject, "CN=alice,O=Example");
        let values: Vec<_> = identity.fields.iter().map(|(_, value)| &**value).collect();
        assert_eq!(values[..2], ["CN=alice,O=Example", "DNS:a.example,URI:spiffe://example/a,IP:127.0.0.1"]);
        assert_eq!(values[2].len(), 64);
        assert_eq!(BASE64_STANDARD.decode(values[3].trim_matches(':')).unwrap(), der.as_ref());
    }

    #[test]
    fn a_value_can_not_break_out_of_its_place() {
        let names = vec![SanType::URI("x:a,DNS:admin".try_into().unwrap())];
        let (identity, _) = told(&[(DnType::CommonName, " a,CN=admin\r\nx: é")], names);
        assert_eq!(&*identity.subject, "CN=\\ a\\,CN=admin\\0D\\0Ax: \\C3\\A9");
        assert_eq!(&*identity.fields[1].1, "URI:x:a%2CDNS:admin");
    }

    #[test]
    fn a_certificate_without_names_has_empty_ones() {
        let (identity, _) = told(&[], Vec::new());
        assert_eq!((&*identity.subject, &*identity.fields[1].1), ("", ""));
    }

    #[test]
    fn a_value_that_no_endpoint_takes_refuses_the_client() {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, "a".repeat(MAX_VALUE));
        let certificate = parameters.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert!(matches!(identity(certificate.der(), &[]), Err(IdentityError::TooLarge)));
    }
}
