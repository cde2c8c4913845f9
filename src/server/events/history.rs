//! The last events of each registration, for the question why a device went away.
//!
//! Bounded three ways, so that no peer can fill the memory with its past: a registration keeps its last [`EVENTS`]; of
//! those that have ended the latest [`ENDED`] are kept, for [`KEPT`]; and all together keep [`TOTAL`] events, beyond
//! which the longest ended go first, and then a registration keeps only its last [`LEAST`]. A registration costs some
//! hundred bytes and 56 for each event. Joins and leaves come here, messages never.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use ws_router_admin_api::event::{EndReason, Event, EventKind};
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, RegistrationId};
use ws_router_core::kind::{Kind, Role};

use crate::peer::Peer;

/// What is remembered of all registrations.
#[derive(Debug, Default)]
pub struct History {
    stories: HashMap<RegistrationId, Story>,
    /// Those that have ended, the earliest first; some of them may have come to life again since.
    ended: VecDeque<(u64, RegistrationId)>,
    /// Events of all stories.
    total: usize,
}

/// What is remembered of one registration, over all lives of its id.
#[derive(Debug, Default)]
struct Story {
    events: VecDeque<Entry>,
    /// Events that are forgotten already.
    forgotten: u64,
    /// When and why the last life ended, if no other one has begun.
    ended: Option<(u64, EndReason)>,
}

/// An event without the id that it is kept under.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at_ms: u64,
    what: Kept,
}

#[derive(Debug, Clone, Copy)]
enum Kept {
    Registered(Kind),
    Reclaimed,
    Ended {
        reason: EndReason,
        by: Option<Peer>,
    },
    Joined {
        member: MemberId,
        role: Role,
        peer: Peer,
    },
    Left {
        member: MemberId,
        role: Role,
        reason: CloseReason,
        code: Option<u16>,
        silent_ms: u32,
        messages_in: u64,
        messages_out: u64,
    },
}

impl History {
    /// Remembers an event, if it is a registration's.
    pub fn record(&mut self, event: &Event) {
        let Some((registration, what)) = Kept::of(&event.kind) else { return };
        self.forget_ended(event.at_ms);
        if what.is_of_the_removed() && !self.stories.contains_key(registration.as_str()) {
            // It is forgotten already, and nothing would ever end it again.
            return;
        }
        let is_full = self.total >= TOTAL;
        let story = self.stories.entry(registration.clone()).or_default();
        story.add(Entry { at_ms: event.at_ms, what });
        self.total += 1;
        self.total -= story.trim(if is_full { LEAST } else { EVENTS });
        if matches!(what, Kept::Ended { .. }) {
            story.events.shrink_to_fit();
            self.ended.push_back((event.at_ms, registration.clone()));
        }
    }

    /// Tells a registration's events, the earliest first, and how many before them are forgotten; `None` if nothing is
    /// known of it.
    pub fn of(&self, id: &RegistrationId) -> Option<(u64, Vec<Event>)> {
        let story = self.stories.get(id.as_str())?;
        Some((story.forgotten, story.events.iter().map(|entry| entry.event(id)).collect()))
    }

    /// Copies the last events of all registrations for a successor, the living ones' before those of the ended.
    pub fn carried(&self) -> Vec<Event> {
        let (ended, living): (Vec<_>, Vec<_>) = self.stories.iter().partition(|(_, story)| story.ended.is_some());
        let mut events = Vec::new();
        for (id, story) in living.into_iter().chain(ended) {
            events.extend(story.last(LEAST).map(|entry| entry.event(id)));
            if events.len() >= CARRIED {
                break;
            }
        }
        // In the order in which they happened, or those that ended could not be forgotten in theirs.
        events.sort_by_key(|event| event.at_ms);
        events
    }

    /// Forgets those that have ended too long ago, or are too many.
    fn forget_ended(&mut self, now_ms: u64) {
        let oldest = now_ms.saturating_sub(KEPT.as_millis() as u64);
        while let Some((at_ms, _)) = self.ended.front()
            && (*at_ms < oldest || self.ended.len() > ENDED || self.total >= TOTAL)
        {
            let Some((at_ms, id)) = self.ended.pop_front() else { return };
            // Another life of the id may have begun, or ended later.
            if self.stories.get(id.as_str()).is_some_and(|story| story.ended.is_some_and(|(at, _)| at == at_ms))
                && let Some(story) = self.stories.remove(id.as_str())
            {
                self.total -= story.events.len();
            }
        }
    }
}

impl Story {
    fn add(&mut self, entry: Entry) {
        self.ended = match (entry.what, self.ended) {
            (Kept::Ended { reason, .. }, _) => Some((entry.at_ms, reason)),
            (Kept::Registered(_) | Kept::Reclaimed, _) => None,
            (Kept::Joined { .. } | Kept::Left { .. }, ended) => ended.filter(|(_, reason)| reason.may_have_members()),
        };
        self.events.push_back(entry);
    }

    /// Forgets the first events until no more than so many are left, but never how it ended; tells how many these were.
    fn trim(&mut self, most: usize) -> usize {
        let too_many = self.events.len().saturating_sub(most);
        for _ in 0..too_many {
            let first = self.events.front().is_some_and(|entry| self.is_the_end(entry));
            self.events.remove(usize::from(first));
        }
        self.forgotten += too_many as u64;
        too_many
    }

    /// The last events, how it ended always among them.
    fn last(&self, most: usize) -> impl Iterator<Item = &Entry> {
        let first = self.events.len().saturating_sub(most);
        let end = self.events.iter().position(|entry| self.is_the_end(entry)).filter(|at| *at < first);
        let entries = self.events.iter().enumerate();
        let chosen = move |at| end == Some(at) || at >= first + usize::from(end.is_some());
        entries.filter(move |(at, _)| chosen(*at)).map(|(_, entry)| entry)
    }

    fn is_the_end(&self, entry: &Entry) -> bool {
        matches!(entry.what, Kept::Ended { .. }) && self.ended.is_some_and(|(at_ms, _)| at_ms == entry.at_ms)
    }
}

impl Kept {
    /// Tells whether it is about a member whose registration was removed under it.
    fn is_of_the_removed(&self) -> bool {
        matches!(self, Self::Left { reason: CloseReason::Removed | CloseReason::RemovedByAdmin, .. })
    }

    /// Takes what is a registration's.
    fn of(kind: &EventKind) -> Option<(&RegistrationId, Self)> {
        Some(match kind {
            EventKind::Registered { registration, kind } => (registration, Self::Registered(*kind)),
            EventKind::Reclaimed { registration } => (registration, Self::Reclaimed),
            EventKind::Ended { registration, reason, by } => (registration, Self::Ended { reason: *reason, by: *by }),
            EventKind::Joined { registration, member, role, peer } => {
                (registration, Self::Joined { member: *member, role: *role, peer: *peer })
            }
            EventKind::Left { registration, member, role, reason, code, silent_ms, messages_in, messages_out } => {
                let left = Self::Left {
                    member: *member,
                    role: *role,
                    reason: *reason,
                    code: *code,
                    silent_ms: u32::try_from(*silent_ms).unwrap_or(u32::MAX),
                    messages_in: *messages_in,
                    messages_out: *messages_out,
                };
                (registration, left)
            }
            EventKind::Reloaded | EventKind::DrainBegun { .. } | EventKind::Drained | EventKind::DrainUndone => {
                return None;
            }
        })
    }
}

impl Entry {
    fn event(&self, id: &RegistrationId) -> Event {
        let registration = id.clone();
        let kind = match self.what {
            Kept::Registered(kind) => EventKind::Registered { registration, kind },
            Kept::Reclaimed => EventKind::Reclaimed { registration },
            Kept::Ended { reason, by } => EventKind::Ended { registration, reason, by },
            Kept::Joined { member, role, peer } => EventKind::Joined { registration, member, role, peer },
            Kept::Left { member, role, reason, code, silent_ms, messages_in, messages_out } => {
                let silent_ms = silent_ms.into();
                EventKind::Left { registration, member, role, reason, code, silent_ms, messages_in, messages_out }
            }
        };
        Event { at_ms: self.at_ms, kind }
    }
}

/// Events of one registration: some hours of a device with a bad network.
const EVENTS: usize = 32;
/// Events that a registration keeps in any case: how it began is forgotten first, how it ended is not.
const LEAST: usize = 8;
/// Registrations that have ended.
const ENDED: usize = 10_000;
/// How long they are remembered: long enough for somebody to complain.
const KEPT: Duration = Duration::from_secs(6 * 60 * 60);
/// Events in all: seven megabytes.
const TOTAL: usize = 131_072;
/// Events that a successor gets: they travel while everybody waits.
const CARRIED: usize = 32_768;

#[cfg(test)]
mod tests;
