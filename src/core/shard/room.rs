//! The members of one registration, by who receives from whom.
//!
//! A lobby has one side, whose members receive from each other. A hostclient registration has two, and each receives
//! from the other.

use smallvec::SmallVec;

use super::broadcast::PendingBroadcast;
use super::member::MemberTally;
use crate::ids::Serial;
use crate::kind::Role;

/// A registration's members on this thread.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) serial: Serial,
    pub(super) sides: [Side; 2],
    /// Traffic of members that have left, and of messages from outside; `None` until there is some.
    pub(super) departed: Option<Box<MemberTally>>,
}

/// Members that receive from the same senders.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Their slots, in no order; [`HOLE`] where one has left while positions must not change.
    members: SmallVec<[u32; 4]>,
    holes: u32,
    /// Number of members above the high-water mark, without those that only receive, and one more if what waits for a
    /// receiver is above it.
    pub(super) above: u32,
    /// Number of members that only receive. They set the pace only if there are no others.
    pub(super) receive_only: u32,
    /// Number of members that only receive and are above the high-water mark.
    pub(super) receive_only_above: u32,
    /// Senders that aren't read from until this side has room.
    pub(super) paused: Vec<u32>,
    /// Messages to be sent to this side; `None` most of the time.
    pub(super) pending: Option<Box<PendingBroadcast>>,
}

impl Room {
    pub(super) fn new(serial: Serial) -> Self {
        Self { serial, sides: Default::default(), departed: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sides.iter().all(|side| side.len() == 0)
    }

    /// Adds the traffic of a member that leaves, so that the room's sums don't fall, or of a message from outside.
    pub(super) fn keep_tally(&mut self, tally: &MemberTally) {
        if *tally != MemberTally::default() {
            self.departed.get_or_insert_default().add(tally);
        }
    }

    /// Returns the slots of all members.
    pub(super) fn slots(&self) -> impl Iterator<Item = usize> {
        self.sides.iter().flat_map(Side::slots)
    }
}

impl Side {
    /// Returns the number of members.
    pub(super) fn len(&self) -> usize {
        self.members.len() - self.holes as usize
    }

    /// Returns the number of members that send and receive.
    pub(super) fn senders(&self) -> usize {
        self.len() - self.receive_only as usize
    }

    /// Returns the count of members above the high-water mark to which a member belongs.
    pub(super) fn above_mut(&mut self, receives_only: bool) -> &mut u32 {
        if receives_only { &mut self.receive_only_above } else { &mut self.above }
    }

    /// Returns whether all receivers are too far behind for a member of a side to send more; with `pace`, whether one
    /// is. `is_above` says whether the member, which is one of them in a lobby, is itself above the high-water mark.
    /// Messages that wait for a receiver count as one if they are above it.
    pub(super) fn is_behind(&self, is_lobby: bool, is_above: bool, pace: bool) -> bool {
        let senders = self.senders() - usize::from(is_lobby);
        let above = self.above as usize - usize::from(is_lobby && is_above);
        let (receivers, above) = match senders {
            0 if above == 0 => (self.receive_only as usize, self.receive_only_above as usize),
            _ => (senders, above),
        };
        above > 0 && (above >= receivers || pace)
    }

    /// Returns the length of the list, holes included.
    pub(super) fn places(&self) -> usize {
        self.members.len()
    }

    /// Returns the list of members, holes included.
    pub(super) fn as_slice(&self) -> &[u32] {
        &self.members
    }

    /// Returns the slot of the member at a position, if there is one.
    pub(super) fn at(&self, place: usize) -> Option<usize> {
        self.members.get(place).copied().filter(|slot| *slot != HOLE).map(|slot| slot as usize)
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = usize> {
        self.members.iter().copied().filter(|slot| *slot != HOLE).map(|slot| slot as usize)
    }

    /// Adds a member at the end of the list, and returns its position.
    pub(super) fn add(&mut self, slot: usize) -> u32 {
        let place = self.members.len();
        self.members.push(slot as u32);
        if let Some(pending) = &mut self.pending {
            pending.note_join(place);
        }
        place as u32
    }

    /// Removes the member at a position. It leaves a hole if positions must not change; otherwise the last member moves
    /// to its position, and is returned.
    pub(super) fn remove(&mut self, place: usize, keeps_places: bool) -> Option<usize> {
        if keeps_places || self.pending.as_deref().is_some_and(PendingBroadcast::depends_on_places) {
            self.members[place] = HOLE;
            self.holes += 1;
            return None;
        }
        self.members.swap_remove(place);
        self.at(place)
    }

    /// Closes all holes; reports each member's slot and new position.
    pub(super) fn close_holes(&mut self, mut moved: impl FnMut(usize, u32)) {
        if self.holes == 0 {
            return;
        }
        if let Some(pending) = &mut self.pending {
            pending.close_holes(self.members.iter().map(|slot| *slot == HOLE));
        }
        self.members.retain(|slot| *slot != HOLE);
        self.holes = 0;
        for (place, slot) in self.members.iter().enumerate() {
            moved(*slot as usize, place as u32);
        }
    }
}

/// Returns the side that a role belongs to.
pub(super) fn side_of(role: Role) -> usize {
    match role {
        Role::Host | Role::Peer => 0,
        Role::Client => 1,
    }
}

/// Returns the side that receives what a role sends.
pub(super) fn receivers_of(role: Role) -> usize {
    match role {
        Role::Client | Role::Peer => 0,
        Role::Host => 1,
    }
}

/// Entry of a member that has left.
const HOLE: u32 = u32::MAX;
