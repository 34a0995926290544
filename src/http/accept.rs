//! What form of an answer a client asks for (RFC 9110 §12.5.1).

use super::fields::{Fields, items};
use super::name::Name;

/// The forms in which the proxy answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Plain text, for people and for clients that do not say.
    Text,
    /// JSON, for programs that ask for it.
    Json,
}

/// JSON for clients that name it and like neither HTML nor plain text better; else text.
pub fn form(fields: &Fields) -> Form {
    let json = wish(fields, b"application", b"json");
    let html = wish(fields, b"text", b"html");
    let plain = wish(fields, b"text", b"plain");
    let named = json.precision > Precision::Any && json.thousandths > 0;
    // A browser names HTML and takes JSON as well; a program lists JSON before or beside the rest.
    let loses_to_html = html.precision > Precision::Any && html.thousandths >= json.thousandths;
    let loses_to_text = plain.precision > Precision::Any && plain.thousandths > json.thousandths;
    if named && !loses_to_html && !loses_to_text { Form::Json } else { Form::Text }
}

/// How exactly a media range names a type; a more exact one decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Precision {
    None,
    Any,
    Type,
    Exact,
}

/// How much a client wants a type.
#[derive(Clone, Copy, Debug)]
struct Wish {
    precision: Precision,
    /// The weight, 0 to 1000.
    thousandths: u16,
}

fn wish(fields: &Fields, kind: &[u8], sub: &[u8]) -> Wish {
    let mut found = Wish { precision: Precision::None, thousandths: 0 };
    for item in fields.all(Name::Accept).flat_map(items) {
        let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let precision = precision(parts.next().unwrap_or_default(), kind, sub);
        if precision > found.precision {
            let weight = parts.find_map(|part| part.strip_prefix(b"q=").or(part.strip_prefix(b"Q=")));
            found = Wish { precision, thousandths: weight.map_or(1000, thousandths) };
        }
    }
    found
}

fn precision(range: &[u8], kind: &[u8], sub: &[u8]) -> Precision {
    let Some(slash) = memchr::memchr(b'/', range) else { return Precision::None };
    let (own_kind, own_sub) = (&range[..slash], &range[slash + 1..]);
    if range == b"*/*" {
        Precision::Any
    } else if !own_kind.eq_ignore_ascii_case(kind) {
        Precision::None
    } else if own_sub == b"*" {
        Precision::Type
    } else if own_sub.eq_ignore_ascii_case(sub) {
        Precision::Exact
    } else {
        Precision::None
    }
}

/// A weight (RFC 9110 §12.4.2); what is none counts as 0, a type that is not wanted.
fn thousandths(text: &[u8]) -> u16 {
    let (whole, rest) = match text {
        [whole, b'.', rest @ ..] => (whole, rest),
        [whole] => (whole, &[][..]),
        _ => return 0,
    };
    let digits = rest.len() <= 3 && rest.iter().all(u8::is_ascii_digit);
    let part = rest.iter().chain(b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit & 15));
    match whole {
        b'0' if digits => part,
        b'1' if digits && part == 0 => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(values: &[&str]) -> Form {
        let mut fields = Fields::default();
        for value in values {
            fields.push(b"accept", value.as_bytes());
        }
        form(&fields)
    }

    #[test]
    fn json_is_for_those_who_name_it() {
        for values in [
            &["application/json"][..],
            &["Application/JSON; charset=utf-8"],
            &["application/*"],
            &["application/json, text/plain, */*"],
            &["text/html;q=0.5, application/json;q=0.9"],
            &["text/html;q=0", "application/json;q=0.001"],
            &["text/*;q=0.1, application/json"],
        ] {
            assert_eq!(asked(values), Form::Json, "{values:?}");
        }
    }

    #[test]
    fn everybody_else_gets_text() {
        for values in [
            &[][..],
            &[""],
            &["*/*"],
            &["text/html, application/json"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &["application/json;q=0"],
            &["application/json;q=0.5, text/plain"],
            &["application/json;q=0.5, text/html;q=0.5"],
            &["application/json;q=2"],
            &["application/json;q=0.1234"],
            &["application/json;q="],
            &["application/jsonx"],
            &["application/json;q=0, application/*"],
            &["json"],
        ] {
            assert_eq!(asked(values), Form::Text, "{values:?}");
        }
    }
}
