//! The decoder of bodies: any split gives what all bytes at once give, nothing behind the end is
//! touched, and chunked bodies read as a slow decoder of RFC 9112 §7.1 reads them.
//!
//! The first byte chooses the framing, the second the size of the pieces.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::h1::body::{Decoder, may_be_trailer};
use tidegate::h1::is_token_byte;
use tidegate::http::{Fields, Framing};

/// What a body came to: payload, trailer fields, what is left behind the end, whether it ended.
type Read = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, Vec<u8>, bool);

fuzz_target!(|data: &[u8]| {
    let [kind, step, body @ ..] = data else { return };
    let framing = match kind % 8 {
        0 => Framing::Length(u64::from(kind / 8)),
        1 => Framing::UntilClose,
        2 => Framing::None,
        _ => Framing::Chunked,
    };
    let whole = decode(framing, body, body.len().max(1));
    let pieces = decode(framing, body, usize::from(*step).max(1));
    match (&whole, &pieces) {
        (Some(whole), Some(pieces)) => assert_eq!(whole, pieces),
        (None, None) => {}
        _ => panic!("{whole:?} at once, {pieces:?} in pieces of {step}"),
    }
    if let Some((payload, trailers, rest, _)) = &whole {
        assert!(payload.len() + rest.len() <= body.len());
        assert!(body.ends_with(rest), "the rest is the end of the input");
        for (name, value) in trailers {
            assert!(may_be_trailer(name) && !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte)));
            assert!(value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control()));
        }
    }
    if framing == Framing::Chunked {
        compare(slow(body), whole);
    }
});

fn decode(framing: Framing, input: &[u8], step: usize) -> Option<Read> {
    let mut decoder = Decoder::new(framing);
    let (mut out, mut pending, mut trailers) = (Vec::new(), Vec::new(), None::<Box<Fields>>);
    for piece in input.chunks(step) {
        pending.extend_from_slice(piece);
        let before = pending.len();
        let decoded = decoder.decode(&mut pending, &mut trailers).ok()?;
        assert!(decoded.payload + decoded.raw <= before);
        pending.truncate(decoded.payload + decoded.raw);
        out.extend(pending.drain(..decoded.payload));
    }
    let trailers = trailers
        .iter()
        .flat_map(|fields| fields.iter())
        .map(|(_, name, value)| (name.to_vec(), value.to_vec()))
        .collect();
    let is_done = decoder.is_done() || (input.is_empty() && decoder.ends_with_connection());
    // What was not decoded yet belongs to the body as long as that has not ended.
    Some((out, trailers, if is_done { pending } else { Vec::new() }, is_done))
}

/// How a slow decoder has read a body.
#[derive(Debug)]
enum Slow {
    Whole { payload: Vec<u8>, rest: Vec<u8> },
    Incomplete,
    Malformed,
}

fn compare(slow: Slow, whole: Option<Read>) {
    match (slow, whole) {
        (Slow::Whole { payload, rest }, Some((found, _, left, true))) => {
            assert_eq!((payload, rest), (found, left));
        }
        (Slow::Incomplete, Some((.., false))) | (Slow::Malformed, None) => {}
        // The decoder waits for the end of a line before it judges it, or sees at once that no end
        // can make it right; and it has limits that the slow one has not.
        (Slow::Malformed, Some((.., false))) | (Slow::Incomplete | Slow::Whole { .. }, None) => {}
        (slow, whole) => panic!("{slow:?} is not {whole:?}"),
    }
}

/// Line by line, with nothing but the grammar.
fn slow(body: &[u8]) -> Slow {
    let (mut payload, mut rest) = (Vec::new(), body);
    loop {
        let Some((line, after)) = line(rest) else { return Slow::Incomplete };
        let Some(size) = size(line) else { return Slow::Malformed };
        if size == 0 {
            return trailers(payload, after);
        }
        let Ok(size) = usize::try_from(size) else { return Slow::Incomplete };
        let Some((data, after)) = after.split_at_checked(size) else { return Slow::Incomplete };
        payload.extend_from_slice(data);
        match after {
            [] | [b'\r'] => return Slow::Incomplete,
            [b'\r', b'\n', after @ ..] => rest = after,
            _ => return Slow::Malformed,
        }
    }
}

fn trailers(payload: Vec<u8>, mut rest: &[u8]) -> Slow {
    let mut is_good = true;
    loop {
        let Some((line, after)) = line(rest) else { return Slow::Incomplete };
        rest = after;
        if line.is_empty() {
            return if is_good { Slow::Whole { payload, rest: rest.to_vec() } } else { Slow::Malformed };
        }
        let colon = line.iter().position(|byte| *byte == b':');
        is_good &= colon.is_some_and(|colon| {
            let (name, value) = (&line[..colon], &line[colon..]);
            let is_name = !name.is_empty() && name.iter().all(|byte| is_token_byte(*byte));
            is_name && value.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())
        });
    }
}

/// Up to the first LF, without the CR before it; a line without that CR keeps its LF, which no
/// grammar takes.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let feed = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, after) = (&bytes[..feed], &bytes[feed + 1..]);
    Some((line.strip_suffix(b"\r").unwrap_or(&bytes[..=feed]), after))
}

fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let text = std::str::from_utf8(&line[..digits]).ok()?;
    let size = u64::from_str_radix(text, 16).ok()?;
    extensions(&line[digits..]).then_some(size)
}

/// The grammar of RFC 9112 §7.1.1 by a state for each place in it.
fn extensions(line: &[u8]) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum At {
        Start,
        BeforeSemicolon,
        BeforeName,
        Name,
        AfterName,
        BeforeValue,
        Value,
        Quoted,
        Escaped,
        AfterQuoted,
    }
    let mut at = At::Start;
    for byte in line {
        let is_space = matches!(byte, b' ' | b'\t');
        let is_text = *byte == b'\t' || !byte.is_ascii_control();
        at = match (at, byte) {
            (At::Start | At::BeforeSemicolon, _) if is_space => At::BeforeSemicolon,
            (
                At::Start | At::BeforeSemicolon | At::Name | At::AfterName | At::Value | At::AfterQuoted,
                b';',
            ) => At::BeforeName,
            (At::BeforeName, _) if is_space => At::BeforeName,
            (At::BeforeName | At::Name, _) if is_token_byte(*byte) => At::Name,
            (At::Name | At::AfterName, b'=') => At::BeforeValue,
            (At::Name | At::AfterName, _) if is_space => At::AfterName,
            (At::BeforeValue, _) if is_space => At::BeforeValue,
            (At::BeforeValue, b'"') => At::Quoted,
            (At::BeforeValue | At::Value, _) if is_token_byte(*byte) => At::Value,
            (At::Value | At::AfterQuoted, _) if is_space => At::BeforeSemicolon,
            (At::Quoted, b'"') => At::AfterQuoted,
            (At::Quoted, b'\\') => At::Escaped,
            (At::Quoted | At::Escaped, _) if is_text => At::Quoted,
            _ => return false,
        };
    }
    matches!(at, At::Start | At::Name | At::Value | At::AfterQuoted)
}
