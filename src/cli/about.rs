//! `tidegate version`: what this program is made of.

use rustls::crypto::aws_lc_rs;

/// The version in the first line, then what a report of a bug should say.
pub(super) fn text() -> String {
    let provider = aws_lc_rs::default_provider();
    let groups: Vec<String> = provider.kx_groups.iter().map(|group| format!("{:?}", group.name())).collect();
    [
        format!("tidegate {}", env!("CARGO_PKG_VERSION")),
        format!("target:    {} {}{}", std::env::consts::ARCH, std::env::consts::OS, environment()),
        format!("build:     {}", if cfg!(debug_assertions) { "debug" } else { "release" }),
        "protocols: HTTP/1.1, HTTP/2, TLS 1.2, TLS 1.3".to_owned(),
        "features:  live reload, health checks, outlier ejection, retries, systemd, Prometheus metrics"
            .to_owned(),
        format!("tls:       rustls with aws-lc-rs; key exchange {}", groups.join(", ")),
        "allocator: mimalloc".to_owned(),
    ]
    .join("\n")
}

fn environment() -> &'static str {
    match () {
        () if cfg!(target_env = "gnu") => " (gnu)",
        () if cfg!(target_env = "musl") => " (musl)",
        () => "",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_line_has_the_version() {
        let text = super::text();
        assert_eq!(text.lines().next(), Some(concat!("tidegate ", env!("CARGO_PKG_VERSION"))));
        assert!(text.contains("X25519MLKEM768"), "{text}");
    }
}
