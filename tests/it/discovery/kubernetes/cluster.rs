//! A cluster as far as a proxy sees it: a real API server on a real etcd, and no controller. The
//! tests write what a controller would.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::services::{self, Process};
use crate::harness::{Authority, Client, Issuer, Proxy, comes_true, free_address};

/// Who may do everything, from the file below.
const ADMIN: &str = "admin-token";

/// One API server with its etcd.
pub struct Cluster {
    directory: TempDir,
    programs: Programs,
    etcd: Option<Process>,
    etcd_address: SocketAddr,
    server: Option<Process>,
    /// Where the API server is, over TLS.
    pub address: SocketAddr,
    /// The same in clear text: a proxy before it.
    pub front: Proxy,
}

/// What `scripts/provision` has made.
#[derive(Clone)]
struct Programs {
    etcd: PathBuf,
    server: PathBuf,
}

fn programs() -> Option<Programs> {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = set("TIDEGATE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("tidegate")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/tidegate")))
        .unwrap_or_default();
    let programs =
        Programs { etcd: cache.join("registries/etcd"), server: cache.join("kubernetes/kube-apiserver") };
    if programs.etcd.exists() && programs.server.exists() {
        return Some(programs);
    }
    services::skip(&format!("no kube-apiserver and etcd in {}; run scripts/provision", cache.display()));
    None
}

impl Cluster {
    /// A cluster that answers and knows EndpointSlices; `None`, said aloud, where the programs are not.
    pub fn start() -> Option<Cluster> {
        let programs = programs()?;
        let directory = TempDir::new().expect("a directory");
        let authority = Authority::new("cluster");
        std::fs::write(directory.path().join("ca.pem"), authority.pem()).expect("the directory is ours");
        authority.sign(&["127.0.0.1"]).write(directory.path(), "server");
        // Its name is the group of those that it signs for.
        Issuer::new(directory.path(), "system:masters").issue("admin", 1);
        let tokens = format!("{ADMIN},admin,1,system:masters\n");
        std::fs::write(directory.path().join("tokens.csv"), tokens).expect("the directory is ours");
        let address = free_address();
        let front = Proxy::start(&format!(
            "[[route]]\nto = \"api\"\n[server]\nworkers = 1\n[log]\naccess = \"off\"\n\
             [upstream.api]\nendpoints = [\"{address}\"]\ntls = {{ ca = \"{}\" }}\n",
            directory.path().join("ca.pem").display()
        ));
        let mut cluster = Cluster {
            directory,
            programs,
            etcd: None,
            etcd_address: free_address(),
            server: None,
            address,
            front,
        };
        cluster.start_server();
        Some(cluster)
    }

    /// A file of the cluster: "ca.pem".
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Ends the API server like a crash; etcd stays.
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    /// Ends etcd too and forgets all that it knew.
    pub fn lose_data(&mut self) {
        self.server = None;
        self.etcd = None;
        std::fs::remove_dir_all(self.file("etcd")).expect("etcd has written there");
    }

    /// Starts what does not run, and returns when slices can be listed.
    pub fn start_server(&mut self) {
        if self.etcd.is_none() {
            self.etcd = Some(self.run_etcd());
            let address = self.etcd_address;
            let is_up = comes_true(STARTS_WITHIN, || std::net::TcpStream::connect(address).is_ok());
            assert!(is_up, "etcd starts:\n{}", self.log("etcd.log"));
        }
        self.server = Some(self.run_server());
        let is_ready = comes_true(STARTS_WITHIN, || {
            is_listening(self.address) && self.ask("GET", "/readyz", None).0 == 200
        });
        assert!(is_ready, "the API server starts:\n{}", self.log("server.log"));
        self.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition());
        let knows = comes_true(STARTS_WITHIN, || self.ask("GET", &slices("default"), None).0 == 200);
        assert!(knows, "slices can be listed:\n{}", self.log("server.log"));
    }

    fn run_etcd(&self) -> Process {
        let (client, peer) = (format!("http://{}", self.etcd_address), format!("http://{}", free_address()));
        let mut command = Command::new(&self.programs.etcd);
        command.arg("--data-dir").arg(self.file("etcd")).args([
            "--name=test",
            "--log-outputs=stderr",
            "--unsafe-no-fsync",
            &format!("--listen-client-urls={client}"),
            &format!("--advertise-client-urls={client}"),
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=test={peer}"),
        ]);
        self.spawn(command, "etcd.log")
    }

    /// 1.20 knows EndpointSlices as v1beta1 only; without those, the definition below has v1.
    fn run_server(&self) -> Process {
        let file = |name: &str| self.file(name).display().to_string();
        let mut command = Command::new(&self.programs.server);
        command.args([
            &format!("--etcd-servers=http://{}", self.etcd_address),
            "--insecure-port=0",
            "--bind-address=127.0.0.1",
            &format!("--secure-port={}", self.address.port()),
            &format!("--tls-cert-file={}", file("server.pem")),
            &format!("--tls-private-key-file={}", file("server.key")),
            &format!("--client-ca-file={}", file("system:masters.pem")),
            &format!("--token-auth-file={}", file("tokens.csv")),
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://cluster.test",
            &format!("--service-account-key-file={}", file("server.pem")),
            &format!("--service-account-signing-key-file={}", file("server.key")),
            "--runtime-config=discovery.k8s.io/v1beta1=false",
        ]);
        self.spawn(command, "server.log")
    }

    fn spawn(&self, mut command: Command, log: &str) -> Process {
        let open = std::fs::File::options().create(true).append(true).open(self.file(log));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(open.expect("the directory is ours"));
        Process(command.current_dir(self.directory.path()).spawn().expect("the program was made for us"))
    }

    fn log(&self, name: &str) -> String {
        let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(40)).map(|line| format!("{line}\n")).collect()
    }

    /// Asks as the admin and returns the status and the answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<&str>) -> (u16, String) {
        let body = body.unwrap_or_default();
        let kind = if body.starts_with('{') { "application/json" } else { "application/yaml" };
        let mut client = Client::connect(self.front.web);
        client.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {ADMIN}\r\nConnection: close\r\n\
             Accept: application/json\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.try_response().map_or((0, String::new()), |answer| (answer.status, answer.text()))
    }

    /// Creates what is not there.
    #[track_caller]
    pub fn create(&self, path: &str, object: &Value) {
        let (status, said) = self.ask("POST", path, Some(&object.to_string()));
        assert!(matches!(status, 201 | 409), "{path}: {status} {said}");
    }

    /// Makes a namespace with a service account, without any right.
    pub fn make_namespace(&self, namespace: &str) {
        self.create("/api/v1/namespaces", &json!({ "metadata": { "name": namespace } }));
        let account = json!({ "metadata": { "name": "tidegate" } });
        self.create(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &account);
    }

    /// Allows that account to read the slices of its namespace.
    pub fn allow(&self, namespace: &str) {
        let base = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        let rule = json!({
            "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"],
        });
        self.create(
            &format!("{base}/roles"),
            &json!({ "metadata": { "name": "tidegate" }, "rules": [rule] }),
        );
        self.create(
            &format!("{base}/rolebindings"),
            &json!({
                "metadata": { "name": "tidegate" },
                "subjects": [{ "kind": "ServiceAccount", "name": "tidegate", "namespace": namespace }],
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tidegate" },
            }),
        );
    }

    /// A token of that account, as pods get them.
    pub fn token(&self, namespace: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/tidegate/token");
        let wanted = json!({ "spec": { "expirationSeconds": 3600 } });
        let (status, said) = self.ask("POST", &path, Some(&wanted.to_string()));
        assert_eq!(status, 201, "{said}");
        let answer: Value = serde_json::from_str(&said).expect("the API speaks JSON");
        answer["status"]["token"].as_str().expect("a token").to_owned()
    }
}

/// On a busy machine.
const STARTS_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

fn is_listening(address: SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_ok()
}

/// Where the slices of a namespace are.
pub fn slices(namespace: &str) -> String {
    format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices")
}

/// EndpointSlices as discovery.k8s.io/v1.
fn definition() -> Value {
    json!({
        "metadata": {
            "name": "endpointslices.discovery.k8s.io",
            "annotations": { "api-approved.kubernetes.io": "unapproved, test only" },
        },
        "spec": {
            "group": "discovery.k8s.io",
            "scope": "Namespaced",
            "names": {
                "plural": "endpointslices", "singular": "endpointslice",
                "kind": "EndpointSlice", "listKind": "EndpointSliceList",
            },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    })
}

/// A kubeconfig for that server with the token in a file.
pub fn write_kubeconfig(file: &Path, server: &str, authority: &Path, user: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
         clusters:\n- name: test\n  cluster: {{ server: \"{server}\", certificate-authority: {} }}\n\
         users:\n- name: test\n  user: {user}\n\
         contexts:\n- name: test\n  context: {{ cluster: test, user: test, namespace: elsewhere }}\n",
        authority.display()
    );
    std::fs::write(file, text).expect("the directory is ours");
}
