//! The registrations under the registry's lock: by id, by the time of their end, and counted by access rule.
//!
//! Every change keeps the three in step, so that nothing is left behind that would never end. Nothing here waits, tells
//! or asks anybody.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use ws_router_admin_api::event::EndReason;
use ws_router_core::ids::{RegistrationId, Serial};

use super::{Registration, Summary};
use crate::config::{self, Config};
use crate::sync::Arc;

/// All registrations, in every order that is asked for.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) rules: Rules,
    pub(super) entries: HashMap<RegistrationId, Entry>,
    /// Of the entries without seats, those that end by themselves.
    pub(super) deadlines: BTreeMap<(Instant, Serial), RegistrationId>,
    /// How many entries were made under each access rule.
    by_rule: HashMap<Arc<str>, usize>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) registration: Arc<Registration>,
    /// Places taken: by members, and by those about to be one.
    pub(super) seats: usize,
    /// Whether anybody has ever been a member.
    pub(super) ever_joined: bool,
    /// When it ends by itself; only without seats.
    pub(super) deadline: Option<Instant>,
}

impl Entries {
    /// Begins without any.
    pub(super) fn new(rules: Rules) -> Self {
        Self { rules, entries: HashMap::new(), deadlines: BTreeMap::new(), by_rule: HashMap::new() }
    }

    /// Draws an id that is free; a second draw happens about never.
    pub(super) fn fresh_id(&self) -> RegistrationId {
        loop {
            let id = RegistrationId::from_uuid(uuid::Uuid::new_v4());
            if !self.entries.contains_key(&id) {
                return id;
            }
        }
    }

    /// Adds a new one.
    pub(super) fn insert(&mut self, entry: Entry) {
        if let Some(rule) = &entry.registration.rule {
            *self.by_rule.entry(Arc::clone(rule)).or_default() += 1;
        }
        self.entries.insert(entry.registration.id.clone(), entry);
    }

    /// Tells whether an access rule allows another registration.
    pub(super) fn has_room_under(&self, rule: Option<&Arc<str>>) -> bool {
        let quota = rule.and_then(|rule| Some((rule, self.rules.quotas.get(rule)?.registrations?)));
        quota.is_none_or(|(rule, quota)| self.by_rule.get(rule).copied().unwrap_or_default() < quota)
    }

    /// Takes one out, and marks it as ended.
    pub(super) fn end(&mut self, id: &str, reason: EndReason) -> Option<Arc<Registration>> {
        self.clear_deadline(id);
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

    /// Gives an empty registration's device as much time as a new one's.
    pub(super) fn renew(&mut self, id: &RegistrationId, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.seats == 0 {
            entry.ever_joined = false;
            self.set_deadline(id, now);
        }
    }

    /// Sets the time of its end, as the rules and its past have it; an empty one that has none stays.
    pub(super) fn set_deadline(&mut self, id: &RegistrationId, now: Instant) {
        self.clear_deadline(id.as_str());
        let Some(entry) = self.entries.get_mut(id) else { return };
        let patience = match (entry.ever_joined, self.rules.auto_remove) {
            (false, _) => self.rules.unclaimed_timeout,
            (true, true) => self.rules.linger,
            (true, false) => return,
        };
        let deadline = now + patience;
        entry.deadline = Some(deadline);
        self.deadlines.insert((deadline, entry.registration.serial), id.clone());
    }

    /// Takes away the time of its end, if it has one.
    pub(super) fn clear_deadline(&mut self, id: &str) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Some(deadline) = entry.deadline.take() {
            self.deadlines.remove(&(deadline, entry.registration.serial));
        }
    }
}

impl Entry {
    /// Shows it.
    pub(super) fn summary(&self) -> Summary {
        Summary { registration: Arc::clone(&self.registration), seats: self.seats, expires: self.deadline }
    }
}

/// The rules by which registrations live.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whether a registration ends when its last member has left.
    pub auto_remove: bool,
    /// How long an emptied registration is kept.
    pub linger: Duration,
    /// How long a registration that nobody joined is kept.
    pub unclaimed_timeout: Duration,
    /// Registrations in all.
    pub max_registrations: usize,
    /// Members of one registration.
    pub max_members: usize,
    /// What access rules bound further, by their names.
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

/// What an access rule bounds of the registrations that were made under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Registrations at a time.
    pub registrations: Option<usize>,
    /// Members of each.
    pub members: Option<usize>,
}

impl Quota {
    /// Returns what a rule bounds, with its name, if it bounds anything.
    fn of(index: usize, rule: &config::Rule) -> Option<(Arc<str>, Self)> {
        let quota = Self { registrations: rule.registrations, members: rule.members };
        (quota != Self::default()).then(|| (rule.title(index).into(), quota))
    }
}
