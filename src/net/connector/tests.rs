//! What failures mean; handshakes are made in `tests/it/upstream_tls.rs`.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::*;
use crate::http::Reason;

fn failed(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[test]
fn each_refusal_has_its_reason() {
    let reason = |error| ConnectError::from(failed(error)).reason();
    let certificate = |error| reason(Error::InvalidCertificate(error));
    assert_eq!(certificate(CertificateError::NotValidForName), Reason::TlsNameMismatch);
    assert_eq!(certificate(CertificateError::Expired), Reason::TlsExpired);
    assert_eq!(certificate(CertificateError::NotValidYet), Reason::TlsExpired);
    assert_eq!(certificate(CertificateError::UnknownIssuer), Reason::TlsUntrusted);
    assert_eq!(certificate(CertificateError::BadSignature), Reason::TlsUntrusted);
    let alert = |alert| reason(Error::AlertReceived(alert));
    assert_eq!(alert(AlertDescription::CertificateRequired), Reason::TlsClientCertificate);
    assert_eq!(alert(AlertDescription::UnrecognisedName), Reason::TlsNameMismatch);
    assert_eq!(alert(AlertDescription::ProtocolVersion), Reason::TlsHandshakeFailed);
    let ended = ConnectError::from(io::Error::from(io::ErrorKind::UnexpectedEof));
    assert_eq!(ended.reason(), Reason::TlsHandshakeFailed);
}

#[test]
fn an_error_tells_its_reason_and_the_words_of_the_library() {
    let error = ConnectError::from(failed(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
    assert_eq!(error.to_string(), "tls_untrusted: invalid peer certificate: UnknownIssuer");
    assert!(ConnectError::Name.to_string().starts_with(ConnectError::Name.reason().name()));
    assert!(ConnectError::NoHttp2.to_string().starts_with(ConnectError::NoHttp2.reason().name()));
}

#[test]
fn a_late_refusal_is_recognised_also_when_only_its_words_are_left() {
    let refused = Error::AlertReceived(AlertDescription::CertificateRequired);
    assert_eq!(late_refusal(&failed(refused.clone())), Some(Reason::TlsClientCertificate));
    let words = io::Error::new(io::ErrorKind::InvalidData, refused.to_string());
    assert_eq!(late_refusal(&words), Some(Reason::TlsClientCertificate));
    let other = Error::AlertReceived(AlertDescription::InternalError);
    assert_eq!(late_refusal(&failed(other)), None);
    assert_eq!(late_refusal(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
}

#[test]
fn names_are_those_that_a_certificate_can_be_for() {
    for name in ["app.internal", "app.internal.", "10.0.0.1", "fd00::1", "my_app"] {
        assert!(name_of(name).is_some(), "{name}");
    }
    assert_eq!(name_of("app.internal."), name_of("app.internal"));
    for name in ["", "a b", "https://app.internal", "app.internal:443"] {
        assert!(name_of(name).is_none(), "{name}");
    }
}
