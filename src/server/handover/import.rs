//! The new process's side of a hand-over: it takes over the listeners, the registrations and the members.
//!
//! After a restart, their descriptors come from the service manager's store; after a replacement in place, they were
//! inherited from the previous program. If the snapshot can't be decoded completely, nothing is restored: the members
//! are asked to reconnect (1012), and the router starts without them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use socket2::SockRef;

use super::{CONNECTIONS, INHERITED, PROGRAM, STATE};
use crate::config::{self, Config};
use crate::log::messages;
use crate::server::{self, Server, StartError, ask_to_reconnect};
use crate::snapshot::{DecodeError, Snapshot};
use crate::sys;
use crate::systemd::{self, Giver, Inherited, Notify};

/// State and descriptors that the old process handed over.
#[derive(Debug, Default)]
pub struct InheritedState {
    state: Option<Snapshot>,
    error: Option<DecodeError>,
    listeners: HashMap<String, Vec<OwnedFd>>,
    members: Vec<OwnedFd>,
}

impl InheritedState {
    /// Takes the state and descriptors of the old process out of the inherited descriptors.
    ///
    /// If the old program was replaced in place, no service manager passes the sockets of its units again. Those that the
    /// old program had received by name are then added to the inherited descriptors.
    pub fn take(inherited: &mut Vec<Inherited>) -> Self {
        // The opened program is no longer needed: if it is a script, its interpreter has read it.
        inherited.retain(|one| one.name != PROGRAM || one.giver != Giver::OldProcess);
        let (mut left, mut states, mut sockets) = (Self::default(), Vec::new(), Vec::new());
        let in_place = inherited.iter().any(|one| one.name == STATE && one.giver == Giver::OldProcess);
        for one in inherited.extract_if(.., |one| one.name == STATE || one.name == CONNECTIONS) {
            if one.name == STATE { states.push(one.descriptor) } else { sockets.push(one.descriptor) }
        }
        let mut descriptors: Vec<_> =
            sockets.iter().filter_map(|socket| sys::recv_fds(socket).ok()).flatten().collect();
        match states.pop().map(Snapshot::open) {
            None if descriptors.is_empty() => return left,
            None => left.error = Some(DecodeError::Damaged),
            Some(Err(error)) => left.error = Some(error),
            Some(Ok(state)) if descriptors.len() != state.listeners.len() + state.members.len() => {
                left.error = Some(DecodeError::Damaged);
            }
            Some(Ok(state)) => {
                let members = descriptors.split_off(state.listeners.len());
                for (key, descriptor) in state.listeners.iter().zip(std::mem::replace(&mut descriptors, members)) {
                    left.listeners.entry(key.clone()).or_default().push(descriptor);
                }
                left.state = Some(state);
            }
        }
        if left.error.is_some() {
            // Without their keys they can't be used, and as long as they are open, no other socket can be bound to their
            // addresses.
            descriptors.retain(|descriptor| !SockRef::from(descriptor).is_listener().unwrap_or(false));
        }
        left.members = descriptors;
        if in_place {
            left.lend(inherited);
        }
        left
    }

    /// Returns whether an old process handed over anything.
    pub fn exists(&self) -> bool {
        self.state.is_some() || self.error.is_some()
    }

    /// Returns the settings of the old process, to be used instead of an invalid configuration. Returns `None` if they
    /// can't be used, or if there are no members whose connections would be lost.
    pub fn settings(&self) -> Option<Config> {
        self.config().filter(|_| self.state.as_ref().is_some_and(|state| !state.members.is_empty()))
    }

    /// Returns the settings of the old process.
    pub fn config(&self) -> Option<Config> {
        // All paths in the settings are absolute, so the path of the file doesn't matter.
        config::parse(self.state.as_ref()?.settings.as_deref()?, Path::new("/")).ok()
    }

    /// Takes a listening socket that has the same key as in the old process.
    pub fn listener(&mut self, key: &str) -> Option<OwnedFd> {
        let same = self.listeners.get_mut(key)?;
        // The first one with the key: several may have the same, and differ in TLS.
        if same.is_empty() { None } else { Some(same.remove(0)) }
    }

    /// Starts the router with `start`, asks members to reconnect if the snapshot can't be used, and empties the service
    /// manager's store.
    pub fn restore(
        self,
        start: impl FnOnce(Option<server::Inherited>) -> Result<Arc<Server>, StartError>,
    ) -> Result<Arc<Server>, StartError> {
        let exists = self.exists();
        let Self { state, error, members, .. } = self;
        let server = match (state, error) {
            (Some(snapshot), None) => start(Some(server::Inherited { snapshot, members }))?,
            (_, error) => {
                let server = start(None)?;
                if let Some(error) = error {
                    tracing::error!(message_id = messages::SNAPSHOT_UNUSABLE, %error, "the snapshot can't be used; members are asked to reconnect");
                    server.metrics().restarts.increment();
                    server.metrics().lost.set(members.len() as u64);
                    members.into_iter().for_each(ask_to_reconnect);
                }
                server
            }
        };
        if exists && systemd::is_managed() {
            Notify::unstore(STATE);
            Notify::unstore(CONNECTIONS);
        }
        Ok(server)
    }

    /// Adds sockets of units to the inherited descriptors, under their names.
    fn lend(&mut self, inherited: &mut Vec<Inherited>) {
        for (key, descriptors) in &mut self.listeners {
            let Some(name) = key.strip_prefix(INHERITED) else { continue };
            if inherited.iter().all(|one| one.name != name) {
                let lent = descriptors.drain(..).map(|descriptor| Inherited {
                    name: name.to_owned(),
                    descriptor,
                    giver: Giver::OldProcess,
                });
                inherited.extend(lent);
            }
        }
    }
}
