//! From the settings and files of an upstream to what its handshakes need.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::VerifierBuilderError;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::{Authorities, Current, Identity, Settings, Verification};
use crate::net::certs::{CertificateError, FileText, PairText, digest_of};
use crate::net::tls::provider;

/// Why an upstream can not have TLS.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The file of authorities can not be used.
    #[error(transparent)]
    Authorities(CertificateError),
    /// A certificate in it can not be an authority.
    #[error("{}: certificate {number} can not be trusted: {source}", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Which one, from 1.
        number: usize,
        /// What the library said.
        #[source]
        source: rustls::Error,
    },
    /// The system trusts nobody.
    #[error(
        "this system has no certificate authorities; install them (ca-certificates) or name a file with `ca`"
    )]
    NoSystemAuthorities,
    /// Our own certificate can not be used.
    #[error(transparent)]
    Certificate(CertificateError),
    /// The cryptographic library refuses the settings.
    #[error("TLS can not be set up")]
    Library(#[from] rustls::Error),
    /// The library refuses the authorities.
    #[error("TLS can not be set up")]
    Verifier(#[from] VerifierBuilderError),
}

/// A key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `ca`
    Authorities,
    /// `client_cert`
    Certificate,
    /// `client_key`
    PrivateKey,
}

impl ConnectorError {
    /// The key whose value is to be looked at.
    pub fn key(&self, settings: &Settings) -> Key {
        match self {
            ConnectorError::Certificate(error) => {
                let key = settings.certificate.as_ref().map(|files| files.key.as_path());
                if key.is_some() && error.path() == key { Key::PrivateKey } else { Key::Certificate }
            }
            ConnectorError::Authorities(_)
            | ConnectorError::Authority { .. }
            | ConnectorError::NoSystemAuthorities
            | ConnectorError::Library(_)
            | ConnectorError::Verifier(_) => Key::Authorities,
        }
    }
}

/// The files as they were at one moment, or why they could not be read.
pub(super) struct Contents {
    authorities: Option<Result<FileText, CertificateError>>,
    certificate: Option<Result<PairText, CertificateError>>,
}

impl Contents {
    pub(super) fn read(settings: &Settings) -> Contents {
        let authorities = match (&settings.authorities, settings.verification) {
            (Authorities::File(path), Verification::Full) => Some(FileText::read(path)),
            (Authorities::System, _) | (_, Verification::Off) => None,
        };
        Contents { authorities, certificate: settings.certificate.as_ref().map(PairText::read) }
    }

    /// Equal for equal contents and for equal errors.
    pub(super) fn digest(&self) -> u64 {
        let authorities = self.authorities.as_ref().map(|read| digest(read, FileText::digest));
        let certificate = self.certificate.as_ref().map(|read| digest(read, PairText::digest));
        digest_of(&(authorities, certificate))
    }

    pub(super) fn parse(self, settings: &Settings, now: SystemTime) -> Result<Current, ConnectorError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(verifier(self.authorities, settings)?);
        let own = self.certificate.transpose().map_err(ConnectorError::Certificate)?;
        let own = match (own, &settings.certificate) {
            (Some(text), Some(files)) => {
                Some(text.certified(files, now).map_err(ConnectorError::Certificate)?)
            }
            _ => None,
        };
        let expires = own.as_ref().map(|(_, expires)| *expires);
        let mut config = match own {
            Some((key, _)) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = settings.offer.names();
        Ok(Current { config: Arc::new(config), identity: Identity::fresh(), expires })
    }
}

fn verifier(
    text: Option<Result<FileText, CertificateError>>,
    settings: &Settings,
) -> Result<Arc<dyn ServerCertVerifier>, ConnectorError> {
    let text = text.transpose().map_err(ConnectorError::Authorities)?;
    let roots = match (settings.verification, &settings.authorities, text) {
        (Verification::Off, _, _) => return Ok(Arc::new(Anybody(provider()))),
        (Verification::Full, Authorities::File(path), Some(text)) => trusted(path, &text)?,
        (Verification::Full, _, _) => system()?,
    };
    Ok(WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?)
}

fn digest<T>(read: &Result<T, CertificateError>, digest: impl Fn(&T) -> u64) -> u64 {
    match read {
        Ok(text) => digest(text),
        Err(error) => digest_of(&error.to_string()),
    }
}

fn trusted(path: &Path, text: &FileText) -> Result<RootCertStore, ConnectorError> {
    let mut roots = RootCertStore::empty();
    let certificates = text.certificates(path).map_err(ConnectorError::Authorities)?;
    for (index, certificate) in certificates.into_iter().enumerate() {
        let refused = |source| ConnectorError::Authority { path: path.to_owned(), number: index + 1, source };
        roots.add(certificate).map_err(refused)?;
    }
    Ok(roots)
}

/// Those of the system; single ones of them may be too old for the library, as everywhere.
fn system() -> Result<RootCertStore, ConnectorError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "an authority of the system could not be read");
    }
    let mut roots = RootCertStore::empty();
    match roots.add_parsable_certificates(found.certs) {
        (0, _) => Err(ConnectorError::NoSystemAuthorities),
        _ => Ok(roots),
    }
}

/// Believes every certificate; whoever has it must still have its key.
#[derive(Debug)]
pub struct Anybody(pub Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
