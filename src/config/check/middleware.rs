//! Middlewares: what they may not do, as their own build says it.

use super::Findings;
use crate::config::Config;
use crate::middleware;

pub(super) fn check(config: &Config, findings: &mut Findings<'_>) {
    for (name, settings) in &config.middlewares {
        for error in middleware::build(settings).err().into_iter().flatten() {
            let mut keys = vec!["middleware", name.get_ref()];
            keys.extend(error.keys);
            let list = findings.written(&keys);
            keys.push(error.field.as_str());
            let span = findings.written_key(&keys).or(list).unwrap_or(name.span());
            findings.add(span, error.to_string());
        }
    }
}
