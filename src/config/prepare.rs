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

/// Whether a string of this file can have a variable: its `$` is written as it is, or as an escape.
pub(super) fn may_have_variables(file: &str) -> bool {
    memchr::memchr2(b'$', b'\\', file.as_bytes()).is_some()
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

/// Where paths of files and UNIX sockets are, and what stands before those that are meant.
const PATHS: &[(&str, &str)] = &[
    ("listener.*.tls.certificates.cert", ""),
    ("listener.*.tls.certificates.key", ""),
    ("listener.*.tls.client_ca", ""),
    ("listener.*.tls.client_crl", ""),
    ("listener.*.bind", "unix:"),
    ("admin.bind", "unix:"),
    ("server.state_dir", ""),
    ("log.access", ""),
    ("upstream.*.tls.ca", ""),
    ("upstream.*.tls.client_cert", ""),
    ("upstream.*.tls.client_key", ""),
    ("upstream.*.discover.*.path", ""),
    ("upstream.*.discover.*.token_file", ""),
    ("upstream.*.discover.*.password_file", ""),
    ("upstream.*.discover.*.kubeconfig", ""),
    ("upstream.*.discover.*.tls.ca", ""),
    ("upstream.*.discover.*.tls.client_cert", ""),
    ("upstream.*.discover.*.tls.client_key", ""),
    ("upstream.*.discover.*.socket", "unix:"),
    ("upstream.*.endpoints", "unix:"),
    ("upstream.*.endpoints.address", "unix:"),
];

/// Makes relative paths of files and UNIX sockets start from the directory of their file.
pub(super) fn resolve_paths(tree: &mut DeTable<'_>, directory: &Path) {
    for (keys, prefix) in PATHS {
        let is_word = |text: &str| *keys == "log.access" && matches!(text, "off" | "stdout");
        tree::walk_at(tree, keys, &mut |visit| {
            let DeValue::String(text) = visit.value.get_mut() else { return Keep::Yes };
            let relative = text.strip_prefix(prefix).filter(|path| !path.is_empty() && !is_word(path));
            if let Some(relative) = relative {
                *text = format!("{prefix}{}", directory.join(relative).display()).into();
            }
            Keep::Yes
        });
    }
}
