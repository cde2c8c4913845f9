//! What registrations have passed on: for an administrator who asks, and never for a message.
//!
//! Nothing is counted for it while messages flow. The members' own tallies are summed up when somebody asks, a few
//! rooms at a time, so that those who talk don't wait for it; only when a member leaves others behind, what it had
//! sent and been sent is kept with its room, so that the sums of a room don't fall before its last member has left.

use super::member::{Member, MemberTally};
use super::room::Room;
use super::{Link, Shard};
use crate::ids::Serial;

/// What the members of a registration have sent and been sent, those who have left included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All members together, since the room was empty.
    pub tally: MemberTally,
    /// Bytes that wait for the members' sockets now.
    pub outbox: u64,
}

impl<L: Link> Shard<L> {
    /// Tells each room's sums from a place on (0 is the first), until so many rooms and members have been looked at;
    /// gives the place to go on at, or `None` behind the last room. Rooms that come and go between two calls may be
    /// told or not.
    pub fn traffic(&self, from: usize, at_most: usize, mut tell: impl FnMut(Serial, Traffic)) -> Option<usize> {
        let (mut looked_at, end) = (0, self.rooms.capacity());
        for place in from..end {
            if looked_at >= at_most {
                return Some(place);
            }
            looked_at += 1;
            if let Some(room) = self.rooms.get(place) {
                looked_at += room.sides.iter().map(|side| side.members.len()).sum::<usize>();
                tell(room.serial, self.sum(room));
            }
        }
        None
    }

    /// Tells one registration's sums.
    pub fn traffic_of(&self, serial: Serial) -> Traffic {
        let room = self.by_serial.get(&serial).and_then(|place| self.rooms.get(*place as usize));
        room.map(|room| self.sum(room)).unwrap_or_default()
    }

    fn sum(&self, room: &Room) -> Traffic {
        let tally = room.departed.as_deref().copied().unwrap_or_default();
        let slots = room.sides.iter().flat_map(|side| &side.members);
        let members = slots.filter_map(|slot| self.members.get(*slot as usize));
        members.fold(Traffic { tally, outbox: 0 }, |sums, member| sums.and(member))
    }
}

impl Traffic {
    fn and<L: Link>(mut self, member: &Member<L>) -> Self {
        self.tally.add(&member.tally);
        self.outbox += member.queued() as u64;
        self
    }
}

impl Room {
    /// Keeps what a member had sent and been sent that leaves others behind.
    pub(super) fn keep(&mut self, tally: &MemberTally) {
        if *tally != MemberTally::default() {
            self.departed.get_or_insert_default().add(tally);
        }
    }
}

impl MemberTally {
    fn add(&mut self, other: &Self) {
        self.messages_in += other.messages_in;
        self.bytes_in += other.bytes_in;
        self.messages_out += other.messages_out;
        self.bytes_out += other.bytes_out;
    }
}
