//! Broadcasts in progress, which are sent to some members of a side at a time.
//!
//! A thousand writes take milliseconds, and everybody else on the thread would wait for them. So a broadcast goes out
//! for a bounded amount of work in each iteration, with the others' turns in between. One is on its way at a time, and
//! the sides that wait are served in their order. While a side is served its senders aren't read from, so that what
//! they send is collected for the next broadcast.
//!
//! Members come and go meanwhile. The receivers are counted at the start: a member that joins stands behind them in the
//! side's list, and one that leaves leaves a hole, which is closed at the end.

use std::collections::VecDeque;

use slab::Slab;

use super::broadcast::PendingBroadcast;
use super::room::Room;

/// The broadcasts of all rooms that wait or are in progress.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    /// Sides with a broadcast to send.
    waiting: VecDeque<(u32, usize)>,
    /// The broadcast in progress.
    pub(super) current: Option<Transmission>,
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
}

impl FanOut {
    /// Queues a side that has something to send.
    pub(super) fn enqueue(&mut self, room: u32, side: usize) {
        self.waiting.push_back((room, side));
    }

    /// Returns whether a broadcast to a side is in progress, and some members have been served.
    pub(super) fn serves(&self, room: u32, side: usize) -> bool {
        self.current.as_ref().is_some_and(|current| (current.room, current.side) == (room, side))
    }

    /// Takes the broadcast in progress, or starts the next one.
    pub(super) fn take(&mut self, rooms: &mut Slab<Room>) -> Option<Transmission> {
        if let Some(current) = self.current.take() {
            return Some(current);
        }
        while let Some((at, side)) = self.waiting.pop_front() {
            // The room may be gone, and another one may have its number.
            let Some(found) = rooms.get_mut(at as usize).map(|room| &mut room.sides[side]) else { continue };
            let Some(broadcast) = found.pending.take() else { continue };
            let (end, holds_senders) = (found.places(), broadcast.is_full());
            return Some(Transmission { room: at, side, broadcast, next: 0, end, holds_senders });
        }
        None
    }

    /// Puts back a broadcast that isn't finished.
    pub(super) fn interrupt(&mut self, mut current: Transmission) {
        current.holds_senders = true;
        self.current = Some(current);
    }

    /// Takes the broadcast in progress of a room that ends.
    pub(super) fn cancel(&mut self, room: u32) -> Option<Transmission> {
        self.current.take_if(|current| current.room == room)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty()
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
