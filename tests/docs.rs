//! The documents say what the program does: their examples are read and run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A fenced block of a Markdown file.
struct Block {
    /// `file:line` of its first fence.
    place: String,
    /// What stands behind the fence: "toml", "sh,test".
    label: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// README.md and all of docs, as far as they are there.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    let mut directories = vec![root().join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.expect("docs can be read").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.retain(|path| path.exists());
    found.sort();
    found
}

/// The blocks whose label begins with this language.
fn blocks(language: &str) -> Vec<Block> {
    let all = documents().into_iter().flat_map(|path| blocks_of(&path));
    all.filter(|block| block.label.split(',').next() == Some(language)).collect()
}

fn blocks_of(path: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(path).expect("a document is UTF-8");
    let name = path.strip_prefix(root()).unwrap_or(path).display().to_string();
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        // Blocks inside of lists are indented.
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(label), None) => {
                let place = format!("{name}:{}", number + 1);
                open = Some(Block { place, label: label.trim().to_owned(), text: String::new() });
            }
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{name}: the last block is not closed");
    blocks
}

#[test]
fn every_configuration_of_the_documents_is_valid() {
    let (fragments, whole): (Vec<_>, Vec<_>) =
        blocks("toml").into_iter().partition(|block| block.label.contains("fragment"));
    let mut wrong = Vec::new();
    for block in whole.iter().filter(|block| is_built_with_all_of(block)) {
        // Relative paths and includes start beside the example in the root.
        if let Err(report) =
            tidegate::config::parse(&block.text, &root().join("example.toml"), &|_| Some("value".to_owned()))
        {
            wrong.push(format!("{}:\n{report}", block.place));
        }
    }
    for block in &fragments {
        if let Err(error) = block.text.parse::<toml::Table>() {
            wrong.push(format!("{}: the fragment is no TOML: {error}", block.place));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(documents().is_empty() || !whole.is_empty(), "the documents have no configuration to read");
    println!(
        "{} configurations and {} fragments in {} documents",
        whole.len(),
        fragments.len(),
        documents().len()
    );
}

/// Whether this binary has the optional parts that a configuration asks for.
fn is_built_with_all_of(block: &Block) -> bool {
    cfg!(feature = "kubernetes") || !block.text.contains("kubernetes = {")
}

#[test]
fn every_command_that_is_marked_as_a_test_works() {
    let marked: Vec<_> = blocks("sh").into_iter().filter(|block| block.label == "sh,test").collect();
    let binaries = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().expect("it lies in a directory");
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
    for block in &marked {
        let directory = tempfile::TempDir::new().expect("a directory");
        std::fs::copy(root().join("proxy.toml"), directory.path().join("proxy.toml")).expect("it is shipped");
        let output = Command::new("sh")
            .args(["-eu", "-c", &block.text])
            .current_dir(directory.path())
            .env("PATH", &path)
            .output()
            .expect("there is a shell");
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{} failed:\n{}", block.place, String::from_utf8_lossy(&said));
    }
    let readme = root().join("README.md");
    assert!(!readme.exists() || !marked.is_empty(), "no command of the documents is marked `sh,test`");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("a document is UTF-8");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split(['#', ' ']).next().unwrap_or_default();
            let is_elsewhere = file.is_empty() || target.contains("://") || target.starts_with("mailto:");
            let directory = document.parent().expect("a document lies in a directory");
            if !is_elsewhere && !directory.join(file).exists() {
                wrong.push(format!("{}: {target}", document.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}
