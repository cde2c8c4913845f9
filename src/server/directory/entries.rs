//! The registrations under the directory's lock: by id, by the time of their end, and counted by access rule.
//!
//! Every change keeps the three in step, so that nothing is left behind that would never end. Nothing here waits, tells
//! or asks anybody.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use ws_router_admin_api::event::EndReason;
use ws_router_core::ids::{RegistrationId, Serial};

use super::{Registration, Rules, Summary};
use crate::sync::Arc;

/// All registrations, in every order that is asked for.
#[derive(Debug)]
pub(super) struct Inner {
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
    pub(super) claimed: bool,
    /// When it ends by itself; only without seats.
    pub(super) deadline: Option<Instant>,
}

impl Inner {
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
    pub(super) fn reclaim(&mut self, id: &RegistrationId, now: Instant) {
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.seats == 0 {
            entry.claimed = false;
            self.set_deadline(id, now);
        }
    }

    /// Sets the time of its end, as the rules and its past have it; an empty one that has none stays.
    pub(super) fn set_deadline(&mut self, id: &RegistrationId, now: Instant) {
        self.clear_deadline(id.as_str());
        let Some(entry) = self.entries.get_mut(id) else { return };
        let patience = match (entry.claimed, self.rules.auto_remove) {
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
