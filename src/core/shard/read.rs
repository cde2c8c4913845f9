//! A member's side of a round: what it sent is received, decoded and given on.

use std::io::{ErrorKind, IoSliceMut};

use super::{LEAST_SHARE, Link, Moment, Phase, READ, Received, Shard, heard_by};
use crate::close::CloseReason;

impl<L: Link> Shard<L> {
    /// Begins a round in which so many connections are to be read. They and those with more to be read share what is
    /// read in it, so that a few that send without end don't make it long for the others.
    pub fn begin_round(&mut self, readable: usize) {
        self.share = (READ / readable.max(self.hot.len()).max(1)).max(LEAST_SHARE);
    }

    /// Reads once from a member whose connection is ready; `ending` says that the end of its stream is announced.
    pub fn readable(&mut self, slot: usize, ending: bool, now: Moment) {
        let Some(member) = self.members.get_mut(slot) else { return };
        member.flags.ending |= ending;
        if !member.is_open() {
            self.discard(slot);
        } else if member.flags.hot || member.flags.resting {
            // It is read from when its turn comes.
        } else if self.must_pause(slot) {
            self.pause(slot);
        } else {
            self.read(slot, now);
        }
    }

    /// Reads again from those who had more than one read's worth, or were paused and are not any more.
    pub fn resume(&mut self, now: Moment) {
        if !self.resting.is_empty() {
            self.wake_rested(now);
        }
        let mut hot = std::mem::replace(&mut self.hot, std::mem::take(&mut self.cold));
        for slot in hot.drain(..) {
            if let Some(member) = self.members.get_mut(slot as usize)
                && std::mem::take(&mut member.flags.hot)
            {
                if std::mem::take(&mut member.flags.owing) {
                    self.drain(slot as usize, now);
                }
                self.readable(slot as usize, false, now);
            }
        }
        self.cold = hot;
    }

    fn read(&mut self, slot: usize, now: Moment) {
        let member = &mut self.members[slot];
        let at_once = member.pace.as_deref().map_or(self.share, |pace| pace.at_once(now).min(self.share));
        let intake = member.decoder.intake(&mut self.scratch, at_once, &mut self.buffers);
        let (room_in_direct, staged) = (intake.direct.len(), intake.staged);
        let behind = &mut self.scratch[staged..staged + intake.behind];
        let received = if room_in_direct > 0 {
            member.link.receive(&mut [IoSliceMut::new(intake.direct), IoSliceMut::new(behind)])
        } else {
            member.link.receive(&mut [IoSliceMut::new(behind)])
        };
        match received {
            Ok(Received { bytes: 0, .. }) => self.close(slot, CloseReason::Lost, None, now),
            Ok(Received { bytes, more }) => {
                let is_paced = member.pace.is_some();
                if let Some(pace) = &mut member.pace {
                    pace.charge_bytes(bytes, now);
                }
                if more || member.flags.ending {
                    self.heat(slot);
                }
                let direct = bytes.min(room_in_direct);
                self.take_in(slot, direct, staged + bytes - direct, now);
                if is_paced {
                    self.rest(slot, now);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if room_in_direct > 0 {
                    // Its message may have got more room than it had, for what hasn't come yet.
                    self.recount(slot);
                }
            }
            Err(_) => self.close(slot, CloseReason::Lost, None, now),
        }
    }

    /// Takes bytes that came with the handshake as if they had been read.
    pub(super) fn read_early(&mut self, slot: usize, mut early: &[u8], now: Moment) {
        while !early.is_empty()
            && let Some(member) = self.members.get_mut(slot).filter(|member| member.is_open())
        {
            let intake = member.decoder.intake(&mut self.scratch, READ, &mut self.buffers);
            let staged = intake.staged;
            let direct = early.len().min(intake.direct.len());
            intake.direct[..direct].copy_from_slice(&early[..direct]);
            let behind = (early.len() - direct).min(intake.behind);
            self.scratch[staged..staged + behind].copy_from_slice(&early[direct..direct + behind]);
            early = &early[direct + behind..];
            self.take_in(slot, direct, staged + behind, now);
        }
    }

    /// Decodes what lies in the message's own buffer and in the scratch buffer, and gives it on.
    fn take_in(&mut self, slot: usize, direct: usize, filled: usize, now: Moment) {
        let member = &mut self.members[slot];
        (member.heard, member.pinged) = (now, None);
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let (scratch, limit) = (&mut self.scratch[..filled], self.rules.max_message);
        let outcome = member.decoder.decode(direct, scratch, limit, &mut self.buffers, &mut batch);
        self.recount(slot);
        let member = &mut self.members[slot];
        if batch.messages > 0 {
            member.tally.messages_in += batch.messages;
            member.tally.bytes_in += batch.bytes as u64;
            if let Some(pace) = &mut member.pace {
                pace.charge_messages(batch.messages, now);
            }
            if member.counts {
                self.tally.messages_in += batch.messages;
                self.tally.bytes_in += batch.bytes as u64;
            }
            self.deliver(slot, &mut batch, now);
        }
        if !batch.replies.is_empty() {
            self.pong(slot, &batch.replies, batch.last_reply, now);
        }
        let end = match outcome {
            Err(violation) => Some((violation.into(), None)),
            Ok(()) => batch.goodbye.map(|goodbye| (CloseReason::Left, Some(goodbye))),
        };
        self.batch = batch;
        if let Some((reason, goodbye)) = end {
            self.close(slot, reason, goodbye, now);
        }
    }

    /// Throws away what a member sends that has no say any more, until its stream ends.
    fn discard(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        match member.link.receive(&mut [IoSliceMut::new(&mut self.scratch[..self.share])]) {
            Ok(Received { bytes: 0, .. }) => self.drop_connection(slot),
            Ok(Received { more, .. }) => {
                if more || member.flags.ending {
                    self.heat(slot);
                }
            }
            // A peer that said goodbye waits for the server to end the connection (RFC 6455 section 7.1.1).
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if member.flags.parted && matches!(member.phase, Phase::Finished(_)) {
                    self.drop_connection(slot);
                }
            }
            Err(_) => self.drop_connection(slot),
        }
    }

    /// Tells whether a member's receivers are too far behind to take more of it, or are still being served.
    fn must_pause(&self, slot: usize) -> bool {
        let member = &self.members[slot];
        let Some(room) = self.rooms.get(member.room as usize) else { return false };
        let target = heard_by(member.role);
        let side = &room.sides[target];
        let hears_itself = target == super::side_of(member.role);
        let receivers = side.members.len() - usize::from(hears_itself);
        let above = side.above as usize - usize::from(hears_itself && member.flags.above);
        side.in_flight || (receivers > 0 && (above == receivers || (self.rules.pace && above > 0)))
    }

    fn pause(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        if !member.flags.paused {
            member.flags.paused = true;
            if let Some(room) = self.rooms.get_mut(member.room as usize) {
                room.sides[heard_by(member.role)].paused.push(slot as u32);
            }
        }
    }
}
