//! Which certificate is for which server name.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;

use super::read::Certificate;

/// All certificates of a listener by the names in them; made anew when one changes.
#[derive(Debug)]
pub(super) struct Names {
    /// `example.com` → those that have it, in the order of the configuration.
    exact: HashMap<Box<str>, Choices>,
    /// `example.com` → those that have `*.example.com`.
    below: HashMap<Box<str>, Choices>,
    default: Arc<CertifiedKey>,
    earliest_expiry: i64,
}

/// Several when one name has an ECDSA and an RSA certificate.
type Choices = Vec<Arc<CertifiedKey>>;

impl Names {
    /// Nothing when there is no certificate.
    pub fn new<'a>(certificates: impl Iterator<Item = &'a Arc<Certificate>> + Clone) -> Option<Self> {
        let default = certificates.clone().next()?.key.clone();
        let earliest_expiry = certificates.clone().map(|one| one.expires).min()?;
        let (mut exact, mut below) = (HashMap::new(), HashMap::new());
        for certificate in certificates {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut below, parent),
                    None => (&mut exact, name.as_str()),
                };
                let choices: &mut Choices = map.entry(name.into()).or_default();
                choices.push(certificate.key.clone());
            }
        }
        Some(Self { exact, below, default, earliest_expiry })
    }

    /// The exact name, then the wildcard of one label (RFC 9525 §6.3), then the default. Among
    /// several for a name, the first whose key the client can verify.
    pub fn find(&self, server_name: Option<&str>, schemes: &[SignatureScheme]) -> Arc<CertifiedKey> {
        let Some(name) = server_name.map(lower) else { return self.default.clone() };
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let choices =
            self.exact.get(name.as_ref()).or_else(|| parent.and_then(|parent| self.below.get(parent)));
        let Some(choices) = choices else { return self.default.clone() };
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        choices.iter().find(fits).or(choices.first()).unwrap_or(&self.default).clone()
    }

    pub fn earliest_expiry(&self) -> i64 {
        self.earliest_expiry
    }
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Owned(name.to_ascii_lowercase());
    }
    Cow::Borrowed(name)
}
