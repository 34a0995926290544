//! What listeners share: certificates, and following their files.

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::*;
use crate::net::certs::Files;
use crate::net::certs::tests::fixture::{issue, write};
use crate::net::tls::{Protocol, Resumption, Version};

fn settings() -> Settings {
    Settings {
        protocols: vec![Protocol::H1],
        min_version: Version::Tls12,
        resumption: Resumption::Tickets,
        handshake_timeout: Duration::from_secs(1),
        max_handshakes: 8,
    }
}

fn site() -> (TempDir, Sources, Files) {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), "a", &issue(&["a.test"]));
    (folder, Sources { files: vec![files.clone()], self_signed: Vec::new() }, files)
}

#[test]
fn listeners_with_the_same_files_share_them() {
    let (_folder, sources, _) = site();
    let vault = Vault::new().unwrap();
    let [first, second] = [(); 2].map(|()| vault.acceptor(&settings(), &sources, None).unwrap());
    assert!(Arc::ptr_eq(first.store(), second.store()));
}

#[test]
fn a_reload_keeps_a_certificate_whose_file_was_spoiled() {
    let (_folder, sources, files) = site();
    let vault = Vault::new().unwrap();
    let living = vault.acceptor(&settings(), &sources, None).unwrap();
    std::fs::write(&files.cert, "spoiled").unwrap();
    vault.acceptor(&settings(), &sources, None).unwrap();
    drop(living);
    let error = vault.acceptor(&settings(), &sources, None).unwrap_err().remove(0);
    assert!(matches!(error, TlsError::Certificate(_)), "nobody uses it any more: {error}");
}

#[test]
fn certificates_end_with_their_last_listener() {
    let (_folder, sources, files) = site();
    let vault = Vault::new().unwrap();
    drop(vault.acceptor(&settings(), &sources, None).unwrap());
    std::fs::write(&files.cert, "spoiled").unwrap();
    assert!(vault.refresh(SystemTime::now()).is_empty(), "no longer followed");
    let other = Sources { self_signed: vec!["localhost".to_owned()], ..Sources::default() };
    let _living = vault.acceptor(&settings(), &other, None).unwrap();
    assert_eq!(lock(&vault.stores).len(), 1, "no longer listed");
}

#[test]
fn a_listener_without_any_certificate_is_refused() {
    let error = Vault::new().unwrap().acceptor(&settings(), &Sources::default(), None).unwrap_err().remove(0);
    assert!(error.to_string().contains("needs a certificate"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_replacement_is_noticed_within_two_seconds() {
    let (folder, sources, files) = site();
    let vault = Arc::new(Vault::new().unwrap());
    let living = vault.acceptor(&settings(), &sources, None).unwrap();
    let (seen, mut events) = mpsc::channel(8);
    let watch = tokio::spawn(vault.watch(move |event| {
        let is_change = matches!(event, Event::Changed { cert, .. } if *cert == files.cert);
        let _ = seen.try_send(is_change);
    }));
    let replaced = Instant::now();
    write(folder.path(), "a", &issue(&["a.test"]));
    // Between the two writes the files may have been seen as no pair.
    let live = async { while !events.recv().await.unwrap() {} };
    timeout(Duration::from_secs(2), live).await.unwrap();
    assert!(replaced.elapsed() <= Duration::from_secs(2));
    watch.abort();
    drop(living);
}
