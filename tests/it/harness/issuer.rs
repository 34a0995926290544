//! An authority that issues certificates and takes them back.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// An authority; its files are written into one directory.
pub struct Issuer {
    name: String,
    certified: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Issuer {
    /// Writes its certificate as `NAME.pem`.
    pub fn new(directory: &Path, name: &str) -> Issuer {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("randomness");
        let certified = CertifiedIssuer::self_signed(parameters, key).expect("a certificate");
        let authority = Issuer { name: name.to_owned(), certified, directory: directory.to_owned() };
        authority.write_as(name);
        authority
    }

    /// Writes its certificate as `FILE.pem`.
    pub fn write_as(&self, file: &str) {
        put(&self.directory.join(format!("{file}.pem")), &self.certified.pem());
    }

    /// Writes `NAME.pem` and `NAME.key` of a client, with that serial number.
    pub fn issue(&self, name: &str, serial: u64) {
        let mut parameters = CertificateParams::new([format!("{name}.example")]).expect("a name");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(DnType::OrganizationName, self.name.as_str());
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("randomness");
        let certificate = parameters.signed_by(&key, &self.certified).expect("a certificate");
        put(&self.directory.join(format!("{name}.pem")), &certificate.pem());
        put(&self.directory.join(format!("{name}.key")), &key.serialize_pem());
    }

    /// Writes a list of revoked serial numbers, which expires at the end of that year.
    pub fn revoke(&self, file: &str, serials: &[u64], year: i32) {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(year, 12, 31),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.certified).expect("a list");
        put(&self.directory.join(file), &list.pem().expect("a list"));
    }
}

/// A new file over the old one, as deployment tools do.
fn put(path: &Path, text: &str) {
    std::fs::write(path.with_extension("new"), text).expect("the directory is ours");
    std::fs::rename(path.with_extension("new"), path).expect("the directory is ours");
}
