//! docs/reasons.md is what the program says of its reasons. `UPDATE_GOLDEN=1 cargo test --test reasons`
//! writes the table anew; everything around it is written by hand.

use std::fmt::Write as _;
use std::path::Path;

use tidegate::http::Reason;
use tidegate::http::grpc::Code;
use tidegate::http::reason::Side;

const BEGIN: &str = "<!-- begin of the table: UPDATE_GOLDEN=1 cargo test --test reasons -->\n";
const END: &str = "<!-- end of the table -->\n";

fn document() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reasons.md")
}

/// One row for each reason, in the order of the program.
fn table() -> String {
    let mut table = String::from(
        "| reason | status | gRPC | side | what happened | look first |\n\
         |---|---|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let meaning = reason.meaning();
        let (name, status, side) = (meaning.name, meaning.status, side(meaning.side));
        let code = format!("{} ({})", Code::of(*reason).name(), Code::of(*reason) as u8);
        let (text, hint) = (cell(meaning.text), cell(meaning.hint));
        writeln!(table, "| `{name}` | {status} | {code} | {side} | {text} | {hint} |")
            .expect("a String takes all");
    }
    table
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Proxy => "proxy",
        Side::Upstream => "upstream",
    }
}

/// A text that can not end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// What stands before the table, the table, and what stands after it.
fn split(text: &str) -> (&str, &str, &str) {
    let (before, rest) = text.split_once(BEGIN).expect("docs/reasons.md has the begin of the table");
    let (table, after) = rest.split_once(END).expect("docs/reasons.md has the end of the table");
    (before, table, after)
}

#[test]
fn the_document_has_exactly_the_reasons_of_the_program() {
    let text = std::fs::read_to_string(document()).expect("docs/reasons.md is there");
    let (before, written, after) = split(&text);
    let expected = table();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let renewed = [before, BEGIN, &expected, END, after].concat();
        std::fs::write(document(), renewed).expect("docs/reasons.md can be written");
        return;
    }
    for (line, row) in written.lines().zip(expected.lines()) {
        assert_eq!(line, row, "docs/reasons.md is old: UPDATE_GOLDEN=1 cargo test --test reasons");
    }
    assert_eq!(written.lines().count(), expected.lines().count(), "rows of docs/reasons.md");
}

#[test]
fn what_is_said_about_a_reason_by_hand_names_one_that_exists() {
    let text = std::fs::read_to_string(document()).expect("docs/reasons.md is there");
    let (before, _, after) = split(&text);
    let names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
    // Reasons of a group share their front: `bad_request.`
    let mentioned: Vec<&str> =
        [before, after].iter().flat_map(|part| part.split("reason `").skip(1)).collect();
    assert!(!mentioned.is_empty(), "the text around the table explains no reason");
    for rest in mentioned {
        let name = rest.split('`').next().unwrap_or_default();
        assert!(names.contains(&name), "docs/reasons.md explains `{name}`, which is no reason");
    }
}
