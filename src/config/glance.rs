//! One value of a file that may be wrong elsewhere: commands that ask the running proxy need nothing
//! else of it.

use std::path::Path;

use toml::de::DeTable;

use super::listener::Bind;
use super::load::directory_of;
use super::prepare::{self, Environment};

/// The address of the admin listener, with the environment of the process; `None` when it is off or
/// can not be read, which [`super::load`] tells apart.
pub fn admin_address(path: &Path) -> Option<Bind> {
    let text = std::fs::read_to_string(path).ok()?;
    glance(&text, path, &|name| std::env::var(name).ok())
}

fn glance(text: &str, file: &Path, env: &Environment<'_>) -> Option<Bind> {
    const TABLE: &str = "admin";
    // Includes have no such table, and mistakes of the syntax leave what is readable.
    let (tree, _mistakes) = DeTable::parse_recoverable(text);
    let mut admin: DeTable<'_> =
        tree.into_inner().into_iter().filter(|(key, _)| key.get_ref() == TABLE).collect();
    // A value whose variable is not set is taken out.
    let _unset = prepare::expand(&mut admin, env);
    prepare::resolve_paths(&mut admin, &directory_of(file));
    admin.get(TABLE)?.get_ref().as_table()?.get("bind")?.get_ref().as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Option<String> {
        let env = |name: &str| (name == "PORT").then(|| "9901".to_owned());
        glance(text, Path::new("/etc/proxy.toml"), &env).map(|bind| bind.to_string())
    }

    #[test]
    fn the_address_is_read_as_in_a_whole_configuration() {
        assert_eq!(seen("[admin]\nbind = \"127.0.0.1:${PORT}\"").as_deref(), Some("127.0.0.1:9901"));
        assert_eq!(seen("[admin]\nbind = \"unix:admin.sock\"").as_deref(), Some("unix:/etc/admin.sock"));
    }

    #[test]
    fn mistakes_elsewhere_do_not_matter() {
        let wrong = [
            "[[route]]\nto = \"nowhere\"\n",
            "[listener.web]\nbind = 127.0.0.1:80\n",
            "[log]\naccess = \"${UNSET}\"\n",
            "include = [\"absent.toml\"]\n",
        ];
        for wrong in wrong {
            let text = format!("{wrong}[admin]\nlevel = 3\nbind = \"127.0.0.1:1\"\n");
            assert_eq!(seen(&text).as_deref(), Some("127.0.0.1:1"), "{wrong}");
        }
    }

    #[test]
    fn an_address_that_is_absent_or_unreadable_is_none() {
        for bind in ["", "bind = \"\"", "bind = \"${UNSET}\"", "bind = \"9901\"", "bind = 9901"] {
            assert_eq!(seen(&format!("[admin]\n{bind}\n")), None, "{bind}");
        }
    }
}
