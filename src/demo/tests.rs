//! Where the demo takes its configuration from.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const FREE: Ports = Ports { hello: 0, users: 0, auth: 0 };

/// The shipped configuration with addresses on which nothing listens.
fn demo_of(copy: &Path) -> Demo<'_> {
    Demo { config: copy, ports: FREE, paint: Paint::Plain }
}

fn unheard() -> Copy {
    Copy::of("[listener.web]\nbind = \"127.0.0.1:1\"\n[log]\naccess = \"stdout\"\n[[route]]\nrespond = {}\n")
        .unwrap()
}

#[test]
fn the_proxy_gets_the_file_itself_and_the_signals() {
    let copy = unheard();
    let path = copy.path();
    let proxy = |given: &Path, hooks: Hooks| {
        assert_eq!(given, path);
        assert!(hooks.stop.is_none());
        hooks.ready.send(()).map_err(|()| "nobody waits".into())
    };
    demo_of(&path).run(proxy).unwrap();
}

#[test]
fn an_error_of_the_proxy_ends_the_demo() {
    let copy = unheard();
    let path = copy.path();
    let error = demo_of(&path).run(|_, _hooks| Err("no listener".into())).unwrap_err();
    assert_eq!(error.to_string(), "no listener");
    let error = demo_of(&path).check(|_, _hooks| Err("no listener".into())).unwrap_err();
    assert_eq!(error.to_string(), "no listener");
}

static IS_EDITED_APART: AtomicBool = AtomicBool::new(false);

#[test]
fn a_check_works_on_a_copy_and_stops_the_proxy() {
    let copy = unheard();
    let path = copy.path();
    let original = path.clone();
    let verdict = demo_of(&path).check(move |given, hooks| {
        let text = fs::read_to_string(given)?;
        IS_EDITED_APART.store(given != original && text.contains("access = \"off\""), Ordering::Relaxed);
        hooks.ready.send(()).map_err(|()| "nobody waits")?;
        let stop = hooks.stop.ok_or("nobody stops it")?;
        let _told_or_gone = stop.blocking_recv();
        Ok(())
    });
    assert_eq!(verdict.unwrap(), Verdict::Failed, "nothing answers");
    assert!(IS_EDITED_APART.load(Ordering::Relaxed));
}

#[test]
fn a_configuration_with_a_mistake_starts_nothing() {
    let copy = Copy::of("nonsense = 1").unwrap();
    let path = copy.path();
    let error = demo_of(&path).run(|_, _| unreachable!("not started")).unwrap_err();
    assert!(error.is::<config::Report>());
}

#[test]
fn a_copy_is_private_and_removed_at_the_end() {
    let copy = Copy::of("text").unwrap();
    let path = copy.path();
    let directory = path.parent().unwrap().to_owned();
    assert_eq!(fs::read_to_string(&path).unwrap(), "text");
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    drop(copy);
    assert!(!directory.exists());
}
