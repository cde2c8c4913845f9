//! Goodbyes: how a membership ends, what the peer is still told, and when the connection is dropped.

use super::{Link, Moment, Parting, Phase, Shard, heard_by, side_of};
use crate::close::CloseReason;
use crate::frame::{Goodbye, close_frame};
use crate::ids::{MemberId, Serial};

impl<L: Link> Shard<L> {
    /// Closes all members of a registration.
    pub fn end(&mut self, serial: Serial, reason: CloseReason, now: Moment) {
        let Some(room) = self.by_serial.get(&serial) else { return };
        let slots: Vec<u32> = self.rooms[*room as usize].sides.iter().flat_map(|side| side.members.clone()).collect();
        // What was sent before the end is still delivered.
        self.flush_room(serial, now);
        for slot in slots {
            self.close(slot as usize, reason, None, now);
        }
    }

    /// Closes one member; tells whether there was one.
    pub fn disconnect(&mut self, id: MemberId, reason: CloseReason, now: Moment) -> bool {
        let found = self.find(id).map(|(slot, _)| slot);
        if let Some(slot) = found {
            self.close(slot, reason, None, now);
        }
        found.is_some()
    }

    /// Closes every member.
    pub fn close_all(&mut self, reason: CloseReason, now: Moment) {
        self.flush(now);
        let open: Vec<usize> = self.members.iter().filter(|(_, member)| member.is_open()).map(|(at, _)| at).collect();
        for slot in open {
            self.close(slot, reason, None, now);
        }
    }

    /// Closes some of the members whose links are `such`; tells how many of these connections are left, those included
    /// that still say goodbye.
    pub fn close_some(&mut self, such: impl Fn(&L) -> bool, at_most: usize, reason: CloseReason, now: Moment) -> usize {
        self.flush(now);
        let of_such = self.members.iter().filter(|(_, member)| such(&member.link));
        let open: Vec<usize> =
            of_such.filter(|(_, member)| member.is_open()).map(|(slot, _)| slot).take(at_most).collect();
        for slot in open {
            self.close(slot, reason, None, now);
        }
        self.members.iter().filter(|(_, member)| such(&member.link)).count()
    }

    /// Ends a membership and begins the goodbye.
    pub(super) fn close(&mut self, slot: usize, reason: CloseReason, goodbye: Option<Goodbye>, now: Moment) {
        if let Some(member) = self.members.get(slot).filter(|member| member.is_open()) {
            self.land(member.room, now);
        }
        let Some(member) = self.members.get_mut(slot) else { return };
        if !member.is_open() {
            if reason == CloseReason::Lost {
                self.drop_connection(slot);
            }
            return;
        }
        member.phase = Phase::Closing(now.after(self.rules.close_timeout));
        member.flags.parted = goodbye.is_some();
        let (code, silent) = (goodbye.and_then(|goodbye| goodbye.code), now.since(member.heard));
        member.link.left(&Parting { reason, code, silent, tally: member.tally });
        member.decoder.abandon(&mut self.buffers);
        self.recount(slot);
        let member = &mut self.members[slot];
        self.tally.members -= u64::from(member.counts);
        self.tally.closes[reason as usize] += u64::from(member.counts);
        self.leave_room(slot);
        let Some(frame) = close_frame(reason, goodbye) else { return self.drop_connection(slot) };
        if !keeps_what_is_owed(reason) {
            self.drop_owed(slot);
        }
        self.send_control(slot, &frame, now);
        self.finish_if_flushed(slot);
        // What still comes in is to be thrown away, and so is what came in before and was not read.
        if self.members.contains(slot) {
            self.heat(slot);
        }
    }

    /// Tells the peer that nothing more comes, once all is out.
    pub(super) fn finish_if_flushed(&mut self, slot: usize) {
        let Some(member) = self.members.get_mut(slot) else { return };
        if let Phase::Closing(deadline) = member.phase
            && member.is_flushed()
        {
            member.phase = Phase::Finished(deadline);
            member.link.finish();
            self.heat(slot);
        }
    }

    /// Drops a connection, and whatever is still owed to it.
    pub(super) fn drop_connection(&mut self, slot: usize) {
        if !self.members.contains(slot) {
            return;
        }
        let mut member = self.members.remove(slot);
        self.tally.outbox_bytes -= member.queued() as u64;
        self.discount(&member);
        if let Some(outbox) = member.outbox.take() {
            self.spares.give_outbox(outbox, &mut self.buffers);
        }
    }

    fn leave_room(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        let (at, side, target) = (member.room, side_of(member.role), heard_by(member.role));
        let (place, flags) = (member.place as usize, member.flags);
        (member.flags.paused, member.flags.above) = (false, false);
        let room = &mut self.rooms[at as usize];
        if flags.paused {
            room.sides[target].paused.retain(|sender| *sender as usize != slot);
        }
        let left = &mut room.sides[side];
        left.above -= u32::from(flags.above);
        left.members.swap_remove(place);
        if let Some(moved) = left.members.get(place) {
            self.members[*moved as usize].place = place as u32;
        }
        if room.is_empty() {
            let room = self.rooms.remove(at as usize);
            self.by_serial.remove(&room.serial);
            for round in room.sides.iter().filter_map(|side| side.round.as_ref()) {
                self.tally.unheard += round.messages;
                self.held.rounds -= round.memory() as u64;
            }
        } else {
            room.keep(&self.members[slot].tally);
            // Those who were paused because of this member may have others to send to, or nobody.
            self.wake_senders(at, side);
        }
    }

    fn drop_owed(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        let before = member.queued();
        if let Some(outbox) = &mut member.outbox {
            outbox.keep_begun_frame(&mut self.buffers);
        }
        if let Some(outbox) = member.outbox.take_if(|outbox| outbox.queued() == 0) {
            self.spares.give_outbox(outbox, &mut self.buffers);
        }
        self.tally.outbox_bytes -= (before - member.queued()) as u64;
        self.recount(slot);
    }
}

/// Tells whether a member is still sent what waits for it: not one that said goodbye itself, broke the rules or
/// doesn't take it.
fn keeps_what_is_owed(reason: CloseReason) -> bool {
    match reason {
        CloseReason::Stopping
        | CloseReason::Restarting
        | CloseReason::Draining
        | CloseReason::Removed
        | CloseReason::RemovedByAdmin
        | CloseReason::ClosedByAdmin => true,
        CloseReason::Left
        | CloseReason::Lost
        | CloseReason::Protocol
        | CloseReason::InvalidUtf8
        | CloseReason::TooBig
        | CloseReason::TooSlow
        | CloseReason::NoPong => false,
    }
}
