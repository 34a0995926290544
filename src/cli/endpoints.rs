//! `tidegate endpoints`: what deploy scripts do to the endpoints of a running proxy.

use hyper::Method;
use serde_json::{Value, json};

use super::failure::Failure;
use super::{Running, admin, status};
use crate::terminal::Paint;

pub(super) const HELP: &str = "\
Changes are in force when the command ends, and outlive the process when server.state_dir is set.

Examples:
  tidegate endpoints list users
  tidegate endpoints add users 10.0.0.3:8080 --weight 2
  tidegate endpoints drain users 10.0.0.1:8080 && systemctl restart users
  tidegate endpoints add users 10.0.0.1:8080        it takes requests again
  tidegate endpoints remove users 10.0.0.3:8080

Exit codes: 0 done, 1 not done, 2 wrong usage.";

/// What is done.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Action {
    /// Show the endpoints of an upstream, wherever they come from.
    List {
        /// The upstream
        upstream: String,
        #[command(flatten)]
        running: Running,
        /// Print what the proxy answers, for programs
        #[arg(long)]
        json: bool,
    },
    /// Take endpoints into traffic; also ends their drain.
    Add {
        #[command(flatten)]
        which: Which,
        /// Their share of the traffic; without it new ones have 1 and known ones keep theirs
        #[arg(long)]
        weight: Option<u32>,
    },
    /// Forget endpoints that were added.
    Remove(Which),
    /// Send endpoints no new requests; those that run there go on.
    Drain(Which),
}

/// Which endpoints.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The upstream
    upstream: String,
    /// "10.0.0.1:8080", "host.name:8080" or "unix:/path"
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    #[command(flatten)]
    running: Running,
}

/// Does it; what is said then.
pub(super) fn act(action: Action) -> Result<String, Failure> {
    match action {
        Action::List { upstream, running, json } => {
            let address = admin::address(running)?;
            let path = format!("/upstreams/{}/endpoints", in_path(&upstream)?);
            let answer = admin::endpoints(&address, Method::GET, &path, "")?;
            Ok(if json { answer.to_string() } else { status::endpoints(&answer, Paint::of_stdout()) })
        }
        Action::Add { which, weight } => change(which, Method::POST, "", weight, "added"),
        Action::Remove(which) => change(which, Method::DELETE, "", None, "removed"),
        Action::Drain(which) => change(which, Method::POST, "/drain", None, "draining"),
    }
}

fn change(
    which: Which,
    method: Method,
    end: &str,
    weight: Option<u32>,
    done: &str,
) -> Result<String, Failure> {
    let Which { upstream, addresses, running } = which;
    let address = admin::address(running)?;
    let path = format!("/upstreams/{}/endpoints{end}", in_path(&upstream)?);
    let mut body = json!({ "endpoints": addresses });
    if let Some(weight) = weight {
        body["weight"] = json!(weight);
    }
    let answer = admin::endpoints(&address, method, &path, &body.to_string())?;
    Ok(told(&answer, &format!("{done}: {}", addresses.join(", "))))
}

/// The line that says so, and whether it is forgotten at the end of the process.
fn told(answer: &Value, line: &str) -> String {
    match answer["stored"].as_bool() {
        Some(false) => format!("{line} (until the proxy ends: server.state_dir is not set)"),
        _ => line.to_owned(),
    }
}

/// A name as it stands in a path; names of upstreams need no escapes.
fn in_path(name: &str) -> Result<&str, Failure> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && name.chars().all(is_plain) {
        true => Ok(name),
        false => Err(Failure::new(format!("`{name}` is not the name of an upstream"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_forgotten_says_so() {
        assert_eq!(told(&json!({ "stored": true }), "added: a:1"), "added: a:1");
        assert!(told(&json!({ "stored": false }), "added: a:1").contains("server.state_dir"));
    }

    #[test]
    fn a_name_that_is_none_is_not_put_into_a_path() {
        assert!(in_path("users-1.b_c").is_ok());
        for name in ["", "a/b", "a b", "a?b"] {
            assert!(in_path(name).is_err(), "{name}");
        }
    }
}
