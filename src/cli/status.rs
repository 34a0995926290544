//! `tidegate status`: the answer of the admin listener as a table.

use serde_json::Value;

use crate::terminal::Paint;

/// Upstreams and their endpoints, a line each; what the answer does not have is left out.
pub(super) fn text(answer: &Value, paint: Paint) -> String {
    let Some(upstreams) = answer.get("upstreams").and_then(Value::as_array) else {
        return format!("{answer:#}");
    };
    let mut lines = vec![summary(answer)];
    if let Some(error) = answer["last_reload_error"].as_str() {
        lines.push(paint.red("the last reload was refused, this is the configuration before it:"));
        lines.extend(error.trim_end().lines().map(|line| format!("  {}", one_line(line))));
    }
    for upstream in upstreams {
        lines.push(String::new());
        lines.push(heading(upstream, paint));
        lines.extend(source(&upstream["discovery"], paint));
        lines.extend(list(upstream, "endpoints").iter().map(|endpoint| line(endpoint, paint)));
        lines.extend(unresolved(upstream, paint));
    }
    lines.join("\n").trim_start().to_owned()
}

/// The process in a line: "serving for 3h 2m, generation 4, 12 open connections".
fn summary(answer: &Value) -> String {
    let number = |name: &str| answer[name].as_u64();
    let state = answer["state"].as_str().map(|state| match number("uptime_seconds") {
        Some(seconds) => format!("{} for {}", one_line(state), span(seconds)),
        None => one_line(state),
    });
    let generation = number("generation").map(|generation| format!("generation {generation}"));
    let connections = number("connections").map(|count| match count {
        1 => "1 open connection".to_owned(),
        count => format!("{count} open connections"),
    });
    [state, generation, connections].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A length of time by its two largest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        86_400.. => format!("{days}d {}h", hours % 24),
    }
}

/// The endpoints of an upstream, a line each.
pub(super) fn endpoints(answer: &Value, paint: Paint) -> String {
    let lines: Vec<String> = list(answer, "endpoints")
        .iter()
        .map(|endpoint| line(endpoint, paint).trim_start().to_owned())
        .collect();
    if lines.is_empty() { "no endpoints".to_owned() } else { lines.join("\n") }
}

/// Names that have no address yet, a line each.
fn unresolved(upstream: &Value, paint: Paint) -> impl Iterator<Item = String> {
    let names = list(upstream, "unresolved").iter();
    names.map(move |name| format!("  {:<28} {}", word(name), paint.red("no address yet")))
}

fn heading(upstream: &Value, paint: Paint) -> String {
    let name = paint.bold(word(&upstream["name"]));
    match upstream["panic"].as_bool() {
        Some(true) => format!("{name}  {}", paint.red("too few are fit: health is ignored")),
        _ => name,
    }
}

/// Where the endpoints come from and how old the answer is; nothing without a source.
fn source(discovery: &Value, paint: Paint) -> Option<String> {
    let origin = discovery["origin"].as_str().map(one_line)?;
    let age = discovery["age_seconds"].as_f64().map(|age| format!(", answered {} ago", span(age as u64)));
    let age = age.unwrap_or_default();
    let failure = || discovery["failure"].as_str().map(one_line).unwrap_or_default();
    Some(match discovery["state"].as_str() {
        Some("waiting") => format!("  from {origin}: {}", paint.red("no answer yet")),
        Some("failing") => format!("  from {origin}{age}; {}", paint.red(failure())),
        Some("doubting") => {
            format!("  from {origin}{age}; {}", paint.red("too much is missing to be believed yet"))
        }
        _ => format!("  from {origin}{age}"),
    })
}

fn line(endpoint: &Value, paint: Paint) -> String {
    let state = match endpoint["state"].as_str() {
        Some("healthy") => paint.green("healthy  "),
        Some("unhealthy") => paint.red("unhealthy"),
        Some("ejected") => paint.red("ejected  "),
        Some("draining") => paint.dim("draining "),
        // It takes traffic as a healthy one does; "unknown" would sound like a fault.
        Some("unknown") => "unchecked".to_owned(),
        _ => format!("{:<9}", word(&endpoint["state"])),
    };
    let number = |name: &str| endpoint[name].as_u64().unwrap_or(0);
    let mut why = endpoint["why"].as_str().map(|why| format!("  {}", one_line(why))).unwrap_or_default();
    if let Some(left @ 1..) = endpoint["ejected_for_ms"].as_u64() {
        why += &format!(", back in {}", span(left.div_ceil(1000)));
    }
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
    fn the_first_line_is_about_the_process() {
        let answer = json!({ "state": "serving", "uptime_seconds": 3725, "generation": 3, "connections": 1, "upstreams": [] });
        assert_eq!(text(&answer, Paint::Plain), "serving for 1h 2m, generation 3, 1 open connection");
        for (seconds, expected) in
            [(0, "0s"), (59, "59s"), (60, "1m 0s"), (86_399, "23h 59m"), (180_000, "2d 2h")]
        {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn a_refused_reload_is_shown_with_its_reasons() {
        let answer =
            json!({ "generation": 3, "upstreams": [], "last_reload_error": "a.toml:1:2: no\n    1 | x\n" });
        let text = text(&answer, Paint::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("refused"), "{text}");
        assert_eq!(lines[2..], ["  a.toml:1:2: no", "      1 | x"]);
    }

    #[test]
    fn an_endpoint_says_when_it_is_back_and_whether_it_is_checked() {
        let endpoint = |state: &str, left| json!({ "state": state, "why": null, "ejected_for_ms": left });
        let mut ejected = endpoint("ejected", 4200);
        ejected["why"] = json!("error_ratio");
        assert!(line(&ejected, Paint::Plain).ends_with("error_ratio, back in 5s"));
        assert!(line(&endpoint("unknown", 0), Paint::Plain).contains(" unchecked "));
    }

    #[test]
    fn a_source_says_how_old_its_answer_is_and_why_there_is_no_newer_one() {
        let of = |state: &str, failure: Value| {
            let source_of =
                json!({ "origin": "file a.json", "state": state, "age_seconds": 63.2, "failure": failure });
            source(&source_of, Paint::Plain).unwrap()
        };
        assert_eq!(of("following", Value::Null), "  from file a.json, answered 1m 3s ago");
        assert_eq!(of("failing", json!("gone")), "  from file a.json, answered 1m 3s ago; gone");
        assert_eq!(source(&Value::Null, Paint::Plain), None);
    }

    #[test]
    fn an_answer_of_another_shape_is_shown_as_it_is() {
        assert_eq!(text(&json!({ "a": 1 }), Paint::Plain), "{\n  \"a\": 1\n}");
    }
}
