//! What a registry believes and is believed by: TLS and tokens.

use std::io;
use std::path::{Path, PathBuf};

use hyper::header::HeaderName;
use serde::Deserialize;

use super::super::failure::{Failure, Kind};
use crate::net::certs::Files;
use crate::net::connector::{Authorities, Offer, Settings, Verification, name_of};

/// TLS to a registry, a table `tls`; used when its URL begins with https.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the authorities that may have signed its certificate. Default: "" = those that
    /// the system trusts.
    pub ca: PathBuf,
    /// The name that is asked for and verified. Default: "" = the host of the URL.
    pub server_name: String,
    /// PEM file with the certificate that is shown to it. Default: "" = none.
    pub client_cert: PathBuf,
    /// PEM file with its key. Default: "".
    pub client_key: PathBuf,
    /// Whether its certificate is looked at. Default: true; false is not for production.
    pub verify: bool,
}

impl Default for Tls {
    fn default() -> Tls {
        Tls {
            ca: PathBuf::new(),
            server_name: String::new(),
            client_cert: PathBuf::new(),
            client_key: PathBuf::new(),
            verify: true,
        }
    }
}

impl Tls {
    /// The same for the sockets.
    pub(super) fn connector(&self) -> Settings {
        let file = |path: &Path| Some(path.to_owned()).filter(|path| !path.as_os_str().is_empty());
        let certificate = file(&self.client_cert).zip(file(&self.client_key));
        Settings {
            authorities: file(&self.ca).map_or(Authorities::System, Authorities::File),
            server_name: name_of(&self.server_name),
            certificate: certificate.map(|(cert, key)| Files { cert, key }),
            verification: if self.verify { Verification::Full } else { Verification::Off },
            offer: Offer::H1,
        }
    }
}

/// Largest file with a token.
const MOST_BYTES: usize = 64 << 10;

/// What is shown with every request. Files are read for every request: tokens are rotated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Token {
    /// Nothing.
    #[default]
    None,
    /// The content of the file as `Authorization: Bearer …`.
    Bearer(PathBuf),
    /// The content of the file in this field, as it is.
    Field(HeaderName, PathBuf),
    /// The name and the content of the file as `Authorization: Basic …` (RFC 7617).
    Basic(String, PathBuf),
    /// A value that the source got itself, in this field.
    Given(HeaderName, Secret),
}

impl Token {
    /// A bearer token from this file; an empty path is none.
    pub fn bearer(file: &Path) -> Token {
        if file.as_os_str().is_empty() { Token::None } else { Token::Bearer(file.to_owned()) }
    }

    /// A token from this file in a field of its own; an empty path is none.
    pub fn field(name: HeaderName, file: &Path) -> Token {
        if file.as_os_str().is_empty() { Token::None } else { Token::Field(name, file.to_owned()) }
    }

    /// The field and its value now.
    pub(in super::super) async fn read(
        &self,
        authorization: HeaderName,
    ) -> Result<Option<(HeaderName, String)>, Failure> {
        Ok(match self {
            Token::None => None,
            Token::Bearer(file) => Some((authorization, format!("Bearer {}", content(file).await?))),
            Token::Field(name, file) => Some((name.clone(), content(file).await?)),
            Token::Basic(user, file) => {
                use base64::Engine;
                let pair = format!("{user}:{}", content(file).await?);
                let coded = base64::engine::general_purpose::STANDARD.encode(pair);
                Some((authorization, format!("Basic {coded}")))
            }
            Token::Given(name, secret) => Some((name.clone(), secret.0.clone())),
        })
    }
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl Secret {
    /// The content of a file without the space around it.
    ///
    /// # Errors
    /// When it can not be read, or is no text.
    pub async fn read(file: &Path) -> Result<Secret, Failure> {
        content(file).await.map(Secret)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

async fn content(file: &Path) -> Result<String, Failure> {
    let unreadable = |error: io::Error| {
        Failure::because(Kind::Denied, format!("the secret in {} can not be read", file.display()), error)
    };
    let text = tokio::fs::read(file).await.map_err(unreadable)?;
    if text.len() > MOST_BYTES {
        return Err(unreadable(io::Error::other("it is too large")));
    }
    let text = String::from_utf8(text).map_err(|error| unreadable(io::Error::other(error)))?;
    Ok(text.trim().to_owned())
}
