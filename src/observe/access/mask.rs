//! Secrets taken out of URLs: tokens and passwords travel in values of the query.

use super::escape::{Text, clip};

/// Appends a query with `*` in place of every value. A part without `=` may be a token itself, so
/// it becomes `*` as well.
pub(super) fn query(text: Text, query: &[u8], out: &mut Vec<u8>) {
    for (number, part) in query.split(|byte| *byte == b'&').enumerate() {
        if number > 0 {
            out.push(b'&');
        }
        match part.iter().position(|byte| *byte == b'=') {
            Some(end) => {
                text.write(&part[..end], out);
                out.extend_from_slice(b"=*");
            }
            None if part.is_empty() => {}
            None => out.push(b'*'),
        }
    }
}

/// Appends a URL with masked query, `*@` for user information, and no fragment. Each part has at
/// most `most` bytes; it is cut after masking, as half a password would not be known as one.
pub(super) fn url(text: Text, url: &[u8], most: usize, out: &mut Vec<u8>) {
    let end = url.iter().position(|byte| *byte == b'#').unwrap_or(url.len());
    let url = &url[..end];
    let (head, keys) = match url.iter().position(|byte| *byte == b'?') {
        Some(at) => (&url[..at], Some(&url[at + 1..])),
        None => (url, None),
    };
    let authority = head.windows(2).position(|pair| pair == b"//").map_or(0, |at| at + 2);
    let path =
        head[authority..].iter().position(|byte| *byte == b'/').map_or(head.len(), |at| authority + at);
    match head[authority..path].iter().rposition(|byte| *byte == b'@') {
        Some(at) => {
            text.write(clip(&head[..authority], most), out);
            out.push(b'*');
            text.write(clip(&head[authority + at..], most), out);
        }
        None => text.write(clip(head, most), out),
    }
    if let Some(keys) = keys {
        out.push(b'?');
        query(text, clip(keys, most), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(mask: fn(Text, &[u8], &mut Vec<u8>), bytes: &str) -> String {
        let mut out = Vec::new();
        mask(Text::Plain, bytes.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_the_keys_of_a_query_are_shown() {
        for (written, shown) in [
            ("token=abc&page=2", "token=*&page=*"),
            ("a=b=c", "a=*"),
            ("abc", "*"),
            ("", ""),
            ("&&a=", "&&a=*"),
            ("a\"b=1", "a\\x22b=*"),
        ] {
            assert_eq!(masked(query, written), shown, "{written}");
        }
    }

    #[test]
    fn a_url_loses_values_user_and_fragment() {
        for (written, shown) in [
            ("https://a.example/x?code=1&s=2#token=3", "https://a.example/x?code=*&s=*"),
            ("https://user:word@a.example/x@y", "https://*@a.example/x@y"),
            ("https://user:word@a.example", "https://*@a.example"),
            ("https://a.example/", "https://a.example/"),
            ("user:word@a.example", "*@a.example"),
            ("/only/path?x", "/only/path?*"),
            ("#fragment", ""),
            ("", ""),
        ] {
            assert_eq!(masked(|text, bytes, out| url(text, bytes, 100, out), written), shown, "{written}");
        }
    }

    #[test]
    fn a_password_is_not_shown_because_it_is_long() {
        let long = format!("https://user:{}@a.example/", "w".repeat(500));
        assert_eq!(masked(|text, bytes, out| url(text, bytes, 100, out), &long), "https://*@a.example/");
    }
}
