//! Messages from outside: sent to the members of a registration by something that is no member, as by `POST /send`.
//!
//! Such a message takes the same way as one that a member has sent: to a single receiver at once, and to several with
//! the room's broadcast, behind everything that was sent before. It counts as received in the traffic of the
//! registration, like the messages of a member that has left. Nobody is excluded as its sender, so all peers of a lobby
//! receive it.
//!
//! While a member would not be read from, because all receivers are behind, a message from outside isn't accepted
//! either. It is returned, and [`Shard::take_ready`] names its registration as soon as trying again is worthwhile.

use std::collections::HashSet;
use std::time::Duration;

use super::broadcast::PendingBroadcast;
use super::room::receivers_of;
use super::{Link, MemberTally, Moment, Shard};
use crate::frame::{Batch, Opcode, Piece, ServerHeader};
use crate::ids::Serial;
use crate::kind::Role;

/// A message from outside, as the frame that its receivers get.
#[derive(Debug)]
pub struct OutsideMessage {
    frame: Vec<u8>,
    payload: usize,
}

impl OutsideMessage {
    /// Creates a text message.
    pub fn text(payload: &str) -> Self {
        Self::new(Opcode::Text, payload.as_bytes())
    }

    /// Creates a binary message.
    pub fn binary(payload: &[u8]) -> Self {
        Self::new(Opcode::Binary, payload)
    }

    /// Returns the length of its payload.
    pub fn len(&self) -> usize {
        self.payload
    }

    /// Returns whether its payload is empty.
    pub fn is_empty(&self) -> bool {
        self.payload == 0
    }

    fn new(opcode: Opcode, payload: &[u8]) -> Self {
        let header = ServerHeader::new(opcode, payload.len());
        Self { frame: [header.as_bytes(), payload].concat(), payload: payload.len() }
    }
}

/// Result of [`Shard::send_from_outside`].
#[derive(Debug)]
pub enum Outcome {
    /// The message was written to, or queued for, so many members.
    Sent(usize),
    /// Nobody is there to receive it, and it waits for the next member.
    Waiting,
    /// Nobody is there to receive it, and it was dropped.
    NoReceiver,
    /// All receivers are too far behind to take more, so it was not sent.
    Behind(OutsideMessage),
}

/// Sides of rooms that messages from outside wait for.
#[derive(Debug, Default)]
pub(super) struct AwaitedSides {
    /// Sides that are behind, by the number of their room.
    behind: HashSet<(u32, usize)>,
    /// Registrations one of whose sides has caught up since.
    ready: Vec<Serial>,
}

impl AwaitedSides {
    /// Records that a side has room again, or is gone.
    pub(super) fn on_progress(&mut self, room: u32, side: usize, serial: Serial) {
        if !self.behind.is_empty() && self.behind.remove(&(room, side)) {
            self.ready.push(serial);
        }
    }

    /// Returns whether a registration is ready.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }
}

impl<L: Link> Shard<L> {
    /// Sends a message to all who receive from members of a role, unless all of them are behind. Without such a member
    /// that may also send, it waits for one if the registration has messages wait; `hold` is that of
    /// [`Shard::wait_for_receiver`].
    pub fn send_from_outside(
        &mut self,
        serial: Serial,
        role: Role,
        message: OutsideMessage,
        hold: impl FnOnce() -> Option<(Duration, L::Hold)>,
        now: Moment,
    ) -> Outcome {
        let target = receivers_of(role);
        let side = self.by_serial.get(&serial).map(|room| (*room, &self.rooms[*room as usize].sides[target]));
        let mut is_received = false;
        if let Some((room, side)) = side {
            let is_full = side.pending.as_deref().is_some_and(PendingBroadcast::is_full);
            if is_full || side.is_behind(false, false, self.rules.pace) {
                self.awaited.behind.insert((room, target));
                return Outcome::Behind(message);
            }
            is_received = side.slots().any(|slot| self.members[slot].is_present());
        }
        let OutsideMessage { frame, payload } = message;
        if !self.has_receiver(serial, role) {
            if !is_received {
                let waits = self.wait_for_receiver(serial, role, frame, hold, now);
                if waits {
                    self.count_from_outside(serial, payload);
                }
                return if waits { Outcome::Waiting } else { Outcome::NoReceiver };
            }
            // Members that only receive get it now, and the next other one when it joins.
            self.wait_for_receiver(serial, role, frame.clone(), hold, now);
        }
        self.count_from_outside(serial, payload);
        let receivers = self.deliver_from_outside(serial, target, frame, now);
        self.reap(now);
        Outcome::Sent(receivers)
    }

    /// Sends a frame to the members of a side; returns their number.
    fn deliver_from_outside(&mut self, serial: Serial, target: usize, frame: Vec<u8>, now: Moment) -> usize {
        let Some(&room) = self.by_serial.get(&serial) else { return 0 };
        self.quantum.note_read(room, now);
        let side = &self.rooms[room as usize].sides[target];
        let (receivers, is_first) = (side.len(), side.pending.is_none() && !self.fan_out.serves(room, target));
        let single = if let (&[receiver], true) = (side.as_slice(), is_first) { Some(receiver as usize) } else { None };
        let bytes = frame.len();
        let mut batch = Batch { messages: 1, bytes, ..Batch::default() };
        batch.pieces.push(Piece::Assembled(frame, 0..bytes));
        match single {
            Some(receiver) => self.hand_over(receiver, &mut batch, now),
            None => self.collect(OUTSIDE, room, target, &mut batch),
        }
        receivers
    }

    /// Counts a message as received by the registration.
    fn count_from_outside(&mut self, serial: Serial, payload: usize) {
        let tally = MemberTally { messages_in: 1, bytes_in: payload as u64, ..MemberTally::default() };
        self.tally.messages_in += tally.messages_in;
        self.tally.bytes_in += tally.bytes_in;
        if let Some(room) = self.by_serial.get(&serial).and_then(|room| self.rooms.get_mut(*room as usize)) {
            room.keep_tally(&tally);
        }
    }

    /// Returns a registration for which [`Outcome::Behind`] may no longer hold. Each is returned once, until the next
    /// message that isn't accepted.
    pub fn take_ready(&mut self) -> Option<Serial> {
        self.awaited.ready.pop()
    }
}

/// Slot number that stands for the sender of messages from outside; no member has it.
const OUTSIDE: u32 = u32::MAX - 1;
