//! Which registrations there are, with which keys, on which relay thread, and until when.
//!
//! The one place where an id comes to life and ends. Taking an id, taking a seat and leaving it are each one step
//! under one lock that is held for a few instructions, so of two racing requests exactly one gets an id, and a join
//! that races with a removal either is refused or finds its registration's end marked ([`Registration::end`]) when it
//! arrives at the relay thread, which looks there before it lets a member in. Relay threads come here only when a
//! member leaves, never for a message.

mod entries;
mod restore;

pub use entries::{Quota, Rules};
pub use restore::RegistrySnapshot;

use std::time::{Duration, Instant, SystemTime};

use crate::events::Events;
use crate::metrics::Count;
use crate::sync::{Arc, AtomicU8, Mutex, MutexGuard, Ordering, PoisonError};
use entries::{Entries, Entry};
use ws_router_admin_api::event::{EndReason, EventKind};
use ws_router_admin_api::peer::Peer;
use ws_router_core::ids::{RegistrationId, Sequence, Serial};
use ws_router_core::kind::{Kind, Role};
use ws_router_core::secret::{Key, KeyHash, KeyHasher};

/// What is known of a registration by everybody who holds a seat in it.
#[derive(Debug)]
pub struct Registration {
    /// Tells this life of the id from the next.
    pub serial: Serial,
    /// The id that devices know.
    pub id: RegistrationId,
    /// Who hears whom.
    pub kind: Kind,
    /// When it was asked for.
    pub created: SystemTime,
    /// The access rule under which it was made, if there was one.
    pub rule: Option<Arc<str>>,
    key: KeyHash,
    host_key: KeyHash,
    end: EndMark,
}

impl Registration {
    /// Tells why the registration ended, or `None` while it lives.
    pub fn end(&self) -> Option<EndReason> {
        self.end.reason()
    }
}

/// What a device asks for when it registers.
#[derive(Debug)]
pub struct Request {
    /// Who is to hear whom.
    pub kind: Kind,
    /// What members must show.
    pub key: Key,
    /// What, beside the key, the one who removes must show.
    pub host_key: Key,
    /// An id that the device would like to have.
    pub wanted: Option<RegistrationId>,
    /// Whether to refuse a wanted id that is taken, instead of giving a fresh one.
    pub reject_taken: bool,
    /// The access rule that lets the device in, if there is one.
    pub rule: Option<Arc<str>>,
}

/// A line of the list of registrations.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The registration.
    pub registration: Arc<Registration>,
    /// Seats taken: members, and those about to be.
    pub seats: usize,
    /// When it ends if nobody joins.
    pub expires: Option<Instant>,
}

/// A place in a registration, given back when dropped.
#[derive(Debug)]
pub struct Seat {
    /// Where.
    pub registration: Arc<Registration>,
    /// As what.
    pub role: Role,
    /// Whether somebody has become a member on it.
    is_active: bool,
    registry: Arc<Registry>,
}

impl Seat {
    /// Takes note that its holder is a member now. A seat that is given back before, as when a thread is too busy to let
    /// anybody in, leaves the registration as it was: nobody has joined, so nobody has left.
    pub fn activate(&mut self) {
        self.is_active = true;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.registry.release(&self.registration, self.is_active, Instant::now());
    }
}

/// All registrations.
#[derive(Debug)]
pub struct Registry {
    hasher: KeyHasher,
    serials: Sequence,
    events: Events,
    ended: EndCounts,
    inner: Mutex<Entries>,
}

impl Registry {
    /// Makes an empty registry.
    pub fn new(hasher: KeyHasher, rules: Rules, events: Events) -> Arc<Self> {
        let (serials, ended) = (Sequence::after(0), EndCounts::default());
        Arc::new(Self { hasher, serials, events, ended, inner: Mutex::new(Entries::new(rules)) })
    }

    /// Makes a registration, or finds the one that the same device made before (same id, kind and keys).
    pub fn register(&self, request: &Request, now: Instant) -> Result<RegistrationId, RegisterError> {
        let (key, host_key) = (self.hasher.hash(&request.key), self.hasher.hash(&request.host_key));
        let mut inner = self.lock();
        if let Some(id) = &request.wanted
            && let Some(entry) = inner.entries.get(id)
        {
            let known = &entry.registration;
            if known.kind == request.kind && known.key == key && known.host_key == host_key {
                inner.renew(id, now);
                drop(inner);
                self.events.publish(EventKind::Reclaimed { registration: id.clone() });
                return Ok(id.clone());
            }
            if request.reject_taken {
                return Err(RegisterError::Taken);
            }
        }
        if inner.entries.len() >= inner.rules.max_registrations {
            return Err(RegisterError::Full);
        }
        if !inner.has_room_under(request.rule.as_ref()) {
            return Err(RegisterError::Quota);
        }
        let id = match &request.wanted {
            Some(id) if !inner.entries.contains_key(id) => id.clone(),
            _ => inner.fresh_id(),
        };
        let registration = Arc::new(Registration {
            serial: Serial(self.serials.next()),
            id: id.clone(),
            kind: request.kind,
            created: SystemTime::now(),
            rule: request.rule.clone(),
            key,
            host_key,
            end: EndMark::none(),
        });
        inner.insert(Entry { registration, seats: 0, ever_joined: false, deadline: None });
        inner.set_deadline(&id, now);
        drop(inner);
        self.events.publish(EventKind::Registered { registration: id.clone(), kind: request.kind });
        Ok(id)
    }

    /// Takes a seat; `role` is what a hostclient registration's device said to be, and ignored in a lobby.
    pub fn seat(self: &Arc<Self>, id: &str, key: &Key, role: Option<Role>) -> Result<Seat, SeatError> {
        let key = self.hasher.hash(key);
        let mut inner = self.lock();
        let Entries { rules, entries, .. } = &mut *inner;
        let entry = entries.get_mut(id).ok_or(SeatError::Unknown)?;
        if entry.registration.key != key {
            return Err(SeatError::WrongKey);
        }
        let role = match entry.registration.kind {
            Kind::Lobby => Role::Peer,
            Kind::HostClient => role.ok_or(SeatError::RoleRequired)?,
        };
        let quota = entry.registration.rule.as_ref().and_then(|rule| rules.quotas.get(rule)?.members);
        if entry.seats >= quota.map_or(rules.max_members, |quota| quota.min(rules.max_members)) {
            return Err(SeatError::Full);
        }
        entry.seats += 1;
        let registration = Arc::clone(&entry.registration);
        inner.clear_deadline(id);
        Ok(Seat { registration, role, is_active: false, registry: Arc::clone(self) })
    }

    /// Ends a registration by request; the caller then has the relay close its members.
    pub fn remove(&self, id: &str, key: &Key, host_key: &Key) -> Result<Arc<Registration>, RemoveError> {
        let (key, host_key) = (self.hasher.hash(key), self.hasher.hash(host_key));
        let mut inner = self.lock();
        let known = &inner.entries.get(id).ok_or(RemoveError::Unknown)?.registration;
        // Both are compared, so that the time doesn't tell which one is wrong.
        if !((known.key == key) & (known.host_key == host_key)) {
            return Err(RemoveError::WrongKey);
        }
        let ended = inner.end(id, EndReason::Removed).ok_or(RemoveError::Unknown)?;
        drop(inner);
        self.publish_ended(&ended, None);
        Ok(ended)
    }

    /// Ends a registration for an administrator; the caller then has the relay close its members.
    pub fn force_remove(&self, id: &str, by: Peer) -> Option<Arc<Registration>> {
        let ended = self.lock().end(id, EndReason::RemovedByAdmin)?;
        self.publish_ended(&ended, Some(by));
        Some(ended)
    }

    /// Finds a registration.
    pub fn find(&self, id: &str) -> Option<Summary> {
        self.lock().entries.get(id).map(Entry::summary)
    }

    /// Lists all registrations, the oldest first.
    pub fn list(&self) -> Vec<Summary> {
        let mut all: Vec<_> = self.lock().entries.values().map(Entry::summary).collect();
        all.sort_by_key(|summary| summary.registration.serial);
        all
    }

    /// Tells how many registrations there are.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Counts the seats that are taken in all registrations.
    pub fn seats(&self) -> usize {
        self.lock().entries.values().map(|entry| entry.seats).sum()
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all registrations whose time has come; called by a coarse timer.
    pub fn sweep(&self, now: Instant) {
        loop {
            let mut inner = self.lock();
            let Some((_, id)) = inner.deadlines.first_key_value().filter(|((when, _), _)| *when <= now) else { return };
            let id = id.clone();
            let ever_joined = inner.entries.get(&id).is_some_and(|entry| entry.ever_joined);
            let reason = if ever_joined { EndReason::Lingered } else { EndReason::Unclaimed };
            let ended = inner.end(id.as_str(), reason);
            drop(inner);
            if let Some(ended) = ended {
                self.publish_ended(&ended, None);
            }
        }
    }

    /// Changes the rules; deadlines that are set already stay as they are.
    pub fn set_rules(&self, rules: Rules) {
        self.lock().rules = rules;
    }

    fn release(&self, registration: &Arc<Registration>, was_active: bool, now: Instant) {
        let mut inner = self.lock();
        let rules = (inner.rules.auto_remove, inner.rules.linger);
        let Some(entry) = inner.entries.get_mut(registration.id.as_str()) else { return };
        if entry.registration.serial != registration.serial {
            return;
        }
        entry.seats -= 1;
        entry.ever_joined |= was_active;
        if entry.seats > 0 {
            return;
        }
        let ended = match rules {
            (true, Duration::ZERO) if entry.ever_joined => inner.end(registration.id.as_str(), EndReason::Emptied),
            _ => {
                inner.set_deadline(&registration.id, now);
                None
            }
        };
        drop(inner);
        if let Some(ended) = ended {
            self.publish_ended(&ended, None);
        }
    }

    /// Tells how many registrations have ended in this process, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (EndReason, u64)> {
        self.ended.all()
    }

    fn publish_ended(&self, ended: &Registration, by: Option<Peer>) {
        if let Some(reason) = ended.end() {
            self.ended.up(reason);
            self.events.publish(EventKind::Ended { registration: ended.id.clone(), reason, by });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Nothing under the lock panics half-way, so a poisoned one is as good as new.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no registration for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The wanted id is taken by somebody with other keys.
    #[error("the id is taken")]
    Taken,
    /// There are as many registrations as allowed.
    #[error("limits.registrations is reached")]
    Full,
    /// There are as many registrations as the access rule allows.
    #[error("the access rule allows no more registrations")]
    Quota,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeatError {
    /// No registration has this id.
    #[error("no such registration")]
    Unknown,
    /// The key isn't the registration's.
    #[error("wrong key")]
    WrongKey,
    /// A hostclient registration wants to know whether host or client joins.
    #[error("the role is missing")]
    RoleRequired,
    /// The registration has as many members as allowed.
    #[error("the registration has as many members as allowed")]
    Full,
}

/// Why nothing was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// No registration has this id.
    #[error("no such registration")]
    Unknown,
    /// One of the keys isn't the registration's.
    #[error("wrong key")]
    WrongKey,
}

/// The mark of a registration's end; set once, and seen without a lock.
#[derive(Debug)]
pub(super) struct EndMark(AtomicU8);

impl EndMark {
    /// Makes the mark of a registration that lives.
    pub(super) fn none() -> Self {
        Self(AtomicU8::new(ALIVE))
    }

    /// Tells why it ended, if it did.
    pub(super) fn reason(&self) -> Option<EndReason> {
        let mark = self.0.load(Ordering::Acquire);
        ENDS.iter().find(|(code, _)| *code == mark).map(|(_, reason)| *reason)
    }

    /// Marks it as ended.
    pub(super) fn set(&self, reason: EndReason) {
        let code = ENDS.iter().find(|(_, known)| *known == reason).map_or(ALIVE, |(code, _)| *code);
        self.0.store(code, Ordering::Release);
    }
}

/// How many registrations have ended in this process.
#[derive(Debug, Default)]
pub(super) struct EndCounts([Count; ENDS.len()]);

impl EndCounts {
    /// Counts one.
    pub(super) fn up(&self, reason: EndReason) {
        if let Some(at) = ENDS.iter().position(|(_, known)| *known == reason) {
            self.0[at].up();
        }
    }

    /// Tells how many there were for each reason.
    pub(super) fn all(&self) -> impl Iterator<Item = (EndReason, u64)> {
        ENDS.iter().zip(&self.0).map(|((_, reason), count)| (*reason, count.value()))
    }
}

const ALIVE: u8 = 0;
const ENDS: [(u8, EndReason); 5] = [
    (1, EndReason::Removed),
    (2, EndReason::RemovedByAdmin),
    (3, EndReason::Emptied),
    (4, EndReason::Lingered),
    (5, EndReason::Unclaimed),
];

#[cfg(test)]
mod tests;
