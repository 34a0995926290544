//! `[log]`: what the proxy says about itself and about each request.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::observe::access::Format as AccessFormat;
use crate::observe::log::Format;
use crate::units::{self, UnitError};

/// The two logs: its own, and one line per request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What is worth a line. Default: info.
    pub level: Level,
    /// How its own lines look. Default: auto.
    pub format: Format,
    /// Where the access log goes. Default: off.
    pub access: Spanned<Access>,
    /// How access lines look. Default: json.
    pub access_format: AccessFormat,
}

impl Default for Log {
    fn default() -> Log {
        Log {
            level: Level::default(),
            format: Format::default(),
            access: Spanned::new(0..0, Access::default()),
            access_format: AccessFormat::default(),
        }
    }
}

/// error, warn, info, debug, trace, or a filter of the `tracing` crate: "info,tidegate::proxy=debug".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level(String);

impl Level {
    const NAMES: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

    /// The filter's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Level {
    fn default() -> Level {
        Level("info".to_owned())
    }
}

impl FromStr for Level {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Level, UnitError> {
        // A filter takes any word for a module's name, so a mistyped level would pass silently.
        let words = text.split(',').filter(|part| !part.contains(['=', ':', '[']));
        let unknown = words.map(str::trim).find(|word| !Level::NAMES.contains(word));
        if let Some(word) = unknown {
            return Err(UnitError::new(format!(
                "`{word}` is not a level; write error, warn, info, debug, trace, or a filter such as \"info,tidegate::proxy=debug\""
            )));
        }
        match tracing_subscriber::EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Level(text.to_owned())),
            Err(error) => Err(UnitError::new(format!("`{text}` is not a log filter: {error}"))),
        }
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Level, D::Error> {
        units::text(deserializer, "a level such as \"info\"")
    }
}

/// Where the access log goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Nowhere.
    #[default]
    Off,
    /// Standard output.
    Stdout,
    /// A file, opened again on SIGUSR1.
    File(PathBuf),
}

impl FromStr for Access {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Access, UnitError> {
        match text {
            "" => Err(UnitError::new("write \"off\", \"stdout\" or the path of a file")),
            "off" => Ok(Access::Off),
            "stdout" => Ok(Access::Stdout),
            _ => Ok(Access::File(PathBuf::from(text))),
        }
    }
}

impl<'de> Deserialize<'de> for Access {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Access, D::Error> {
        units::text(deserializer, "\"off\", \"stdout\" or the path of a file")
    }
}
