//! The last events of each registration, which show why a device was disconnected.
//!
//! Memory is bounded in three ways. For each registration, the last [`MAX_PER_REGISTRATION`] events are kept. Of the
//! registrations that have ended, the latest [`MAX_ENDED`] are kept, for at most [`RETENTION`]. In total, [`MAX_TOTAL`]
//! events are kept: beyond that, the registrations that ended first are dropped, and then only the last
//! [`MIN_PER_REGISTRATION`] events of each registration are kept. A registration takes some hundred bytes, and an event 80.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ws_router_admin_api::event::{Admission, EndReason, Event, EventKind, Terms};
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, RegistrationId};
use ws_router_core::kind::{Kind, Role};

use crate::peer::Peer;

/// Last events of all registrations.
#[derive(Debug, Default)]
pub struct History {
    registrations: HashMap<RegistrationId, Timeline>,
    /// Registrations that have ended, the earliest first. Some of their ids may have been registered again.
    ended: VecDeque<(u64, RegistrationId)>,
    /// Number of events of all registrations.
    total: usize,
}

/// Events of one id, over all registrations that have had it.
#[derive(Debug, Default)]
struct Timeline {
    events: VecDeque<Entry>,
    /// Number of events that have been dropped.
    dropped: u64,
    /// Time and reason of the end of the last registration, if the id has not been registered again.
    ended: Option<(u64, EndReason)>,
}

/// An event without the id, which is the key of its timeline.
#[derive(Debug, Clone)]
struct Entry {
    at_ms: u64,
    kind: EntryKind,
}

#[derive(Debug, Clone)]
enum EntryKind {
    Registered {
        kind: Kind,
        /// `None` for a registration without terms.
        terms: Option<Box<Terms>>,
    },
    Reclaimed,
    Ended {
        reason: EndReason,
        by: Option<Peer>,
    },
    Joined {
        member: MemberId,
        role: Role,
        peer: Peer,
        admission: Option<Arc<Admission>>,
    },
    Left {
        member: MemberId,
        role: Role,
        reason: CloseReason,
        by: Option<Process>,
        code: Option<u16>,
        silent_ms: u32,
        messages_in: u64,
        bytes_in: u64,
        messages_out: u64,
        bytes_out: u64,
        admission: Option<Arc<Admission>>,
    },
    Away {
        member: MemberId,
        role: Role,
        reason: CloseReason,
        silent_ms: u32,
    },
    Returned {
        member: MemberId,
        role: Role,
        peer: Peer,
        away_ms: u32,
        again: u64,
    },
    Sent {
        messages_in: u64,
        bytes_in: u64,
        admission: Option<Arc<Admission>>,
    },
}

/// A process of an administrator, in a quarter of the size of a [`Peer`].
#[derive(Debug, Clone, Copy)]
struct Process {
    uid: u32,
    pid: i32,
}

impl Process {
    fn of(peer: Peer) -> Option<Self> {
        match peer {
            Peer::Unix { uid, pid } => Some(Self { uid, pid }),
            Peer::Inet(_) => None,
        }
    }

    fn peer(self) -> Peer {
        Peer::Unix { uid: self.uid, pid: self.pid }
    }
}

impl History {
    /// Records an event, if it concerns a registration.
    pub fn record(&mut self, event: &Event) {
        let Some((registration, kind)) = EntryKind::split(&event.kind) else { return };
        self.drop_ended(event.at_ms);
        if kind.is_leave_after_removal() && !self.registrations.contains_key(registration.as_str()) {
            // The registration has been dropped, and no later event would end its new timeline.
            return;
        }
        if let EntryKind::Sent { .. } = kind {
            let timeline = self.registrations.get_mut(registration.as_str());
            // A message that was on its way while the registration ended is reported later.
            let Some(timeline) = timeline.filter(|timeline| timeline.ended.is_none()) else { return };
            if timeline.merge_sends(event.at_ms, &kind) {
                return;
            }
        }
        let is_full = self.total >= MAX_TOTAL;
        let timeline = self.registrations.entry(registration.clone()).or_default();
        let is_end = matches!(kind, EntryKind::Ended { .. });
        timeline.add(Entry { at_ms: event.at_ms, kind });
        self.total += 1;
        self.total -= timeline.trim(if is_full { MIN_PER_REGISTRATION } else { MAX_PER_REGISTRATION });
        if is_end {
            timeline.events.shrink_to_fit();
            self.ended.push_back((event.at_ms, registration.clone()));
        }
    }

    /// Returns a registration's events, the earliest first, and how many before them have been dropped; `None` if the
    /// id is unknown.
    pub fn of(&self, id: &RegistrationId) -> Option<(u64, Vec<Event>)> {
        let timeline = self.registrations.get(id.as_str())?;
        Some((timeline.dropped, timeline.events.iter().map(|entry| entry.event(id)).collect()))
    }

    /// Copies the last events of all registrations for a new process. If there are too many, those of existing
    /// registrations are preferred.
    pub fn export(&self) -> Vec<Event> {
        let (ended, living): (Vec<_>, Vec<_>) =
            self.registrations.iter().partition(|(_, timeline)| timeline.ended.is_some());
        let mut events = Vec::new();
        for (id, timeline) in living.into_iter().chain(ended) {
            events.extend(timeline.last(MIN_PER_REGISTRATION).map(|entry| entry.event(id)));
            if events.len() >= MAX_HANDED_OVER {
                break;
            }
        }
        // Sorted by time, since the new process drops ended registrations in the order of its records.
        events.sort_by_key(|event| event.at_ms);
        events
    }

    /// Drops registrations that ended too long ago, and the earliest if too many have ended.
    fn drop_ended(&mut self, now_ms: u64) {
        let oldest = now_ms.saturating_sub(RETENTION.as_millis() as u64);
        while let Some((at_ms, _)) = self.ended.front()
            && (*at_ms < oldest || self.ended.len() > MAX_ENDED || self.total >= MAX_TOTAL)
        {
            let Some((at_ms, id)) = self.ended.pop_front() else { return };
            // The id may have been registered again, and that registration may have ended later.
            if self
                .registrations
                .get(id.as_str())
                .is_some_and(|timeline| timeline.ended.is_some_and(|(at, _)| at == at_ms))
                && let Some(timeline) = self.registrations.remove(id.as_str())
            {
                self.total -= timeline.events.len();
            }
        }
    }
}

impl Timeline {
    fn add(&mut self, entry: Entry) {
        self.ended = match (&entry.kind, self.ended) {
            (EntryKind::Ended { reason, .. }, _) => Some((entry.at_ms, *reason)),
            (EntryKind::Registered { .. } | EntryKind::Reclaimed, _) => None,
            // Events of members, which may come after the end.
            (_, ended) => ended.filter(|(_, reason)| reason.may_have_members()),
        };
        self.events.push_back(entry);
    }

    /// Adds a report of sends to one of the same admission, unless something else has happened since; returns whether it
    /// did. So a device that sends all day takes one event.
    fn merge_sends(&mut self, now_ms: u64, more: &EntryKind) -> bool {
        let EntryKind::Sent { messages_in: more_messages, bytes_in: more_bytes, admission: of } = more else {
            return false;
        };
        for Entry { at_ms, kind } in self.events.iter_mut().rev() {
            match kind {
                EntryKind::Sent { messages_in, bytes_in, admission } if admission == of => {
                    *messages_in += more_messages;
                    *bytes_in += more_bytes;
                    *at_ms = now_ms;
                    return true;
                }
                EntryKind::Sent { .. } => {}
                _ => return false,
            }
        }
        false
    }

    /// Drops the first events until `most` are left, but never that of the end. Returns the number of dropped events.
    fn trim(&mut self, most: usize) -> usize {
        let too_many = self.events.len().saturating_sub(most);
        for _ in 0..too_many {
            let first = self.events.front().is_some_and(|entry| self.is_end(entry));
            self.events.remove(usize::from(first));
        }
        self.dropped += too_many as u64;
        too_many
    }

    /// Returns the last events, always including that of the end.
    fn last(&self, most: usize) -> impl Iterator<Item = &Entry> {
        let first = self.events.len().saturating_sub(most);
        let end = self.events.iter().position(|entry| self.is_end(entry)).filter(|at| *at < first);
        let entries = self.events.iter().enumerate();
        let chosen = move |at| end == Some(at) || at >= first + usize::from(end.is_some());
        entries.filter(move |(at, _)| chosen(*at)).map(|(_, entry)| entry)
    }

    fn is_end(&self, entry: &Entry) -> bool {
        matches!(entry.kind, EntryKind::Ended { .. }) && self.ended.is_some_and(|(at_ms, _)| at_ms == entry.at_ms)
    }
}

impl EntryKind {
    /// Returns whether the event is the leave of a member whose registration was removed.
    fn is_leave_after_removal(&self) -> bool {
        matches!(self, Self::Left { reason: CloseReason::Removed | CloseReason::RemovedByAdmin, .. })
    }

    /// Splits an event into its registration and the rest; `None` if it concerns none.
    fn split(kind: &EventKind) -> Option<(&RegistrationId, Self)> {
        Some(match kind {
            EventKind::Registered { registration, kind, terms } => {
                let terms = (*terms != Terms::default()).then(|| Box::new(terms.clone()));
                (registration, Self::Registered { kind: *kind, terms })
            }
            EventKind::Reclaimed { registration } => (registration, Self::Reclaimed),
            EventKind::Ended { registration, reason, by } => (registration, Self::Ended { reason: *reason, by: *by }),
            EventKind::Joined { registration, member, role, peer, admission } => {
                let admission = admission.clone();
                (registration, Self::Joined { member: *member, role: *role, peer: *peer, admission })
            }
            EventKind::Left {
                registration,
                member,
                role,
                reason,
                by,
                code,
                silent_ms,
                messages_in,
                bytes_in,
                messages_out,
                bytes_out,
                admission,
            } => {
                let left = Self::Left {
                    member: *member,
                    role: *role,
                    reason: *reason,
                    by: by.and_then(Process::of),
                    code: *code,
                    silent_ms: u32::try_from(*silent_ms).unwrap_or(u32::MAX),
                    messages_in: *messages_in,
                    bytes_in: *bytes_in,
                    messages_out: *messages_out,
                    bytes_out: *bytes_out,
                    admission: admission.clone(),
                };
                (registration, left)
            }
            EventKind::Away { registration, member, role, reason, silent_ms } => {
                let silent_ms = u32::try_from(*silent_ms).unwrap_or(u32::MAX);
                (registration, Self::Away { member: *member, role: *role, reason: *reason, silent_ms })
            }
            EventKind::Returned { registration, member, role, peer, away_ms, again } => {
                let away_ms = u32::try_from(*away_ms).unwrap_or(u32::MAX);
                let returned = Self::Returned { member: *member, role: *role, peer: *peer, away_ms, again: *again };
                (registration, returned)
            }
            EventKind::Sent { registration, messages_in, bytes_in, admission } => {
                let (messages_in, bytes_in, admission) = (*messages_in, *bytes_in, admission.clone());
                (registration, Self::Sent { messages_in, bytes_in, admission })
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
        let kind = match self.kind.clone() {
            EntryKind::Registered { kind, terms } => {
                EventKind::Registered { registration, kind, terms: terms.map(|terms| *terms).unwrap_or_default() }
            }
            EntryKind::Reclaimed => EventKind::Reclaimed { registration },
            EntryKind::Ended { reason, by } => EventKind::Ended { registration, reason, by },
            EntryKind::Joined { member, role, peer, admission } => {
                EventKind::Joined { registration, member, role, peer, admission }
            }
            EntryKind::Left {
                member,
                role,
                reason,
                by,
                code,
                silent_ms,
                messages_in,
                bytes_in,
                messages_out,
                bytes_out,
                admission,
            } => EventKind::Left {
                registration,
                member,
                role,
                reason,
                by: by.map(Process::peer),
                code,
                silent_ms: silent_ms.into(),
                messages_in,
                bytes_in,
                messages_out,
                bytes_out,
                admission,
            },
            EntryKind::Away { member, role, reason, silent_ms } => {
                EventKind::Away { registration, member, role, reason, silent_ms: silent_ms.into() }
            }
            EntryKind::Returned { member, role, peer, away_ms, again } => {
                EventKind::Returned { registration, member, role, peer, away_ms: away_ms.into(), again }
            }
            EntryKind::Sent { messages_in, bytes_in, admission } => {
                EventKind::Sent { registration, messages_in, bytes_in, admission }
            }
        };
        Event { at_ms: self.at_ms, kind }
    }
}

/// Maximum number of events of one registration: some hours of a device with a bad network.
const MAX_PER_REGISTRATION: usize = 32;
/// Minimum number of last events that are kept of each registration. The event of the end is never dropped.
const MIN_PER_REGISTRATION: usize = 8;
/// Maximum number of registrations that have ended.
const MAX_ENDED: usize = 10_000;
/// Time for which registrations that have ended are kept: long enough for an inquiry.
const RETENTION: Duration = Duration::from_secs(6 * 60 * 60);
/// Maximum number of all events, which take ten megabytes.
const MAX_TOTAL: usize = 131_072;
/// Maximum number of events that are handed over to a new process, since members wait until they are encoded.
const MAX_HANDED_OVER: usize = 32_768;

#[cfg(test)]
mod tests;
