//! Ticket keys and certificates of the process.
//!
//! They outlive every snapshot, so that clients resume across a reload and a certificate that is
//! in use is not read, or refused, again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;
use tokio::time::MissedTickBehavior;

use super::certs::{CertificateStore, Event, Sources};
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
}

impl Vault {
    /// New ticket keys, no certificate yet.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> Result<Self, TlsError> {
        Ok(Self { tickets: Ticketer::new()?, stores: Mutex::default(), connectors: Mutex::default() })
    }

    /// The TLS side of a listener. Files that a living listener uses already are not read again;
    /// [`Vault::watch`] follows them. Blocks on files: not for a worker's thread.
    ///
    /// # Errors
    /// A certificate that can not be used, or none at all.
    pub fn acceptor(&self, settings: &Settings, sources: &Sources) -> Result<Acceptor, TlsError> {
        Acceptor::new(settings, self.store(sources)?, &self.tickets)
    }

    /// The TLS side of an upstream. One that a living upstream uses already is used again with its
    /// sessions; [`Vault::watch`] follows its files. Blocks on files: not for a worker's thread.
    ///
    /// # Errors
    /// A file that can not be used, or no authority at all.
    pub fn connector(&self, settings: &connector::Settings) -> Result<Arc<Connector>, ConnectorError> {
        let mut connectors = self.connectors();
        if let Some(known) = connectors.get(settings).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let connector = Arc::new(Connector::load(settings.clone(), SystemTime::now())?);
        connectors.retain(|_, connector| connector.strong_count() > 0);
        connectors.insert(settings.clone(), Arc::downgrade(&connector));
        Ok(connector)
    }

    /// Reads again what upstreams use, and logs what is new. Blocks on files.
    fn refresh_connectors(&self, now: SystemTime) {
        let living: Vec<_> = self.connectors().values().filter_map(Weak::upgrade).collect();
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

    fn connectors(&self) -> MutexGuard<'_, HashMap<connector::Settings, Weak<Connector>>> {
        self.connectors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads again what has changed. Blocks on files.
    pub fn refresh(&self, now: SystemTime) -> Vec<Event> {
        // Collected first: a reload does not wait for the files.
        let living: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        self.refresh_connectors(now);
        living.iter().flat_map(|store| store.refresh(now)).collect()
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

    fn store(&self, sources: &Sources) -> Result<Arc<CertificateStore>, TlsError> {
        let known = self.lock().get(sources).and_then(Weak::upgrade);
        if let Some(store) = known {
            return Ok(store);
        }
        let store = Arc::new(CertificateStore::load(sources.clone(), SystemTime::now())?);
        let mut stores = self.lock();
        stores.retain(|_, store| store.strong_count() > 0);
        stores.insert(sources.clone(), Arc::downgrade(&store));
        Ok(store)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sources, Weak<CertificateStore>>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
    }
}

#[cfg(test)]
mod tests;
