//! The last events of each registration, for the question why a device went away.
//!
//! Bounded three ways, so that no peer can fill the memory with its past: a registration keeps its last [`EVENTS`]; of
//! those that have ended the latest [`ENDED`] are kept, for [`KEPT`]; and all together keep [`TOTAL`] events, beyond
//! which the longest ended go first, and then a registration keeps only its last [`LEAST`]. A registration costs some
//! hundred bytes and 56 for each event. Joins and leaves come here, messages never.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::{EndReason, Event, What};
use crate::close::CloseReason;
use crate::ids::{MemberId, RegistrationId};
use crate::kind::{Kind, Role};
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
    ended_at: Option<u64>,
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
    Ended(EndReason),
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
        let Some((registration, what)) = Kept::of(&event.what) else { return };
        self.forget_ended(event.at_ms);
        let is_full = self.total >= TOTAL;
        let story = self.stories.entry(registration.clone()).or_default();
        story.events.push_back(Entry { at_ms: event.at_ms, what });
        self.total += 1;
        let most = if is_full { LEAST } else { EVENTS };
        while story.events.len() > most {
            story.events.pop_front();
            story.forgotten += 1;
            self.total -= 1;
        }
        story.ended_at = matches!(what, Kept::Ended(_)).then_some(event.at_ms);
        if story.ended_at.is_some() {
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
        let (ended, living): (Vec<_>, Vec<_>) = self.stories.iter().partition(|(_, story)| story.ended_at.is_some());
        let mut events = Vec::new();
        for (id, story) in living.into_iter().chain(ended) {
            let first = story.events.len().saturating_sub(LEAST);
            events.extend(story.events.iter().skip(first).map(|entry| entry.event(id)));
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
            if self.stories.get(id.as_str()).is_some_and(|story| story.ended_at == Some(at_ms))
                && let Some(story) = self.stories.remove(id.as_str())
            {
                self.total -= story.events.len();
            }
        }
    }
}

impl Kept {
    /// Takes what is a registration's.
    fn of(what: &What) -> Option<(&RegistrationId, Self)> {
        Some(match what {
            What::Registered { registration, kind } => (registration, Self::Registered(*kind)),
            What::Reclaimed { registration } => (registration, Self::Reclaimed),
            What::Ended { registration, reason } => (registration, Self::Ended(*reason)),
            What::Joined { registration, member, role, peer } => {
                (registration, Self::Joined { member: *member, role: *role, peer: *peer })
            }
            What::Left { registration, member, role, reason, code, silent_ms, messages_in, messages_out } => {
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
            What::Reloaded | What::DrainBegun { .. } | What::Drained | What::DrainUndone => return None,
        })
    }
}

impl Entry {
    fn event(&self, id: &RegistrationId) -> Event {
        let registration = id.clone();
        let what = match self.what {
            Kept::Registered(kind) => What::Registered { registration, kind },
            Kept::Reclaimed => What::Reclaimed { registration },
            Kept::Ended(reason) => What::Ended { registration, reason },
            Kept::Joined { member, role, peer } => What::Joined { registration, member, role, peer },
            Kept::Left { member, role, reason, code, silent_ms, messages_in, messages_out } => {
                let silent_ms = silent_ms.into();
                What::Left { registration, member, role, reason, code, silent_ms, messages_in, messages_out }
            }
        };
        Event { at_ms: self.at_ms, what }
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
