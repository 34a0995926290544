//! Lengths, codings, chunks and trailers.

use super::Row;

/// What becomes of `Content-Length: VALUE` before `hello`.
const BAD_LENGTHS: &[&str] = &[
    "",
    "+5",
    "-5",
    "-0",
    "0x5",
    "5h",
    "5 5",
    "5,5",
    "5, 5",
    "5,",
    ",5",
    "5;",
    "5.0",
    "5e0",
    "0_5",
    "five",
    "\"5\"",
    "9223372036854775808",
    "18446744073709551621",
    "99999999999999999999999999",
    "\u{b2}",
    "\u{ff15}",
    "5\u{a0}",
];

/// Values of Transfer-Encoding that are refused.
const BAD_CODINGS: &[(&str, u16, &str)] = &[
    ("", 400, "bad_request.framing"),
    ("identity", 400, "bad_request.framing"),
    ("xchunked", 400, "bad_request.framing"),
    ("chunkedx", 400, "bad_request.framing"),
    ("chunk", 400, "bad_request.framing"),
    ("chunked;q=1", 400, "bad_request.framing"),
    ("chunked; a", 400, "bad_request.framing"),
    ("\"chunked\"", 400, "bad_request.framing"),
    ("'chunked'", 400, "bad_request.framing"),
    ("chunked,", 400, "bad_request.framing"),
    (",chunked", 400, "bad_request.framing"),
    ("chunked, chunked", 400, "bad_request.framing"),
    ("chunked, identity", 400, "bad_request.framing"),
    ("identity, chunked", 400, "bad_request.framing"),
    ("chunked, gzip", 400, "bad_request.framing"),
    ("chunked\tchunked", 400, "bad_request.framing"),
    ("chunked\u{a0}", 400, "bad_request.framing"),
    ("\u{85}chunked", 400, "bad_request.framing"),
    ("gzip", 501, "not_implemented"),
    ("deflate", 501, "not_implemented"),
    ("GZIP, chunked", 501, "not_implemented"),
];

/// Pairs of field lines that give two framings or one twice.
const BAD_PAIRS: &[&str] = &[
    "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 0\r\nContent-Length: 5",
    "Content-Length:\r\nContent-Length: 5",
    "content-length: 5\r\nCONTENT-LENGTH: 5",
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 5",
    "Transfer-Encoding: chunked\r\nContent-Length: 0",
    "Transfer-Encoding: chunked\r\nContent-Length:",
    "Transfer-Encoding: identity\r\nContent-Length: 5",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
    "Connection: Content-Length\r\nTransfer-Encoding: chunked\r\nContent-Length: 5",
    "transfer-encoding: chunked\r\nX: y\r\nContent-Length: 5",
];

/// Chunked bodies that are refused.
const BAD_CHUNKS: &[&str] = &[
    "\r\nhello\r\n0\r\n\r\n",
    "x\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5h\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\t\r\nhello\r\n0\r\n\r\n",
    "5 5\r\nhello\r\n0\r\n\r\n",
    "5,5\r\nhello\r\n0\r\n\r\n",
    "5.0\r\nhello\r\n0\r\n\r\n",
    "0_5\r\nhello\r\n0\r\n\r\n",
    "5\nhello\r\n0\r\n\r\n",
    "5\r\r\nhello\r\n0\r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhello\r0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhello\r\n\r\n0\r\n\r\n",
    "1000000000000000\r\nhello",
    "10000000000000005\r\nhello",
    "ffffffffffffffff\r\nhello",
    "fffffffffffffffff\r\nhello",
    "8000000000000005\r\nhello",
    "5;\r\nhello\r\n0\r\n\r\n",
    "5;;a\r\nhello\r\n0\r\n\r\n",
    "5;a=\r\nhello\r\n0\r\n\r\n",
    "5;=b\r\nhello\r\n0\r\n\r\n",
    "5;a=b=c\r\nhello\r\n0\r\n\r\n",
    "5;a b\r\nhello\r\n0\r\n\r\n",
    "5;a=\"b\r\nhello\r\n0\r\n\r\n",
    "5;a=\"b\"c\r\nhello\r\n0\r\n\r\n",
    "5;a=\"\\\r\nhello\r\n0\r\n\r\n",
    "5;a=\"\x01\"\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;\x0ba\r\nhello\r\n0\r\n\r\n",
    "5;a\0\r\nhello\r\n0\r\n\r\n",
    "0\n\r\n",
    "0\r\n\n",
    "0\r\nX: y\n\r\n",
    "0\r\nX : y\r\n\r\n",
    "0\r\nX\r\n\r\n",
    "0\r\n: y\r\n\r\n",
    "0\r\n X: y\r\n\r\n",
    "0\r\nX: y\r\n z\r\n\r\n",
    "0\r\nX: y\rz\r\n\r\n",
    "0\r\nX: \0\r\n\r\n",
    "0\r\nX(): y\r\n\r\n",
    "00\r\nX\x01: y\r\n\r\n",
];

/// Chunked bodies that pass: payload and trailer fields that the endpoint reads.
const CHUNKS: &[(&str, &str, &str)] = &[
    ("0\r\n\r\n", "", ""),
    ("000\r\n\r\n", "", ""),
    ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("0000000000000000000000005\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789", ""),
    ("A\r\n0123456789\r\n00\r\n\r\n", "0123456789", ""),
    ("1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", "hello", ""),
    ("5;a\r\nhello\r\n0;b\r\n\r\n", "hello", ""),
    ("5 ;a\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("5\t;\ta\t=\tb\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("5;a=b;c=\"d;\\\"e\";f\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("5;a=\"\"\r\nhello\r\n0\r\n\r\n", "hello", ""),
    ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", ""),
    ("0\r\nX: y\r\n\r\n", "", "X: y"),
    ("0\r\nX:\ty\t\r\nZ:\r\n\r\n", "", "X: y|Z:"),
    ("0\r\nContent-Length: 5\r\nX: y\r\n\r\n", "", "X: y"),
    ("0\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n", "", "X: y"),
    ("0\r\nContent_Length: 5\r\ntransfer_encoding: x\r\nX: y\r\n\r\n", "", "X: y"),
    ("0\r\nHost: evil\r\nAuthorization: x\r\nCookie: x\r\nX: y\r\n\r\n", "", "X: y"),
    ("0\r\nConnection: close\r\nKeep-Alive: 1\r\nTE: x\r\nUpgrade: x\r\nX: y\r\n\r\n", "", "X: y"),
    ("0\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\nX-Request-Id: x\r\nX: y\r\n\r\n", "", "X: y"),
    ("0\r\nTrailer: a\r\nExpect: 100-continue\r\nContent-Type: a/b\r\nX: y\r\n\r\n", "", "X: y"),
];

pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    let post = |fields: &str, body: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}");
    for value in BAD_LENGTHS {
        let bytes = post(&format!("Content-Length: {value}"), "hello");
        rows.push(Row::refused(bytes, 400, "bad_request.framing"));
    }
    for (value, status, reason) in BAD_CODINGS {
        let coding = format!("Transfer-Encoding: {value}");
        rows.push(Row::refused(post(&coding, "0\r\n\r\n"), *status, reason));
        let both = post(&format!("{coding}\r\nContent-Length: 5"), "0\r\n\r\n");
        rows.push(Row::refused(both, 400, "bad_request.framing"));
        let old = post(&coding, "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0");
        rows.push(Row::refused(old, 400, "bad_request.framing"));
    }
    for fields in BAD_PAIRS {
        for method in ["POST", "GET", "HEAD", "OPTIONS"] {
            let bytes = post(fields, "0\r\n\r\n").replace("POST", method);
            rows.push(Row::refused(bytes, 400, "bad_request.framing"));
        }
    }
    for body in BAD_CHUNKS {
        rows.push(Row::refused(post("Transfer-Encoding: chunked", body), 400, "bad_request.chunk"));
    }
    for extension in ["a".repeat(5000), format!("a=\"{}\"", "b".repeat(5000))] {
        let body = format!("5;{extension}\r\nhello\r\n0\r\n\r\n");
        rows.push(Row::refused(post("Transfer-Encoding: chunked", &body), 400, "bad_request.chunk"));
    }
    for trailers in ["X: y\r\n".repeat(65), format!("X: {}\r\n", "y".repeat(9000))] {
        let body = format!("0\r\n{trailers}\r\n");
        rows.push(Row::refused(post("Transfer-Encoding: chunked", &body), 400, "bad_request.chunk"));
    }
    rows.extend(chunked());
    rows.extend(lengths());
    rows
}

fn chunked() -> Vec<Row> {
    let mut rows = Vec::new();
    for (body, payload, trailers) in CHUNKS {
        let gap = if payload.is_empty() { "" } else { "\n\n" };
        for coding in ["Transfer-Encoding: chunked", "tRANSFER-eNCODING:\tChunked \t"] {
            let bytes = format!("PUT /x HTTP/1.1\r\nHost: a\r\n{coding}\r\n\r\n{body}");
            let seen =
                format!("PUT /x HTTP/1.1\nhost: a\ntransfer-encoding: chunked{gap}{payload}\n|{trailers}");
            rows.push(Row::passes(bytes, seen));
        }
    }
    rows
}

/// Bodies by length, of methods that have one and of methods that seldom have.
fn lengths() -> Vec<Row> {
    let inner = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut rows = Vec::new();
    for method in ["POST", "PUT", "PATCH", "GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"] {
        for (given, body) in [("5", "hello"), ("005", "hello"), ("35", inner), ("0", "")] {
            let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length:{given}\r\n\r\n{body}");
            let gap = if body.is_empty() { "" } else { "\n\n" };
            let length = body.len();
            let seen = format!("{method} / HTTP/1.1\nhost: a\ncontent-length: {length}{gap}{body}");
            rows.push(Row::passes(bytes, seen));
        }
        let bytes = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        rows.push(Row::passes(bytes, format!("{method} / HTTP/1.1\nhost: a")));
    }
    rows
}
