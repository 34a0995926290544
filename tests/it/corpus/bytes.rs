//! Every byte in every place where one may hide, and every spelling of a line's end.

use super::Row;

const REFUSED: &str = "bad_request.";

pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    for byte in 0..=u8::MAX {
        rows.extend([method(byte), target(byte), name(byte), before_colon(byte)]);
        rows.extend(value(byte));
        rows.extend(around_framing(byte));
        rows.extend(around_chunk(byte));
    }
    rows.extend(line_ends());
    rows
}

/// A message with one byte in the middle.
fn with(before: &str, byte: u8, after: &str) -> Vec<u8> {
    [before.as_bytes(), &[byte], after.as_bytes()].concat()
}

fn lossy(before: &str, byte: u8, after: &str) -> String {
    String::from_utf8_lossy(&with(before, byte, after)).into_owned()
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn method(byte: u8) -> Row {
    let bytes = with("X", byte, "X / HTTP/1.1\r\nHost: a\r\n\r\n");
    match is_token(byte) {
        true => Row::passes(bytes, lossy("X", byte, "X / HTTP/1.1\nhost: a")),
        false => Row::refused(bytes, 400, REFUSED),
    }
}

fn target(byte: u8) -> Row {
    let bytes = with("GET /a", byte, "b HTTP/1.1\r\nHost: a\r\n\r\n");
    match byte.is_ascii_graphic() && !b"#%\\".contains(&byte) {
        true => Row::passes(bytes, lossy("GET /a", byte, "b HTTP/1.1\nhost: a")),
        false => Row::refused(bytes, 400, REFUSED),
    }
}

fn name(byte: u8) -> Row {
    let bytes = with("GET / HTTP/1.1\r\nHost: a\r\nX", byte, "X: y\r\n\r\n");
    match byte {
        // The first colon ends the name.
        b':' => Row::passes(bytes, "GET / HTTP/1.1\nhost: a\nX: X: y"),
        _ if is_token(byte) => Row::passes(bytes, lossy("GET / HTTP/1.1\nhost: a\nX", byte, "X: y")),
        _ => Row::refused(bytes, 400, REFUSED),
    }
}

/// A byte that may stand nowhere in a name, between a framing name and its colon.
fn before_colon(byte: u8) -> Row {
    if is_token(byte) || byte == b':' {
        let bytes = with("GET / HTTP/1.1\r\nHost: a\r\nX-", byte, ": y\r\n\r\n");
        let seen = if byte == b':' { "X-: : y".to_owned() } else { lossy("X-", byte, ": y") };
        return Row::passes(bytes, format!("GET / HTTP/1.1\nhost: a\n{seen}"));
    }
    let bytes = with("POST / HTTP/1.1\r\nHost: a\r\nContent-Length", byte, ": 5\r\n\r\nhello");
    Row::refused(bytes, 400, REFUSED)
}

/// At the beginning, in the middle and at the end of a value.
fn value(byte: u8) -> [Row; 3] {
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX:";
    let begins = with(head, byte, "y\r\n\r\n");
    let middle = with(&format!("{head} y"), byte, "z\r\n\r\n");
    let ends = with(&format!("{head} y"), byte, "\r\n\r\n");
    if byte != b'\t' && byte.is_ascii_control() {
        return [begins, middle, ends].map(|bytes| Row::refused(bytes, 400, REFUSED));
    }
    let is_space = matches!(byte, b' ' | b'\t');
    let seen = "GET / HTTP/1.1\nhost: a\nX: ";
    let outer = |text: String| if is_space { format!("{seen}y") } else { text };
    [
        Row::passes(begins, outer(lossy(seen, byte, "y"))),
        Row::passes(middle, lossy(&format!("{seen}y"), byte, "z")),
        Row::passes(ends, outer(lossy(&format!("{seen}y"), byte, ""))),
    ]
}

/// Before and after the values that frame a body, which only white space may surround.
fn around_framing(byte: u8) -> Vec<Row> {
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    let mut rows = Vec::new();
    for (field, text, body) in
        [("Content-Length:", "5", "hello"), ("Transfer-Encoding:", "chunked", "5\r\nhello\r\n0\r\n\r\n")]
    {
        let before = with(&format!("{head}{field}"), byte, &format!("{text}\r\n\r\n{body}"));
        let after = with(&format!("{head}{field}{text}"), byte, &format!("\r\n\r\n{body}"));
        let seen = match text {
            "5" => "POST / HTTP/1.1\nhost: a\ncontent-length: 5\n\nhello",
            _ => "POST / HTTP/1.1\nhost: a\ntransfer-encoding: chunked\n\nhello\n|",
        };
        for bytes in [before, after] {
            match byte {
                b' ' | b'\t' => rows.push(Row::passes(bytes, seen)),
                // Another number, which the lengths of messages.rs are about.
                b'0'..=b'9' if text == "5" => {}
                _ => rows.push(Row::refused(bytes, 400, REFUSED)),
            }
        }
    }
    rows
}

/// Before and after a chunk's size, and after its data.
fn around_chunk(byte: u8) -> Vec<Row> {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut rows = Vec::new();
    if !byte.is_ascii_hexdigit() {
        rows.push(with(head, byte, "5\r\nhello\r\n0\r\n\r\n"));
        rows.push(with(&format!("{head}5"), byte, "\r\nhello\r\n0\r\n\r\n"));
        rows.push(with(&format!("{head}5;a"), byte, "=\r\nhello\r\n0\r\n\r\n"));
    }
    rows.push(with(&format!("{head}5\r\nhello"), byte, "\r\n0\r\n\r\n"));
    if byte != b'\r' {
        rows.push(with(&format!("{head}5\r\nhello"), byte, "\n0\r\n\r\n"));
    }
    if byte != b'\n' {
        rows.push(with(&format!("{head}5\r\nhello\r"), byte, "0\r\n\r\n"));
    }
    rows.into_iter().map(|bytes| Row::refused(bytes, 400, REFUSED)).collect()
}

/// Each line end of a message in every wrong spelling.
fn line_ends() -> Vec<Row> {
    let lines =
        ["POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked", "", "5", "hello", "0", "X: y", ""];
    let mut rows = Vec::new();
    for wrong in
        ["\n", "\r", "\r\r\n", "\n\r\n", "\n\r", "\r\n\r", " \r\n ", "\u{85}", "\u{2028}", "\x0b", "\x0c\r\n"]
    {
        // What begins with a right end ends the message, when it is the last one.
        let places = lines.len() - usize::from(wrong.starts_with("\r\n"));
        for place in 0..places {
            let end = |at| if at == place { wrong } else { "\r\n" };
            let bytes: String =
                lines.iter().enumerate().map(|(at, line)| format!("{line}{}", end(at))).collect();
            rows.push(Row::refused(bytes, 400, REFUSED));
        }
    }
    rows
}
