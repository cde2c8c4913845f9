//! Members to serve again without waiting for readiness: their last read left something, they were paused, or their
//! sockets may take more.
//!
//! Two kinds of members have queues of their own, since there may be thousands of them and the others shouldn't wait
//! behind them: those that are closing, and those of a large room whose sockets are being filled with a broadcast.
//! Sockets of a room are filled one after the other. Otherwise a member that reads would wait for all that don't. Rooms
//! take turns.

use std::collections::{HashMap, VecDeque};

use super::member::Member;

/// Members to be served in the next iterations, each once.
#[derive(Debug, Default)]
pub(super) struct RunQueue {
    usual: VecDeque<u32>,
    filling: Filling,
    closing: VecDeque<u32>,
}

/// One of the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Members in order.
    Usual,
    /// Members of large rooms whose sockets are being filled, one of each room in turn, and of each the latest first.
    Filling,
    /// Members that are closing, in order.
    Closing,
}

impl Lane {
    /// All queues, in the order in which they are served.
    pub(super) const ALL: [Self; 3] = [Self::Usual, Self::Filling, Self::Closing];
}

/// Members of large rooms whose sockets are being filled.
#[derive(Debug, Default)]
struct Filling {
    /// The members of each room, the latest last; no list is empty.
    rooms: HashMap<u32, Vec<u32>>,
    /// The rooms, in the order of their turns.
    turns: VecDeque<u32>,
    /// Number of members.
    len: usize,
    /// Rooms of which no member was left for a moment.
    emptied: Vec<u32>,
    /// A list for the next room.
    spare: Vec<u32>,
}

impl Filling {
    fn push(&mut self, room: u32, slot: u32) {
        let slots = self.rooms.entry(room).or_insert_with(|| {
            self.turns.push_back(room);
            std::mem::take(&mut self.spare)
        });
        slots.push(slot);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<u32> {
        let room = self.turns.pop_front()?;
        let slots = self.rooms.get_mut(&room)?;
        let slot = slots.pop()?;
        self.len -= 1;
        if !slots.is_empty() {
            self.turns.push_back(room);
        } else if let Some(slots) = self.rooms.remove(&room) {
            self.spare = slots;
            self.emptied.push(room);
        }
        Some(slot)
    }
}

impl RunQueue {
    /// Schedules a member in the usual queue.
    pub(super) fn schedule<L>(&mut self, slot: usize, member: &mut Member<L>) {
        self.schedule_in(Lane::Usual, slot, member);
    }

    /// Schedules a member, unless it is scheduled already.
    pub(super) fn schedule_in<L>(&mut self, lane: Lane, slot: usize, member: &mut Member<L>) {
        if member.flags.is_scheduled {
            return;
        }
        member.flags.is_scheduled = true;
        match lane {
            Lane::Usual => self.usual.push_back(slot as u32),
            Lane::Filling => self.filling.push(member.room, slot as u32),
            Lane::Closing => self.closing.push_back(slot as u32),
        }
    }

    /// Returns the next scheduled member of a queue.
    pub(super) fn pop(&mut self, lane: Lane) -> Option<usize> {
        let slot = match lane {
            Lane::Usual => self.usual.pop_front(),
            Lane::Filling => self.filling.pop(),
            Lane::Closing => self.closing.pop_front(),
        };
        slot.map(|slot| slot as usize)
    }

    /// Returns the length of a queue.
    pub(super) fn len(&self, lane: Lane) -> usize {
        match lane {
            Lane::Usual => self.usual.len(),
            Lane::Filling => self.filling.len,
            Lane::Closing => self.closing.len(),
        }
    }

    /// Returns whether sockets of a room's members are being filled.
    pub(super) fn is_filling(&self, room: u32) -> bool {
        self.filling.len > 0 && self.filling.rooms.contains_key(&room)
    }

    /// Returns a room whose members' sockets have been filled since the last calls.
    pub(super) fn pop_filled(&mut self) -> Option<u32> {
        let filling = &mut self.filling;
        std::iter::from_fn(|| filling.emptied.pop()).find(|room| !filling.rooms.contains_key(room))
    }

    pub(super) fn is_empty(&self) -> bool {
        Lane::ALL.iter().all(|lane| self.len(*lane) == 0)
    }
}
