//! From PEM text to a certificate that can be served, or a sentence that says why not.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{Files, digest_of, seconds};

/// A chain of certificates takes some kilobytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Why a certificate can not be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can not be read.
    #[error("{}: cannot be read: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A directory, a pipe or a device.
    #[error("{}: is not a file", .0.display())]
    NotFile(PathBuf),
    /// Too much for a certificate or a key.
    #[error("{}: is larger than 1 MiB, which no certificate or key is", .0.display())]
    TooLarge(PathBuf),
    /// No certificate in the file.
    #[error("{}: has no \"BEGIN CERTIFICATE\" section; a PEM file is expected", .0.display())]
    NoCertificate(PathBuf),
    /// No key in the file.
    #[error("{}: has no \"BEGIN PRIVATE KEY\" section; a PEM file is expected", .0.display())]
    NoKey(PathBuf),
    /// The key asks for a password.
    #[error("{}: the key is encrypted; `openssl pkey -in FILE -out FILE` removes the password", .0.display())]
    EncryptedKey(PathBuf),
    /// A PEM section that does not end or is not base64: often a file that is being written.
    #[error("{}: is not whole: {source}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// The content of a section is no X.509 certificate.
    #[error("{}: the first certificate is not valid X.509", .0.display())]
    NotX509(PathBuf),
    /// A key of a kind that is not supported, or damaged.
    #[error("{}: the key cannot be used: {source}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What the library said.
        #[source]
        source: rustls::Error,
    },
    /// Key and certificate are not a pair.
    #[error(
        "{}: the key is not the one of the first certificate in {} (the server's own must come first, then its issuers)",
        .key.display(), .cert.display()
    )]
    Mismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// Its time is over.
    #[error("{}: the certificate expired on {on}", .path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        on: String,
    },
    /// A name that can not be in a certificate.
    #[error("a self-signed certificate for {names} cannot be made: {source}")]
    SelfSigned {
        /// What it should be for.
        names: String,
        /// What the library said.
        #[source]
        source: rcgen::Error,
    },
    /// No source at all.
    #[error("TLS needs a certificate, from files or self-signed")]
    None,
}

/// A certificate that can be served.
#[derive(Debug)]
pub(super) struct Certificate {
    pub key: Arc<CertifiedKey>,
    /// DNS names of the subject's alternative names, lower case; the common name does not count
    /// (RFC 9525 §2). A host that is an address sends no name and gets the default.
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub expires: i64,
}

impl CertificateError {
    /// The file whose content is to be looked at.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. } | Self::Pem { path, .. } | Self::Key { path, .. } => Some(path),
            Self::Expired { path, .. } => Some(path),
            Self::NotFile(path) | Self::TooLarge(path) | Self::NotX509(path) => Some(path),
            Self::NoCertificate(path) | Self::NoKey(path) | Self::EncryptedKey(path) => Some(path),
            Self::Mismatch { key, .. } => Some(key),
            Self::SelfSigned { .. } | Self::None => None,
        }
    }
}

/// A file of certificates as it was at one moment.
pub struct FileText(Vec<u8>);

impl FileText {
    /// Reads it; blocks.
    pub fn read(path: &Path) -> Result<Self, CertificateError> {
        content(path).map(Self)
    }

    /// Equal for equal contents.
    pub fn digest(&self) -> u64 {
        digest_of(&self.0)
    }

    /// All certificates in it; at least one.
    pub fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
        certificates(&self.0, path)
    }
}

/// The two files as they were at one moment.
pub struct Text {
    cert: Vec<u8>,
    key: Vec<u8>,
}

impl Text {
    pub fn read(files: &Files) -> Result<Self, CertificateError> {
        Ok(Self { cert: content(&files.cert)?, key: content(&files.key)? })
    }

    pub fn digest(&self) -> u64 {
        digest_of(&(&self.cert, &self.key))
    }

    /// The certificate with its key, and when it expires in seconds since 1970.
    pub fn certified(&self, files: &Files, now: SystemTime) -> Result<(CertifiedKey, i64), CertificateError> {
        self.parse(files, now).map(|parsed| (CertifiedKey::clone(&parsed.key), parsed.expires))
    }

    /// Its start of validity is not judged: issuers date it back, and a machine may start before
    /// its clock is set.
    pub(super) fn parse(&self, files: &Files, now: SystemTime) -> Result<Certificate, CertificateError> {
        let chain = certificates(&self.cert, &files.cert)?;
        let key = self.private_key(&files.key)?;
        let (names, expires) = facts(&chain, &files.cert)?;
        if expires <= seconds(now) {
            return Err(CertificateError::Expired { path: files.cert.clone(), on: date(expires) });
        }
        let key = certified(chain, key, files)?;
        Ok(Certificate { key: Arc::new(key), names, expires })
    }

    fn private_key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, CertificateError> {
        let path = path.to_owned();
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| match source {
            pem::Error::NoItemsFound if memchr::memmem::find(&self.key, b"ENCRYPTED").is_some() => {
                CertificateError::EncryptedKey(path)
            }
            pem::Error::NoItemsFound => CertificateError::NoKey(path),
            source => CertificateError::Pem { path, source },
        })
    }
}

impl Certificate {
    /// One that no client trusts, for development; valid for a year.
    pub fn self_signed(names: &[String], now: SystemTime) -> Result<Self, CertificateError> {
        let refused = |source| CertificateError::SelfSigned { names: names.join(", "), source };
        let year = i16::try_from(1970 + seconds(now) / (365 * 24 * 3600 + 6 * 3600)).unwrap_or(i16::MAX);
        let mut parameters = rcgen::CertificateParams::new(names).map_err(refused)?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "tidegate self-signed");
        parameters.not_before = rcgen::date_time_ymd(i32::from(year) - 1, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(i32::from(year) + 2, 1, 1);
        let key = rcgen::KeyPair::generate().map_err(refused)?;
        let chain = vec![parameters.self_signed(&key).map_err(refused)?.der().clone()];
        let memory = Files { cert: "self-signed".into(), key: "self-signed".into() };
        let (names, expires) = facts(&chain, &memory.cert)?;
        let key = certified(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()), &memory)?;
        Ok(Self { key: Arc::new(key), names, expires })
    }
}

fn certificates(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(CertificateError::NoCertificate(path.to_owned())),
        Ok(chain) => Ok(chain),
        Err(source) => Err(CertificateError::Pem { path: path.to_owned(), source }),
    }
}

fn content(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read { path: path.to_owned(), source };
    // Asked before opening, which would wait for ever on a pipe.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(CertificateError::NotFile(path.to_owned()));
    }
    let mut content = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_FILE {
        return Err(CertificateError::TooLarge(path.to_owned()));
    }
    Ok(content)
}

/// The names in the first certificate and the end of its validity.
fn facts(chain: &[CertificateDer<'_>], path: &Path) -> Result<(Vec<String>, i64), CertificateError> {
    let invalid = || CertificateError::NotX509(path.to_owned());
    let first = chain.first().ok_or_else(invalid)?;
    let (_, certificate) = X509Certificate::from_der(first).map_err(|_| invalid())?;
    let alternative = certificate.subject_alternative_name().map_err(|_| invalid())?;
    let names = alternative.map_or(&[][..], |extension| &extension.value.general_names);
    let names = names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    Ok((names.collect(), certificate.validity().not_after.timestamp()))
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    files: &Files,
) -> Result<CertifiedKey, CertificateError> {
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            CertificateError::Mismatch { cert: files.cert.clone(), key: files.key.clone() }
        }
        source => CertificateError::Key { path: files.key.clone(), source },
    })
}

fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |when| when.to_string())
}
