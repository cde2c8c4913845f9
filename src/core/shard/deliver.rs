//! What a member sent, on its way to those who hear it.
//!
//! One receiver is written to at once, straight from where the message lies. For several, what all senders sent
//! within the round is collected and each receiver gets one write at its end. Only what a socket doesn't take goes
//! into an outbox, and all who lag share one copy.

use std::io::IoSlice;
use std::rc::Rc;

use super::member::Member;
use super::outbox::rest_of_begun_frame;
use super::room::Slices;
use super::{HIGH_WATER, LOW_WATER, Link, Moment, Shard, heard_by, side_of};
use crate::close::CloseReason;
use crate::frame::{Batch, Opcode, Piece, ServerHeader};

impl<L: Link> Shard<L> {
    /// Gives on what one read of a member gave.
    pub(super) fn deliver(&mut self, sender: usize, batch: &mut Batch, now: Moment) {
        let (room, role) = (self.members[sender].room, self.members[sender].role);
        let target = heard_by(role);
        let side = &mut self.rooms[room as usize].sides[target];
        let hears_itself = target == side_of(role);
        // What is collected or on its way already goes first, so that a sender's messages stay in order when others
        // leave meanwhile.
        match (side.members.as_slice(), hears_itself, side.round.is_some() || side.in_flight) {
            ([], ..) | ([_], true, _) => {
                self.tally.unheard += batch.messages;
                self.recycle(batch);
            }
            (&[receiver], false, false) => self.hand_over(receiver as usize, batch, now),
            (&[one, other], true, false) => {
                let receiver = if one as usize == sender { other } else { one };
                self.hand_over(receiver as usize, batch, now);
            }
            _ => {
                if side.round.is_none() {
                    let round = self.spares.take_round();
                    self.held.rounds += round.memory() as u64;
                    side.round = Some(round);
                    self.dirty.push_back((room, target));
                }
                if let Some(round) = &mut side.round {
                    let before = round.memory();
                    round.push(sender as u32, batch, &self.scratch, &mut self.buffers);
                    self.held.rounds += (round.memory() - before) as u64;
                    self.members[sender].flags.spoke = true;
                    if round.bytes > ROUND_LIMIT {
                        self.flush_side(room, target, now);
                    }
                }
            }
        }
    }

    /// Writes on to a member whose connection takes more.
    pub fn writable(&mut self, slot: usize, now: Moment) {
        let Some(member) = self.members.get_mut(slot) else { return };
        match member.link.flush() {
            Ok(true) => self.drain(slot, now),
            Ok(false) => {}
            Err(_) => self.close(slot, CloseReason::Lost, None, now),
        }
    }

    /// Serves the one receiver of what is in the batch.
    fn hand_over(&mut self, receiver: usize, batch: &mut Batch, now: Moment) {
        let member = &mut self.members[receiver];
        member.tally.messages_out += batch.messages;
        member.tally.bytes_out += batch.bytes as u64;
        if member.counts {
            self.tally.deliveries += batch.messages;
            self.tally.bytes_out += batch.bytes as u64;
        }
        let (sent, begun) = {
            let slices: Slices =
                batch.pieces.iter().map(|piece| IoSlice::new(bytes_of(piece, &self.scratch))).collect();
            let sent = match member.outbox {
                Some(_) => Ok(0),
                None => send_all(&mut member.link, &slices),
            };
            let begun = match sent {
                Ok(sent) if sent < batch.bytes => rest_of_begun_frame(&slices, sent),
                _ => 0,
            };
            (sent, begun)
        };
        match sent {
            Ok(sent) if sent == batch.bytes => self.recycle(batch),
            Ok(sent) => self.owe(receiver, batch, sent, begun, now),
            Err(_) => {
                self.recycle(batch);
                self.close(receiver, CloseReason::Lost, None, now);
            }
        }
    }

    /// Puts all of the batch but its first `sent` bytes into a member's outbox.
    fn owe(&mut self, receiver: usize, batch: &mut Batch, mut sent: usize, mut begun: usize, now: Moment) {
        let before = self.members[receiver].queued();
        let outbox = self.members[receiver].outbox.get_or_insert_with(|| self.spares.take_outbox(now));
        for piece in batch.pieces.drain(..) {
            let (Piece::InPlace(range) | Piece::Assembled(_, range)) = &piece;
            if sent >= range.len() {
                sent -= range.len();
                if let Piece::Assembled(buffer, _) = piece {
                    self.buffers.give(buffer);
                }
                continue;
            }
            let rest = range.start + std::mem::take(&mut sent)..range.end;
            match piece {
                Piece::InPlace(_) => {
                    let len = rest.len();
                    let mut copy = self.buffers.take_for_copy(len);
                    copy[..len].copy_from_slice(&self.scratch[rest]);
                    outbox.push(self.buffers.share(copy), 0..len, std::mem::take(&mut begun));
                }
                Piece::Assembled(buffer, _) => {
                    outbox.push(self.buffers.share(buffer), rest, std::mem::take(&mut begun));
                }
            }
        }
        self.charge(receiver, before, now);
    }

    /// Counts what came into an outbox that held `before` bytes; closes its member if that was too much already.
    pub(super) fn charge(&mut self, slot: usize, before: usize, now: Moment) {
        let member = &mut self.members[slot];
        let added = member.queued() - before;
        self.tally.outbox_bytes += added as u64;
        self.recount(slot);
        let member = &mut self.members[slot];
        if member.weight() - added > self.rules.outbox && !self.rules.pace && member.is_open() {
            self.close(slot, CloseReason::TooSlow, None, now);
        } else {
            self.note_level(slot);
        }
    }

    /// Sends a member what it is owed, as far as its socket takes it.
    pub(super) fn drain(&mut self, slot: usize, now: Moment) {
        for turn in 0.. {
            if turn == WRITES_A_TURN {
                self.members[slot].flags.owing = true;
                self.heat(slot);
                break;
            }
            let member = &mut self.members[slot];
            let Some(outbox) = &mut member.outbox else { break };
            let slices = outbox.front();
            let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
            let sent = member.link.send(&slices);
            drop(slices);
            match sent {
                Ok(sent) => {
                    outbox.consume(sent, now, &mut self.buffers);
                    self.tally.outbox_bytes -= sent as u64;
                    if let Some(outbox) = member.outbox.take_if(|outbox| outbox.queued() == 0) {
                        self.spares.give_outbox(outbox, &mut self.buffers);
                        // A ping that waited behind what was owed is on its way only now.
                        (member.pinged, member.watch) = (member.pinged.map(|_| now), None);
                    }
                    if sent < wanted {
                        break;
                    }
                }
                Err(_) => return self.close(slot, CloseReason::Lost, None, now),
            }
        }
        self.recount(slot);
        self.note_level(slot);
        self.finish_if_flushed(slot);
    }

    /// Notes whether a member is above the high-water mark, and wakes its senders when it is below the low one.
    pub(super) fn note_level(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        let weight = member.weight();
        if !member.is_open() {
            return;
        }
        let (room, side) = (member.room, side_of(member.role));
        if !member.flags.above && weight > HIGH_WATER {
            member.flags.above = true;
            self.rooms[room as usize].sides[side].above += 1;
        } else if member.flags.above && weight <= LOW_WATER {
            member.flags.above = false;
            self.rooms[room as usize].sides[side].above -= 1;
            self.wake_senders(room, side);
        }
    }

    /// Answers pings, unless the member was lost while what it sent with them was given on.
    pub(super) fn pong(&mut self, slot: usize, pongs: &[u8], last: usize, now: Moment) {
        let Some(member) = self.members.get_mut(slot).filter(|member| member.is_open()) else { return };
        match &mut member.outbox {
            Some(outbox) => {
                let before = outbox.queued();
                outbox.push_pong(pongs, last);
                self.tally.outbox_bytes = self.tally.outbox_bytes + outbox.queued() as u64 - before as u64;
                self.recount(slot);
            }
            None => self.send_frames(slot, pongs, last, now),
        }
    }

    /// Asks a member for a sign of life, unless it was lost when one before it was asked or closed.
    pub(super) fn ping(&mut self, slot: usize, now: Moment) {
        let Some(member) = self.members.get_mut(slot).filter(|member| member.is_open()) else { return };
        (member.pinged, member.watch) = (Some(now), None);
        self.send_control(slot, ServerHeader::new(Opcode::Ping, 0).as_bytes(), now);
    }

    /// Sends control frames behind whatever is owed.
    pub(super) fn send_control(&mut self, slot: usize, frames: &[u8], now: Moment) {
        self.send_frames(slot, frames, 0, now);
    }

    /// Sends control frames; of those that the socket doesn't take, what comes before `newest` is left out, save the rest
    /// of one that is begun.
    fn send_frames(&mut self, slot: usize, frames: &[u8], newest: usize, now: Moment) {
        let member = &mut self.members[slot];
        let sent = match member.outbox {
            Some(_) => Ok(0),
            None => member.link.send(&[IoSlice::new(frames)]),
        };
        match sent {
            Ok(sent) if sent == frames.len() => {}
            Ok(sent) => {
                let begun = rest_of_begun_frame(&[IoSlice::new(frames)], sent);
                let outbox = member.outbox.get_or_insert_with(|| self.spares.take_outbox(now));
                let before = outbox.queued();
                if begun > 0 {
                    outbox.push(Rc::new(frames[sent..sent + begun].to_vec()), 0..begun, begun);
                }
                let rest = &frames[newest.max(sent + begun)..];
                if !rest.is_empty() {
                    outbox.push(Rc::new(rest.to_vec()), 0..rest.len(), 0);
                }
                self.tally.outbox_bytes += (outbox.queued() - before) as u64;
                self.recount(slot);
                self.note_level(slot);
            }
            Err(_) => self.close(slot, CloseReason::Lost, None, now),
        }
    }

    /// Gives the memory of messages back that nobody needs any more.
    fn recycle(&mut self, batch: &mut Batch) {
        for piece in batch.pieces.drain(..) {
            if let Piece::Assembled(buffer, _) = piece {
                self.buffers.give(buffer);
            }
        }
    }
}

impl<L: Link> Member<L> {
    /// Tells whether the socket has taken all that is owed.
    pub(super) fn is_flushed(&mut self) -> bool {
        self.outbox.is_none() && self.link.flush().unwrap_or(true)
    }
}

fn bytes_of<'a>(piece: &'a Piece, scratch: &'a [u8]) -> &'a [u8] {
    match piece {
        Piece::InPlace(range) => &scratch[range.clone()],
        Piece::Assembled(buffer, range) => &buffer[range.clone()],
    }
}

/// Sends slices, however many there are, until the socket takes no more.
pub(super) fn send_all<L: Link>(link: &mut L, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
    if slices.len() <= SLICES_A_WRITE {
        return link.send(slices);
    }
    let mut sent = 0;
    for part in slices.chunks(SLICES_A_WRITE) {
        let wanted: usize = part.iter().map(|slice| slice.len()).sum();
        let taken = link.send(part)?;
        sent += taken;
        if taken < wanted {
            break;
        }
    }
    Ok(sent)
}

/// Slices that the kernel takes in one call (IOV_MAX, limits.h).
const SLICES_A_WRITE: usize = 1024;
/// Writes to one member before the others have their turn; what is left waits for the next readiness or round.
const WRITES_A_TURN: usize = 16;
/// What a room collects before it is flushed in the middle of a round, so that many senders don't fill the memory.
const ROUND_LIMIT: usize = 1 << 20;
