//! Who may ask: tokens, certificates, rights, authorities.

use super::*;
use crate::harness::{Authority, PATIENCE};

/// Waits until a failure of that kind is counted, and checks that it is told once.
#[track_caller]
fn fails_as(proxy: &Proxy, reason: &str, words: &str) {
    assert!(comes_true(PATIENCE * 2, || failures(proxy, reason) >= 2.0), "{reason}:\n{}", proxy.log());
    assert_eq!(told(proxy, reason), 1, "{}", proxy.log());
    let status = proxy.status();
    let failure = status["upstreams"][0]["discovery"]["failure"].as_str().unwrap_or_default().to_owned();
    assert!(failure.contains(words), "{failure:?} has {words:?}\n{status:#}");
}

#[test]
fn a_wrong_token_is_told_and_a_token_that_is_replaced_on_disk_is_used() {
    let Some(mut users) = Users::shared() else { return };
    let endpoints = Endpoints::start(1);
    users.register_all(&endpoints.places());
    users.write_token("nonsense");
    let proxy = proxy(&users);
    fails_as(&proxy, "denied", "status 401: Unauthorized");
    users.renew_token();
    answers(&proxy, endpoints.place(0));
}

#[test]
fn a_missing_right_is_told_in_the_words_of_the_api_server() {
    let Some(mut users) = Users::shared() else { return };
    let endpoints = Endpoints::start(1);
    users.register_all(&endpoints.places());
    let binding =
        format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings/tidegate", users.namespace);
    assert_eq!(users.with(|cluster| cluster.ask("DELETE", &binding, None)).0, 200);
    let proxy = proxy(&users);
    fails_as(&proxy, "denied", "cannot list resource");
    users.with(|cluster| cluster.allow(&users.namespace));
    answers(&proxy, endpoints.place(0));
}

#[test]
fn another_authority_is_not_believed() {
    let Some(users) = Users::shared() else { return };
    let other = users.directory.path().join("other.pem");
    std::fs::write(&other, Authority::new("other").pem()).expect("the directory is ours");
    let address = users.with(|cluster| cluster.address);
    write_kubeconfig(&users.kubeconfig(), &format!("https://{address}"), &other, "{ token: x }");
    fails_as(&proxy(&users), "tls", "invalid peer certificate");
}

#[test]
fn a_client_certificate_says_who_asks() {
    let Some(mut users) = Users::shared() else { return };
    let endpoints = Endpoints::start(1);
    users.register_all(&endpoints.places());
    let address = users.with(|cluster| cluster.address);
    let [authority, cert, key] =
        ["ca.pem", "admin.pem", "admin.key"].map(|name| users.with(|cluster| cluster.file(name)));
    // Relative paths begin at the kubeconfig.
    std::fs::copy(cert, users.directory.path().join("me.pem")).expect("the directories are ours");
    std::fs::copy(key, users.directory.path().join("me.key")).expect("the directories are ours");
    let user = "{ client-certificate: me.pem, client-key: me.key }";
    write_kubeconfig(&users.kubeconfig(), &format!("https://{address}"), &authority, user);
    let proxy = proxy(&users);
    answers(&proxy, endpoints.place(0));
}

#[test]
fn a_kubeconfig_that_runs_a_program_is_refused_in_words() {
    let Some(users) = Users::shared() else { return };
    let authority = users.with(|cluster| cluster.file("ca.pem"));
    let user = "{ exec: { apiVersion: client.authentication.k8s.io/v1, command: touch, args: [ran], interactiveMode: Never } }";
    write_kubeconfig(&users.kubeconfig(), "https://127.0.0.1:1", &authority, user);
    let proxy = proxy(&users);
    fails_as(&proxy, "invalid", "which is not run here");
    assert!(!proxy.directory().join("ran").exists());
}

#[test]
fn a_missing_kubeconfig_and_no_pod_around_are_told() {
    let proxy = Proxy::start(&config("{ kubernetes = { service = \"users\", kubeconfig = \"none\" } }"));
    fails_as(&proxy, "missing", "none can not be used");
    let proxy = Proxy::start(&config("{ kubernetes = { service = \"users\" } }"));
    fails_as(&proxy, "missing", "not in a pod");
}

/// Makes what every pod has, seen by the proxy alone: the directory with its account, and two variables.
fn as_in_a_pod(files: &std::path::Path, address: SocketAddr) -> String {
    format!(
        "export KUBERNETES_SERVICE_HOST={} KUBERNETES_SERVICE_PORT={}
         exec unshare --mount sh -euc 'mount -t tmpfs none /run
         mkdir -p /run/secrets/kubernetes.io && ln -s {} /run/secrets/kubernetes.io/serviceaccount
         exec \"$@\"' sh \"$@\"",
        address.ip(),
        address.port(),
        files.display()
    )
}

#[test]
fn in_a_pod_the_account_says_who_asks_and_where() {
    let Some(mut users) = Users::shared() else { return };
    let can = std::process::Command::new("unshare").args(["--mount", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        crate::harness::services::skip("a mount namespace needs root");
        return;
    }
    let endpoints = Endpoints::start(1);
    users.register_all(&endpoints.places());
    let (address, authority) = users.with(|cluster| (cluster.address, cluster.file("ca.pem")));
    std::fs::copy(authority, users.directory.path().join("ca.crt")).expect("the directories are ours");
    std::fs::write(users.directory.path().join("namespace"), &users.namespace).expect("it is ours");
    let text = config("{ kubernetes = { service = \"users\" } }");
    let script = as_in_a_pod(users.directory.path(), address);
    let proxy = Proxy::start_by(&["sh", "-euc", &script, "sh"], TempDir::new().expect("a directory"), &text);
    answers(&proxy, endpoints.place(0));
}
