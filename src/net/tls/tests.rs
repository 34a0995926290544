//! Handshakes in memory with a real client.

use std::time::UNIX_EPOCH;

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, NamedGroup};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;
use crate::net::certs::tests::fixture::{self, Pair, client, issue, write};
use crate::net::certs::{Demand, Sources, TrustSources};
use crate::net::vault::Vault;

const BOTH: [Protocol; 2] = [Protocol::H2, Protocol::H1];

fn settings() -> Settings {
    Settings {
        protocols: BOTH.to_vec(),
        min_version: Version::Tls12,
        resumption: Resumption::Tickets,
        handshake_timeout: Duration::from_secs(10),
        max_handshakes: 8,
    }
}

/// A vault, and a certificate for each list of names.
fn site<const N: usize>(names: [&[&str]; N]) -> (TempDir, Vault, Sources, [Pair; N]) {
    let folder = tempfile::tempdir().unwrap();
    let pairs = names.map(issue);
    let files =
        pairs.iter().enumerate().map(|(at, pair)| write(folder.path(), &at.to_string(), pair)).collect();
    (folder, Vault::new().unwrap(), Sources { files, self_signed: Vec::new() }, pairs)
}

/// Both ends of a handshake that succeeds, as the server and the client see it.
struct Met {
    handshake: Handshake,
    /// None when TLS 1.2 resumed.
    group: Option<NamedGroup>,
    certificate: Vec<u8>,
}

async fn meet(acceptor: &Acceptor, config: &Arc<ClientConfig>, name: &str) -> Result<Met, HandshakeError> {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connect = async {
        let mut stream = TlsConnector::from(config.clone()).connect(name, near).await?;
        // Tickets come with the first data.
        stream.read_exact(&mut [0; 1]).await?;
        let connection = stream.get_ref().1;
        let group = connection.negotiated_key_exchange_group().map(|group| group.name());
        let certificate = connection.peer_certificates().and_then(|chain| chain.first()).cloned();
        io::Result::Ok((group, certificate))
    };
    let accept = async {
        let Greeting::Tls(mut stream) = acceptor.accept(far, &Turn::default()).await? else {
            panic!("the client speaks TLS");
        };
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        Ok(Handshake::of(stream.get_ref().1))
    };
    let (handshake, client) = tokio::join!(accept, connect);
    let handshake = handshake?;
    let (group, certificate) = client.unwrap();
    Ok(Met { handshake, group, certificate: certificate.unwrap().to_vec() })
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate() {
    let (_folder, vault, sources, [first, second]) = site([&["a.test"], &["*.b.test"]]);
    let acceptor = vault.acceptor(&settings(), &sources, None).unwrap();
    let client = Arc::new(client(&[&first, &second], &[&TLS13]));
    for (name, expected) in [("a.test", &first), ("www.b.test", &second)] {
        let met = meet(&acceptor, &client, name).await.unwrap();
        assert!(met.certificate == expected.der.as_ref(), "{name}");
    }
}

#[tokio::test]
async fn a_hybrid_key_exchange_is_preferred() {
    let (_folder, vault, sources, [pair]) = site([&["a.test"]]);
    let acceptor = vault.acceptor(&settings(), &sources, None).unwrap();
    let capable = Arc::new(client(&[&pair], &[&TLS13]));
    let met = meet(&acceptor, &capable, "a.test").await.unwrap();
    assert_eq!(met.group, Some(NamedGroup::X25519MLKEM768));
    let classic = Arc::new(client(&[&pair], &[&TLS12]));
    let met = meet(&acceptor, &classic, "a.test").await.unwrap();
    assert_eq!(met.group, Some(NamedGroup::X25519));
}

#[tokio::test]
async fn sessions_resume_with_another_acceptor_of_the_vault() {
    for (version, expected) in [(&TLS12, Version::Tls12), (&TLS13, Version::Tls13)] {
        let (_folder, vault, sources, [pair]) = site([&["a.test"]]);
        let before = vault.acceptor(&settings(), &sources, None).unwrap();
        let after = vault
            .acceptor(&Settings { protocols: vec![Protocol::H1], ..settings() }, &sources, None)
            .unwrap();
        let client = Arc::new(client(&[&pair], &[version]));
        let first = meet(&before, &client, "a.test").await.unwrap().handshake;
        assert_eq!((first.version, first.resumed), (expected, false));
        for acceptor in [&after, &before] {
            let next = meet(acceptor, &client, "a.test").await.unwrap().handshake;
            assert_eq!((next.version, next.resumed), (expected, true));
        }
    }
}

#[tokio::test]
async fn sessions_do_not_resume_with_other_ticket_keys_or_without_tickets() {
    let off = Settings { resumption: Resumption::Off, ..settings() };
    for version in [&TLS12, &TLS13] {
        let (_folder, vault, sources, [pair]) = site([&["a.test"]]);
        let stranger = Vault::new().unwrap().acceptor(&settings(), &sources, None).unwrap();
        let acceptor = vault.acceptor(&settings(), &sources, None).unwrap();
        let silent = vault.acceptor(&off, &sources, None).unwrap();
        let known = Arc::new(client(&[&pair], &[version]));
        meet(&acceptor, &known, "a.test").await.unwrap();
        assert!(!meet(&stranger, &known, "a.test").await.unwrap().handshake.resumed);
        let fresh = Arc::new(client(&[&pair], &[version]));
        for _ in 0..2 {
            assert!(!meet(&silent, &fresh, "a.test").await.unwrap().handshake.resumed);
        }
    }
}

#[tokio::test]
async fn the_protocol_is_the_servers_choice_among_what_the_client_offers() {
    let (_folder, vault, sources, [pair]) = site([&["a.test"]]);
    let h1_only = Settings { protocols: vec![Protocol::H1], ..settings() };
    let chosen = async |settings: &Settings, offered: &[&[u8]]| {
        let acceptor = vault.acceptor(settings, &sources, None).unwrap();
        let mut client = client(&[&pair], &[&TLS13]);
        client.alpn_protocols = offered.iter().map(|one| one.to_vec()).collect();
        meet(&acceptor, &Arc::new(client), "a.test").await.unwrap().handshake.protocol
    };
    let both = settings();
    assert_eq!(chosen(&both, &[b"http/1.1", b"h2"]).await, Some(Protocol::H2));
    assert_eq!(chosen(&both, &[b"http/1.1"]).await, Some(Protocol::H1));
    assert_eq!(chosen(&h1_only, &[b"h2", b"http/1.1"]).await, Some(Protocol::H1));
    assert_eq!(chosen(&both, &[]).await, None);
}

#[tokio::test]
async fn a_client_without_a_common_protocol_is_refused() {
    let (_folder, vault, sources, [pair]) = site([&["a.test"]]);
    let acceptor = vault.acceptor(&settings(), &sources, None).unwrap();
    let mut client = client(&[&pair], &[&TLS13]);
    client.alpn_protocols = vec![b"spdy/3".to_vec()];
    let met = meet(&acceptor, &Arc::new(client), "a.test").await;
    assert!(matches!(met, Err(HandshakeError::Refused(_))));
}

#[tokio::test]
async fn an_old_version_is_refused_when_the_listener_says_so() {
    let (_folder, vault, sources, [pair]) = site([&["a.test"]]);
    let strict = Settings { min_version: Version::Tls13, ..settings() };
    let acceptor = vault.acceptor(&strict, &sources, None).unwrap();
    let old = Arc::new(client(&[&pair], &[&TLS12]));
    assert!(matches!(meet(&acceptor, &old, "a.test").await, Err(HandshakeError::Refused(_))));
    let new = Arc::new(client(&[&pair], &[&TLS13, &TLS12]));
    assert_eq!(meet(&acceptor, &new, "a.test").await.unwrap().handshake.version, Version::Tls13);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_given_up_in_time() {
    let (_folder, vault, sources, _) = site([&["a.test"]]);
    let acceptor = vault.acceptor(&settings(), &sources, None).unwrap();
    let (_near, far) = tokio::io::duplex(1024);
    let began = tokio::time::Instant::now();
    assert!(matches!(acceptor.accept(far, &Turn::default()).await, Err(HandshakeError::Timeout)));
    assert_eq!(began.elapsed().as_secs(), settings().handshake_timeout.as_secs());
}

#[tokio::test]
async fn clear_text_and_closed_connections_are_told_apart() {
    let (_folder, vault, sources, _) = site([&["a.test"]]);
    let acceptor = vault.acceptor(&settings(), &sources, None).unwrap();
    let (mut near, far) = tokio::io::duplex(1024);
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let Ok(Greeting::ClearText(_, read)) = acceptor.accept(far, &Turn::default()).await else {
        panic!("text is no TLS");
    };
    assert!(read.filled().starts_with(b"GET / HTTP"), "what was read is not lost");
    let (near, far) = tokio::io::duplex(1024);
    drop(near);
    assert!(matches!(acceptor.accept(far, &Turn::default()).await, Err(HandshakeError::Gone(_))));
}

/// A client that shows its own certificate; it is its own authority as well.
fn client_with(
    own: &Pair,
    server: &Pair,
    version: &'static rustls::SupportedProtocolVersion,
) -> ClientConfig {
    let mut config = client(&[server], &[version]);
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
    let provider = aws_lc_rs::default_provider();
    let signing = rustls::sign::CertifiedKey::from_der(vec![own.der.clone()], key, &provider).unwrap();
    config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(signing));
    config
}

#[tokio::test]
async fn a_certificate_that_expires_between_two_sessions_does_not_come_in_again() {
    for version in [&TLS12, &TLS13] {
        let (folder, vault, sources, [server]) = site([&["a.test"]]);
        let own = issue(&["alice.test"]);
        let ca = write(folder.path(), "alice", &own).cert;
        let clients = TrustSources { demand: Demand::Required, ca, crl: None };
        let acceptor = vault.acceptor(&settings(), &sources, Some(&clients)).unwrap();
        let config = Arc::new(client_with(&own, &server, version));
        assert!(!meet(&acceptor, &config, "a.test").await.unwrap().handshake.resumed);

        let (near, far) = tokio::io::duplex(16 * 1024);
        let name = ServerName::try_from("a.test").unwrap();
        let turn = Turn::default();
        let connect = TlsConnector::from(config.clone()).connect(name, near);
        let (accepted, _connected) = tokio::join!(acceptor.accept(far, &turn), connect);
        let Greeting::Tls(stream) = accepted.unwrap() else { panic!("the client speaks TLS") };
        let connection = stream.get_ref().1;
        assert!(Handshake::of(connection).resumed);
        let trust = acceptor.clients.as_ref().unwrap().current();
        let at = |year| UnixTime::since_unix_epoch(fixture::year(year).duration_since(UNIX_EPOCH).unwrap());
        assert_eq!(trust.judge(connection, at(2030)), Ok(()));
        let judged = trust.judge(connection, at(2050));
        assert!(matches!(judged, Err(rustls::Error::InvalidCertificate(_))), "{judged:?}");
    }
}
