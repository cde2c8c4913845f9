//! The part of a snapshot that contains the registrations. It includes the secret with which their keys are hashed, so it
//! is never written to a disk.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use ws_router_core::ids::{RegistrationId, Sequence, Serial};
use ws_router_core::kind::{Kind, Role};
use ws_router_core::secret::{KeyHash, KeyHasher};

use super::entries::{Entries, Entry};
use super::watch::Watches;
use super::{EndCounts, EndMark, Hold, Registration, Registry, Rules, Seat};
use crate::events::Events;
use crate::sync::{Arc, Mutex};

/// A copy of all registrations. Times are relative to the moment of the copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegistrySnapshot {
    hasher: KeyHasher,
    last_serial: u64,
    registrations: Vec<RegistrationSnapshot>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct RegistrationSnapshot {
    id: RegistrationId,
    serial: Serial,
    kind: Kind,
    /// Milliseconds since the Unix epoch.
    created_ms: u64,
    key: KeyHash,
    host_key: KeyHash,
    #[serde(rename = "is_claimed")]
    ever_joined: bool,
    ends_in_ms: Option<u64>,
    /// Remaining time for which the registration is kept without members. Missing in snapshots of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expected_for_ms: Option<u64>,
    /// Missing in snapshots of versions without terms, like the next four fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_key: Option<KeyHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receive_key: Option<KeyHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_members: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subprotocol: Option<Box<str>>,
    /// Seconds. Missing in snapshots of versions without this term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wait_s: Option<NonZeroU32>,
    /// Milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    /// Missing in snapshots of versions without access rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<Arc<str>>,
}

impl Registry {
    /// Copies all registrations.
    pub fn snapshot(&self, now: Instant) -> RegistrySnapshot {
        let inner = self.lock();
        let registrations = inner.entries.values().map(|entry| {
            let known = &entry.registration;
            RegistrationSnapshot {
                id: known.id.clone(),
                serial: known.serial,
                kind: known.kind,
                created_ms: since_epoch(known.created),
                key: known.key.clone(),
                host_key: known.host_key.clone(),
                ever_joined: entry.is_claimed(),
                client_key: known.client_key.clone(),
                receive_key: known.receive_key.clone(),
                max_members: known.max_members,
                subprotocol: known.subprotocol.clone(),
                wait_s: known.wait_s,
                expires_at_ms: entry.expires_at.map(since_epoch),
                rule: known.rule.clone(),
                ends_in_ms: entry.deadline.map(|deadline| remaining_ms(deadline, now)),
                expected_for_ms: entry
                    .expected_until
                    .filter(|until| *until > now)
                    .map(|until| remaining_ms(until, now)),
            }
        });
        let registrations = registrations.collect();
        RegistrySnapshot { hasher: self.hasher.clone(), last_serial: self.serials.last(), registrations }
    }

    /// Creates a registry from a snapshot. Registrations that had members have no deadline until
    /// [`Registry::finish_restore`].
    pub fn restore(state: RegistrySnapshot, rules: Rules, events: Events, now: Instant) -> Arc<Self> {
        let mut inner = Entries::new(rules);
        let mut taken = HashSet::new();
        for known in state.registrations {
            // The deadline of a duplicate would never be cleared.
            if inner.entries.contains_key(&known.id) || !taken.insert(known.serial) {
                continue;
            }
            let registration = Arc::new(Registration {
                serial: known.serial,
                id: known.id.clone(),
                kind: known.kind,
                created: at(known.created_ms),
                rule: known.rule,
                max_members: known.max_members,
                subprotocol: known.subprotocol,
                wait_s: known.wait_s,
                key: known.key,
                host_key: known.host_key,
                client_key: known.client_key,
                receive_key: known.receive_key,
                end: EndMark::none(),
            });
            let after = |ms: u64| now + Duration::from_millis(ms.min(FAR_FUTURE_MS));
            let (deadline, expected_until) = (known.ends_in_ms.map(after), known.expected_for_ms.map(after));
            if let Some(deadline) = deadline {
                inner.deadlines.insert((deadline, known.serial), known.id.clone());
            }
            inner.insert(Entry {
                ever_joined: known.ever_joined,
                expected_until,
                deadline,
                ..Entry::new(registration)
            });
            inner.set_expiry(known.id.as_str(), known.expires_at_ms.map(at));
        }
        let serials = Sequence::after(0);
        serials.skip(state.last_serial);
        let (ended, watches, inner) = (EndCounts::default(), Watches::default(), Mutex::new(inner));
        Arc::new(Self { hasher: state.hasher, serials, events, ended, watches, inner })
    }

    /// Takes a seat for a member of the old process, without checking a key. Returns `None` if the registration doesn't
    /// exist.
    pub fn restore_seat(self: &Arc<Self>, id: &str, serial: Serial, role: Role, receives_only: bool) -> Option<Seat> {
        let mut inner = self.lock();
        let entry = inner.entries.get_mut(id).filter(|entry| entry.registration.serial == serial)?;
        entry.take_seat(role);
        let registration = Arc::clone(&entry.registration);
        inner.clear_deadline(id);
        let registry = Arc::clone(self);
        Some(Seat { registration, role, receives_only, admission: None, is_accepted: false, is_active: true, registry })
    }

    /// Holds a registration in which messages waited in the old process, and returns for how long they do. Returns `None`
    /// if it doesn't exist.
    pub fn restore_hold(self: &Arc<Self>, id: &str, serial: Serial) -> Option<(Duration, Hold)> {
        let registration = self.find(id)?.registration;
        if registration.serial == serial { self.hold_while_waiting(&registration) } else { None }
    }

    /// Admits the host's end of a pair of the old process.
    pub fn restore_accepted(self: &Arc<Self>, id: &str, serial: Serial) -> Option<Seat> {
        let mut seat = self.accept(id).filter(|seat| seat.registration.serial == serial)?;
        seat.activate();
        Some(seat)
    }

    /// Sets deadlines for the registrations whose members couldn't be handed over. `patience` is the time for these
    /// members to reconnect.
    pub fn finish_restore(&self, patience: Duration, now: Instant) {
        let mut inner = self.lock();
        let (auto_remove, linger) = (inner.rules.auto_remove, inner.rules.linger);
        let deadline = now + linger.max(patience);
        let is_orphan = |entry: &&mut Entry| entry.seats == 0 && entry.holds == 0 && entry.deadline.is_none();
        let orphans = inner.entries.values_mut().filter(is_orphan);
        let mut deadlines = Vec::new();
        for entry in orphans.filter(|entry| auto_remove || !entry.ever_joined) {
            let deadline = entry.expected_until.into_iter().fold(deadline, Instant::max);
            entry.deadline = Some(deadline);
            deadlines.push(((deadline, entry.registration.serial), entry.registration.id.clone()));
        }
        inner.deadlines.extend(deadlines);
    }
}

/// Returns the milliseconds from the Unix epoch to a time.
fn since_epoch(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// Returns the time that is the given number of milliseconds after the Unix epoch.
fn at(ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.min(FAR_FUTURE_MS))
}

/// Returns the milliseconds until a time.
fn remaining_ms(until: Instant, now: Instant) -> u64 {
    until.saturating_duration_since(now).as_millis() as u64
}

/// A century: the longest time accepted from a snapshot, so that a damaged one can't cause an overflow.
const FAR_FUTURE_MS: u64 = 100 * 365 * 86_400_000;
