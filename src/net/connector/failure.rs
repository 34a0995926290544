//! Why there is no TLS with an endpoint.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use crate::http::Reason;

/// Why a handshake with an endpoint failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint is called something that no certificate can be for.
    #[error("tls_name_mismatch: the endpoint's name can not be in a certificate")]
    Name,
    /// The handshake came to no end, or one of the two refused the other.
    #[error("{}: {source}", reason_of(.source).name())]
    Handshake {
        /// What the system or the library said.
        #[from]
        source: io::Error,
    },
    /// HTTP/2 was offered and not taken.
    #[error("tls_handshake_failed: the endpoint did not agree to HTTP/2 by ALPN (`h2`)")]
    NoHttp2,
}

impl ConnectError {
    /// The same for the client, the access log and the metrics.
    pub fn reason(&self) -> Reason {
        match self {
            ConnectError::Name => Reason::TlsNameMismatch,
            ConnectError::Handshake { source } => reason_of(source),
            ConnectError::NoHttp2 => Reason::TlsHandshakeFailed,
        }
    }
}

fn reason_of(error: &io::Error) -> Reason {
    match rustls_error(error) {
        Some(Error::InvalidCertificate(error)) => refused_by_us(error),
        Some(Error::AlertReceived(alert)) if CERTIFICATE_ALERTS.contains(alert) => {
            Reason::TlsClientCertificate
        }
        Some(Error::AlertReceived(AlertDescription::UnrecognisedName)) => Reason::TlsNameMismatch,
        _ => Reason::TlsHandshakeFailed,
    }
}

fn refused_by_us(error: &CertificateError) -> Reason {
    match error {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Reason::TlsNameMismatch
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Reason::TlsExpired,
        _ => Reason::TlsUntrusted,
    }
}

/// What an endpoint says that wants a certificate or refuses the one that it was shown (RFC 8446
/// §6.2).
const CERTIFICATE_ALERTS: [AlertDescription; 9] = [
    AlertDescription::CertificateRequired,
    AlertDescription::NoCertificate,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
];

/// Whether an endpoint has ended a connection because of our certificate or for lack of one. In
/// TLS 1.3 our side of the handshake is over before the endpoint has seen it, so this comes when
/// the first answer is read; of the request it has read nothing.
pub fn late_refusal(error: &io::Error) -> Option<Reason> {
    let refused = match rustls_error(error) {
        Some(Error::AlertReceived(alert)) => CERTIFICATE_ALERTS.contains(alert),
        Some(_) => false,
        // The HTTP/2 library keeps only the words of an error.
        None if error.get_ref().is_some() => {
            let text = error.to_string();
            CERTIFICATE_ALERTS.iter().any(|alert| text == Error::AlertReceived(*alert).to_string())
        }
        None => false,
    };
    refused.then_some(Reason::TlsClientCertificate)
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
