//! Which registrations there are, with which keys, on which relay thread, and until when.
//!
//! The one place where an id comes to life and ends. Taking an id, taking a seat and leaving it are each one step
//! under one lock that is held for a few instructions, so of two racing requests exactly one gets an id, and a join
//! that races with a removal either is refused or finds its registration's end marked ([`Registration::end`]) when it
//! arrives at the relay thread, which looks there before it lets a member in. Relay threads come here only when a
//! member leaves, never for a message.

mod ends;
mod entries;
mod outcome;
mod rules;
mod succession;

pub use outcome::{RegisterError, RemoveError, SeatError};
pub use rules::{Quota, Rules};
pub use succession::DirectoryState;

use std::time::{Duration, Instant, SystemTime};

use crate::events::Events;
use crate::sync::{Arc, Mutex, MutexGuard, PoisonError};
use ends::{End, Ended};
use entries::{Entry, Inner};
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
    end: End,
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
    is_occupied: bool,
    directory: Arc<Directory>,
}

impl Seat {
    /// Takes note that its holder is a member now. A seat that is given back before, as when a thread is too busy to let
    /// anybody in, leaves the registration as it was: nobody has joined, so nobody has left.
    pub fn occupy(&mut self) {
        self.is_occupied = true;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.directory.vacate(&self.registration, self.is_occupied, Instant::now());
    }
}

/// All registrations.
#[derive(Debug)]
pub struct Directory {
    hasher: KeyHasher,
    serials: Sequence,
    events: Events,
    ended: Ended,
    inner: Mutex<Inner>,
}

impl Directory {
    /// Makes an empty directory.
    pub fn new(hasher: KeyHasher, rules: Rules, events: Events) -> Arc<Self> {
        let (serials, ended) = (Sequence::after(0), Ended::default());
        Arc::new(Self { hasher, serials, events, ended, inner: Mutex::new(Inner::new(rules)) })
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
                inner.reclaim(id, now);
                drop(inner);
                self.events.tell(EventKind::Reclaimed { registration: id.clone() });
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
            end: End::none(),
        });
        inner.insert(Entry { registration, seats: 0, claimed: false, deadline: None });
        inner.set_deadline(&id, now);
        drop(inner);
        self.events.tell(EventKind::Registered { registration: id.clone(), kind: request.kind });
        Ok(id)
    }

    /// Takes a seat; `role` is what a hostclient registration's device said to be, and ignored in a lobby.
    pub fn seat(self: &Arc<Self>, id: &str, key: &Key, role: Option<Role>) -> Result<Seat, SeatError> {
        let key = self.hasher.hash(key);
        let mut inner = self.lock();
        let Inner { rules, entries, .. } = &mut *inner;
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
        Ok(Seat { registration, role, is_occupied: false, directory: Arc::clone(self) })
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
        self.tell_end(&ended, None);
        Ok(ended)
    }

    /// Ends a registration for an administrator; the caller then has the relay close its members.
    pub fn force_remove(&self, id: &str, by: Peer) -> Option<Arc<Registration>> {
        let ended = self.lock().end(id, EndReason::RemovedByAdmin)?;
        self.tell_end(&ended, Some(by));
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
            let claimed = inner.entries.get(&id).is_some_and(|entry| entry.claimed);
            let reason = if claimed { EndReason::Lingered } else { EndReason::Unclaimed };
            let ended = inner.end(id.as_str(), reason);
            drop(inner);
            if let Some(ended) = ended {
                self.tell_end(&ended, None);
            }
        }
    }

    /// Changes the rules; deadlines that are set already stay as they are.
    pub fn set_rules(&self, rules: Rules) {
        self.lock().rules = rules;
    }

    fn vacate(&self, registration: &Arc<Registration>, was_occupied: bool, now: Instant) {
        let mut inner = self.lock();
        let rules = (inner.rules.auto_remove, inner.rules.linger);
        let Some(entry) = inner.entries.get_mut(registration.id.as_str()) else { return };
        if entry.registration.serial != registration.serial {
            return;
        }
        entry.seats -= 1;
        entry.claimed |= was_occupied;
        if entry.seats > 0 {
            return;
        }
        let ended = match rules {
            (true, Duration::ZERO) if entry.claimed => inner.end(registration.id.as_str(), EndReason::Emptied),
            _ => {
                inner.set_deadline(&registration.id, now);
                None
            }
        };
        drop(inner);
        if let Some(ended) = ended {
            self.tell_end(&ended, None);
        }
    }

    /// Tells how many registrations have ended in this process, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (EndReason, u64)> {
        self.ended.all()
    }

    fn tell_end(&self, ended: &Registration, by: Option<Peer>) {
        if let Some(reason) = ended.end() {
            self.ended.up(reason);
            self.events.tell(EventKind::Ended { registration: ended.id.clone(), reason, by });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under the lock panics half-way, so a poisoned one is as good as new.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
