//! Sentences for people: what the reader of the tree says, in the words of the configuration.

use super::planned;
use crate::tagged::EMPTY_CHOICE;

/// An explained error.
pub(super) struct Explained {
    /// What is wrong and what would be right.
    pub(super) message: String,
    /// How much is clear about the key.
    pub(super) meaning: Meaning,
}

/// How much is clear about the key that an error speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Its value is wrong.
    Known,
    /// It is not written.
    Absent,
    /// Nobody knows what it was meant to be.
    Unknown,
}

/// Words of other proxies and the key that says the same here: table (last key), word, key.
const ALIASES: &[(&str, &str, &str)] = &[
    ("", "backend", "upstream"),
    ("", "backends", "upstream"),
    ("", "cluster", "upstream"),
    ("", "clusters", "upstream"),
    ("", "service", "upstream"),
    ("", "services", "upstream"),
    ("", "frontend", "listener"),
    ("", "entrypoint", "listener"),
    ("", "location", "route"),
    ("", "rule", "route"),
    ("", "metrics", "admin"),
    ("", "logging", "log"),
    ("", "global", "server"),
    ("listener", "listen", "bind"),
    ("listener", "address", "bind"),
    ("listener", "addr", "bind"),
    ("listener", "port", "bind"),
    ("admin", "listen", "bind"),
    ("admin", "address", "bind"),
    ("tls", "cert", "certificates"),
    ("tls", "certificate", "certificates"),
    ("tls", "key", "certificates"),
    ("tls", "cert", "client_cert"),
    ("tls", "certificate", "client_cert"),
    ("tls", "key", "client_key"),
    ("tls", "sni", "server_name"),
    ("tls", "ca_file", "ca"),
    ("tls", "insecure", "verify"),
    ("route", "upstream", "to"),
    ("route", "backend", "to"),
    ("route", "service", "to"),
    ("route", "cluster", "to"),
    ("route", "target", "to"),
    ("route", "proxy_pass", "to"),
    ("route", "middleware", "use"),
    ("route", "middlewares", "use"),
    ("route", "timeout", "timeouts"),
    ("route", "retries", "retry"),
    ("route", "prefix", "path"),
    ("upstream", "server", "endpoints"),
    ("upstream", "servers", "endpoints"),
    ("upstream", "targets", "endpoints"),
    ("upstream", "backends", "endpoints"),
    ("upstream", "nodes", "endpoints"),
    ("upstream", "hosts", "endpoints"),
    ("upstream", "address", "endpoints"),
    ("upstream", "lb", "balance"),
    ("upstream", "policy", "balance"),
    ("upstream", "strategy", "balance"),
    ("upstream", "algorithm", "balance"),
    ("upstream", "load_balancing", "balance"),
    ("upstream", "health_check", "health"),
    ("upstream", "healthcheck", "health"),
    ("endpoints", "addr", "address"),
    ("endpoints", "url", "address"),
];

/// Explains an error of the reader at the innermost key of `path`.
pub(super) fn explain(raw: &str, path: &[&str]) -> Explained {
    let raw = raw.trim_end();
    if let Some((word, keys)) = unknown(raw, "unknown field `") {
        let table = path.split_last().map_or(path, |(_, table)| table);
        return Explained { message: unknown_key(word, &keys, table), meaning: Meaning::Unknown };
    }
    let is_unknown = path.first() == Some(&"middleware") && raw.starts_with("unknown variant");
    let is_absent = ["missing field", "wanted exactly 1 element", EMPTY_CHOICE];
    let is_absent = is_absent.iter().any(|beginning| raw.starts_with(beginning));
    let meaning = match (is_unknown, is_absent) {
        (true, _) => Meaning::Unknown,
        (false, true) => Meaning::Absent,
        (false, false) => Meaning::Known,
    };
    Explained { message: known(raw, path), meaning }
}

fn known(raw: &str, path: &[&str]) -> String {
    let key = path.last().copied().unwrap_or_default();
    if let Some((word, choices)) = unknown(raw, "unknown variant `") {
        return unknown_choice(word, &choices, path);
    }
    if let Some(field) = raw.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("`{field}` is missing here");
    }
    if let Some(message) = wrong_shape(raw, path) {
        return message.to_owned();
    }
    let mismatch = raw.strip_prefix("invalid type: ").or_else(|| raw.strip_prefix("invalid value: "));
    match mismatch.and_then(|rest| rest.rsplit_once(", expected ")) {
        Some((found, expected)) => {
            let (right, wrong) = (expected_words(expected), found_words(found));
            let table = if path.first() == Some(&"upstream") && key == "tls" { "upstream tls" } else { key };
            format!("`{key}` is {right}, not {wrong}{}", example(table, &right, found))
        }
        None if raw.starts_with("wanted exactly 1 element") => {
            format!("`{key}` has exactly one of its choices")
        }
        None if raw.starts_with("wanted string or table") => {
            format!("`{key}` is one of its choices, in quotes")
        }
        None => raw.to_owned(),
    }
}

/// Tables that are easily taken for plain values, as they are written.
const EXAMPLES: &[(&str, &str)] = &[
    ("tls", "tls = { self_signed = [\"localhost\"] }"),
    ("upstream tls", "tls = { ca = \"ca.pem\" }"),
    ("health", "health = { path = \"/healthz\" }"),
    ("redirect", "redirect = { to = \"https://{host}{path}{query}\" }"),
    ("respond", "respond = { status = 404 }"),
    ("split", "split = { stable = 95, canary = 5 }"),
    ("timeouts", "timeouts = { response = \"5s\" }"),
    ("retry", "retry = { attempts = 1 }"),
    ("headers", "headers = { x-env = \"canary\" }"),
    ("certificates", "{ cert = \"site.pem\", key = \"site.key\" }"),
];

/// How a list or a table would be written, as the end of a sentence.
fn example(key: &str, right: &str, found: &str) -> String {
    let text = found.strip_prefix("string ");
    match (right, text) {
        ("a list", Some(text)) => format!("; write `[{text}]`"),
        ("a list", None) => "; put it in brackets, `[ … ]`".to_owned(),
        _ if right.starts_with("a table") => {
            let example = EXAMPLES.iter().find(|(of, _)| *of == key);
            example.map(|(_, example)| format!("; write `{example}`")).unwrap_or_default()
        }
        _ => String::new(),
    }
}

/// Tables that newcomers write in the other of TOML's two ways.
fn wrong_shape(raw: &str, path: &[&str]) -> Option<&'static str> {
    let is_type = raw.starts_with("invalid type");
    match path {
        ["route", ..] if is_type && path.len() <= 2 && raw.ends_with("expected a sequence") => {
            Some("routes are a list: write `[[route]]` with two brackets and `name = \"…\"` inside")
        }
        ["listener"] if is_type => {
            Some("a listener has a name: write `[listener.NAME]` with one pair of brackets")
        }
        ["upstream"] if is_type => {
            Some("an upstream has a name: write `[upstream.NAME]` with one pair of brackets")
        }
        ["middleware"] if is_type => {
            Some("a middleware has a name and a kind: write `[middleware.NAME.headers]`")
        }
        ["listener", "bind" | "tls" | "protocols" | "limits"] if is_type => {
            Some("a listener has a name: write `[listener.NAME]`, then its keys")
        }
        ["upstream", "endpoints" | "balance" | "health"] if is_type => {
            Some("an upstream has a name: write `[upstream.NAME]`, then its keys")
        }
        ["middleware", _] if raw.starts_with("wanted exactly 1 element") => {
            Some("a middleware has exactly one kind: write `[middleware.NAME.headers]`")
        }
        _ => None,
    }
}

/// The right shape of a top-level table that is written in the wrong one.
pub(super) fn shape(table: &str) -> String {
    match table {
        "route" => "routes are a list: write `[[route]]` with two brackets".to_owned(),
        _ => format!("a {table} has a name: write `[{table}.NAME]` with one pair of brackets"),
    }
}

/// What TOML says of a value without quotes.
const BARE_WORDS: [&str; 5] = [
    "string values must be quoted",
    "invalid boolean",
    "invalid float",
    "invalid integer",
    "invalid datetime",
];

/// Explains an error of TOML itself; `text` is what it points at.
pub(super) fn syntax(raw: &str, text: Option<&str>) -> String {
    match (raw.trim_end(), text) {
        ("duplicate key", Some(key)) => format!("`{key}` is already defined in this table"),
        (raw, _) if BARE_WORDS.iter().any(|start| raw.starts_with(start)) => {
            "this value is not TOML; text stands in quotes, and so do times, sizes and addresses".to_owned()
        }
        (raw, _) => format!("this is not TOML: {raw}"),
    }
}

/// Takes serde's "unknown … `word`, expected one of `a`, `b`" apart.
fn unknown<'r>(raw: &'r str, start: &str) -> Option<(&'r str, Vec<&'r str>)> {
    let rest = raw.strip_prefix(start)?;
    let end = rest.rfind("`, expected ").or_else(|| rest.rfind("`, there are no "))?;
    let (word, tail) = rest.split_at(end);
    let keys = tail.get(1..).unwrap_or_default().split('`').skip(1).step_by(2).collect();
    Some((word, keys))
}

fn unknown_key(word: &str, keys: &[&str], table: &[&str]) -> String {
    let what = if table.is_empty() { "unknown table or key" } else { "unknown key" };
    let name = match table {
        [table @ ("listener" | "upstream" | "middleware"), _] => *table,
        _ => table.last().copied().unwrap_or_default(),
    };
    let alias = ALIASES.iter().find(|(of, alias, key)| *of == name && *alias == word && keys.contains(key));
    if let Some((_, _, key)) = alias {
        return format!("{what} `{word}`; here it is called `{key}`");
    }
    let planned: Vec<&str> = planned::keys_in(table).collect();
    match suggest(word, keys.iter().copied().chain(planned)) {
        Some(near) => format!("{what} `{word}`; did you mean `{near}`?"),
        None if keys.is_empty() => format!("{what} `{word}`; there are no options here"),
        None => format!("{what} `{word}`; {} has {}", table_words(table), list(keys, "and")),
    }
}

fn unknown_choice(word: &str, choices: &[&str], path: &[&str]) -> String {
    // A choice with options is a key itself; what it is a choice of stands before it.
    let of = path.strip_suffix(&[word]).unwrap_or(path);
    let key = of.last().copied().unwrap_or_default();
    let what = match path {
        ["middleware", ..] => "unknown kind of middleware".to_owned(),
        _ => format!("`{key}` has no choice"),
    };
    // A wrong version or number is no typing error of the nearest one.
    let is_word = word.chars().any(char::is_alphabetic);
    match suggest(word, choices.iter().copied()).filter(|_| is_word) {
        Some(near) => format!("{what} `{word}`; did you mean `{near}`?"),
        None => format!("{what} `{word}`; write {}", list(choices, "or")),
    }
}

/// The table as it is written in the file.
fn table_words(table: &[&str]) -> String {
    match table {
        [] => "the file".to_owned(),
        ["route"] => "[[route]]".to_owned(),
        _ => format!("[{}]", table.join(".")),
    }
}

/// The words with commas, the last one joined by `joint`.
pub(super) fn list(words: &[&str], joint: &str) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} {joint} `{last}`", first.join(", "))
        }
    }
}

/// The name that was probably meant.
pub fn nearest<'n>(word: &str, names: &[&'n str]) -> Option<&'n str> {
    suggest(word, names.iter().copied())
}

/// The candidate that was probably meant.
pub(super) fn suggest<'c>(word: &str, candidates: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    let limit = (word.chars().count() / 3).clamp(1, 3);
    let near = candidates.map(|candidate| (strsim::damerau_levenshtein(&word, &plain(candidate)), candidate));
    near.filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, near)| near)
}

/// What serde calls a type, for people.
fn expected_words(expected: &str) -> String {
    let number = |first: &str, last: &str| format!("a whole number from {first} to {last}");
    match expected {
        "u8" => number("0", "255"),
        "u16" => number("0", "65535"),
        "u32" | "usize" | "u64" => "a whole number from 0".to_owned(),
        "a nonzero u32" => "a whole number from 1".to_owned(),
        "i32" => "a whole number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        _ if expected.starts_with("struct ") => "a table".to_owned(),
        _ => expected.to_owned(),
    }
}

fn found_words(found: &str) -> String {
    let quoted = |prefix: &str| found.strip_prefix(prefix).map(|rest| rest.trim_matches('`').to_owned());
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => None
            .or_else(|| quoted("integer "))
            .or_else(|| quoted("floating point "))
            .or_else(|| quoted("boolean "))
            .or_else(|| quoted("string "))
            .unwrap_or_else(|| found.to_owned()),
    }
}
