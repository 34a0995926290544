//! Which configuration a command works on.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::terminal::complain;

/// Names the configuration when no option does.
const VARIABLE: &str = "TIDEGATE_CONFIG";

/// Looked for in this order.
const PLACES: [&str; 2] = ["./proxy.toml", "/etc/tidegate/proxy.toml"];

/// A configuration and why it was chosen.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) path: PathBuf,
    why: Why,
}

#[derive(Debug, PartialEq, Eq)]
enum Why {
    Option,
    Variable,
    Found,
}

impl Chosen {
    /// Says which one it is, unless the user just did.
    pub(super) fn tell(&self) {
        let path = self.path.display();
        match self.why {
            Why::Option => {}
            Why::Variable => complain(format_args!("configuration: {path} (from ${VARIABLE})")),
            Why::Found => complain(format_args!("configuration: {path} (no --config, no ${VARIABLE})")),
        }
    }
}

/// The configuration of the option, the environment, or one of the usual places.
pub(super) fn to_run(given: Option<PathBuf>) -> Result<Chosen, Failure> {
    choose(given, std::env::var_os(VARIABLE), Path::is_file).ok_or_else(|| {
        Failure::new(format!("there is no configuration: neither {} nor {}", PLACES[0], PLACES[1]))
            .hint(format!("name one with --config FILE or ${VARIABLE}; `tidegate demo` works without"))
    })
}

/// The same, but never the one of this machine; `None` when the shipped one is to be used.
pub(super) fn for_demo(given: Option<PathBuf>) -> Option<PathBuf> {
    let is_here = |path: &Path| path == Path::new(PLACES[0]) && path.is_file();
    let chosen = choose(given, None, is_here)?;
    chosen.tell();
    Some(chosen.path)
}

fn choose(
    given: Option<PathBuf>,
    variable: Option<OsString>,
    exists: impl Fn(&Path) -> bool,
) -> Option<Chosen> {
    if let Some(path) = given {
        return Some(Chosen { path, why: Why::Option });
    }
    if let Some(path) = variable.filter(|path| !path.is_empty()) {
        return Some(Chosen { path: path.into(), why: Why::Variable });
    }
    let found = PLACES.iter().map(Path::new).find(|path| exists(path))?;
    Some(Chosen { path: found.to_owned(), why: Why::Found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_comes_first_then_the_environment_then_the_usual_places() {
        let everywhere = |_: &Path| true;
        let (option, variable) = (|| Some(PathBuf::from("a.toml")), || Some(OsString::from("b.toml")));
        let chosen = |path: &str, why| Some(Chosen { path: path.into(), why });
        assert_eq!(choose(option(), variable(), everywhere), chosen("a.toml", Why::Option));
        assert_eq!(choose(None, variable(), everywhere), chosen("b.toml", Why::Variable));
        assert_eq!(choose(None, Some(OsString::new()), everywhere), chosen(PLACES[0], Why::Found));
        assert_eq!(choose(None, None, |path| path.is_absolute()), chosen(PLACES[1], Why::Found));
        assert_eq!(choose(None, None, |_| false), None);
    }
}
