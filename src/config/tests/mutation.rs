//! Thousands of damaged copies of the reference: no panic, and each error has its place.

use super::read;

const REFERENCE: &str = include_str!("../../../docs/reference.toml");

/// Copies; each takes about a millisecond.
const COPIES: u64 = 3_000;

/// Words that damage structure more often than letters do.
const WORDS: [&str; 16] = [
    "[", "]", "{", "}", "=", "\"", "\n", "\0", "[[route]]\n", "[upstream.x]\n", "= 0", "\"off\"", "é", "${X}", "~(", "99999999999",
];

#[test]
fn a_damaged_file_is_refused_with_a_place_and_never_panics() {
    let mut refused = 0;
    for seed in 0..COPIES {
        let mut random = fastrand::Rng::with_seed(seed);
        let text = damage(REFERENCE, &mut random);
        let Err(report) = read(&text) else { continue };
        refused += 1;
        assert!(!report.is_empty(), "seed {seed}: a refused file has errors");
        let mut last = (0, 0);
        for error in report.errors() {
            let (line, column) = error.position().expect("every error has a place");
            assert!((line, column) >= last, "seed {seed}: errors stand in the order of the file");
            let written = text.split('\n').nth(line - 1);
            let width = written.map(|written| written.chars().count());
            assert!(width.is_some_and(|width| column <= width + 1), "seed {seed}: {line}:{column} is outside");
            assert!(!error.message().is_empty(), "seed {seed}: an error says what is wrong");
            last = (line, column);
        }
        assert!(report.to_string().starts_with("proxy.toml:"), "seed {seed}: the report begins with a place");
    }
    assert!(refused > COPIES / 2, "only {refused} of {COPIES} were refused");
}

/// One to four changes: a cut, a doubled or moved line, a word somewhere, a swapped letter.
fn damage(text: &str, random: &mut fastrand::Rng) -> String {
    let mut lines: Vec<String> = text.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned).collect();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(..lines.len());
        let other = random.usize(..lines.len());
        match random.u8(..6) {
            0 => {
                lines.remove(at);
            }
            1 => lines.swap(at, other),
            2 => {
                let copy = lines[at].clone();
                lines.insert(other, copy);
            }
            3 => lines[at] = with_word(&lines[at], random),
            4 => lines[at] = with_letter(&lines[at], random),
            _ => lines.truncate(random.usize(lines.len() / 2..lines.len()).max(1)),
        }
    }
    lines.join("\n")
}

fn with_word(line: &str, random: &mut fastrand::Rng) -> String {
    let word = WORDS[random.usize(..WORDS.len())];
    let at = random.usize(..=line.chars().count());
    let before: String = line.chars().take(at).collect();
    let after: String = line.chars().skip(at).collect();
    format!("{before}{word}{after}")
}

fn with_letter(line: &str, random: &mut fastrand::Rng) -> String {
    let at = random.usize(..=line.chars().count());
    let letter = random.lowercase();
    line.chars().enumerate().map(|(index, c)| if index == at { letter } else { c }).collect()
}
