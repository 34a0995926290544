//! The endpoints of a Kubernetes Service, from its EndpointSlices (discovery.k8s.io/v1).
//!
//! They are listed once and then watched. Where the API server is and who asks comes from the pod
//! this runs in, or from a kubeconfig.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::WatchEvent;
use tokio::time::{Instant, sleep_until, timeout};

use super::set::MOST;
use super::{Failure, Kind, Pending, Reports, Source};

mod cluster;
mod events;
mod settings;
mod slices;

pub use settings::{Family, Port, Service, Settings};

use cluster::Cluster;
use events::Events;

/// How long one watch goes on; then the API server ends it, which shows that it is alive.
const WATCH: Duration = Duration::from_secs(30);
/// Least time between the beginnings of two watches, should they end at once.
const APART: Duration = Duration::from_millis(500);
/// Most slices of one Service.
const MOST_SLICES: usize = 2_000;
/// Most pages of one list; full ones would be half of that.
const MOST_PAGES: usize = 2 * MOST_SLICES / cluster::PAGE as usize;

/// Watches a Service.
#[derive(Debug)]
pub(super) struct Kubernetes {
    settings: Settings,
}

impl Kubernetes {
    pub(super) fn new(settings: Settings) -> Kubernetes {
        Kubernetes { settings }
    }
}

impl Source for Kubernetes {
    fn origin(&self) -> String {
        let Settings { service, port, kubeconfig, context, .. } = &self.settings;
        let mut origin = format!("kubernetes {service}{port}");
        if !kubeconfig.as_os_str().is_empty() {
            origin.push_str(&format!(" by {}", kubeconfig.display()));
        }
        if !context.is_empty() {
            origin.push_str(&format!(" context {context}"));
        }
        origin
    }

    fn follow<'a>(&'a mut self, reports: &'a Reports) -> Pending<'a, Result<(), Failure>> {
        Box::pin(async move {
            // Made anew each time: a token or an authority that was replaced is read again.
            let cluster = Cluster::enter(&self.settings).await?;
            let mut world = World::of(cluster, &self.settings, reports);
            let mut version = world.list().await?;
            loop {
                let apart = Instant::now() + APART;
                let next = match world.watch(version).await {
                    // Whether it is away says the list; who comes back may have another past.
                    Err(failure) if failure.kind == Kind::Unreachable => {
                        tracing::debug!(error = %failure.chain(), "the watch broke");
                        None
                    }
                    other => other?,
                };
                sleep_until(apart).await;
                match next {
                    Some(next) => version = next,
                    None => return Ok(()),
                }
            }
        })
    }
}

/// The slices of the Service as they were told last.
struct World<'f> {
    cluster: Cluster,
    settings: &'f Settings,
    reports: &'f Reports,
    slices: BTreeMap<String, EndpointSlice>,
    /// Endpoints in all of them.
    endpoints: usize,
    /// Whether they were endpoints that can be used.
    is_usable: bool,
}

impl<'f> World<'f> {
    fn of(cluster: Cluster, settings: &'f Settings, reports: &'f Reports) -> World<'f> {
        World { cluster, settings, reports, slices: BTreeMap::new(), endpoints: 0, is_usable: false }
    }

    /// Asks for all slices and returns the version of the answer, from which a watch goes on.
    async fn list(&mut self) -> Result<String, Failure> {
        let mut next = None;
        for _ in 0..MOST_PAGES {
            let page = self.cluster.list(next.as_deref()).await?;
            for slice in page.items {
                self.take(slice)?;
            }
            next = page.metadata.continue_.filter(|token| !token.is_empty());
            if next.is_none() {
                self.tell();
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
        Err(too_many(format!("{MOST_PAGES} pages of EndpointSlices")))
    }

    /// Keeps a slice, without what nobody looks at.
    fn take(&mut self, mut slice: EndpointSlice) -> Result<(), Failure> {
        let name = name(&slice);
        slice.metadata = ObjectMeta { name: slice.metadata.name, ..ObjectMeta::default() };
        self.endpoints += count(&slice);
        self.forget(&name);
        self.slices.insert(name, slice);
        if self.slices.len() > MOST_SLICES {
            return Err(too_many(format!("{MOST_SLICES} EndpointSlices")));
        }
        if self.endpoints > MOST {
            return Err(too_many(format!("{MOST} endpoints")));
        }
        Ok(())
    }

    fn forget(&mut self, name: &str) {
        self.endpoints -= self.slices.remove(name).as_ref().map_or(0, count);
    }

    /// Follows what changes after that version until the watch ends, and returns the version at
    /// which the next one goes on; none when that version is forgotten and all is to be listed again.
    async fn watch(&mut self, mut version: String) -> Result<Option<String>, Failure> {
        let mut events = match self.cluster.watch(&version, WATCH).await? {
            Some(events) => events,
            None => return Ok(None),
        };
        while let Some(event) = next(&mut events, WATCH + self.settings.timeout.get()).await? {
            match event {
                WatchEvent::Added(slice) | WatchEvent::Modified(slice) => {
                    version = version_of(&slice).unwrap_or(version);
                    self.take(slice)?;
                    self.tell();
                }
                WatchEvent::Deleted(slice) => {
                    version = version_of(&slice).unwrap_or(version);
                    self.forget(&name(&slice));
                    self.tell();
                }
                WatchEvent::Bookmark(bookmark) => {
                    version = bookmark.metadata.resource_version;
                    self.stays();
                }
                WatchEvent::Error(status) if status.code == 410 => return Ok(None),
                WatchEvent::Error(status) => return Err(cluster::refusal(status.code, &status.message)),
            }
        }
        self.stays();
        Ok(Some(version))
    }

    /// Slices that can not be used are a failure of which the watch may tell the end.
    fn tell(&mut self) {
        let draft = slices::read(self.slices.values(), &self.settings.port, self.settings.family);
        let set = draft.finish();
        self.is_usable = set.is_ok();
        match set {
            Ok(set) => self.reports.found(set),
            Err(failure) => self.reports.failed(&failure),
        }
    }

    /// The API server is alive, and what it told last still holds.
    fn stays(&self) {
        if self.is_usable {
            self.reports.unchanged();
        }
    }
}

async fn next(events: &mut Events, idle: Duration) -> Result<Option<WatchEvent<EndpointSlice>>, Failure> {
    let silent = || Failure::new(Kind::Timeout, format!("no word of the watch for {} s", idle.as_secs()));
    timeout(idle, events.next()).await.map_err(|_late| silent())?
}

fn too_many(what: String) -> Failure {
    Failure::new(Kind::Invalid, format!("more than {what} of one Service"))
}

fn count(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}

fn name(slice: &EndpointSlice) -> String {
    slice.metadata.name.clone().unwrap_or_default()
}

fn version_of(slice: &EndpointSlice) -> Option<String> {
    slice.metadata.resource_version.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_tells_all_that_makes_another_world() {
        let origin = |text: &str| Kubernetes::new(toml::from_str(text).unwrap()).origin();
        assert_eq!(origin("service = \"default/users\""), "kubernetes default/users");
        assert_eq!(
            origin("service = \"a/b\"\nport = \"http\"\nkubeconfig = \"/k\"\ncontext = \"c\""),
            "kubernetes a/b port http by /k context c"
        );
    }
}
