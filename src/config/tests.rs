//! What a whole file becomes: a configuration, or errors that a newcomer understands.

use std::path::Path;

use super::{Config, Report, parse};

fn read(text: &str) -> Result<Config, Report> {
    parse(text, Path::new("proxy.toml"), &|name| (name == "HOME_HOST").then(|| "example.com".to_owned()))
}

/// The errors of every file in tests/config/bad are those beside it; UPDATE_GOLDEN=1 writes them.
#[test]
fn every_bad_file_gets_the_errors_beside_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/bad");
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is there") {
        let path = entry.expect("the corpus can be listed").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        let errors = match read(&text) {
            Ok(_) => panic!("{} has no error", path.display()),
            Err(report) => format!("{report}\n"),
        };
        let golden = path.with_extension("errors");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &errors).expect("the golden file can be written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(errors, expected, "errors of {}", path.display());
    }
    assert!(seen >= 10, "only {seen} bad files were found");
}
