//! Broadcasts in progress, which are sent to some members of a side at a time.
//!
//! A thousand writes take milliseconds, and everybody else on the thread would wait for them. So a broadcast goes out
//! for a bounded amount of work in each iteration, with the others' turns in between. The sides that have something to
//! send take turns, so that a small broadcast doesn't wait for a large one to end; each turn is long enough for a usual
//! one. While the sockets of a room's members are being filled, its sides wait for that ([`super::run_queue`]), and the
//! others go on. While a side is served its senders aren't read from, so that what they send is collected for the next
//! broadcast.
//!
//! Members come and go meanwhile. The receivers are counted at the start: a member that joins stands behind them in the
//! side's list, and one that leaves leaves a hole, which is closed at the end.

use std::collections::{HashMap, VecDeque};

use slab::Slab;
use smallvec::SmallVec;

use super::broadcast::PendingBroadcast;
use super::room::Room;

/// The broadcasts of all rooms that wait or are in progress.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    /// Sides with a broadcast to send, or to continue with, in the order of their turns.
    turns: VecDeque<(u32, usize)>,
    /// Sides of rooms whose members' sockets are being filled.
    parked: HashMap<u32, SmallVec<[usize; 2]>>,
    /// The broadcasts in progress, by room and side.
    in_progress: HashMap<(u32, usize), Transmission>,
}

/// A broadcast in progress.
#[derive(Debug)]
pub(super) struct Transmission {
    pub(super) room: u32,
    pub(super) side: usize,
    pub(super) broadcast: Box<PendingBroadcast>,
    /// The positions in the side's list that are still to be served.
    pub(super) next: usize,
    pub(super) end: usize,
    /// Whether senders may wait for its end.
    pub(super) holds_senders: bool,
    /// Work that is left of its turn.
    pub(super) turn: usize,
}

impl FanOut {
    /// Queues a side that has something to send, unless it is queued with the broadcast in progress.
    pub(super) fn enqueue(&mut self, room: u32, side: usize) {
        if !self.serves(room, side) {
            self.turns.push_back((room, side));
        }
    }

    /// Returns whether a broadcast to a side is in progress, and some members have been served.
    #[inline]
    pub(super) fn serves(&self, room: u32, side: usize) -> bool {
        !self.in_progress.is_empty() && self.in_progress.contains_key(&(room, side))
    }

    /// Takes the broadcast whose turn it is: one in progress, or one that starts. Sides of rooms for which `waits` is
    /// true wait for [`FanOut::unpark`].
    pub(super) fn take(&mut self, rooms: &mut Slab<Room>, waits: impl Fn(u32) -> bool) -> Option<Transmission> {
        while let Some((at, side)) = self.turns.pop_front() {
            if waits(at) {
                self.parked.entry(at).or_default().push(side);
                continue;
            }
            if let Some(current) = self.take_from(at, side) {
                return Some(current);
            }
            // The room may be gone, and another one may have its number.
            let Some(found) = rooms.get_mut(at as usize).map(|room| &mut room.sides[side]) else { continue };
            let Some(broadcast) = found.pending.take() else { continue };
            let (end, holds_senders) = (found.places(), broadcast.is_full());
            return Some(Transmission { room: at, side, broadcast, next: 0, end, holds_senders, turn: TURN });
        }
        None
    }

    /// Takes the broadcast in progress to a side. To be put back with [`FanOut::put_back`].
    pub(super) fn take_from(&mut self, room: u32, side: usize) -> Option<Transmission> {
        if self.in_progress.is_empty() { None } else { self.in_progress.remove(&(room, side)) }
    }

    /// Puts back what [`FanOut::take_from`] has returned.
    pub(super) fn put_back(&mut self, current: Transmission) {
        self.in_progress.insert((current.room, current.side), current);
    }

    /// Puts back a broadcast that isn't finished. It goes on at once, or behind the others if its turn is over.
    pub(super) fn interrupt(&mut self, mut current: Transmission) {
        current.holds_senders = true;
        let place = (current.room, current.side);
        if current.turn > 0 {
            self.turns.push_front(place);
        } else {
            current.turn = TURN;
            self.turns.push_back(place);
        }
        self.put_back(current);
    }

    /// Continues with the sides of a room whose members' sockets are filled.
    pub(super) fn unpark(&mut self, room: u32) {
        let sides = if self.parked.is_empty() { None } else { self.parked.remove(&room) };
        self.turns.extend(sides.into_iter().flatten().map(|side| (room, side)));
    }

    /// Continues with all sides.
    pub(super) fn unpark_all(&mut self) {
        let parked = self.parked.drain();
        self.turns.extend(parked.flat_map(|(room, sides)| sides.into_iter().map(move |side| (room, side))));
    }

    /// Takes the broadcast in progress to a side of a room that ends.
    pub(super) fn cancel(&mut self, room: u32, side: usize) -> Option<Transmission> {
        if !self.parked.is_empty() {
            self.parked.remove(&room);
        }
        self.take_from(room, side)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty() && self.parked.is_empty()
    }

    /// Returns the broadcasts in progress.
    #[cfg(test)]
    pub(super) fn in_progress(&self) -> impl Iterator<Item = &Transmission> {
        self.in_progress.values()
    }
}

impl Transmission {
    pub(super) fn is_through(&self) -> bool {
        self.next >= self.end
    }

    /// Returns whether the member at a position is still to be served.
    pub(super) fn is_to_reach(&self, place: usize) -> bool {
        (self.next..self.end).contains(&place)
    }
}

/// Work of a turn: about as many small writes.
const TURN: usize = 64;
