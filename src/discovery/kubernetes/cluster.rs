//! The API server: where it is, who asks, and what it answers.
//!
//! The crate `kube` reads the pod's environment and kubeconfigs, shows tokens and certificates and
//! makes TLS. What is asked, how long it may take and how large it may be is ours.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use kube::api::{ListParams, ObjectList, WatchParams};
use kube::client::{AuthError, Body, Client, ConfigExt};
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::{Request, Status};
use tokio::time::timeout;
use tower::{BoxError, ServiceBuilder};

use super::super::client::{Token, bounded, kind_of};
use super::super::{Failure, Kind};
use super::Settings;
use super::events::Events;

/// Most slices of one page.
pub(super) const PAGE: u32 = 100;
/// Largest page, and largest body of an error.
const MOST_BYTES: usize = 16 << 20;

/// One Service of one cluster.
pub(super) struct Cluster {
    client: Client,
    token: Token,
    slices: Request,
    selector: String,
    deadline: Duration,
}

impl Cluster {
    /// Reads where the API server is and who asks. Asks nothing yet.
    pub(super) async fn enter(settings: &Settings) -> Result<Cluster, Failure> {
        let (kubeconfig, context) = (settings.kubeconfig.clone(), settings.context.clone());
        let handle = tokio::runtime::Handle::current();
        let reading = tokio::task::spawn_blocking(move || match kubeconfig.as_os_str().is_empty() {
            true => in_cluster(),
            false => handle.block_on(by_file(&kubeconfig, context)),
        });
        let mut config = reading
            .await
            .map_err(|error| Failure::because(Kind::Invalid, "the configuration was not read", error))??;
        let namespace = match settings.service.namespace.as_str() {
            "" => config.default_namespace.clone(),
            namespace => namespace.to_owned(),
        };
        // Read for every request: `kube` would keep it for a minute, and stumble over a line end.
        let token = config.auth_info.token_file.take().map_or(Token::None, |file| {
            config.auth_info.token = None;
            Token::Bearer(file.into())
        });
        Ok(Cluster {
            client: client(config)?,
            token,
            slices: Request::new(EndpointSlice::url_path(&(), Some(&namespace))),
            selector: format!("kubernetes.io/service-name={}", settings.service.name),
            deadline: settings.timeout.get(),
        })
    }

    /// One page of the slices, as the API server has them now.
    pub(super) async fn list(&self, next: Option<&str>) -> Result<ObjectList<EndpointSlice>, Failure> {
        let mut params = ListParams::default().labels(&self.selector).limit(PAGE);
        params.continue_token = next.map(str::to_owned);
        let request = self.slices.list(&params).map_err(unasked)?;
        let asking = async {
            let answer = self.send(request).await?;
            let status = answer.status().as_u16();
            let body = whole(answer.into_body()).await?;
            if status != 200 {
                return Err(refused(status, &body));
            }
            bounded(&body)?;
            serde_json::from_slice(&body)
                .map_err(|error| Failure::because(Kind::Invalid, "the answer is no list of slices", error))
        };
        timeout(self.deadline, asking).await.map_err(|_late| late(self.deadline))?
    }

    /// What changes after that version, for about that long; none when the version is forgotten.
    pub(super) async fn watch(&self, version: &str, length: Duration) -> Result<Option<Events>, Failure> {
        let seconds = u32::try_from(length.as_secs()).unwrap_or(u32::MAX);
        let params = WatchParams::default().labels(&self.selector).timeout(seconds);
        let request = self.slices.watch(&params, version).map_err(unasked)?;
        let asking = async {
            let answer = self.send(request).await?;
            match answer.status().as_u16() {
                200 => Ok(Some(Events::new(answer.into_body()))),
                410 => Ok(None),
                status => Err(refused(status, &whole(answer.into_body()).await?)),
            }
        };
        timeout(self.deadline, asking).await.map_err(|_late| late(self.deadline))?
    }

    async fn send(&self, mut request: Ask) -> Result<http::Response<Body>, Failure> {
        if let Some((name, value)) = self.token.read(AUTHORIZATION).await? {
            let mut value = HeaderValue::from_str(&value)
                .map_err(|error| Failure::because(Kind::Denied, "the token is no token", error))?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
        self.client.send(request.map(Body::from)).await.map_err(unanswered)
    }
}

/// A request, with nothing to send but its head.
type Ask = http::Request<Vec<u8>>;

/// What every pod has: two variables, a token and an authority, both of which are replaced while it
/// runs.
fn in_cluster() -> Result<Config, Failure> {
    Config::incluster().map_err(|error| {
        let what = "not in a pod that may ask its API server; elsewhere `kubeconfig` says where it is";
        Failure::because(Kind::Missing, what, error)
    })
}

async fn by_file(path: &Path, context: String) -> Result<Config, Failure> {
    let unusable = |error: KubeconfigError| {
        let kind = match &error {
            KubeconfigError::ReadConfig(error, _) if error.kind() == io::ErrorKind::NotFound => Kind::Missing,
            KubeconfigError::ReadConfig(..) => Kind::Denied,
            _ => Kind::Invalid,
        };
        Failure::because(kind, format!("{} can not be used", path.display()), error)
    };
    let file = Kubeconfig::read_from(path).map_err(unusable)?;
    if has_proxy(&file, &context) {
        let what = format!("{} has a proxy-url, and no proxy is used here; leave it out", path.display());
        return Err(Failure::new(Kind::Invalid, what));
    }
    let context = Some(context).filter(|context| !context.is_empty());
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(file, &options).await.map_err(unusable)?;
    let runs_programs = config.auth_info.exec.is_some() || config.auth_info.auth_provider.is_some();
    if runs_programs {
        let what = format!(
            "{} gets its token from a program (exec or auth-provider), which is not run here; \
             use token, tokenFile or a client certificate",
            path.display()
        );
        return Err(Failure::new(Kind::Invalid, what));
    }
    Ok(config)
}

/// Whether the cluster of that context, or of the current one, is to be reached through a proxy.
fn has_proxy(file: &Kubeconfig, context: &str) -> bool {
    let name = if context.is_empty() { file.current_context.as_deref().unwrap_or_default() } else { context };
    let context = file.contexts.iter().find(|one| one.name == name).and_then(|one| one.context.as_ref());
    let named = context.and_then(|one| file.clusters.iter().find(|cluster| cluster.name == one.cluster));
    let proxy = named.and_then(|named| named.cluster.as_ref()?.proxy_url.as_deref());
    proxy.is_some_and(|proxy| !proxy.is_empty())
}

/// `kube` without its retries and its own log lines: pauses and reports are made for all sources alike.
fn client(config: Config) -> Result<Client, Failure> {
    let unmade = |error: kube::Error| {
        let kind = if matches!(error, kube::Error::Auth(_)) { Kind::Denied } else { Kind::Tls };
        Failure::because(kind, "what the API server is asked with can not be set up", error)
    };
    let tls = config.rustls_https_connector().map_err(unmade)?;
    let http = legacy::Builder::new(TokioExecutor::new()).build::<_, Body>(tls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer().map_err(unmade)?)
        .map_err(BoxError::from)
        .service(http);
    Ok(Client::new(service, config.default_namespace))
}

async fn whole(body: Body) -> Result<Bytes, Failure> {
    let body = Limited::new(body, MOST_BYTES).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => Failure::new(Kind::Invalid, format!("the answer is larger than {} MiB", MOST_BYTES >> 20)),
        false => broken("the answer broke off", error),
    })?;
    Ok(body.to_bytes())
}

fn unasked(error: impl Error + Send + Sync + 'static) -> Failure {
    Failure::because(Kind::Invalid, "this can not be asked", error)
}

fn late(deadline: Duration) -> Failure {
    Failure::new(Kind::Timeout, format!("no answer within {} s", deadline.as_secs_f64()))
}

/// An answer that is no success.
fn refused(status: u16, body: &[u8]) -> Failure {
    let said = serde_json::from_slice::<Status>(body).map(|status| status.message);
    refusal(status, &said.unwrap_or_default())
}

/// A status in the words of the API server.
pub(super) fn refusal(status: u16, said: &str) -> Failure {
    match status {
        404 => Failure::new(Kind::Missing, format!("status 404: {said} (discovery.k8s.io/v1 is needed)")),
        _ => Failure::new(kind_of(status), format!("status {status}: {said}").trim_end_matches(": ")),
    }
}

fn unanswered(error: kube::Error) -> Failure {
    if matches!(error, kube::Error::Auth(_)) {
        return Failure::because(Kind::Denied, "there is no token to show", error);
    }
    broken("no answer of the API server", error.into())
}

/// A connection that is not made, or breaks: what kind it is stands somewhere among its causes.
pub(super) fn broken(what: &str, error: BoxError) -> Failure {
    let mut kind = Kind::Unreachable;
    let mut cause: Option<&(dyn Error + 'static)> = Some(&*error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            kind = Kind::Tls;
        }
        if error.is::<AuthError>() {
            kind = Kind::Denied;
        }
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            kind = Kind::Invalid;
        }
        cause = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // Its own `source` would leave out what it holds.
            Some(held) => Some(held),
            None => error.source(),
        };
    }
    Failure::because(kind, what, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_kubeconfig_with_a_proxy_is_refused_with_a_reason() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeconfig");
        let text = "current-context: far\n\
            clusters: [{ name: a, cluster: { server: \"http://10.0.0.1\" } },\n\
             { name: b, cluster: { server: \"http://10.0.0.2\", proxy-url: \"http://10.0.0.3:3128\" } }]\n\
            users: [{ name: u, user: {} }]\n\
            contexts: [{ name: near, context: { cluster: a, user: u } },\n\
             { name: far, context: { cluster: b, user: u } }]\n";
        std::fs::write(&path, text).unwrap();
        for context in ["", "far"] {
            let failure = by_file(&path, context.to_owned()).await.err().unwrap();
            assert_eq!(failure.kind, Kind::Invalid);
            assert!(failure.chain().contains("proxy-url"), "{}", failure.chain());
        }
        assert!(by_file(&path, "near".to_owned()).await.is_ok());
    }
}
