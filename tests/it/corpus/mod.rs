//! A corpus of requests that have split proxies from their endpoints: raw bytes in, and either a
//! refusal or exactly what the endpoint reads.
//!
//! Each row is followed by a second request on the same connection. It is answered when the row
//! was read to its exact end, and never when the row was refused.

mod bytes;
mod messages;
mod rows;

use crate::harness::{ALL, Origin, Proxy, Request, ok, upstream};

/// What follows each row.
const SECOND: &str = "GET /second HTTP/1.1\r\nHost: a\r\n\r\n";

/// What becomes of a row.
#[derive(Clone, Debug)]
enum Verdict {
    /// It is refused with this status and a reason that begins so; nothing reaches the endpoint.
    Refused(u16, &'static str),
    /// The endpoint reads this (see [`seen`]), and the connection goes on.
    Passes(String),
    /// The endpoint reads this, and the connection ends after the answer.
    PassesLast(String),
}

/// One row of the corpus.
#[derive(Clone, Debug)]
struct Row {
    bytes: Vec<u8>,
    verdict: Verdict,
}

impl Row {
    fn refused(bytes: impl Into<Vec<u8>>, status: u16, reason: &'static str) -> Row {
        Row { bytes: bytes.into(), verdict: Verdict::Refused(status, reason) }
    }

    fn passes(bytes: impl Into<Vec<u8>>, seen: impl Into<String>) -> Row {
        Row { bytes: bytes.into(), verdict: Verdict::Passes(seen.into()) }
    }

    fn passes_last(bytes: impl Into<Vec<u8>>, seen: impl Into<String>) -> Row {
        Row { bytes: bytes.into(), verdict: Verdict::PassesLast(seen.into()) }
    }
}

/// What an endpoint has read: request line and fields by line, then the body without its framing,
/// then the trailer fields. Fields that the proxy makes itself are left out.
fn seen(request: &Request) -> String {
    let own = |line: &&str| !line.starts_with("x-forwarded-") && !line.starts_with("x-request-id");
    let mut text = request.head.lines().filter(own).collect::<Vec<_>>().join("\n");
    let body = request.body();
    if !body.is_empty() {
        text = format!("{text}\n\n{}", String::from_utf8_lossy(&body));
    }
    if request.field("transfer-encoding").is_some() {
        let raw = String::from_utf8_lossy(&request.raw_body).into_owned();
        let trailers = raw.rsplit_once("0\r\n").map_or("", |(_, trailers)| trailers.trim_end());
        text = format!("{text}\n|{}", trailers.replace("\r\n", "|"));
    }
    text
}

/// How a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    AtOnce,
    /// One byte after another, so that the proxy reads it in many pieces.
    InBytes,
}

/// Sends a row; a complaint when something else becomes of it.
fn judge(proxy: &Proxy, origin: &Origin, row: &Row, written: Written) -> Option<String> {
    let before = origin.requests().len();
    let mut client = proxy.client();
    let bytes = [&row.bytes[..], SECOND.as_bytes()].concat();
    match written {
        Written::AtOnce => client.send(bytes),
        Written::InBytes => bytes.chunks(1).for_each(|byte| client.send(byte)),
    }
    let to_head = row.bytes.starts_with(b"HEAD ");
    let answer = if to_head { Ok(client.response_to_head()) } else { client.try_response() };
    let Ok(answer) = answer else { return Some("no answer".to_owned()) };
    let got = format!("{} {}", answer.status, answer.reason());
    let (expected, goes_on) = match &row.verdict {
        Verdict::Refused(status, reason) => {
            let is_expected = answer.status == *status && answer.reason().starts_with(reason);
            if !is_expected || !client.rest().is_empty() || origin.requests().len() != before {
                return Some(format!("{got}, or more than that, instead of {status} {reason}"));
            }
            return None;
        }
        Verdict::Passes(text) => (text, true),
        Verdict::PassesLast(text) => (text, false),
    };
    if answer.status != 200 {
        return Some(format!("{got} instead of {expected:?}"));
    }
    let second = goes_on.then(|| client.response().status);
    let requests = origin.requests().split_off(before);
    let read: Vec<String> = requests.iter().map(seen).collect();
    match (&read[..], second) {
        ([first], None) if first == expected => None,
        ([first, after], Some(200)) if first == expected && after == "GET /second HTTP/1.1\nhost: a" => None,
        _ => Some(format!("the endpoint read {read:?} instead of {expected:?}")),
    }
}

/// Judges all rows through one proxy and prints every complaint.
fn judge_all(rows: &[Row], written: Written) {
    let origin = Origin::answering(|request| {
        let answer = ok("ok");
        if request.method() == "HEAD" { answer[..answer.len() - 2].to_vec() } else { answer }
    });
    let proxy = Proxy::start(&format!("{ALL}{}", upstream(&[&origin])));
    let complaint = |row| judge(&proxy, &origin, row, written).map(|wrong| (row, wrong));
    let wrong: Vec<String> = rows
        .iter()
        .filter_map(complaint)
        .map(|(row, wrong)| format!("{:?}: {wrong}", String::from_utf8_lossy(&row.bytes)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn every_line_field_and_host_of_the_corpus_is_refused_or_passed_as_written() {
    let rows = rows::all();
    assert!(rows.len() >= 150, "{} rows", rows.len());
    judge_all(&rows, Written::AtOnce);
}

#[test]
fn every_framing_of_the_corpus_is_refused_or_passed_as_written() {
    let rows = messages::all();
    assert!(rows.len() >= 100, "{} rows", rows.len());
    judge_all(&rows, Written::AtOnce);
}

#[test]
fn every_byte_in_every_place_of_a_message_is_refused_or_passed() {
    let rows = bytes::all();
    assert!(rows.len() >= 1000, "{} rows", rows.len());
    judge_all(&rows, Written::AtOnce);
}

#[test]
fn a_message_that_comes_byte_by_byte_is_read_as_one_that_comes_at_once() {
    let mut rows = [rows::all(), messages::all()].concat();
    rows.retain(|row| row.bytes.len() <= 500);
    assert!(rows.len() >= 500, "{} rows", rows.len());
    judge_all(&rows, Written::InBytes);
}
