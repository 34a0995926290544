//! Certificates of a listener: the choice by name, what is refused, and replacement while running.

pub(crate) mod fixture;

use std::os::unix::fs::symlink;

use rustls::SignatureScheme;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::*;
use fixture::{Pair, issue, issue_rsa, write, year};

const ANY: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::RSA_PSS_SHA256];

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn load(files: &[&Files]) -> Result<CertificateStore, CertificateError> {
    let files = files.iter().map(|one| (*one).clone()).collect();
    let store = CertificateStore::load(Sources { files, ..Sources::default() }, year(2030));
    store.map_err(|mut errors| errors.remove(0))
}

fn chosen(store: &CertificateStore, name: Option<&str>) -> CertificateDer<'static> {
    store.names.load().find(name, ANY).cert[0].clone()
}

#[test]
fn the_exact_name_wins_then_the_wildcard_then_the_first() {
    let folder = folder();
    let first = issue(&["first.test"]);
    let wild = issue(&["*.example.com"]);
    let exact = issue(&["API.example.com", "example.com"]);
    let files = [("first", &first), ("wild", &wild), ("exact", &exact)];
    let files = files.map(|(name, pair)| write(folder.path(), name, pair));
    let store = load(&[&files[0], &files[1], &files[2]]).unwrap();
    let cases = [
        (Some("api.example.com"), &exact),
        (Some("Api.Example.Com"), &exact),
        (Some("example.com"), &exact),
        (Some("www.example.com"), &wild),
        (Some("a.b.example.com"), &first),
        (Some("example.org"), &first),
        (Some("com"), &first),
        (None, &first),
    ];
    for (name, expected) in cases {
        assert!(chosen(&store, name) == expected.der, "{name:?}");
    }
}

#[test]
fn a_name_with_two_kinds_of_key_serves_each_client_with_one_it_can_verify() {
    let folder = folder();
    let (ecdsa, rsa) = (issue(&["a.test"]), issue_rsa(&["a.test"]));
    let files = [write(folder.path(), "ecdsa", &ecdsa), write(folder.path(), "rsa", &rsa)];
    let store = load(&[&files[0], &files[1]]).unwrap();
    let names = store.names.load();
    let served = |schemes| names.find(Some("a.test"), schemes).cert[0].clone();
    assert!(served(ANY) == ecdsa.der, "the first in the file when both fit");
    assert!(served(&[SignatureScheme::RSA_PSS_SHA256]) == rsa.der);
    assert!(served(&[SignatureScheme::ED25519]) == ecdsa.der, "the handshake then fails by itself");
}

#[test]
fn a_certificate_that_can_not_be_used_is_refused_with_its_path() {
    let (folder, good) = (folder(), issue(&["a.test"]));
    let other = issue(&["b.test"]);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let half = &good.cert[..good.cert.len() / 2];
    let cases = [
        ("empty-cert", "", good.key.as_str(), "BEGIN CERTIFICATE"),
        ("half-cert", half, &good.key, "is not whole"),
        ("not-x509", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &good.key, "X.509"),
        ("no-key", &good.cert, "", "BEGIN PRIVATE KEY"),
        ("encrypted", &good.cert, encrypted, "encrypted"),
        ("mismatch", &good.cert, &other.key, "not the one of the first certificate"),
    ];
    for (name, cert, key, expected) in cases {
        let pair = Pair { cert: cert.to_owned(), key: key.to_owned(), der: good.der.clone() };
        let files = write(folder.path(), name, &pair);
        let message = load(&[&files]).unwrap_err().to_string();
        assert!(message.contains(expected) && message.contains(name), "{name}: {message}");
    }
}

#[test]
fn a_path_that_is_no_readable_file_is_refused() {
    let folder = folder();
    let good = write(folder.path(), "good", &issue(&["a.test"]));
    let absent = Files { cert: folder.path().join("absent.pem"), ..good.clone() };
    assert!(matches!(load(&[&absent]), Err(CertificateError::Read { .. })));
    let directory = Files { key: folder.path().to_owned(), ..good.clone() };
    assert!(matches!(load(&[&directory]), Err(CertificateError::NotFile(_))));
    let large = Files { cert: folder.path().join("large.pem"), ..good };
    std::fs::File::create(&large.cert).unwrap().set_len(2 * 1024 * 1024).unwrap();
    assert!(matches!(load(&[&large]), Err(CertificateError::TooLarge(_))));
    assert!(matches!(load(&[]), Err(CertificateError::None)));
}

#[test]
fn an_expired_certificate_is_refused_with_its_date() {
    let folder = folder();
    let files = write(folder.path(), "old", &issue(&["a.test"]));
    let sources = Sources { files: vec![files], ..Sources::default() };
    let error = CertificateStore::load(sources, year(2041)).unwrap_err().remove(0);
    assert!(error.to_string().contains("2040-01-01"), "{error}");
}

#[test]
fn nothing_happens_while_the_files_stay() {
    let folder = folder();
    let files = write(folder.path(), "a", &issue(&["a.test"]));
    let store = load(&[&files]).unwrap();
    for now in [year(2031), year(2031), year(2041)] {
        assert!(store.refresh(now).is_empty());
    }
}

#[test]
fn a_replacement_goes_live() {
    let folder = folder();
    let (old, new) = (issue(&["a.test"]), issue(&["a.test"]));
    let files = write(folder.path(), "a", &old);
    let store = load(&[&files]).unwrap();
    // The files count as settled from here on: only a change of their times is looked for.
    assert!(store.refresh(year(2031)).is_empty());
    write(folder.path(), "a", &new);
    let events = store.refresh(year(2031));
    assert!(matches!(&events[..], [Event::Changed { cert, .. }] if *cert == files.cert), "{events:?}");
    assert!(chosen(&store, Some("a.test")) == new.der);
    assert!(store.refresh(year(2031)).is_empty(), "reported once");
}

#[test]
fn a_replacement_by_a_turned_symlink_goes_live() {
    let folder = folder();
    let (old, new) = (issue(&["a.test"]), issue(&["a.test"]));
    for (name, pair) in [("1", &old), ("2", &new)] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        write(&folder.path().join(name), "tls", pair);
    }
    let current = folder.path().join("current");
    symlink("1", &current).unwrap();
    let store = load(&[&Files { cert: current.join("tls.pem"), key: current.join("tls.key") }]).unwrap();
    assert!(store.refresh(year(2031)).is_empty());
    symlink("2", folder.path().join("next")).unwrap();
    std::fs::rename(folder.path().join("next"), &current).unwrap();
    assert_eq!(store.refresh(year(2031)).len(), 1);
    assert!(chosen(&store, None) == new.der);
}

#[test]
fn a_replacement_in_two_steps_is_live_after_the_second_only() {
    let folder = folder();
    let (old, new) = (issue(&["a.test"]), issue(&["a.test"]));
    let files = write(folder.path(), "a", &old);
    let store = load(&[&files]).unwrap();
    std::fs::write(&files.cert, &new.cert).unwrap();
    let events = store.refresh(year(2031));
    let is_mismatch =
        |event: &Event| matches!(event, Event::Refused { error: CertificateError::Mismatch { .. }, .. });
    assert!(events.len() == 1 && is_mismatch(&events[0]), "{events:?}");
    assert!(store.refresh(year(2031)).is_empty(), "reported once");
    assert!(chosen(&store, None) == old.der);
    std::fs::write(&files.key, &new.key).unwrap();
    assert!(matches!(&store.refresh(year(2031))[..], [Event::Changed { .. }]));
    assert!(chosen(&store, None) == new.der);
}

#[test]
fn a_broken_replacement_leaves_the_one_in_use() {
    let folder = folder();
    let (old, new) = (issue(&["a.test"]), issue(&["a.test"]));
    let files = write(folder.path(), "a", &old);
    let other = write(folder.path(), "b", &issue(&["b.test"]));
    let store = load(&[&files, &other]).unwrap();
    let refused = |step: &str| {
        let events = store.refresh(year(2031));
        assert!(
            matches!(&events[..], [Event::Refused { cert, .. }] if *cert == files.cert),
            "{step}: {events:?}"
        );
        assert!(store.refresh(year(2031)).is_empty(), "{step}: reported once");
        assert!(chosen(&store, Some("a.test")) == old.der, "{step}");
    };
    std::fs::write(&files.cert, &new.cert[..new.cert.len() / 2]).unwrap();
    refused("half-written");
    std::fs::write(&files.cert, "").unwrap();
    refused("empty");
    std::fs::remove_file(&files.cert).unwrap();
    refused("gone");
    write(folder.path(), "a", &new);
    assert!(matches!(&store.refresh(year(2031))[..], [Event::Changed { .. }]));
}

#[test]
fn an_expired_replacement_is_refused() {
    let folder = folder();
    let (old, new) = (issue(&["a.test"]), issue(&["a.test"]));
    let files = write(folder.path(), "a", &old);
    let store = load(&[&files]).unwrap();
    write(folder.path(), "a", &new);
    let events = store.refresh(year(2041));
    assert!(
        matches!(&events[..], [Event::Refused { error: CertificateError::Expired { .. }, .. }]),
        "{events:?}"
    );
    assert!(chosen(&store, None) == old.der);
}

#[test]
fn the_earliest_end_of_all_certificates_is_known() {
    let folder = folder();
    let files = write(folder.path(), "a", &issue(&["a.test"]));
    let sources = Sources { files: vec![files.clone()], self_signed: vec!["b.test".to_owned()] };
    let store = CertificateStore::load(sources, year(2030)).unwrap();
    let made = seconds(year(2031))..seconds(year(2033));
    assert!(made.contains(&store.earliest_expiry()), "of the self-signed one");
    let alone = load(&[&files]).unwrap();
    assert_eq!(alone.earliest_expiry(), 2_208_988_800, "2040-01-01T00:00:00Z");
}

#[test]
fn a_self_signed_certificate_is_for_names_and_addresses() {
    let self_signed = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let store = CertificateStore::load(Sources { self_signed, ..Sources::default() }, year(2030)).unwrap();
    let names = store.names.load();
    let certificate = names.find(Some("localhost"), ANY);
    let parsed = x509_parser::parse_x509_certificate(&certificate.cert[0]).unwrap().1;
    let san = parsed.subject_alternative_name().unwrap().unwrap();
    assert_eq!(san.value.general_names.len(), 2);
    assert!(parsed.validity().not_before.timestamp() < seconds(year(2030)));
    assert!(store.refresh(year(2031)).is_empty());
}
