//! The tables behind the registry's lock: registrations by id, by deadline, and counted by access rule.
//!
//! Each method keeps the tables consistent with each other: a registration without an entry in the table of deadlines
//! might never end. Nothing here blocks or publishes events.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant, SystemTime};

use ws_router_admin_api::event::EndReason;
use ws_router_core::ids::{RegistrationId, Serial};
use ws_router_core::kind::{Kind, Role};

use super::{MemberCounts, Registration, Summary};
use crate::config::{self, Config};
use crate::sync::Arc;

/// All registrations, indexed by id, deadline and access rule.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) rules: Rules,
    pub(super) entries: HashMap<RegistrationId, Entry>,
    /// Registrations that have a deadline, by deadline.
    pub(super) deadlines: BTreeMap<(Instant, Serial), RegistrationId>,
    /// Registrations that end at a time of the wall clock, by this time.
    pub(super) expiries: BTreeMap<(SystemTime, Serial), RegistrationId>,
    /// Whether newcomers are rejected, so that nobody will come for whom a message from outside could wait.
    pub(super) rejects_newcomers: bool,
    /// Number of registrations created under each access rule.
    by_rule: HashMap<Arc<str>, usize>,
}

/// A registration, and the state that only the registry uses.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) registration: Arc<Registration>,
    /// Number of occupied seats: those of members and of joins in progress.
    pub(super) seats: usize,
    /// Number of these seats that belong to hosts.
    pub(super) hosts: usize,
    /// Number of holds: each keeps the registration from ending as empty, but isn't a seat.
    pub(super) holds: u32,
    /// Number of clients of a paired registration that a host has accepted.
    pub(super) pairs: u32,
    /// Whether the registration has had a member since its device registered.
    pub(super) ever_joined: bool,
    /// Time until which the registration is kept without members, because its device has registered again and is expected
    /// to join.
    pub(super) expected_until: Option<Instant>,
    /// Time at which the registration ends if no device joins; `None` while a seat is occupied or something holds the
    /// registration.
    pub(super) deadline: Option<Instant>,
    /// Time at which the registration ends, whether or not it has members. It is a time of the wall clock, so that
    /// suspending the machine or restarting the router doesn't postpone it.
    pub(super) expires_at: Option<SystemTime>,
}

impl Entries {
    /// Creates empty tables.
    pub(super) fn new(rules: Rules) -> Self {
        let (deadlines, expiries) = (BTreeMap::new(), BTreeMap::new());
        let (entries, by_rule) = (HashMap::new(), HashMap::new());
        Self { rules, entries, deadlines, expiries, rejects_newcomers: false, by_rule }
    }

    /// Returns a random id that is not in use.
    pub(super) fn fresh_id(&self) -> RegistrationId {
        loop {
            let id = RegistrationId::from_uuid(uuid::Uuid::new_v4());
            if !self.entries.contains_key(&id) {
                return id;
            }
        }
    }

    /// Adds a registration.
    pub(super) fn insert(&mut self, entry: Entry) {
        if let Some(rule) = &entry.registration.rule {
            *self.by_rule.entry(Arc::clone(rule)).or_default() += 1;
        }
        self.entries.insert(entry.registration.id.clone(), entry);
    }

    /// Returns whether an access rule allows another registration.
    pub(super) fn has_room_under(&self, rule: Option<&Arc<str>>) -> bool {
        let quota = rule.and_then(|rule| Some((rule, self.rules.quotas.get(rule)?.registrations?)));
        quota.is_none_or(|(rule, quota)| self.by_rule.get(rule).copied().unwrap_or_default() < quota)
    }

    /// Removes a registration, and marks it as ended.
    pub(super) fn end(&mut self, id: &str, reason: EndReason) -> Option<Arc<Registration>> {
        self.clear_deadline(id);
        self.set_expiry(id, None);
        let entry = self.entries.remove(id)?;
        if let Some(rule) = &entry.registration.rule
            && let Some(count) = self.by_rule.get_mut(rule)
        {
            *count -= 1;
            if *count == 0 {
                self.by_rule.remove(rule);
            }
        }
        entry.registration.end.set(reason);
        Some(entry.registration)
    }

    /// Renews a registration for its device, which has registered again. The device then has as much time to join as after
    /// its first request, even if the remaining members leave in the meantime.
    pub(super) fn renew(&mut self, id: &RegistrationId, now: Instant) {
        let expected_until = now + self.rules.unclaimed_timeout;
        let Some(entry) = self.entries.get_mut(id) else { return };
        entry.expected_until = Some(expected_until);
        if entry.seats == 0 {
            entry.ever_joined = false;
            self.set_deadline(id, now);
        }
    }

    /// Sets the deadline of an empty registration, or none if something holds it or the rules keep empty registrations.
    pub(super) fn set_deadline(&mut self, id: &RegistrationId, now: Instant) {
        self.clear_deadline(id.as_str());
        let Some(entry) = self.entries.get_mut(id).filter(|entry| entry.holds == 0) else { return };
        let deadline = match (entry.ever_joined, self.rules.auto_remove) {
            (false, _) => now + self.rules.unclaimed_timeout,
            (true, true) => entry.expected_until.into_iter().fold(now + self.rules.linger, Instant::max),
            (true, false) => return,
        };
        entry.deadline = Some(deadline);
        self.deadlines.insert((deadline, entry.registration.serial), id.clone());
    }

    /// Sets or clears the time at which a registration ends, whether or not it has members.
    pub(super) fn set_expiry(&mut self, id: &str, expires_at: Option<SystemTime>) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        let (serial, id) = (entry.registration.serial, &entry.registration.id);
        if let Some(before) = std::mem::replace(&mut entry.expires_at, expires_at) {
            self.expiries.remove(&(before, serial));
        }
        if let Some(expires_at) = expires_at {
            self.expiries.insert((expires_at, serial), id.clone());
        }
    }

    /// Clears the deadline of a registration, if it has one.
    pub(super) fn clear_deadline(&mut self, id: &str) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(deadline) = entry.deadline.take() {
            self.deadlines.remove(&(deadline, entry.registration.serial));
        }
    }
}

impl Entry {
    /// Creates an entry without seats and deadlines.
    pub(super) fn new(registration: Arc<Registration>) -> Self {
        Self {
            registration,
            seats: 0,
            hosts: 0,
            holds: 0,
            pairs: 0,
            ever_joined: false,
            expected_until: None,
            deadline: None,
            expires_at: None,
        }
    }

    /// Returns whether the rules and the registration's own limit leave a seat for a member with this role. While there is
    /// no host, the last seat of the registration's own limit is reserved for one; that of a paired registration counts
    /// only clients.
    pub(super) fn has_seat_for(&self, role: Role, rules: &Rules) -> bool {
        let quota = self.registration.rule.as_ref().and_then(|rule| rules.quotas.get(rule)?.members);
        let (counted, kept) = match (self.registration.kind, role) {
            (Kind::Paired, Role::Host) if self.hosts >= MAX_LISTENING_HOSTS => return false,
            (Kind::Paired, Role::Host) => (0, 0),
            (Kind::Paired, _) => (self.seats - self.hosts, 0),
            (_, role) => (self.seats, usize::from(role == Role::Client && self.hosts == 0)),
        };
        self.seats < quota.map_or(rules.max_members, |quota| quota.min(rules.max_members))
            && self.registration.max_members.is_none_or(|limit| counted + kept < limit)
    }

    pub(super) fn take_seat(&mut self, role: Role) {
        self.seats += 1;
        self.hosts += usize::from(role == Role::Host);
    }

    pub(super) fn give_back_seat(&mut self, role: Role) {
        self.seats -= 1;
        self.hosts -= usize::from(role == Role::Host);
    }

    /// Returns whether a member with this role claims the registration, which then ends after its last member has left.
    /// Only hosts claim a paired registration.
    pub(super) fn is_claimed_by(&self, role: Role) -> bool {
        self.registration.kind != Kind::Paired || role == Role::Host
    }

    /// Returns whether the registration has had a member that claims it, or has one.
    pub(super) fn is_claimed(&self) -> bool {
        let is_paired = self.registration.kind == Kind::Paired;
        self.ever_joined || (if is_paired { self.hosts } else { self.seats }) > 0
    }

    /// Returns whether the registration ends as soon as it is empty.
    pub(super) fn ends_when_empty(&self, rules: &Rules, now: Instant) -> bool {
        let is_expected = self.expected_until.is_some_and(|until| until > now);
        rules.auto_remove && rules.linger.is_zero() && self.ever_joined && !is_expected && self.holds == 0
    }

    /// Returns the numbers of members, joins in progress included.
    pub(super) fn counts(&self) -> MemberCounts {
        match self.registration.kind {
            Kind::HostClient => MemberCounts::HostClient { hosts: self.hosts, clients: self.seats - self.hosts },
            Kind::Lobby => MemberCounts::Lobby { peers: self.seats },
            Kind::Paired => {
                // The client of a pair may leave before the host's end.
                let clients = self.seats - self.hosts;
                let pairs = (self.pairs as usize).min(clients);
                MemberCounts::Paired { hosts: self.hosts, pairs, waiting: clients - pairs }
            }
        }
    }

    /// Returns the registration with its current state.
    pub(super) fn summary(&self) -> Summary {
        let registration = Arc::clone(&self.registration);
        Summary {
            registration,
            seats: self.seats,
            hosts: self.hosts,
            pairs: self.pairs as usize,
            expires: self.deadline,
            expires_at: self.expires_at,
        }
    }
}

/// Rules for the lifetime of registrations, and limits on them.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whether a registration ends after its last member has left.
    pub auto_remove: bool,
    /// Time for which a registration is kept after its last member has left.
    pub linger: Duration,
    /// Time for which a registration is kept until its first member joins.
    pub unclaimed_timeout: Duration,
    /// Maximum number of registrations.
    pub max_registrations: usize,
    /// Maximum number of members of one registration.
    pub max_members: usize,
    /// Quotas of access rules, by the names of the rules.
    pub quotas: HashMap<Arc<str>, Quota>,
}

impl Rules {
    /// Returns the rules that a configuration sets.
    pub fn of(config: &Config) -> Self {
        Self {
            auto_remove: config.registration.auto_remove,
            linger: config.registration.linger,
            unclaimed_timeout: config.registration.unclaimed_timeout,
            max_registrations: config.limits.registrations,
            max_members: config.limits.members,
            quotas: config.access.iter().enumerate().filter_map(|(index, rule)| Quota::of(index, rule)).collect(),
        }
    }
}

/// Limits of an access rule on the registrations that were created under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Maximum number of concurrent registrations.
    pub registrations: Option<usize>,
    /// Maximum number of members of each registration.
    pub members: Option<usize>,
}

impl Quota {
    /// Returns the quota of a rule with its name, if the rule has one.
    fn of(index: usize, rule: &config::Rule) -> Option<(Arc<str>, Self)> {
        let quota = Self { registrations: rule.registrations, members: rule.members };
        (quota != Self::default()).then(|| (rule.title(index).into(), quota))
    }
}

/// Hosts that listen in a paired registration. Each client is announced to all of them at once, so their number bounds
/// the work of a join.
const MAX_LISTENING_HOSTS: usize = 64;
