//! What happens to strings before they are read: environment variables and relative paths.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::tree::{self, Keep};

/// The value of an environment variable by its name.
pub type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// Puts the environment's values in place of "${NAME}" and takes out strings where that fails.
/// "$${" stands for "${".
pub(super) fn expand(tree: &mut DeTable<'_>, env: &Environment<'_>) -> Vec<(Range<usize>, usize, String)> {
    let mut errors = Vec::new();
    tree::walk(tree, &mut |visit| {
        let span = visit.value.span();
        let DeValue::String(text) = visit.value.get_mut() else { return Keep::Yes };
        if !text.contains("${") {
            return Keep::Yes;
        }
        match expand_text(text, env) {
            Ok(expanded) => {
                *text = expanded.into();
                Keep::Yes
            }
            Err(message) => {
                errors.push((span, visit.owner, message));
                Keep::No
            }
        }
    });
    errors
}

/// One string with the environment's values in it.
pub(super) fn expand_text(text: &str, env: &Environment<'_>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, tail) = rest.split_at(at);
        let tail = tail.strip_prefix("${").unwrap_or_default();
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = tail;
            continue;
        }
        let (name, tail) =
            tail.split_once('}').ok_or("`${` without its `}`; as plain text it is written `$${`")?;
        let value = env(name).ok_or_else(|| format!("the environment variable `{name}` is not set"))?;
        expanded.push_str(before);
        expanded.push_str(&value);
        rest = tail;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Makes relative paths of files and UNIX sockets start from the directory of their file.
pub(super) fn resolve_paths(tree: &mut DeTable<'_>, directory: &Path) {
    tree::walk(tree, &mut |visit| {
        let path: Vec<&str> = visit.path.iter().map(String::as_str).collect();
        let DeValue::String(text) = visit.value.get_mut() else { return Keep::Yes };
        let prefix = match path.as_slice() {
            ["listener", _, "tls", "certificates", "cert" | "key"] => "",
            ["upstream", _, "tls", "ca" | "client_cert" | "client_key"] => "",
            ["upstream", _, "discover", _, "path" | "token_file" | "password_file" | "kubeconfig"] => "",
            ["upstream", _, "discover", _, "tls", "ca" | "client_cert" | "client_key"] => "",
            ["server", "state_dir"] => "",
            ["listener", _, "tls", "client_ca" | "client_crl"] => "",
            ["log", "access"] if !matches!(text.as_ref(), "off" | "stdout") => "",
            ["listener", _, "bind"] | ["admin", "bind"] => "unix:",
            ["upstream", _, "discover", _, "socket"] => "unix:",
            ["upstream", _, "endpoints"] | ["upstream", _, "endpoints", "address"] => "unix:",
            _ => return Keep::Yes,
        };
        if let Some(relative) = text.strip_prefix(prefix).filter(|path| !path.is_empty()) {
            *text = format!("{prefix}{}", directory.join(relative).display()).into();
        }
        Keep::Yes
    });
}
