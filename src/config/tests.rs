//! What a whole file becomes: a configuration, or errors that a newcomer understands.

use std::path::Path;

use super::{Config, Report, load, parse};
use crate::endpoint::Location;

mod mutation;
mod reference;

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
        let report = read(&text).err();
        assert!(report.is_some(), "{} has no error", path.display());
        let errors = report.map(|report| format!("{report}\n")).unwrap_or_default();
        let golden = path.with_extension("errors");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &errors).expect("the golden file can be written");
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(errors, expected, "errors of {}", path.display());
    }
    assert!(seen >= 10, "only {seen} bad files were found");
}

#[test]
fn a_route_that_asks_what_an_earlier_one_asks_is_refused_in_whatever_order_it_asks() {
    let second = |conditions: &str| {
        read(&format!(
            "[listener.web]\nbind = \"127.0.0.1:1\"\n[[route]]\nhost = [\"a\", \"b\"]\nmethods = [\"GET\", \"PUT\"]\n\
             headers = {{ x = \"1\", y = \"~z\" }}\nrespond = {{}}\n[[route]]\n{conditions}\nrespond = {{}}\n"
        ))
    };
    let same = "methods = [\"PUT\", \"GET\"]\nhost = [\"b\", \"a\"]\nheaders = { y = \"~z\", x = \"1\" }";
    let refused = second(same).unwrap_err().to_string();
    assert!(
        refused.contains("proxy.toml:8:1: this route never matches: the one at proxy.toml:3"),
        "{refused}"
    );
    for (from, to) in [
        ("\"1\"", "\"2\""),
        ("~z", "z"),
        ("\"PUT\"", "\"POST\""),
        ("\"b\", ", ""),
        ("methods", "priority = 1\nmethods"),
    ] {
        let other = same.replacen(from, to, 1);
        assert!(second(&other).is_ok(), "{other}");
    }
}

#[test]
fn the_environment_fills_strings_and_a_doubled_dollar_does_not() {
    let config = read(
        "[listener.web]\nbind = \"127.0.0.1:80\"\n[[route]]\nhost = \"api.${HOME_HOST}\"\nrespond = { body = \"$${HOME_HOST}\" }\n",
    )
    .expect("the variable is set");
    let route = config.routes[0].get_ref();
    assert_eq!(route.host[0].get_ref().to_string(), "api.example.com");
    assert_eq!(route.respond.as_ref().expect("it responds").get_ref().body, "${HOME_HOST}");
}

const OF_KUBERNETES: &str = "[listener.web]\nbind = \"127.0.0.1:80\"\n[[route]]\nto = \"users\"\n[upstream.users]\n\
     discover = { kubernetes = { service = \"default/users\", kubeconfig = \"a/config\" } }\n";

#[cfg(not(feature = "kubernetes"))]
#[test]
fn a_source_that_this_binary_lacks_is_refused_by_the_name_of_its_feature() {
    let report = read(OF_KUBERNETES).expect_err("it is not there").to_string();
    assert!(report.contains("this binary was built without `kubernetes`"), "{report}");
    assert!(report.contains("--features kubernetes"), "{report}");
    assert!(!report.contains("has no endpoint"), "one error is enough: {report}");
}

#[cfg(feature = "kubernetes")]
#[test]
fn a_kubeconfig_is_found_from_the_file_that_names_it() {
    let directory = directory(&[("proxy.toml", OF_KUBERNETES)]);
    let config = load(&directory.path().join("proxy.toml")).expect("it is valid");
    match config.upstreams["users"].discover.on() {
        Some(crate::discovery::Settings::Kubernetes(settings)) => {
            assert_eq!(settings.kubeconfig, directory.path().join("a/config"));
        }
        other => panic!("{other:?}"),
    }
}

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file has a directory")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    directory
}

const MAIN: &str = "include = [\"conf.d/*.toml\"]\n[listener.web]\nbind = \"127.0.0.1:80\"\n";

#[test]
fn included_files_are_merged_in_the_order_of_their_names() {
    let files = directory(&[
        ("proxy.toml", MAIN),
        ("conf.d/20.toml", "[[route]]\nname = \"second\"\npath = \"/b\"\nto = \"u\"\n"),
        (
            "conf.d/10.toml",
            "[[route]]\nname = \"first\"\nto = \"u\"\n[upstream.u]\nendpoints = [\"unix:u.sock\"]\n",
        ),
        ("conf.d/.hidden.toml", "this is not read"),
        ("conf.d/notes.txt", "nor is this"),
    ]);
    let config =
        load(&files.path().join("proxy.toml")).map_err(|report| report.to_string()).expect("all is valid");
    let names = config.routes.iter().filter_map(|route| route.get_ref().name.as_ref());
    assert_eq!(names.map(|name| name.get_ref().as_str()).collect::<Vec<_>>(), ["first", "second"]);
    assert_eq!(config.sources.paths().count(), 3);
    let socket = files.path().join("conf.d").join("u.sock");
    assert_eq!(
        config.upstreams["u"].endpoints[0].get_ref().address,
        Location::Unix(socket),
        "a relative path starts from the file that names it"
    );
}

#[test]
fn a_file_that_patterns_find_under_several_names_is_read_once() {
    let files = directory(&[
        (
            "inc/proxy.toml",
            "include = [\"../inc/*.toml\", \"./a.toml\"]\n[listener.web]\nbind = \"127.0.0.1:80\"\n",
        ),
        ("inc/a.toml", "[[route]]\nname = \"a\"\nrespond = {}\n"),
    ]);
    let config = load(&files.path().join("inc/proxy.toml")).map_err(|report| report.to_string());
    assert_eq!(config.expect("all is valid").sources.paths().count(), 2);
}

#[test]
fn an_error_names_the_included_file() {
    let files = directory(&[
        ("proxy.toml", MAIN),
        ("conf.d/a.toml", "[upstream.u]\nendpoints = [\"127.0.0.1:1\"]\n"),
        (
            "conf.d/b.toml",
            "# b\n[upstream.u]\nendpoints = [\"127.0.0.1:1\"]\n[server]\nworkers = 2\n[[route]]\nto = \"v\"\n",
        ),
    ]);
    let report = load(&files.path().join("proxy.toml")).expect_err("b.toml is wrong");
    let second = files.path().join("conf.d/b.toml");
    assert!(report.errors().iter().all(|error| error.file() == second), "{report}");
    let lines: Vec<usize> =
        report.errors().iter().filter_map(|error| error.position()).map(|(line, _)| line).collect();
    assert_eq!(lines, [2, 4, 7], "{report}");
    assert!(report.to_string().contains("conf.d/a.toml:1"), "the first definition is named: {report}");
}

#[test]
fn a_missing_file_is_an_error_of_its_own() {
    let files = directory(&[("proxy.toml", "include = [\"gone.toml\", \"gone.d/*.toml\", \"*/x.toml\"]\n")]);
    let missing = load(&files.path().join("other.toml")).expect_err("it is not there");
    assert_eq!(missing.errors()[0].position(), None);
    assert!(missing.to_string().contains("other.toml: the file can not be read"), "{missing}");
    let report = load(&files.path().join("proxy.toml")).expect_err("nothing of it is there");
    let columns: Vec<_> =
        report.errors().iter().filter_map(|error| error.position()).map(|(_, column)| column).collect();
    assert_eq!(columns[columns.len() - 3..], [12, 25, 42], "{report}");
}

#[test]
fn a_file_that_is_no_text_says_where_it_stops_being_text() {
    let files = directory(&[]);
    let path = files.path().join("proxy.toml");
    std::fs::write(&path, b"[server]\nworkers = \"\xff\"\n").expect("a file");
    let report = load(&path).expect_err("it is not UTF-8");
    assert_eq!(report.errors()[0].position(), Some((2, 12)), "{report}");
}

#[test]
fn the_content_hash_changes_with_any_file_only() {
    let one = read("[listener.a]\nbind = \"127.0.0.1:1\"\n").expect("valid").sources.content_hash();
    let same = read("[listener.a]\nbind = \"127.0.0.1:1\"\n").expect("valid").sources.content_hash();
    let other = read("[listener.a]\nbind = \"127.0.0.1:2\"\n").expect("valid").sources.content_hash();
    assert_eq!(one, same);
    assert_ne!(one, other);
}

#[test]
fn a_later_step_can_point_into_the_file() {
    let config = read("[listener.a]\nbind = \"127.0.0.1:1\"\n").expect("valid");
    let error = config.sources.error(config.listeners["a"].bind[0].span(), "the address is in use");
    assert_eq!(
        error.to_string(),
        "proxy.toml:2:8: the address is in use\n    2 | bind = \"127.0.0.1:1\"\n      |        ^^^^^^^^^^^^^"
    );
}

#[test]
fn colours_change_nothing_but_the_colours() {
    let report = read("[listenr.a]\n").expect_err("it is wrong");
    let colored = report.colored().to_string();
    assert!(colored.contains("\x1b[1;31m^^^^^^^\x1b[0m"), "{colored:?}");
    let mut plain = colored;
    for code in ["\x1b[1;31m", "\x1b[1m", "\x1b[34m", "\x1b[0m"] {
        plain = plain.replace(code, "");
    }
    assert_eq!(plain, report.to_string());
}
