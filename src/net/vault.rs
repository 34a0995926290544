//! Ticket keys and certificates of the process.
//!
//! They outlive every snapshot, so that clients resume across a reload and a certificate that is
//! in use is not read, or refused, again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use tokio::time::MissedTickBehavior;

use super::certs::{CertificateStore, Event, Sources, TrustSources, TrustStore};
use super::connector::{self, Connector, ConnectorError};
use super::tls::{Acceptor, Settings, TlsError};

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// One for the process, shared by the control plane and all listeners.
#[derive(Debug)]
pub struct Vault {
    tickets: Arc<dyn ProducesTickets>,
    /// Weak: a store ends with the last snapshot whose listeners use it.
    stores: Mutex<HashMap<Sources, Weak<CertificateStore>>>,
    /// Weak as well: a connector ends with the last upstream that uses it.
    connectors: Mutex<HashMap<connector::Settings, Weak<Connector>>>,
    /// The same for what clients are judged by.
    trusts: Mutex<HashMap<TrustSources, Weak<TrustStore>>>,
}

impl Vault {
    /// New ticket keys, no certificate yet.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> Result<Self, TlsError> {
        Ok(Self {
            tickets: Ticketer::new()?,
            stores: Mutex::default(),
            connectors: Mutex::default(),
            trusts: Mutex::default(),
        })
    }

    /// The TLS side of a listener. Files that a living listener uses already are not read again;
    /// [`Vault::watch`] follows them. Blocks on files: not for a worker's thread.
    ///
    /// # Errors
    /// All that can not be used, or that there is no certificate.
    pub fn acceptor(
        &self,
        settings: &Settings,
        sources: &Sources,
        clients: Option<&TrustSources>,
    ) -> Result<Acceptor, Vec<TlsError>> {
        let now = SystemTime::now();
        let store = shared(&self.stores, sources, || CertificateStore::load(sources.clone(), now));
        let trust = clients.map(|clients| {
            shared(&self.trusts, clients, || {
                TrustStore::load(clients.clone(), now).map_err(|error| vec![error])
            })
        });
        match (store, trust.transpose()) {
            (Ok(store), Ok(trust)) => {
                Acceptor::new(settings.clone(), store, trust, &self.tickets).map_err(|error| vec![error])
            }
            (store, trust) => {
                let errors = store.err().into_iter().chain(trust.err()).flatten();
                Err(errors.map(TlsError::Certificate).collect())
            }
        }
    }

    /// The TLS side of an upstream. One that a living upstream uses already is used again with its
    /// sessions; [`Vault::watch`] follows its files. Blocks on files: not for a worker's thread.
    ///
    /// # Errors
    /// A file that can not be used, or no authority at all.
    pub fn connector(&self, settings: &connector::Settings) -> Result<Arc<Connector>, ConnectorError> {
        shared(&self.connectors, settings, || Connector::load(settings.clone(), SystemTime::now()))
    }

    /// Reads again what upstreams use, and logs what is new. Blocks on files.
    fn refresh_connectors(&self, now: SystemTime) {
        let living: Vec<_> = lock(&self.connectors).values().filter_map(Weak::upgrade).collect();
        for connector in living {
            let files = connector.settings().files();
            match connector.refresh(now) {
                None => {}
                Some(Ok(())) => tracing::info!(files, "TLS to endpoints: files replaced"),
                Some(Err(error)) => {
                    tracing::error!(files, %error, "TLS to endpoints: files refused, what is in use stays");
                }
            }
        }
    }

    /// Reads again what has changed. Blocks on files.
    pub fn refresh(&self, now: SystemTime) -> Vec<Event> {
        // Collected first: a reload does not wait for the files.
        let living: Vec<_> = lock(&self.stores).values().filter_map(Weak::upgrade).collect();
        let trusts: Vec<_> = lock(&self.trusts).values().filter_map(Weak::upgrade).collect();
        self.refresh_connectors(now);
        let certificates = living.iter().flat_map(|store| store.refresh(now));
        certificates.chain(trusts.iter().filter_map(|store| store.refresh(now))).collect()
    }

    /// Follows the files until it is dropped: a replacement is live within about a second. Each
    /// event is logged and handed to `on_event`. Cancel-safe.
    pub async fn watch(self: Arc<Self>, mut on_event: impl FnMut(&Event)) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let vault = self.clone();
            let look = tokio::task::spawn_blocking(move || vault.refresh(SystemTime::now()));
            for event in look.await.unwrap_or_default() {
                log(&event);
                on_event(&event);
            }
        }
    }
}

/// The living value of that key, or a new one; the lock is not held while it is made.
fn shared<K: Clone + Eq + Hash, V, E>(
    map: &Mutex<HashMap<K, Weak<V>>>,
    key: &K,
    make: impl FnOnce() -> Result<V, E>,
) -> Result<Arc<V>, E> {
    let known = lock(map).get(key).and_then(Weak::upgrade);
    if let Some(value) = known {
        return Ok(value);
    }
    let value = Arc::new(make()?);
    let mut map = lock(map);
    map.retain(|_, value| value.strong_count() > 0);
    map.insert(key.clone(), Arc::downgrade(&value));
    Ok(value)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn log(event: &Event) {
    match event {
        Event::Changed { cert, expires } => {
            tracing::info!(cert = %cert.display(), expires, "certificate replaced");
        }
        Event::Refused { cert, error } => {
            let cert = cert.display();
            tracing::error!(%cert, %error, "certificate refused, the one in use stays");
        }
        Event::TrustChanged { ca } => {
            tracing::info!(ca = %ca.display(), "authorities or revocation lists replaced");
        }
        Event::TrustRefused { ca, error } => {
            let ca = ca.display();
            tracing::error!(%ca, %error, "authorities or revocation lists refused, those in use stay");
        }
        Event::ListsExpired { crl } => {
            tracing::error!(crl = %crl.display(), "a revocation list has expired, client certificates are refused");
        }
    }
}

#[cfg(test)]
mod tests;
