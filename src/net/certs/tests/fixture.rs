//! Certificates for tests: made on the spot, written where a listener would find them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, SignatureAlgorithm};
use rustls::pki_types::CertificateDer;

use crate::net::certs::Files;

/// A certificate that is its own issuer.
pub(crate) struct Pair {
    pub cert: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

/// ECDSA, valid from 2020 to the end of 2039.
pub(crate) fn issue(names: &[&str]) -> Pair {
    issue_with(names, &rcgen::PKCS_ECDSA_P256_SHA256)
}

/// RSA, otherwise the same.
pub(crate) fn issue_rsa(names: &[&str]) -> Pair {
    issue_with(names, &PKCS_RSA_SHA256)
}

fn issue_with(names: &[&str], algorithm: &'static SignatureAlgorithm) -> Pair {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2040, 1, 1);
    let key = KeyPair::generate_for(algorithm).unwrap();
    let cert = parameters.self_signed(&key).unwrap();
    Pair { cert: cert.pem(), key: key.serialize_pem(), der: cert.der().clone() }
}

/// Writes both files into a folder, in place.
pub(crate) fn write(folder: &Path, name: &str, pair: &Pair) -> Files {
    let cert = folder.join(format!("{name}.pem"));
    let key = folder.join(format!("{name}.key"));
    std::fs::write(&cert, &pair.cert).unwrap();
    std::fs::write(&key, &pair.key).unwrap();
    Files { cert, key }
}

/// A moment in a year.
pub(crate) fn year(year: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_556_952 + 86_400)
}

/// Settings of a client that trusts these certificates and no others.
pub(crate) fn client(
    trusted: &[&Pair],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    for pair in trusted {
        roots.add(pair.der.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}
