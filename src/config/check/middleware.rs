//! Middlewares: header fields that only the proxy itself may write.

use toml::Spanned;

use super::Findings;
use crate::config::Config;
use crate::http::Name;
use crate::middleware::settings::{HeaderChanges, Settings};
use crate::units::FieldName;

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    for (name, settings) in &config.middlewares {
        match settings {
            Settings::Headers(headers) => {
                changes(name, "request", &headers.request, findings);
                changes(name, "response", &headers.response, findings);
            }
        }
    }
}

fn changes(name: &Spanned<String>, side: &str, changes: &HeaderChanges, findings: &mut Findings<'_>) {
    let lists = [
        ("set", changes.set.keys().collect::<Vec<_>>()),
        ("add", changes.add.keys().collect()),
        ("remove", changes.remove.iter().collect()),
    ];
    for (list, fields) in lists {
        for field in fields {
            let Some(reason) = reserved(field, side) else { continue };
            let keys = ["middleware", name.get_ref(), "headers", side, list];
            let field_key = [keys[0], keys[1], keys[2], keys[3], keys[4], field.as_str()];
            let span = findings.written_key(&field_key).or_else(|| findings.written(&keys)).unwrap_or(name.span());
            findings.add(span, format!("`{field}` can not be changed here: {reason}"));
        }
    }
}

/// Why a field is not the configuration's to change; a change of framing is request smuggling.
fn reserved(field: &FieldName, side: &str) -> Option<&'static str> {
    match Name::of(field.as_str().as_bytes()) {
        Name::ContentLength | Name::Trailer => Some("it says how long the body is"),
        Name::Host if side == "request" => Some("the route's `host_header` says it"),
        name if name.is_hop_by_hop() => Some("it speaks of one connection, which the proxy manages"),
        _ => None,
    }
}
