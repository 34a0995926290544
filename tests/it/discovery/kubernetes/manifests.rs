//! The manifests of deploy/kubernetes, as a real API server takes them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// The files that kustomize would take, in their order.
fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
    let list = std::fs::read_to_string(directory.join("kustomization.yaml")).expect("it is shipped");
    let names = list.lines().filter_map(|line| line.trim().strip_prefix("- "));
    let files: Vec<PathBuf> = names.map(|name| directory.join(name)).collect();
    let yaml = |path: &Path| path.extension().is_some_and(|extension| extension == "yaml");
    let all = std::fs::read_dir(&directory).expect("it is shipped");
    let count = all.filter(|entry| yaml(&entry.as_ref().expect("it can be read").path())).count();
    assert_eq!(count, files.len() + 1, "kustomization.yaml names every other file");
    files
}

/// The documents of all files.
fn documents() -> Vec<String> {
    let texts = files().into_iter().map(|file| std::fs::read_to_string(file).expect("it is shipped"));
    texts.flat_map(|text| text.split("\n---\n").map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The value of a key in a document, at this depth of indentation.
fn value<'t>(document: &'t str, key: &str) -> &'t str {
    document.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).unwrap_or_default()
}

/// Where a document is created. 1.20 has two kinds in their beta version only, with the same fields.
fn place(document: &str) -> (String, String) {
    let version = match value(document, "apiVersion") {
        "autoscaling/v2" => "autoscaling/v2beta2",
        "policy/v1" => "policy/v1beta1",
        version => version,
    };
    let root = if version == "v1" { "/api/v1".to_owned() } else { format!("/apis/{version}") };
    let kind = value(document, "kind").to_lowercase();
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{kind}s"),
    };
    let path = match value(document, "  namespace") {
        "" => format!("{root}/{plural}"),
        namespace => format!("{root}/namespaces/{namespace}/{plural}"),
    };
    let written = format!("apiVersion: {}", value(document, "apiVersion"));
    (path, document.replacen(&written, &format!("apiVersion: {version}"), 1))
}

/// The keys of a document: a server drops those that it does not know, without a word.
fn keys(document: &str) -> BTreeSet<String> {
    let end = document.find("proxy.toml: |").unwrap_or(document.len());
    let lines = document[..end].lines().filter(|line| !line.trim_start().starts_with('#'));
    let keys = lines.filter_map(|line| {
        let (key, _) = line.trim().trim_start_matches("- ").split_once(':')?;
        key.bytes().all(|byte| byte.is_ascii_alphanumeric()).then(|| key.to_owned())
    });
    keys.collect()
}

#[test]
fn a_real_api_server_takes_every_manifest_as_it_is_written() {
    let Some(users) = Users::shared() else { return };
    let documents = documents();
    assert!(documents.len() >= 9, "{} documents", documents.len());
    // The namespace has to be there before anything is tried in it.
    users.with(|cluster| cluster.make_namespace("tidegate"));
    for query in ["?dryRun=All", ""] {
        for document in &documents {
            let (path, text) = place(document);
            let (status, said) =
                users.with(|cluster| cluster.ask("POST", &format!("{path}{query}"), Some(&text)));
            let exists_from_above = status == 409 && said.contains("already exists");
            assert!(status == 201 || exists_from_above, "{path}{query}: {status} {said}");
            let lost: Vec<String> =
                keys(document).into_iter().filter(|key| !said.contains(&format!("\"{key}\":"))).collect();
            assert!(exists_from_above || lost.is_empty(), "{path}: the server does not know {lost:?}");
        }
    }
}

#[test]
fn the_shipped_role_is_what_discovery_needs() {
    let Some(users) = Users::shared() else { return };
    let namespace = users.namespace.clone();
    let base = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
    let own = format!("{base}/rolebindings/tidegate");
    assert_eq!(users.with(|cluster| cluster.ask("DELETE", &own, None)).0, 200);
    let rbac: Vec<String> =
        documents().into_iter().filter(|text| text.contains("rbac.authorization")).collect();
    assert_eq!(rbac.len(), 2, "a Role and its RoleBinding");
    for document in rbac {
        let here = document
            .replace("namespace: default", &format!("namespace: {namespace}"))
            .replace("namespace: tidegate", &format!("namespace: {namespace}"));
        let (path, text) = place(&here);
        let (status, said) = users.with(|cluster| cluster.ask("POST", &path, Some(&text)));
        assert_eq!(status, 201, "{said}");
    }
    users.put("users", &users.slice(80, json!([{ "addresses": ["127.9.9.1"] }])));
    let proxy = proxy(&users);
    wait_until("the slice is read", || known(&proxy) == 1);
    assert_eq!(failures(&proxy, "denied"), 0.0);
}

#[test]
fn the_admin_port_of_the_shipped_configuration_is_open_to_one_namespace_only() {
    let documents = documents();
    let of_kind = |kind: &str| {
        let mut found = documents.iter().filter(|text| value(text, "kind") == kind);
        found.next().unwrap_or_else(|| panic!("no {kind} is shipped"))
    };
    assert!(of_kind("ConfigMap").contains("bind = \"0.0.0.0:9901\""));
    let policy = of_kind("NetworkPolicy");
    let label = "app.kubernetes.io/name: tidegate";
    assert!(policy.contains(label) && of_kind("Deployment").contains(label));
    let rules: Vec<&str> = policy.split("\n    - ports:\n").skip(1).collect();
    assert_eq!(rules.len(), 2, "{policy}");
    for rule in rules {
        let is_open = !rule.contains("from:");
        assert_eq!(is_open, rule.contains("port: 8080"), "{rule}");
    }
}

#[test]
fn the_shipped_configuration_is_valid_and_drains_within_the_grace_period() {
    let documents = documents();
    let map = documents.iter().find(|text| value(text, "kind") == "ConfigMap").expect("it is shipped");
    let (_, indented) = map.split_once("proxy.toml: |\n").expect("it has the file");
    let text: String =
        indented.lines().map(|line| format!("{}\n", line.trim_start_matches("    "))).collect();
    let directory = TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("proxy.toml"), &text).expect("the directory is ours");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["check", "--config", "proxy.toml"])
        .current_dir(directory.path())
        .output()
        .expect("the binary was built with the tests");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    let seconds = |key: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")).expect(key);
        line.trim_end_matches("s\"").parse().expect("seconds")
    };
    let deployment =
        documents.iter().find(|text| value(text, "kind") == "Deployment").expect("it is shipped");
    let grace: u64 = value(deployment, "      terminationGracePeriodSeconds").parse().expect("seconds");
    assert!(seconds("drain_delay") + seconds("drain_timeout") + 5 <= grace, "{grace} s are too short");
}
