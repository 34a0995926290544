//! Certificates of a listener: chosen by server name, followed on disk, replaced while running.
//!
//! A replacement goes live only when it is whole, fits its key and is not expired; otherwise the
//! certificate in use stays and the refusal is reported once per content.

mod identity;
mod names;
mod read;
mod trust;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use identity::{IdentityError, identity};
use names::Names;
pub use read::CertificateError;
use read::{Certificate, Text};
pub(super) use read::{FileText, Text as PairText};
pub use trust::{Demand, Trust, TrustSources, TrustStore};

/// A file this young is read again although nothing shows a change: two writes within one tick of
/// the file system's clock leave the same times.
const SETTLED: Duration = Duration::from_secs(2);

/// A certificate and its key in PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Files {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
}

/// Where the certificates of a listener come from. The first one is for clients that name no
/// server or an unknown one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Sources {
    /// Files, in the order of preference.
    pub files: Vec<Files>,
    /// Names and addresses for which one certificate is made in memory; it comes last.
    pub self_signed: Vec<String>,
}

/// What [`CertificateStore::refresh`] found.
#[derive(Debug)]
pub enum Event {
    /// New connections get another certificate.
    Changed {
        /// The file.
        cert: PathBuf,
        /// End of its validity, in seconds since 1970.
        expires: i64,
    },
    /// A replacement was refused; the certificate in use stays.
    Refused {
        /// The file.
        cert: PathBuf,
        /// What is wrong with it.
        error: CertificateError,
    },
    /// New connections are judged by other authorities or revocation lists.
    TrustChanged {
        /// The file of the authorities.
        ca: PathBuf,
    },
    /// Other authorities or lists were refused; those in use stay.
    TrustRefused {
        /// The file of the authorities.
        ca: PathBuf,
        /// What is wrong.
        error: CertificateError,
    },
    /// A revocation list in use has expired: no client certificate is taken until it is renewed.
    ListsExpired {
        /// The file of the lists.
        crl: PathBuf,
    },
}

/// The certificates of a listener; shared by its workers.
#[derive(Debug)]
pub struct CertificateStore {
    names: ArcSwap<Names>,
    /// For the control plane; a handshake never takes it.
    watched: Mutex<Watched>,
}

#[derive(Debug)]
struct Watched {
    files: Vec<WatchedFiles>,
    self_signed: Option<Arc<Certificate>>,
}

#[derive(Debug)]
struct WatchedFiles {
    files: Files,
    live: Arc<Certificate>,
    /// The content that was last looked at, live or refused.
    seen: Seen,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    stamps: [Option<Stamp>; 2],
    digest: u64,
    settled: bool,
}

/// What changes when a file does: written in place, replaced by a rename, or a symlink turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl CertificateStore {
    /// Reads all files and makes the self-signed certificate.
    ///
    /// # Errors
    /// Every certificate that can not be used, or that there is no source.
    pub fn load(sources: Sources, now: SystemTime) -> Result<Self, Vec<CertificateError>> {
        let mut errors = Vec::new();
        let mut files = Vec::with_capacity(sources.files.len());
        for pair in sources.files {
            match WatchedFiles::load(pair, now) {
                Ok(watched) => files.push(watched),
                Err(error) => errors.push(error),
            }
        }
        let names = Some(sources.self_signed).filter(|names| !names.is_empty());
        let self_signed = names.map(|names| Certificate::self_signed(&names, now)).transpose();
        let self_signed = self_signed.unwrap_or_else(|error| {
            errors.push(error);
            None
        });
        if !errors.is_empty() {
            return Err(errors);
        }
        let watched = Watched { files, self_signed: self_signed.map(Arc::new) };
        let names = watched.names().ok_or(vec![CertificateError::None])?;
        Ok(Self { names: ArcSwap::from_pointee(names), watched: Mutex::new(watched) })
    }

    /// Reads the files that have changed since the last look and puts those live that may be.
    /// Blocks on files. The result is empty when nothing is new.
    pub fn refresh(&self, now: SystemTime) -> Vec<Event> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let events: Vec<Event> = watched.files.iter_mut().filter_map(|files| files.refresh(now)).collect();
        if events.iter().any(|event| matches!(event, Event::Changed { .. }))
            && let Some(names) = watched.names()
        {
            self.names.store(Arc::new(names));
        }
        events
    }

    /// When the first of its certificates expires, in seconds since 1970.
    pub fn earliest_expiry(&self) -> i64 {
        self.names.load().earliest_expiry()
    }
}

impl ResolvesServerCert for CertificateStore {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.names.load().find(hello.server_name(), hello.signature_schemes()))
    }
}

impl Watched {
    /// Nothing when there is no certificate.
    fn names(&self) -> Option<Names> {
        Names::new(self.files.iter().map(|files| &files.live).chain(&self.self_signed))
    }
}

impl Files {
    fn paths(&self) -> [Option<&Path>; 2] {
        [Some(&self.cert), Some(&self.key)]
    }
}

impl WatchedFiles {
    fn load(files: Files, now: SystemTime) -> Result<WatchedFiles, CertificateError> {
        let stamps = stamps(files.paths());
        let text = Text::read(&files)?;
        let live = Arc::new(text.parse(&files, now)?);
        let seen = Seen { stamps, digest: text.digest(), settled: settled(&stamps, now) };
        Ok(WatchedFiles { files, live, seen })
    }

    fn refresh(&mut self, now: SystemTime) -> Option<Event> {
        let stamps = stamps(self.files.paths());
        if self.seen.settled && stamps == self.seen.stamps {
            return None;
        }
        let text = Text::read(&self.files);
        let digest = match &text {
            Ok(text) => text.digest(),
            Err(error) => digest_of(&error.to_string()),
        };
        let is_known = digest == self.seen.digest;
        self.seen = Seen { stamps, digest, settled: settled(&stamps, now) };
        if is_known {
            return None;
        }
        let cert = self.files.cert.clone();
        Some(match text.and_then(|text| text.parse(&self.files, now)) {
            Ok(certificate) => {
                let expires = certificate.expires;
                self.live = Arc::new(certificate);
                Event::Changed { cert, expires }
            }
            Err(error) => Event::Refused { cert, error },
        })
    }
}

fn stamps(paths: [Option<&Path>; 2]) -> [Option<Stamp>; 2] {
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Stamp {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    paths.map(|path| path.and_then(stamp))
}

/// Whether a later write would leave other times than these. A clock that went back makes the
/// files young for a while, which costs a read a second.
fn settled(stamps: &[Option<Stamp>; 2], now: SystemTime) -> bool {
    let now = seconds(now);
    let age = |stamp: &Stamp| u64::try_from(now.saturating_sub(stamp.changed.0)).unwrap_or(0);
    stamps.iter().flatten().all(|stamp| age(stamp) > SETTLED.as_secs())
}

fn seconds(now: SystemTime) -> i64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Tells contents apart; whoever can choose them can as well replace the certificate.
pub(super) fn digest_of(content: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
pub(super) mod tests;
