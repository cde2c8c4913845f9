//! The registrations: their ids, their keys, their seats, and the times at which they end.
//!
//! Registering, taking a seat and releasing it are atomic, under one lock that is held for a few instructions. If two
//! devices request the same id at the same time, exactly one of them gets it. A join can race with the end of its
//! registration; the relay thread therefore checks [`Registration::end`] before it admits the member. Relay threads call
//! the registry only when a member leaves, never for a message.

mod entries;
mod restore;
mod watch;

pub use entries::{Quota, Rules};
pub use restore::RegistrySnapshot;
pub use watch::{MemberCounts, Watch};

use std::num::NonZeroU32;
use std::time::{Duration, Instant, SystemTime};

use strum::EnumCount;

use crate::events::Events;
use crate::metrics::Counter;
use crate::sync::{Arc, AtomicU8, Mutex, MutexGuard, Ordering};
use entries::{Entries, Entry};
use watch::Watches;
use ws_router_admin_api::event::{self, Admission, EndReason, EventKind};
use ws_router_admin_api::peer::Peer;
use ws_router_core::ids::{RegistrationId, Sequence, Serial};
use ws_router_core::kind::{Kind, Role};
use ws_router_core::secret::{Key, KeyHash, KeyHasher};

/// A registration, shared by the registry and the holders of its seats.
#[derive(Debug)]
pub struct Registration {
    /// Serial number, which distinguishes the registration from earlier and later ones with the same id.
    pub serial: Serial,
    /// The id by which devices join.
    pub id: RegistrationId,
    /// The kind, which determines the receivers of each member's messages.
    pub kind: Kind,
    /// Time of its creation.
    pub created: SystemTime,
    /// The access rule under which the registration was created, if any.
    pub rule: Option<Arc<str>>,
    /// Maximum number of members, if the device has chosen one.
    pub max_members: Option<usize>,
    /// The websocket subprotocol that is chosen for members that offer it, if the device has named one.
    pub subprotocol: Option<Box<str>>,
    /// Seconds for which messages wait for a receiver, if the device has chosen that.
    wait_s: Option<NonZeroU32>,
    key: KeyHash,
    host_key: KeyHash,
    client_key: Option<KeyHash>,
    receive_key: Option<KeyHash>,
    end: EndMark,
}

impl Registration {
    /// Returns whether the registration has a key that admits only clients.
    pub fn has_client_key(&self) -> bool {
        self.client_key.is_some()
    }

    /// Returns whether the registration has a key that admits members that only receive.
    pub fn has_receive_key(&self) -> bool {
        self.receive_key.is_some()
    }

    /// Returns the time for which messages wait for a receiver; `None` if they don't wait.
    pub fn wait(&self) -> Option<Duration> {
        self.wait_s.map(|seconds| Duration::from_secs(seconds.get().into()))
    }

    /// Returns whether `key`, the hash of a presented key, is the registration's key of its name.
    fn has_key(&self, credential: Credential<'_>, key: &KeyHash) -> bool {
        let expected = match credential {
            Credential::Key(_) => Some(&self.key),
            Credential::ClientKey(_) => self.client_key.as_ref(),
            Credential::ReceiveKey(_) => self.receive_key.as_ref(),
        };
        expected.is_some_and(|expected| expected == key)
    }

    /// Checks a key, whose hash is `key`, and returns the role with which it admits a member.
    fn admit(&self, credential: Credential<'_>, key: &KeyHash, role: Option<Role>) -> Result<Role, SeatError> {
        if !self.has_key(credential, key) {
            return Err(SeatError::WrongKey);
        }
        let role = match self.kind {
            Kind::Lobby => Role::Peer,
            Kind::HostClient | Kind::Paired => role.ok_or(SeatError::RoleRequired)?,
        };
        let is_admitted = match credential {
            Credential::Key(_) => true,
            Credential::ClientKey(_) => role == Role::Client,
            Credential::ReceiveKey(_) => role != Role::Host,
        };
        if is_admitted { Ok(role) } else { Err(SeatError::Forbidden) }
    }

    /// Returns the reason for which the registration ended; `None` while it exists.
    pub fn end(&self) -> Option<EndReason> {
        self.end.reason()
    }
}

/// A request to register.
#[derive(Debug)]
pub struct Request {
    /// The kind of the registration.
    pub kind: Kind,
    /// The key that members must present.
    pub key: Key,
    /// The key that is required, together with `key`, to remove the registration.
    pub host_key: Key,
    /// The id that the device asks for.
    pub wanted: Option<RegistrationId>,
    /// Whether to fail if the requested id is in use, instead of assigning another one.
    pub reject_taken: bool,
    /// The access rule that admits the device, if any.
    pub rule: Option<Arc<str>>,
    /// Optional terms that the device has chosen.
    pub terms: Terms,
}

/// Optional terms of a registration.
#[derive(Debug, Default)]
pub struct Terms {
    /// A key that admits only clients.
    pub client_key: Option<Key>,
    /// A key that admits members that only receive.
    pub receive_key: Option<Key>,
    /// Maximum number of members.
    pub max_members: Option<usize>,
    /// The websocket subprotocol to choose for members that offer it.
    pub subprotocol: Option<Box<str>>,
    /// Time after which the registration ends, whether or not it has members.
    pub expires_in: Option<Duration>,
    /// Seconds for which messages wait for a receiver.
    pub wait_s: Option<NonZeroU32>,
}

/// A key that a device presents, and the request parameter that contains it.
#[derive(Debug, Clone, Copy)]
pub enum Credential<'a> {
    /// `key`, which admits members of every role.
    Key(&'a Key),
    /// `client_key`, which admits clients.
    ClientKey(&'a Key),
    /// `receive_key`, which admits peers and clients that only receive.
    ReceiveKey(&'a Key),
}

impl<'a> Credential<'a> {
    /// Returns the key.
    fn key(self) -> &'a Key {
        let (Self::Key(key) | Self::ClientKey(key) | Self::ReceiveKey(key)) = self;
        key
    }
}

impl<'a> From<&'a Key> for Credential<'a> {
    fn from(key: &'a Key) -> Self {
        Self::Key(key)
    }
}

/// A registration with its current state.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The registration.
    pub registration: Arc<Registration>,
    /// Number of occupied seats: those of members and of joins in progress.
    pub seats: usize,
    /// Number of these that belong to hosts.
    pub hosts: usize,
    /// Number of clients of a paired registration that a host has accepted.
    pub pairs: usize,
    /// Time at which it ends if nobody joins.
    pub expires: Option<Instant>,
    /// Time at which it ends, whether or not it has members.
    pub expires_at: Option<SystemTime>,
}

/// A seat in a registration, released when dropped.
#[derive(Debug)]
pub struct Seat {
    /// The registration.
    pub registration: Arc<Registration>,
    /// The role of the member.
    pub role: Role,
    /// Whether the member may only receive.
    pub receives_only: bool,
    /// The access rule and token that admitted the member; `None` without access rules.
    pub admission: Option<Arc<Admission>>,
    /// Whether it is for a host's end of a pair, which takes no seat of its own.
    is_accepted: bool,
    /// Whether the holder has become a member.
    is_active: bool,
    registry: Arc<Registry>,
}

impl Seat {
    /// Records that the holder is a member now. If the seat is released before this call, as when a relay thread is too
    /// busy, the registration doesn't end: nobody has joined, so nobody has left.
    pub fn activate(&mut self) {
        self.is_active = true;
        if self.is_accepted {
            self.registry.count_pairs(&self.registration, |pairs| pairs + 1);
        }
    }

    /// Returns how long messages wait for a receiver in the registration, and a hold on it for that time; `None` if they
    /// don't wait.
    pub fn hold(&self) -> Option<(Duration, Hold)> {
        self.registry.hold_while_waiting(&self.registration)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if self.is_accepted {
            if self.is_active {
                self.registry.count_pairs(&self.registration, |pairs| pairs - 1);
            }
        } else {
            self.registry.release(&self.registration, self.role, self.is_active, Instant::now());
        }
    }
}

/// Right to send to the members of a registration without a seat in it. It keeps no registration from ending.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The registration.
    pub registration: Arc<Registration>,
    /// The role as which the client sends.
    pub role: Role,
    registry: Arc<Registry>,
}

impl Sender {
    /// Returns how long messages wait for a receiver in the registration, and a hold on it for that time; `None` if they
    /// don't wait, or would only be discarded when the router stops.
    pub fn hold(&self) -> Option<(Duration, Hold)> {
        if self.registry.lock().rejects_newcomers {
            return None;
        }
        self.registry.hold_while_waiting(&self.registration)
    }
}

/// Keeps a registration from ending as empty while messages wait in it, until dropped; it isn't a seat.
///
/// It changes nothing about a removal or about the end of the registration's own lifetime. When it is dropped and no member
/// is there, the registration ends or lingers as if its last member had left then.
#[derive(Debug)]
pub struct Hold {
    /// The registration.
    pub registration: Arc<Registration>,
    registry: Arc<Registry>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.registry.release_hold(&self.registration, Instant::now());
    }
}

/// All registrations.
#[derive(Debug)]
pub struct Registry {
    hasher: KeyHasher,
    serials: Sequence,
    events: Events,
    ended: EndCounts,
    watches: Watches,
    inner: Mutex<Entries>,
}

impl Registry {
    /// Creates an empty registry.
    pub fn new(hasher: KeyHasher, rules: Rules, events: Events) -> Arc<Self> {
        let (serials, ended) = (Sequence::after(0), EndCounts::default());
        let (watches, inner) = (Watches::default(), Mutex::new(Entries::new(rules)));
        Arc::new(Self { hasher, serials, events, ended, watches, inner })
    }

    /// Creates a registration, or returns the id of the one that the same device has created before (same id, kind, keys
    /// and terms, except for the time at which it ends).
    pub fn register(&self, request: &Request, now: Instant) -> Result<RegistrationId, RegisterError> {
        let (key, host_key) = (self.hasher.hash(&request.key), self.hasher.hash(&request.host_key));
        let Terms { client_key, receive_key, max_members, subprotocol, expires_in, wait_s } = &request.terms;
        let hash = |key: &Option<Key>| key.as_ref().map(|key| self.hasher.hash(key));
        let (client_key, receive_key) = (hash(client_key), hash(receive_key));
        let expires_at = expires_in.map(|time| SystemTime::now() + time);
        let mut inner = self.lock();
        if let Some(id) = &request.wanted
            && let Some(entry) = inner.entries.get(id)
        {
            let known = &entry.registration;
            let has_same_terms = known.client_key == client_key
                && known.receive_key == receive_key
                && known.max_members == *max_members
                && known.subprotocol == *subprotocol
                && known.wait_s == *wait_s;
            if known.kind == request.kind && known.key == key && known.host_key == host_key && has_same_terms {
                inner.renew(id, now);
                if expires_at.is_some() {
                    inner.set_expiry(id.as_str(), expires_at);
                }
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
        let shown = event::Terms {
            client_key: client_key.is_some(),
            receive_key: receive_key.is_some(),
            max_members: max_members.map(|most| most as u64),
            ends_in_ms: expires_in.map(|time| time.as_millis() as u64),
            subprotocol: subprotocol.clone(),
            wait_ms: wait_s.map(|seconds| u64::from(seconds.get()) * 1000),
        };
        let registration = Arc::new(Registration {
            serial: Serial(self.serials.next()),
            id: id.clone(),
            kind: request.kind,
            created: SystemTime::now(),
            rule: request.rule.clone(),
            max_members: *max_members,
            subprotocol: subprotocol.clone(),
            wait_s: *wait_s,
            key,
            host_key,
            client_key,
            receive_key,
            end: EndMark::none(),
        });
        inner.insert(Entry::new(registration));
        inner.set_deadline(&id, now);
        inner.set_expiry(id.as_str(), expires_at);
        drop(inner);
        self.events.publish(EventKind::Registered { registration: id.clone(), kind: request.kind, terms: shown });
        Ok(id)
    }

    /// Takes a seat. `role` is required in hostclient and paired registrations, and ignored in a lobby.
    pub fn seat<'a>(
        self: &Arc<Self>,
        id: &str,
        credential: impl Into<Credential<'a>>,
        role: Option<Role>,
    ) -> Result<Seat, SeatError> {
        let credential = credential.into();
        let key = self.hasher.hash(credential.key());
        let mut inner = self.lock();
        let Entries { rules, entries, .. } = &mut *inner;
        let entry = entries.get_mut(id).ok_or(SeatError::Unknown)?;
        let role = entry.registration.admit(credential, &key, role)?;
        if !entry.has_seat_for(role, rules) {
            return Err(SeatError::Full);
        }
        entry.take_seat(role);
        let registration = Arc::clone(&entry.registration);
        inner.clear_deadline(id);
        drop(inner);
        self.watches.notify(registration.serial);
        let receives_only = matches!(credential, Credential::ReceiveKey(_));
        let registry = Arc::clone(self);
        Ok(Seat { registration, role, receives_only, admission: None, is_accepted: false, is_active: false, registry })
    }

    /// Checks a key and the role that goes with it, without taking a seat: for a device whose member has one already.
    /// Returns no role if it is required and missing.
    pub fn admit(
        &self,
        id: &str,
        credential: Credential<'_>,
        role: Option<Role>,
    ) -> Result<(Arc<Registration>, Option<Role>), SeatError> {
        let key = self.hasher.hash(credential.key());
        let inner = self.lock();
        let registration = &inner.entries.get(id).ok_or(SeatError::Unknown)?.registration;
        let role = match registration.admit(credential, &key, role) {
            Err(SeatError::RoleRequired) => None,
            admitted => Some(admitted?),
        };
        Ok((Arc::clone(registration), role))
    }

    /// Hashes the secret of a session.
    pub fn hash_session(&self, secret: &Key) -> KeyHash {
        self.hasher.hash(secret)
    }

    /// Admits a host's end of a pair, which takes no seat of its own: the pair lives as long as its client has one. Returns
    /// `None` if no paired registration has this id. The pair counts once the seat is activated. The number of the
    /// announcement takes the place of a key.
    pub fn accept(self: &Arc<Self>, id: &str) -> Option<Seat> {
        let inner = self.lock();
        let entry = inner.entries.get(id).filter(|entry| entry.registration.kind == Kind::Paired)?;
        let (registration, registry) = (Arc::clone(&entry.registration), Arc::clone(self));
        let (role, receives_only) = (Role::Host, false);
        Some(Seat { registration, role, receives_only, admission: None, is_accepted: true, is_active: false, registry })
    }

    /// Finds a registration for a device that has one of its keys, and returns its numbers of members.
    pub fn members(&self, id: &str, credential: Credential<'_>) -> Result<(Arc<Registration>, MemberCounts), KeyError> {
        let key = self.hasher.hash(credential.key());
        let inner = self.lock();
        let entry = inner.entries.get(id).ok_or(KeyError::Unknown)?;
        if !entry.registration.has_key(credential, &key) {
            return Err(KeyError::WrongKey);
        }
        Ok((Arc::clone(&entry.registration), entry.counts()))
    }

    /// Watches the members of a registration.
    pub fn watch(self: &Arc<Self>, registration: Arc<Registration>) -> Watch {
        Watch::new(Arc::clone(self), registration)
    }

    /// Admits a client that sends without a seat. `role` is required in a hostclient registration, and ignored in a lobby.
    pub fn sender(
        self: &Arc<Self>,
        id: &str,
        credential: Credential<'_>,
        role: Option<Role>,
    ) -> Result<Sender, SenderError> {
        let key = self.hasher.hash(credential.key());
        let inner = self.lock();
        let registration = &inner.entries.get(id).ok_or(SenderError::Unknown)?.registration;
        if !registration.has_key(credential, &key) {
            return Err(SenderError::WrongKey);
        }
        if matches!(credential, Credential::ReceiveKey(_)) {
            return Err(SenderError::ReceivesOnly);
        }
        let role = match registration.kind {
            Kind::Paired => return Err(SenderError::Paired),
            Kind::Lobby => Role::Peer,
            Kind::HostClient => role.ok_or(SenderError::RoleRequired)?,
        };
        if matches!(credential, Credential::ClientKey(_)) && role != Role::Client {
            return Err(SenderError::Forbidden);
        }
        Ok(Sender { registration: Arc::clone(registration), role, registry: Arc::clone(self) })
    }

    /// Ends a registration for a device that has both keys; the caller then closes its members.
    pub fn remove(&self, id: &str, key: &Key, host_key: &Key) -> Result<Arc<Registration>, RemoveError> {
        let (key, host_key) = (self.hasher.hash(key), self.hasher.hash(host_key));
        let mut inner = self.lock();
        let known = &inner.entries.get(id).ok_or(RemoveError::Unknown)?.registration;
        // Both keys are always compared, so that the response time doesn't reveal which one is wrong.
        if !((known.key == key) & (known.host_key == host_key)) {
            return Err(RemoveError::WrongKey);
        }
        let ended = inner.end(id, EndReason::Removed).ok_or(RemoveError::Unknown)?;
        drop(inner);
        self.publish_ended(&ended, None);
        Ok(ended)
    }

    /// Ends a registration for an administrator; the caller then closes its members.
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

    /// Returns the number of registrations.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Returns the number of occupied seats in all registrations.
    pub fn seats(&self) -> usize {
        self.lock().entries.values().map(|entry| entry.seats).sum()
    }

    /// Lists the registrations in which messages wait.
    pub fn held(&self) -> Vec<Arc<Registration>> {
        let inner = self.lock();
        let held = inner.entries.values().filter(|entry| entry.holds > 0);
        held.map(|entry| Arc::clone(&entry.registration)).collect()
    }

    /// Returns whether there are no registrations.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all registrations whose deadline has passed. To be called about once per second.
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

    /// Ends all registrations whose chosen lifetime is over by the wall clock, and returns them; the caller then closes
    /// their members. To be called about once per second.
    pub fn expire(&self, now: SystemTime) -> Vec<Arc<Registration>> {
        let mut expired = Vec::new();
        loop {
            let mut inner = self.lock();
            let next = inner.expiries.first_key_value().filter(|((when, _), _)| *when <= now);
            let Some(id) = next.map(|(_, id)| id.clone()) else { return expired };
            let ended = inner.end(id.as_str(), EndReason::Expired);
            drop(inner);
            if let Some(ended) = ended {
                self.publish_ended(&ended, None);
                expired.push(ended);
            }
        }
    }

    /// Changes the rules. Existing deadlines are not changed.
    pub fn set_rules(&self, rules: Rules) {
        self.lock().rules = rules;
    }

    /// Records whether newcomers are rejected, because the router is being drained or stops.
    pub fn set_rejects_newcomers(&self, rejects: bool) {
        self.lock().rejects_newcomers = rejects;
    }

    /// Releases a seat. If it was the last one, ends the registration or sets its deadline, as the rules require.
    fn release(&self, registration: &Arc<Registration>, role: Role, was_active: bool, now: Instant) {
        let mut inner = self.lock();
        let Entries { rules, entries, .. } = &mut *inner;
        let Some(entry) = entries.get_mut(registration.id.as_str()) else { return };
        if entry.registration.serial != registration.serial {
            return;
        }
        entry.give_back_seat(role);
        entry.ever_joined |= was_active && entry.is_claimed_by(role);
        if entry.seats > 0 {
            drop(inner);
            return self.watches.notify(registration.serial);
        }
        let ends = entry.ends_when_empty(rules, now);
        self.note_empty(inner, registration, ends, now);
    }

    /// Holds a registration while messages wait in it; `None` if it has ended.
    pub fn hold(self: &Arc<Self>, registration: &Arc<Registration>) -> Option<Hold> {
        let mut inner = self.lock();
        let entry = inner.entries.get_mut(registration.id.as_str())?;
        if entry.registration.serial != registration.serial {
            return None;
        }
        entry.holds += 1;
        inner.clear_deadline(registration.id.as_str());
        Some(Hold { registration: Arc::clone(registration), registry: Arc::clone(self) })
    }

    /// Returns how long messages wait for a receiver in a registration, and a hold on it for that time.
    fn hold_while_waiting(self: &Arc<Self>, registration: &Arc<Registration>) -> Option<(Duration, Hold)> {
        Some((registration.wait()?, self.hold(registration)?))
    }

    /// Releases a hold. If the registration has no member either, ends it or sets its deadline, as the rules require.
    fn release_hold(&self, registration: &Arc<Registration>, now: Instant) {
        let mut inner = self.lock();
        let Entries { rules, entries, .. } = &mut *inner;
        let Some(entry) = entries.get_mut(registration.id.as_str()) else { return };
        if entry.registration.serial != registration.serial {
            return;
        }
        entry.holds -= 1;
        if entry.seats > 0 || entry.holds > 0 {
            return;
        }
        let ends = entry.ends_when_empty(rules, now);
        self.note_empty(inner, registration, ends, now);
    }

    /// Ends an empty registration, or sets its deadline.
    fn note_empty(
        &self,
        mut inner: MutexGuard<'_, Entries>,
        registration: &Arc<Registration>,
        ends: bool,
        now: Instant,
    ) {
        let ended = if ends {
            inner.end(registration.id.as_str(), EndReason::Emptied)
        } else {
            inner.set_deadline(&registration.id, now);
            None
        };
        drop(inner);
        match ended {
            Some(ended) => self.publish_ended(&ended, None),
            None => self.watches.notify(registration.serial),
        }
    }

    /// Changes the number of pairs.
    fn count_pairs(&self, registration: &Registration, change: impl FnOnce(u32) -> u32) {
        let mut inner = self.lock();
        let entry = inner.entries.get_mut(registration.id.as_str());
        if let Some(entry) = entry.filter(|entry| entry.registration.serial == registration.serial) {
            entry.pairs = change(entry.pairs);
        }
        drop(inner);
        self.watches.notify(registration.serial);
    }

    /// Returns the number of registrations that have ended in this process, by reason.
    pub fn ended(&self) -> impl Iterator<Item = (EndReason, u64)> {
        self.ended.all()
    }

    /// Counts and publishes the end of a registration, and wakes its watchers.
    fn publish_ended(&self, ended: &Registration, by: Option<Peer>) {
        self.watches.notify(ended.serial);
        if let Some(reason) = ended.end() {
            self.ended.increment(reason);
            self.events.publish(EventKind::Ended { registration: ended.id.clone(), reason, by });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.inner.lock()
    }
}

/// Error of [`Registry::register`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The requested id belongs to a registration with another kind or other keys.
    #[error("the id is in use")]
    Taken,
    /// `limits.registrations` has been reached.
    #[error("limits.registrations has been reached")]
    Full,
    /// The access rule allows no more registrations.
    #[error("the access rule allows no more registrations")]
    Quota,
}

/// Error of [`Registry::seat`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeatError {
    /// No registration has this id.
    #[error("no such registration")]
    Unknown,
    /// The key is wrong.
    #[error("wrong key")]
    WrongKey,
    /// A hostclient registration requires a role.
    #[error("the role is missing")]
    RoleRequired,
    /// The key is correct, but doesn't admit a member with this role.
    #[error("the key doesn't admit hosts")]
    Forbidden,
    /// The registration has the maximum number of members.
    #[error("the registration has the maximum number of members")]
    Full,
}

/// Error of [`Registry::members`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No registration has this id.
    #[error("no such registration")]
    Unknown,
    /// The key is wrong.
    #[error("wrong key")]
    WrongKey,
}

/// Error of [`Registry::sender`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// No registration has this id.
    #[error("no such registration")]
    Unknown,
    /// The key is wrong.
    #[error("wrong key")]
    WrongKey,
    /// A hostclient registration requires a role.
    #[error("the role is missing")]
    RoleRequired,
    /// The key is correct, but doesn't admit a sender with this role.
    #[error("the key doesn't admit hosts")]
    Forbidden,
    /// The key is correct, but only admits receivers.
    #[error("the key only admits receivers")]
    ReceivesOnly,
    /// The key is correct, but nothing can be sent to a paired registration as a whole.
    #[error("the registration is paired")]
    Paired,
}

/// Error of [`Registry::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// No registration has this id.
    #[error("no such registration")]
    Unknown,
    /// One of the keys is wrong.
    #[error("wrong key")]
    WrongKey,
}

/// Reason for which a registration ended, set once and read without a lock. Zero while the registration exists, and
/// afterwards the discriminant of the reason plus one.
#[derive(Debug)]
struct EndMark(AtomicU8);

impl EndMark {
    /// Creates the mark of a registration that exists.
    fn none() -> Self {
        Self(AtomicU8::new(0))
    }

    /// Returns the reason, if the registration has ended.
    fn reason(&self) -> Option<EndReason> {
        let index = usize::from(self.0.load(Ordering::Acquire)).checked_sub(1)?;
        EndReason::ALL.get(index).copied()
    }

    /// Marks the registration as ended.
    fn set(&self, reason: EndReason) {
        self.0.store(reason as u8 + 1, Ordering::Release);
    }
}

/// Numbers of registrations that have ended in this process, by reason.
#[derive(Debug, Default)]
struct EndCounts([Counter; EndReason::COUNT]);

impl EndCounts {
    /// Counts one more.
    fn increment(&self, reason: EndReason) {
        self.0[reason as usize].increment();
    }

    /// Returns the number for each reason.
    fn all(&self) -> impl Iterator<Item = (EndReason, u64)> {
        EndReason::ALL.iter().zip(&self.0).map(|(reason, count)| (*reason, count.value()))
    }
}

#[cfg(test)]
mod tests;
