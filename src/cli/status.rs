//! `tidegate status`: the answer of the admin listener as a table.

use serde_json::Value;

use crate::terminal::Paint;

/// Upstreams and their endpoints, a line each; what the answer does not have is left out.
pub(super) fn text(answer: &Value, paint: Paint) -> String {
    let Some(upstreams) = answer.get("upstreams").and_then(Value::as_array) else {
        return format!("{answer:#}");
    };
    let mut lines = Vec::new();
    if let Some(generation) = answer.get("generation") {
        lines.push(format!("generation {generation}"));
    }
    for upstream in upstreams {
        lines.push(String::new());
        lines.push(heading(upstream, paint));
        lines.extend(list(upstream, "endpoints").iter().map(|endpoint| line(endpoint, paint)));
        let unresolved = list(upstream, "unresolved")
            .iter()
            .map(|name| format!("  {:<28} {}", word(name), paint.red("no address yet")));
        lines.extend(unresolved);
    }
    lines.join("\n").trim_start().to_owned()
}

fn heading(upstream: &Value, paint: Paint) -> String {
    let name = paint.bold(word(&upstream["name"]));
    match upstream["panic"].as_bool() {
        Some(true) => format!("{name}  {}", paint.red("too few are fit: health is ignored")),
        _ => name,
    }
}

fn line(endpoint: &Value, paint: Paint) -> String {
    let state = format!("{:<9}", word(&endpoint["state"]));
    let state = match word(&endpoint["state"]).as_str() {
        "healthy" => paint.green(state),
        "unhealthy" | "ejected" => paint.red(state),
        _ => state,
    };
    let number = |name: &str| endpoint[name].as_u64().unwrap_or(0);
    let why = endpoint["why"].as_str().map(|why| format!("  {}", one_line(why))).unwrap_or_default();
    format!(
        "  {:<28} {state} {:>8} requests {:>6} failed {:>5} running{why}",
        word(&endpoint["name"]),
        number("requests"),
        number("failures"),
        number("in_flight"),
    )
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value[name].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text without what a terminal would obey.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), one_line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_endpoint_is_a_line_with_its_reason() {
        let answer = json!({ "generation": 3, "upstreams": [{
            "name": "users", "panic": false, "unresolved": ["users.local"],
            "endpoints": [
                { "name": "10.0.0.1:80", "state": "healthy", "why": null, "requests": 7, "failures": 0, "in_flight": 1 },
                { "name": "10.0.0.2:80", "state": "unhealthy", "why": "answered 503\u{1b}[2J", "requests": 2 },
            ],
        }]});
        let text = text(&answer, Paint::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "generation 3");
        assert_eq!(lines[2], "users");
        assert!(lines[3].contains("10.0.0.1:80") && lines[3].contains("7 requests"), "{text}");
        assert!(lines[4].contains("unhealthy") && lines[4].ends_with("answered 503[2J"), "{text}");
        assert!(lines[5].contains("users.local") && lines[5].contains("no address yet"), "{text}");
    }

    #[test]
    fn an_answer_of_another_shape_is_shown_as_it_is() {
        assert_eq!(text(&json!({ "a": 1 }), Paint::Plain), "{\n  \"a\": 1\n}");
    }
}
