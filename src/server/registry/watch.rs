//! Watches of registrations: their numbers of members, and notifications when these change.
//!
//! A watch is a state, not a queue: it reports that something has changed, and its holder then reads the current numbers.
//! Registrations that nobody watches have no entry here, and cost one atomic load when a member joins or leaves.

use std::collections::HashMap;

use serde::Serialize;
use tokio::sync::watch;
use ws_router_admin_api::event::EndReason;
use ws_router_core::ids::Serial;

use super::{Registration, Registry};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// Numbers of members of a registration, in the form in which devices receive them. A member counts from the moment at
/// which its request to join is accepted, just before the 101, until it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum MemberCounts {
    /// Those of a hostclient registration.
    HostClient {
        /// Number of hosts.
        hosts: usize,
        /// Number of clients, those that only receive included.
        clients: usize,
    },
    /// Those of a lobby.
    Lobby {
        /// Number of members, those that only receive included.
        peers: usize,
    },
    /// Those of a paired registration.
    Paired {
        /// Number of hosts that listen.
        hosts: usize,
        /// Number of clients that a host has accepted.
        pairs: usize,
        /// Number of clients that wait until a host accepts them.
        waiting: usize,
    },
}

/// Watch of a registration. It doesn't keep the registration alive.
#[derive(Debug)]
pub struct Watch {
    registry: Arc<Registry>,
    registration: Arc<Registration>,
    changes: watch::Receiver<()>,
}

impl Watch {
    pub(super) fn new(registry: Arc<Registry>, registration: Arc<Registration>) -> Self {
        let changes = registry.watches.subscribe(registration.serial);
        Self { registry, registration, changes }
    }

    /// Returns the current numbers, or the reason for which the registration has ended.
    pub fn state(&self) -> Result<MemberCounts, EndReason> {
        let inner = self.registry.lock();
        let entry = inner.entries.get(self.registration.id.as_str());
        match entry.filter(|entry| entry.registration.serial == self.registration.serial) {
            Some(entry) => Ok(entry.counts()),
            // The reason is set together with the removal of the entry.
            None => Err(self.registration.end().unwrap_or(EndReason::Removed)),
        }
    }

    /// Waits until the state may have changed since the last call, or since the watch was created. Cancel safe.
    pub async fn changed(&mut self) {
        // Fails only without a sender, which exists as long as this watch.
        let _ = self.changes.changed().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.registry.watches.unsubscribe(self.registration.serial);
    }
}

/// The watched registrations.
#[derive(Debug, Default)]
pub(super) struct Watches {
    /// Number of watched registrations, which is read without the lock.
    count: AtomicU64,
    watched: Mutex<HashMap<Serial, Watched>>,
}

/// A watched registration.
#[derive(Debug, Default)]
struct Watched {
    changes: watch::Sender<()>,
    watchers: usize,
}

impl Watches {
    /// Wakes the watchers of a registration. Must be called after each change of its numbers and its end, and without the
    /// registry's lock, since waking a thousand tasks takes some time.
    pub(super) fn notify(&self, serial: Serial) {
        // A watch that is created after the change finds the change in its first state.
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let changes = self.watched.lock().get(&serial).map(|watched| watched.changes.clone());
        if let Some(changes) = changes {
            changes.send_replace(());
        }
    }

    fn subscribe(&self, serial: Serial) -> watch::Receiver<()> {
        let mut all = self.watched.lock();
        let watched = all.entry(serial).or_default();
        watched.watchers += 1;
        let changes = watched.changes.subscribe();
        self.count.store(all.len() as u64, Ordering::Release);
        changes
    }

    fn unsubscribe(&self, serial: Serial) {
        let mut all = self.watched.lock();
        let Some(watched) = all.get_mut(&serial) else { return };
        watched.watchers -= 1;
        if watched.watchers == 0 {
            all.remove(&serial);
        }
        self.count.store(all.len() as u64, Ordering::Release);
    }
}
