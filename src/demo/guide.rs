//! What the demo suggests to try.

use std::path::Path;

use super::services::Service;
use super::tour::Tour;
use crate::terminal::Paint;

/// The suggestions, one line each: a command and what it shows.
pub(super) fn text(config: &Path, tour: &Tour, services: &[Service], paint: Paint) -> String {
    let running: Vec<String> = services.iter().map(Service::to_string).collect();
    let suggestions = suggestions(tour, services);
    let width = suggestions.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let mut lines = vec![
        String::new(),
        format!("{} and these services run: {}", paint.bold("tidegate"), running.join(", ")),
        String::new(),
        paint.bold("Try this in another terminal"),
    ];
    lines.extend(suggestions.iter().map(|(command, shows)| {
        let space = " ".repeat(width - command.len());
        format!("  {}{space}  {}", paint.cyan(command), paint.dim(shows))
    }));
    lines.extend([
        String::new(),
        format!("Edit {} while it runs: the next request has the new rules.", paint.bold(config.display())),
        "A mistake in it changes nothing and is reported here. Ctrl-C ends everything.".to_owned(),
        String::new(),
    ]);
    lines.join("\n")
}

fn suggestions(tour: &Tour, services: &[Service]) -> Vec<(String, &'static str)> {
    let mut list = Vec::new();
    if let Some(http) = tour.http {
        list.push((format!("curl http://{http}/"), "balanced over three services"));
        list.push((format!("curl http://{http}/users/echo"), "what the service sees of a request"));
        list.push((format!("curl -N http://{http}/events"), "an event each second, never buffered"));
    }
    if let Some(https) = tour.https {
        let port = https.port();
        list.push((format!("curl -k https://localhost:{port}/"), "a certificate made in memory"));
        list.push((format!("curl -k --http2 -I https://localhost:{port}/"), "HTTP/2"));
    }
    if let Some(service) = services.iter().find(|service| service.name == "users") {
        list.push((format!("curl -X POST http://{}/fail", service.address), "its traffic moves away …"));
    }
    if let Some(admin) = tour.admin {
        list.push((format!("curl http://{admin}/status"), "… and here is why"));
    }
    if let Some(service) = services.iter().find(|service| service.name == "users") {
        list.push((format!("curl -X POST http://{}/recover", service.address), "and comes back"));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tour() -> Tour {
        let address = |text: &str| text.parse().ok();
        Tour {
            http: address("127.0.0.1:80"),
            https: address("127.0.0.1:443"),
            admin: address("127.0.0.1:99"),
        }
    }

    #[test]
    fn every_address_of_the_configuration_is_suggested() {
        let services =
            super::super::services(super::super::Ports { hello: 0, users: 0, auth: 0 }).expect("free ports");
        let text = text(Path::new("my/proxy.toml"), &tour(), services.all(), Paint::Plain);
        let fail = format!("curl -X POST http://{}/fail", services.find("users").unwrap().address);
        for part in
            ["http://127.0.0.1:80/", "https://localhost:443/", "127.0.0.1:99/status", "my/proxy.toml", &fail]
        {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn what_the_configuration_has_not_is_not_suggested() {
        let text = text(Path::new("proxy.toml"), &Tour { https: None, ..tour() }, &[], Paint::Plain);
        assert!(!text.contains("https:"), "{text}");
        assert!(!text.contains("/fail"), "{text}");
    }
}
