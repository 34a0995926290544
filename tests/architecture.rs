//! The layers of src/lib.rs, and the few rules of style that a machine can judge.
//!
//! Each violation is printed as a sentence, all of them at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Longer files hold more than one idea.
const MAX_LINES: usize = 500;

/// What stands above the table of lib.rs, or beside its last line.
const ON_TOP: [(&str, u32); 3] = [("demo", 8), ("cli", 9), ("main", 10)];

/// What may panic outside tests: the file, the text of the line, and why it can not happen.
const MAY_PANIC: [(&str, &str, &str); 0] = [];

const PANICS: [&str; 6] = [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!("];

#[test]
fn imports_go_to_a_smaller_layer_only() {
    let layers = layers();
    let mut violations = Vec::new();
    for file in sources() {
        let from = file.module();
        let Some(&own) = layers.get(from) else { continue };
        for (line, to) in file.imports() {
            match layers.get(to.as_str()) {
                _ if to == from => {}
                Some(&other) if other < own => {}
                Some(&other) => violations.push(format!(
                    "{}:{line}: `{from}` is in layer {own} and uses `{to}` of layer {other}; imports go to a smaller layer",
                    file.name
                )),
                None => violations.push(format!("{}:{line}: `{to}` is in no layer of src/lib.rs", file.name)),
            }
        }
    }
    report(&violations);
}

#[test]
fn every_module_is_in_the_list_of_layers_and_every_entry_is_a_module() {
    let layers = layers();
    let modules: Vec<String> = sources().iter().map(|file| file.module().to_owned()).collect();
    let mut violations = Vec::new();
    for module in &modules {
        if module != "lib" && !layers.contains_key(module.as_str()) {
            violations.push(format!("src/{module} is in no layer of src/lib.rs"));
        }
    }
    for (module, layer) in &layers {
        let is_optional = ON_TOP.iter().any(|(name, _)| name == module);
        if !is_optional && !modules.contains(module) {
            violations
                .push(format!("src/lib.rs lists `{module}` in layer {layer}, but there is no such module"));
        }
    }
    violations.dedup();
    report(&violations);
}

#[test]
fn a_file_is_short_and_says_what_it_is() {
    let mut violations = Vec::new();
    for file in sources() {
        let lines = file.text.lines().count();
        if lines > MAX_LINES {
            violations.push(format!("{} has {lines} lines; split it, {MAX_LINES} are the most", file.name));
        }
        let first = file.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if first.strip_prefix("//! ").is_none_or(|text| text.trim().is_empty()) {
            violations
                .push(format!("{} does not begin with a `//!` sentence that says what it is", file.name));
        }
    }
    report(&violations);
}

#[test]
fn nothing_outside_tests_may_panic_but_for_a_reason_that_is_listed() {
    let mut violations = Vec::new();
    let mut used = vec![false; MAY_PANIC.len()];
    for file in sources().iter().filter(|file| !file.is_test()) {
        for panic in PANICS {
            for (at, _) in file.shipped.match_indices(panic) {
                let line = line_of(&file.text, at);
                let text = file.text.lines().nth(line - 1).unwrap_or_default();
                let allowed =
                    MAY_PANIC.iter().position(|(name, part, _)| file.name == *name && text.contains(part));
                match allowed {
                    Some(index) => used[index] = true,
                    None => violations.push(format!("{}:{line}: may panic: {}", file.name, text.trim())),
                }
            }
        }
    }
    for ((name, part, _), _) in MAY_PANIC.iter().zip(used).filter(|(_, used)| !used) {
        violations.push(format!("{name}: the list allows `{part}`, which is not there any more"));
    }
    report(&violations);
}

/// Fails with all sentences, one a line.
#[track_caller]
fn report(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// Module → layer, as the table in the documentation of the crate says.
fn layers() -> BTreeMap<String, u32> {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs is there");
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | L"));
    let mut layers: BTreeMap<String, u32> =
        ON_TOP.iter().map(|(module, layer)| ((*module).to_owned(), *layer)).collect();
    let mut count = 0;
    for row in rows {
        let mut cells = row.split('|').map(str::trim);
        let layer = cells.next().and_then(|cell| cell.parse().ok()).expect("a row begins with its number");
        for module in cells.next().expect("a row names its modules").split_whitespace() {
            layers.insert(module.to_owned(), layer);
            count += 1;
        }
    }
    assert!(count > 10, "the table of layers in src/lib.rs was not found");
    layers
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One file of src.
struct Source {
    /// From the root of the repository, with slashes.
    name: String,
    text: String,
    /// The text with comments and literals blanked; every byte stays where it is.
    code: String,
    /// The same without what is compiled for tests only.
    shipped: String,
}

/// All Rust files of src.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    assert!(files.len() > 50, "src was not found: {} files", files.len());
    files.sort();
    files.iter().map(|path| Source::read(path)).collect()
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("src can be read") {
        let path = entry.expect("src can be read").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = std::fs::read_to_string(path).expect("a source is UTF-8");
        let name =
            path.strip_prefix(root()).expect("sources are below the root").to_string_lossy().into_owned();
        let code = blank_literals(&text);
        let shipped = blank_tests(&code);
        Source { name, text, code, shipped }
    }

    /// Module names from the root of the crate: ["proxy", "link", "h1"].
    fn path(&self) -> Vec<&str> {
        let inner =
            self.name.strip_prefix("src/").and_then(|name| name.strip_suffix(".rs")).expect("src/*.rs");
        let mut parts: Vec<_> = inner.split('/').collect();
        if parts.len() > 1 {
            parts.pop_if(|last| *last == "mod");
        }
        parts
    }

    /// The module of the first level.
    fn module(&self) -> &str {
        self.path()[0]
    }

    /// Whether the whole file is for tests.
    fn is_test(&self) -> bool {
        self.path().contains(&"tests")
    }

    /// Lines and modules of the first level that the file names, in `use` groups and in paths.
    fn imports(&self) -> Vec<(usize, String)> {
        let mut imports = Vec::new();
        for (at, _) in self.code.match_indices("crate::") {
            let before = self.code[..at].chars().next_back().unwrap_or(' ');
            if !is_word(before) && before != '$' {
                heads(&self.code[at + "crate::".len()..], &mut |name| {
                    imports.push((line_of(&self.code, at), name.to_owned()));
                });
            }
        }
        // `super::` that climbs up to the root. Modules inside a file are for tests only.
        let depth = self.path().len();
        let climb = "super::".repeat(depth);
        for (at, _) in self.shipped.match_indices(&climb) {
            let before = self.shipped[..at].chars().next_back().unwrap_or(' ');
            if !is_word(before) && before != ':' {
                heads(&self.shipped[at + climb.len()..], &mut |name| {
                    imports.push((line_of(&self.shipped, at), name.to_owned()));
                });
            }
        }
        imports
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The first name of a path, or of each member of a group: `{a, b::c}`.
fn heads(rest: &str, found: &mut dyn FnMut(&str)) {
    let rest = rest.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        let mut depth = 0;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    heads(&group[start..at], found);
                    start = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    match &rest[..end] {
        "" | "self" | "super" => {}
        name => found(name),
    }
}

/// Replaces comments, strings and characters by spaces.
fn blank_literals(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut blank: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(text, at);
        match end {
            Some(end) => {
                blank.push(at..end);
                at = end;
            }
            None => at += 1,
        }
    }
    blank_ranges(text, &blank)
}

/// The end of the comment or literal that begins here.
fn literal_end(text: &str, at: usize) -> Option<usize> {
    let rest = &text.as_bytes()[at..];
    let is_start = at == 0 || !is_word(text.as_bytes()[at - 1] as char);
    let find = |from: usize, pattern: &str| {
        let bytes = &text.as_bytes()[from..];
        bytes.windows(pattern.len()).position(|part| part == pattern.as_bytes()).map(|found| from + found)
    };
    if rest.starts_with(b"//") {
        return Some(find(at, "\n").unwrap_or(text.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(find(at, "*/").map_or(text.len(), |end| end + 2));
    }
    if is_start && (rest.starts_with(b"r\"") || rest.starts_with(b"r#\"") || rest.starts_with(b"br")) {
        let after = &rest[usize::from(rest[0] == b'b') + 1..];
        let hashes = after.iter().take_while(|byte| **byte == b'#').count();
        if after.get(hashes) == Some(&b'"') {
            let open = at + (rest.len() - after.len()) + hashes + 1;
            let close = format!("\"{}", "#".repeat(hashes));
            return Some(find(open, &close).map_or(text.len(), |end| end + close.len()));
        }
    }
    match rest.first() {
        Some(b'"') => {
            let mut end = 1;
            while end < rest.len() && rest[end] != b'"' {
                end += if rest[end] == b'\\' { 2 } else { 1 };
            }
            Some((at + end + 1).min(text.len()))
        }
        // A character, not a lifetime.
        Some(b'\'') => {
            let inner = text.get(at + 1..)?;
            let mut chars = inner.char_indices();
            let (_, first) = chars.next()?;
            if first == '\\' {
                return inner[2..].find('\'').map(|end| at + 1 + 2 + end + 1);
            }
            let (next, second) = chars.next()?;
            (second == '\'').then_some(at + 1 + next + 1)
        }
        _ => None,
    }
}

/// Blanks every item behind `#[cfg(test)]`, up to its closing brace or semicolon.
fn blank_tests(code: &str) -> String {
    let mut blank = Vec::new();
    for (start, attribute) in code.match_indices("#[cfg(test)]") {
        let mut depth = 0;
        let rest = &code[start + attribute.len()..];
        let end = rest.char_indices().find_map(|(at, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            (depth == 0 && matches!(c, '}' | ';')).then_some(at + 1)
        });
        blank.push(start..end.map_or(code.len(), |end| start + attribute.len() + end));
    }
    blank_ranges(code, &blank)
}

fn blank_ranges(text: &str, ranges: &[Range<usize>]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for range in ranges {
        bytes[range.clone()].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    String::from_utf8(bytes).expect("whole characters are blanked")
}

#[test]
fn groups_comments_and_strings_are_understood() {
    let text = "use crate::{a, b::{c, d}, e as f};\n// crate::no\nlet x = \"crate::no\"; let y = 'c'; crate::g::h();\n#[cfg(test)]\nmod tests { use crate::i; fn x() { y.unwrap() } }\nlet z: &'static str = r#\"crate::no \" \"#;";
    let code = blank_literals(text);
    let source = Source { name: "src/x.rs".into(), text: text.into(), shipped: blank_tests(&code), code };
    let names: Vec<_> = source.imports().into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(names, ["1 a", "1 b", "1 e", "3 g", "5 i"]);
    assert!(!source.shipped.contains("unwrap") && source.shipped.contains("static"));
}
