//! The end of a round: what was collected for a side of a room goes out to its members, some of them at a time.
//!
//! A thousand writes take milliseconds, and everybody else on the thread would wait for them. So the round of a side is
//! a *flight*: it goes on for a bounded number of writes in each round of the loop, with the others' turns in between.
//! While it lasts its senders aren't read from, so that what they send is collected for the next flight as before.
//!
//! One flight is under way at a time, and the sides that wait are served in their order. Nobody comes into the room
//! or leaves it under way: whoever does lands the flight first. What other rooms have under way isn't hurried by that, so
//! their rounds may name senders who have left, and whose slots are somebody else's by now, in another room.

use smallvec::SmallVec;

use super::deliver::send_all;
use super::outbox::Chunk;
use super::room::Round;
use super::{Link, Moment, Shard};
use crate::close::CloseReason;
use crate::ids::Serial;

/// A round on its way to the members of a side.
#[derive(Debug)]
pub(super) struct Flight {
    room: u32,
    side: usize,
    round: Box<Round>,
    /// How many members have had it.
    at: usize,
    /// What those who lag share of its small parts.
    small: Option<Chunk>,
}

impl Flight {
    /// What is on its way.
    #[cfg(test)]
    pub(super) fn round(&self) -> &Round {
        &self.round
    }
}

impl<L: Link> Shard<L> {
    /// Ends the round: writes what was collected to each receiver.
    pub fn flush(&mut self, now: Moment) {
        self.fly(usize::MAX, now);
    }

    /// Goes on with the end of the round for about `work` small writes, as many as the others can wait for;
    /// [`Shard::has_work`] tells whether something is left.
    pub fn flush_some(&mut self, work: usize, now: Moment) {
        self.fly(work, now);
    }

    fn fly(&mut self, mut work: usize, now: Moment) {
        while work > 0 {
            if self.flight.is_none() {
                let Some((room, side)) = self.dirty.pop_front() else { break };
                self.take_off(room, side);
            }
            work = work.saturating_sub(self.go_on(work, now));
        }
    }

    /// Flushes a registration's room before its turn.
    pub(super) fn flush_room(&mut self, serial: Serial, now: Moment) {
        for side in 0..2 {
            // Looked up for each, since those who are lost may have been the last.
            if let Some(room) = self.by_serial.get(&serial).copied() {
                self.flush_side(room, side, now);
            }
        }
    }

    /// Flushes one side before its turn.
    pub(super) fn flush_side(&mut self, room: u32, side: usize, now: Moment) {
        let other = self.flight.take_if(|flight| (flight.room, flight.side) != (room, side));
        self.go_on(usize::MAX, now);
        self.take_off(room, side);
        self.go_on(usize::MAX, now);
        self.flight = other;
    }

    /// Lands what is under way in a room.
    pub(super) fn land(&mut self, room: u32, now: Moment) {
        if self.flight.as_ref().is_some_and(|flight| flight.room == room) {
            self.go_on(usize::MAX, now);
        }
    }

    fn take_off(&mut self, room: u32, side: usize) {
        let found = self.rooms.get_mut(room as usize).map(|room| &mut room.sides[side]);
        if let Some(round) = found.and_then(|side| side.round.take()) {
            self.flight = Some(Flight { room, side, round, at: 0, small: None });
        }
    }

    /// Serves as many members as `work` allows, one at least; tells how much work it was.
    fn go_on(&mut self, work: usize, now: Moment) -> usize {
        let Some(mut flight) = self.flight.take() else { return 0 };
        let (mut lagging, mut lost) = (std::mem::take(&mut self.lagging), SmallVec::<[u32; 4]>::new());
        let each = 1 + flight.round.bytes / WORTH_A_WRITE;
        let begin = flight.at;
        let is_over = self.serve(&mut flight, (work / each).max(1), &mut lagging, &mut lost);
        let done = (flight.at - begin) * each;
        self.keep_for_laggards(&mut flight, &mut lagging, now);
        if is_over {
            self.touch_down(flight);
        } else {
            self.rooms[flight.room as usize].sides[flight.side].in_flight = true;
            self.flight = Some(flight);
        }
        // Only now, since whoever leaves lands the flight.
        for (slot, before) in lagging.drain(..) {
            self.charge(slot as usize, before, now);
        }
        self.lagging = lagging;
        for slot in lost {
            self.close(slot as usize, CloseReason::Lost, None, now);
        }
        done
    }

    /// Writes to the next members; tells whether they were the last. Who doesn't take all is noted with what was taken.
    fn serve(
        &mut self,
        flight: &mut Flight,
        at_most: usize,
        lagging: &mut Vec<(u32, usize)>,
        lost: &mut SmallVec<[u32; 4]>,
    ) -> bool {
        let Some(room) = self.rooms.get(flight.room as usize) else { return true };
        let receivers = &room.sides[flight.side].members;
        let end = receivers.len().min(flight.at.saturating_add(at_most));
        let round = &flight.round;
        let common = round.slices(u32::MAX, false);
        for &slot in &receivers[flight.at..end] {
            let member = &mut self.members[slot as usize];
            let (own_bytes, own_messages) = if member.flags.spoke { round.own(slot) } else { (0, 0) };
            let (bytes, messages) = (round.bytes - own_bytes, round.messages - own_messages);
            if bytes == 0 {
                continue;
            }
            member.tally.messages_out += messages;
            member.tally.bytes_out += bytes as u64;
            self.tally.deliveries += messages;
            self.tally.bytes_out += bytes as u64;
            let sent = match (&member.outbox, own_bytes) {
                (Some(_), _) => Ok(0),
                (None, 0) => send_all(&mut member.link, &common),
                (None, _) => send_all(&mut member.link, &round.slices(slot, true)),
            };
            match sent {
                Ok(sent) if sent == bytes => {}
                Ok(sent) => lagging.push((slot, sent)),
                Err(_) => lost.push(slot),
            }
        }
        flight.at = end;
        end == receivers.len()
    }

    /// Has those who lag owed what they didn't take, and notes what they were owed before.
    fn keep_for_laggards(&mut self, flight: &mut Flight, lagging: &mut [(u32, usize)], now: Moment) {
        if lagging.is_empty() {
            return;
        }
        let small = flight.small.get_or_insert_with(|| flight.round.keep(&mut self.buffers));
        for (slot, sent) in lagging {
            let member = &mut self.members[*slot as usize];
            let before = member.queued();
            let outbox = member.outbox.get_or_insert_with(|| self.spares.take_outbox(now));
            flight.round.owe(small, *slot, *sent, outbox);
            *sent = before;
        }
    }

    /// Ends a flight: its senders have their say again.
    fn touch_down(&mut self, flight: Flight) {
        let Flight { room, side: at, mut round, small, .. } = flight;
        let mut set_spoke = |senders: &Round, spoke| {
            for sender in senders.senders() {
                if let Some(member) = self.members.get_mut(sender as usize).filter(|member| member.room == room) {
                    member.flags.spoke = spoke;
                }
            }
        };
        set_spoke(&round, false);
        let mut was_interrupted = false;
        if let Some(side) = self.rooms.get_mut(room as usize).map(|room| &mut room.sides[at]) {
            was_interrupted = std::mem::take(&mut side.in_flight);
            if let Some(next) = &side.round {
                set_spoke(next, true);
            }
        }
        self.held.rounds -= round.memory() as u64;
        round.clear(&mut self.buffers);
        self.spares.give_round(round);
        if let Some(small) = small {
            self.buffers.give_shared(small);
        }
        if was_interrupted {
            self.wake_senders(room, at);
        }
    }
}

/// So many bytes take a few times as long as the system call that writes them.
const WORTH_A_WRITE: usize = 64 << 10;
