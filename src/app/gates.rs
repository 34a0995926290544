//! Bound addresses: what a reload opens before it is decided, and closes after.

use std::collections::HashMap;

use toml::Spanned;

use crate::config::listener::Bind;
use crate::config::{Config, ConfigError, Report};
use crate::net::inherit::Inherited;
use crate::net::listen::{self, Address, BindError};
use crate::server::{Command, Gate, Team};
use crate::snapshot::Snapshot;

/// The addresses that are open.
#[derive(Debug, Default)]
pub(super) struct Gates {
    open: HashMap<(u32, Bind), Vec<Gate>>,
    next: u32,
}

/// Addresses that this process has open, and for whom.
pub(super) type Held = [(String, Bind)];

/// Sockets that are bound for a snapshot which is not current yet. Dropping it closes them.
#[derive(Debug)]
pub(super) struct Prepared(Vec<((u32, Bind), Vec<listen::Bound>)>);

impl Gates {
    /// Binds what the snapshot needs and is not open yet.
    ///
    /// # Errors
    /// Every address that can not be bound, with its place in the configuration.
    pub(super) fn prepare(
        &self,
        snapshot: &Snapshot,
        held: &Held,
        workers: usize,
    ) -> Result<Prepared, Report> {
        let mut errors = Vec::new();
        let mut bound = Vec::new();
        for listener in snapshot.listeners() {
            for bind in &listener.settings.bind {
                let key = (listener.number, bind.get_ref().clone());
                if self.open.contains_key(&key) {
                    continue;
                }
                match open(&snapshot.config, bind, held, workers) {
                    Ok(sockets) => bound.push((key, sockets)),
                    Err(error) => errors.push(error),
                }
            }
        }
        if errors.is_empty() { Ok(Prepared(bound)) } else { Err(Report::new(errors)) }
    }

    /// What is open for the listeners of this snapshot.
    pub(super) fn held(&self, snapshot: &Snapshot) -> impl Iterator<Item = (String, Bind)> {
        self.open
            .keys()
            .map(|(number, bind)| (format!("listener `{}`", name(snapshot, *number)), bind.clone()))
    }

    /// Lets the workers accept at what was prepared, and no more at what the snapshot does not have.
    pub(super) async fn commit(&mut self, prepared: Prepared, snapshot: &Snapshot, team: &Team) {
        for (key, addresses) in prepared.0 {
            for bound in addresses {
                let listener = name(snapshot, key.0);
                match bound.listen() {
                    Ok(()) => tracing::info!(listener, address = %bound.local, "listening"),
                    Err(error) => tracing::error!(listener, address = %bound.local, %error, "can not listen"),
                }
                let gate = Gate { listener: key.0, address: self.next };
                self.next += 1;
                for (worker, socket) in bound.sockets.into_iter().enumerate() {
                    team.tell(worker, Command::Listen(gate, socket)).await;
                }
                self.open.entry(key.clone()).or_default().push(gate);
            }
        }
        let wanted = |(number, bind): &(u32, Bind)| {
            let listener = snapshot.listener(*number);
            listener.is_some_and(|listener| listener.settings.bind.iter().any(|one| one.get_ref() == bind))
        };
        let gone: Vec<_> = self.open.keys().filter(|key| !wanted(key)).cloned().collect();
        for key in gone {
            tracing::info!(address = %key.1, "no longer listening");
            for gate in self.open.remove(&key).into_iter().flatten() {
                for worker in 0..team.size() {
                    team.tell(worker, Command::Unlisten(gate)).await;
                }
            }
        }
    }
}

fn name(snapshot: &Snapshot, number: u32) -> String {
    snapshot.listener(number).map_or_else(String::new, |listener| listener.name.to_string())
}

/// The address that a configured one stands for.
pub(super) fn address(bind: &Bind) -> Address {
    match bind {
        Bind::Tcp(address) => Address::Tcp(*address),
        Bind::Unix(path) => Address::Unix(path.clone()),
        Bind::Systemd(name) => Address::Inherited(name.clone()),
    }
}

/// Binds an address, also one at which this process listens until the reload: a configuration has
/// no two addresses that overlap, so what is in the way is about to leave.
pub(super) fn open(
    config: &Config,
    bind: &Spanned<Bind>,
    held: &Held,
    workers: usize,
) -> Result<Vec<listen::Bound>, ConfigError> {
    let address = address(bind.get_ref());
    let holder = || held.iter().find(|(_, held)| held.overlaps(bind.get_ref()));
    let error = match listen::bind(&address, workers, Inherited::of_process()) {
        Ok(bound) => return Ok(bound),
        Err(error @ BindError::InUse { .. }) => match (holder(), &address) {
            (Some(_), Address::Tcp(at)) => match listen::bind_beside(*at, workers) {
                Ok(bound) => return Ok(vec![bound]),
                Err(error) => error,
            },
            (Some((owner, _)), _) => {
                let message = format!(
                    "cannot listen on {address}: this process listens there for {owner} until the reload; \
                     remove that in one reload and add this in the next"
                );
                return Err(config.sources.error(bind.span(), message));
            }
            (None, _) => error,
        },
        Err(error) => error,
    };
    Err(refused(config, bind, &error))
}

/// An address that can not be bound, with its place.
fn refused(config: &Config, bind: &Spanned<Bind>, error: &BindError) -> ConfigError {
    let source = std::error::Error::source(error).map_or_else(String::new, |source| format!(": {source}"));
    config.sources.error(bind.span(), format!("{error}{source}"))
}
