//! Whose certificates a listener takes from its clients, followed on disk like its own.
//!
//! Sessions resume under the authorities and lists with which they began only: each content has
//! ticket keys of its own, since the library verifies nothing when a session resumes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::{HandshakeKind, RootCertStore, ServerConnection};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::read::{content, date};
use super::{CertificateError, Event, Seen, digest_of, seconds, settled, stamps};

/// Whether clients must show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Demand {
    /// They may; one that is shown must be valid.
    Optional,
    /// They must.
    Required,
}

/// Where the trust of a listener comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrustSources {
    /// Whether clients must show a certificate.
    pub demand: Demand,
    /// Certificates of the authorities, PEM.
    pub ca: PathBuf,
    /// Revocation lists of the authorities, PEM.
    pub crl: Option<PathBuf>,
}

/// The trust of a listener at one moment.
#[derive(Debug)]
pub struct Trust {
    /// Judges certificates.
    pub verifier: Arc<dyn ClientCertVerifier>,
    /// Keys of the sessions that began under this trust.
    pub tickets: Arc<dyn ProducesTickets>,
    demand: Demand,
    /// When the first of the lists expires, in seconds since 1970.
    lists_expire: i64,
}

impl Trust {
    /// Judges a finished handshake. A full one was judged by the library; a resumed one brings the
    /// certificate of the first, which may have expired since.
    ///
    /// # Errors
    /// When the client may not come in.
    pub fn judge(&self, connection: &ServerConnection, now: UnixTime) -> Result<(), rustls::Error> {
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        match connection.peer_certificates() {
            Some([first, issuers @ ..]) if resumed => {
                self.verifier.verify_client_cert(first, issuers, now).map(drop)
            }
            Some([_, ..]) => Ok(()),
            Some([]) | None => match self.demand {
                Demand::Optional => Ok(()),
                Demand::Required => Err(rustls::Error::NoCertificatesPresented),
            },
        }
    }
}

/// The trust of a listener; shared by its workers.
#[derive(Debug)]
pub struct TrustStore {
    current: ArcSwap<Trust>,
    sources: TrustSources,
    /// For the control plane; a handshake never takes it.
    watched: Mutex<Watched>,
}

#[derive(Debug)]
struct Watched {
    /// The content that was last looked at, live or refused.
    seen: Seen,
    expiry_is_told: bool,
}

impl TrustStore {
    /// Reads the files.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn load(sources: TrustSources, now: SystemTime) -> Result<TrustStore, CertificateError> {
        let stamps = stamps(sources.paths());
        let text = Text::read(&sources)?;
        let current = ArcSwap::from_pointee(text.parse(&sources, now)?);
        let seen = Seen { stamps, digest: text.digest(), settled: settled(&stamps, now) };
        Ok(TrustStore { current, sources, watched: Mutex::new(Watched { seen, expiry_is_told: false }) })
    }

    /// Whether clients must show a certificate.
    pub fn demand(&self) -> Demand {
        self.sources.demand
    }

    /// The trust of new handshakes.
    pub fn current(&self) -> Arc<Trust> {
        self.current.load_full()
    }

    /// Reads the files if they have changed since the last look, and puts them live if they may be.
    /// Blocks on files.
    pub fn refresh(&self, now: SystemTime) -> Option<Event> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(self.sources.paths());
        if watched.seen.settled && stamps == watched.seen.stamps {
            return self.tell_expiry(&mut watched, now);
        }
        let text = Text::read(&self.sources);
        let digest = match &text {
            Ok(text) => text.digest(),
            Err(error) => digest_of(&error.to_string()),
        };
        let is_known = digest == watched.seen.digest;
        watched.seen = Seen { stamps, digest, settled: settled(&stamps, now) };
        if is_known {
            return self.tell_expiry(&mut watched, now);
        }
        Some(match text.and_then(|text| text.parse(&self.sources, now)) {
            Ok(trust) => {
                self.current.store(Arc::new(trust));
                watched.expiry_is_told = false;
                Event::TrustChanged { ca: self.sources.ca.clone() }
            }
            Err(error) => Event::TrustRefused { ca: self.sources.ca.clone(), error },
        })
    }

    fn tell_expiry(&self, watched: &mut Watched, now: SystemTime) -> Option<Event> {
        if watched.expiry_is_told || self.current.load().lists_expire > seconds(now) {
            return None;
        }
        watched.expiry_is_told = true;
        Some(Event::ListsExpired { crl: self.sources.crl.clone().unwrap_or_default() })
    }
}

impl TrustSources {
    fn paths(&self) -> [Option<&std::path::Path>; 2] {
        [Some(&self.ca), self.crl.as_deref()]
    }
}

/// The files as they were at one moment.
struct Text {
    ca: Vec<u8>,
    crl: Option<Vec<u8>>,
}

impl Text {
    fn read(sources: &TrustSources) -> Result<Text, CertificateError> {
        Ok(Text { ca: content(&sources.ca)?, crl: sources.crl.as_deref().map(content).transpose()? })
    }

    fn digest(&self) -> u64 {
        digest_of(&(&self.ca, &self.crl))
    }

    fn parse(&self, sources: &TrustSources, now: SystemTime) -> Result<Trust, CertificateError> {
        let roots = self.roots(sources)?;
        let lists = self.lists(sources)?;
        let lists_expire = expiry(&lists, sources)?;
        if lists_expire <= seconds(now) {
            let path = sources.crl.clone().unwrap_or_default();
            return Err(CertificateError::ListExpired { path, on: date(lists_expire) });
        }
        let provider = Arc::new(default_provider());
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        if !lists.is_empty() {
            // Whoever is not known to be good is refused: an issuer without a list, an old list.
            builder = builder.with_crls(lists).enforce_revocation_expiration();
        }
        if sources.demand == Demand::Optional {
            builder = builder.allow_unauthenticated();
        }
        let refused = |source| {
            let path = sources.crl.as_ref().unwrap_or(&sources.ca).clone();
            CertificateError::Verifier { path, source }
        };
        let verifier = builder.build().map_err(refused)?;
        let tickets = Ticketer::new().map_err(CertificateError::Tickets)?;
        Ok(Trust { verifier, tickets, demand: sources.demand, lists_expire })
    }

    fn roots(&self, sources: &TrustSources) -> Result<RootCertStore, CertificateError> {
        let path = || sources.ca.clone();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&self.ca) {
            let certificate = certificate.map_err(|source| CertificateError::Pem { path: path(), source })?;
            let added = roots.add(certificate);
            added.map_err(|source| CertificateError::Authority { path: path(), source })?;
        }
        if roots.is_empty() { Err(CertificateError::NoCertificate(path())) } else { Ok(roots) }
    }

    fn lists(
        &self,
        sources: &TrustSources,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateError> {
        let (Some(text), Some(path)) = (&self.crl, &sources.crl) else { return Ok(Vec::new()) };
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(text).collect();
        match lists {
            Ok(lists) if lists.is_empty() => Err(CertificateError::NoList(path.clone())),
            Ok(lists) => Ok(lists),
            Err(source) => Err(CertificateError::Pem { path: path.clone(), source }),
        }
    }
}

/// When the first list expires (`nextUpdate`, RFC 5280 §5.1.2.5).
fn expiry(
    lists: &[CertificateRevocationListDer<'_>],
    sources: &TrustSources,
) -> Result<i64, CertificateError> {
    let mut first = i64::MAX;
    for list in lists {
        let (_, list) = CertificateRevocationList::from_der(list)
            .map_err(|_| CertificateError::NoList(sources.crl.clone().unwrap_or_default()))?;
        first = first.min(list.next_update().map_or(i64::MAX, |time| time.timestamp()));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{
        CertificateParams, CertificateRevocationListParams, CertifiedIssuer, KeyIdMethod, KeyPair,
        KeyUsagePurpose, SerialNumber, date_time_ymd,
    };

    use super::*;
    use crate::net::certs::tests::fixture::year;

    /// Writes an authority and its list, which expires in that year; both are new ones.
    fn publish(folder: &Path, expires: i32) -> TrustSources {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(expires, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let (ca, crl) = (folder.join("ca.pem"), folder.join("crl.pem"));
        std::fs::write(&ca, issuer.pem()).unwrap();
        std::fs::write(&crl, list.signed_by(&issuer).unwrap().pem().unwrap()).unwrap();
        TrustSources { demand: Demand::Required, ca, crl: Some(crl) }
    }

    #[test]
    fn another_content_brings_other_ticket_keys_and_a_wrong_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = TrustStore::load(publish(folder.path(), 2040), year(2030)).unwrap();
        let first = store.current();
        assert!(store.refresh(year(2030)).is_none(), "nothing has changed");
        std::fs::write(folder.path().join("crl.pem"), "spoiled").unwrap();
        assert!(matches!(store.refresh(year(2030)), Some(Event::TrustRefused { .. })));
        assert!(store.refresh(year(2030)).is_none(), "it is told once");
        assert!(Arc::ptr_eq(&first, &store.current()));
        publish(folder.path(), 2040);
        assert!(matches!(store.refresh(year(2030)), Some(Event::TrustChanged { .. })));
        let ticket = first.tickets.encrypt(b"session").unwrap();
        assert_eq!(first.tickets.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(store.current().tickets.decrypt(&ticket), None);
    }

    #[test]
    fn a_list_that_expires_while_it_is_in_use_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let sources = publish(folder.path(), 2035);
        let store = TrustStore::load(sources.clone(), year(2030)).unwrap();
        assert!(matches!(store.refresh(year(2036)), Some(Event::ListsExpired { .. })));
        assert!(store.refresh(year(2036)).is_none());
        let error = TrustStore::load(sources, year(2036)).unwrap_err();
        assert!(matches!(error, CertificateError::ListExpired { .. }), "{error}");
    }
}
