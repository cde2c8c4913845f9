//! The path of a message: read, decode, route, write or queue.
//!
//! A single receiver is written to at once, straight from where the message lies. For several, what all senders sent in
//! an iteration is collected, and each receiver gets one write at its end. Only what a socket doesn't take goes into an
//! outbox, and all receivers that lag behind share one copy.

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::rc::Rc;

use super::broadcast::{PendingBroadcast, Slices};
use super::fanout::Transmission;
use super::member::{HIGH_WATER, OptionalMoment, Phase, Watermark};
use super::outbox::{Outbox, next_slice, rest_of_begun_frame};
use super::quantum::READ;
use super::run_queue::Lane;
use super::sent::SMALL;
use super::{LEAST_SHARE, Link, Moment, Received, Shard, WRITE_COST, closing_queue, receivers_of, side_of};
use crate::close::CloseReason;
use crate::frame::{Batch, Discarded, Opcode, Piece, ServerHeader, Violation};

impl<L: Link> Shard<L> {
    /// Begins an iteration in which so many connections are to be read. They and those with more to be read share what
    /// is read in it, so that a few that send without end don't make it long for the others.
    pub fn begin_iteration(&mut self, readable: usize) {
        self.quantum.start_iteration();
        self.buffers.free_some();
        let turns = self.run_queue.len(Lane::Usual).min(TURNS_PER_ITERATION);
        self.share = (READ / readable.max(turns).max(1)).max(LEAST_SHARE);
    }

    /// Reads once from a member whose connection is ready; `ending` says that the end of its stream is announced.
    pub fn readable(&mut self, slot: usize, ending: bool, now: Moment) {
        self.read_if_due(slot, ending, now);
        self.reap(now);
    }

    /// Continues to write to a member whose connection takes more.
    pub fn writable(&mut self, slot: usize, now: Moment) {
        let Some(member) = self.members.get_mut(slot) else { return };
        if let Some(outbox) = &mut member.outbox {
            outbox.set_blocked(false);
        }
        match member.link.flush() {
            Ok(true) if member.outbox.is_some() && self.quantum.is_used_up() => self.write_later(slot),
            Ok(true) => _ = self.drain(slot, now),
            Ok(false) => {}
            Err(_) => self.mark(slot, CloseReason::Lost),
        }
        self.reap(now);
    }

    /// Reads again from members that had more than one read's worth or are no longer paused, and continues with what
    /// was left of the last iteration.
    pub fn resume(&mut self, now: Moment) {
        self.quantum.note_time(now);
        self.closing.start_iteration(self.quantum.calls(closing_queue::PER_ITERATION));
        self.sweep_some();
        self.expire_some();
        self.send_due_pings(now);
        while let Some(slot) = self.throttled.release(&mut self.members, now) {
            self.throttle(slot, now);
            let member = &mut self.members[slot];
            if !member.flags.is_throttled {
                self.run_queue.schedule(slot, member);
            }
        }
        self.take_turns(now);
        self.reap(now);
    }

    /// Gives scheduled members a turn each, as many as one iteration allows, but one of each queue at least. Members that
    /// are scheduled by that have theirs in a later iteration.
    fn take_turns(&mut self, now: Moment) {
        let at_most = self.quantum.calls(TURNS_PER_ITERATION);
        let mut writes = 0;
        for lane in Lane::ALL {
            for _ in 0..self.run_queue.len(lane).min(at_most) {
                let Some(slot) = self.run_queue.pop(lane) else { break };
                writes += self.take_turn(slot, now);
                if writes >= at_most || self.quantum.is_used_up() {
                    break;
                }
            }
        }
        while let Some(room) = self.run_queue.pop_filled() {
            self.fan_out.unpark(room);
        }
    }

    /// Reads once from a scheduled member and continues to write to it; returns the number of writes.
    fn take_turn(&mut self, slot: usize, now: Moment) -> usize {
        let Some(member) = self.members.get_mut(slot) else { return 0 };
        if !std::mem::take(&mut member.flags.is_scheduled) {
            return 0;
        }
        let is_to_write = std::mem::take(&mut member.flags.write_pending);
        // Reading comes first: a member that is to be written to again isn't read before its next turn.
        self.read_if_due(slot, false, now);
        if is_to_write { self.drain(slot, now) } else { 0 }
    }

    /// Continues to write to a member in a later iteration.
    pub(super) fn write_later(&mut self, slot: usize) {
        let lane = self.lane_of(slot);
        let member = &mut self.members[slot];
        member.flags.write_pending = true;
        self.run_queue.schedule_in(lane, slot, member);
    }

    /// Returns the queue for a member that is written to. One of a large room is in the usual queue if it has taken more
    /// than fits a socket's buffer: then it reads.
    fn lane_of(&self, slot: usize) -> Lane {
        let member = &self.members[slot];
        if !member.is_present() {
            return Lane::Closing;
        }
        let reads = member.outbox.as_deref().is_some_and(|outbox| outbox.taken() > SOCKET_BUFFER);
        let side = &self.rooms[member.room as usize].sides[side_of(member.role)];
        if reads || side.len() <= LARGE_ROOM { Lane::Usual } else { Lane::Filling }
    }

    fn read_if_due(&mut self, slot: usize, ending: bool, now: Moment) {
        let Some(member) = self.members.get_mut(slot) else { return };
        member.flags.is_ending |= ending;
        let (phase, flags) = (member.phase, member.flags);
        match phase {
            // It is read from when its turn comes.
            Phase::Open if flags.is_scheduled || flags.is_throttled => {}
            Phase::Open if self.must_pause(slot) => self.pause(slot),
            Phase::Open => self.read(slot, now),
            Phase::Closing(_) | Phase::Finishing(_) => self.discard(slot),
            Phase::Away(_) | Phase::Leaving(_) | Phase::Closed => {}
        }
    }

    fn read(&mut self, slot: usize, now: Moment) {
        let member = &mut self.members[slot];
        self.quantum.note_read(member.room, now);
        let at_once = member.rate.as_deref().map_or(self.share, |rate| rate.at_once(now).min(self.share));
        let plan = member.decoder.plan_read(&mut self.scratch, at_once, &mut self.buffers);
        let (room_in_direct, staged) = (plan.direct.len(), plan.staged);
        let behind = &mut self.scratch[staged..staged + plan.overflow];
        let received = if room_in_direct > 0 {
            member.link.receive(&mut [IoSliceMut::new(plan.direct), IoSliceMut::new(behind)])
        } else {
            member.link.receive(&mut [IoSliceMut::new(behind)])
        };
        match received {
            Ok(Received { bytes: 0, .. }) => self.mark(slot, CloseReason::Lost),
            Ok(Received { bytes, more }) => {
                self.quantum.note_moved(bytes);
                if more || member.flags.is_ending {
                    self.run_queue.schedule(slot, member);
                }
                let is_limited = member.rate.is_some();
                if let Some(rate) = &mut member.rate {
                    rate.charge_bytes(bytes, now);
                }
                let direct = bytes.min(room_in_direct);
                self.decode(slot, direct, staged + bytes - direct, now);
                if is_limited {
                    self.throttle(slot, now);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if room_in_direct > 0 {
                    // The buffer of its message may have grown for bytes that haven't come yet.
                    self.account(slot);
                }
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => self.mark(slot, CloseReason::TlsEnded),
            Err(_) => self.mark(slot, CloseReason::Lost),
        }
    }

    /// Takes bytes that came with the handshake as if they had been read.
    pub(super) fn read_early(&mut self, slot: usize, mut early: &[u8], now: Moment) {
        while !early.is_empty()
            && let Some(member) = self.members.get_mut(slot).filter(|member| member.is_open())
        {
            let plan = member.decoder.plan_read(&mut self.scratch, READ, &mut self.buffers);
            let staged = plan.staged;
            let direct = early.len().min(plan.direct.len());
            plan.direct[..direct].copy_from_slice(&early[..direct]);
            let behind = (early.len() - direct).min(plan.overflow);
            self.scratch[staged..staged + behind].copy_from_slice(&early[direct..direct + behind]);
            early = &early[direct + behind..];
            self.decode(slot, direct, staged + behind, now);
        }
    }

    /// Decodes the bytes in the message's own buffer and in the read buffer, and routes the resulting messages.
    fn decode(&mut self, slot: usize, direct: usize, filled: usize, now: Moment) {
        let member = &mut self.members[slot];
        (member.last_received, member.pinged) = (now, OptionalMoment::NONE);
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let (scratch, limit) = (&mut self.scratch[..filled], self.rules.max_message);
        let outcome = member.decoder.decode(direct, scratch, limit, &mut self.buffers, &mut batch);
        if member.flags.is_special {
            self.finish_special(slot, &mut batch, outcome, now);
            self.batch = batch;
            return;
        }
        member.count_batch(&batch, &mut self.tally, now);
        self.account(slot);
        if batch.messages > 0 {
            self.route(slot, &mut batch, now);
        }
        self.finish_decoding(slot, &batch, outcome, now);
        self.batch = batch;
    }

    /// Handles what a member that only receives, a host that listens or an end of a pair has sent.
    fn finish_special(&mut self, slot: usize, batch: &mut Batch, outcome: Result<(), Violation>, now: Moment) {
        let member = &mut self.members[slot];
        if !member.receives_only {
            member.count_batch(batch, &mut self.tally, now);
            self.account(slot);
            if batch.messages > 0 {
                self.route(slot, batch, now);
            }
            self.pass_on(slot, now);
        } else if batch.messages > 0 || member.decoder.is_within_message() {
            if !self.control(slot, batch, now) {
                self.recycle(batch);
                self.account(slot);
                return self.mark(slot, CloseReason::NotPermitted);
            }
            self.account(slot);
        } else {
            self.account(slot);
        }
        self.finish_decoding(slot, batch, outcome, now);
    }

    /// Passes a large part of a message on to the other end of a pair, before the rest has arrived.
    fn pass_on(&mut self, slot: usize, now: Moment) {
        let member = &mut self.members[slot];
        let Some(piece) = member.decoder.take_fragment(FRAGMENT, &mut self.buffers) else { return };
        let (Piece::InPlace(range) | Piece::Assembled(_, range)) = &piece;
        let mut fragment = Batch { bytes: range.len(), pieces: vec![piece], ..Batch::default() };
        self.account(slot);
        self.route(slot, &mut fragment, now);
    }

    /// Answers the pings of a read, and ends the membership if the peer has closed or broken the protocol.
    fn finish_decoding(&mut self, slot: usize, batch: &Batch, outcome: Result<(), Violation>, now: Moment) {
        if !batch.replies.is_empty() {
            self.pong(slot, &batch.replies, batch.last_reply, now);
        }
        match (outcome, batch.close) {
            (Err(violation), _) => self.mark(slot, CloseReason::from(violation)),
            (Ok(()), Some(received)) => {
                if !self.listening.is_empty() {
                    self.keep_close(slot, received, &batch.close_reason);
                }
                self.mark_left(slot, received);
            }
            (Ok(()), None) => {}
        }
    }

    /// Delivers the messages of one read to the single receiver, or collects them for several.
    fn route(&mut self, sender: usize, batch: &mut Batch, now: Moment) {
        let (room, role) = (self.members[sender].room, self.members[sender].role);
        let target = receivers_of(role);
        let is_peer = target == side_of(role);
        let is_busy = self.fan_out.serves(room, target);
        let side = &mut self.rooms[room as usize].sides[target];
        // Pending broadcasts go first, so that a sender's messages stay in order when other members leave in the
        // meantime.
        let is_collecting = is_busy || side.pending.is_some();
        match (side.as_slice(), is_peer, is_collecting | (side.receive_only > 0)) {
            (&[receiver], false, false) => self.hand_over(receiver as usize, batch, now),
            (&[one, other], true, false) => {
                let receiver = if one as usize == sender { other } else { one };
                self.hand_over(receiver as usize, batch, now);
            }
            _ if side.senders() == usize::from(is_peer) => self.route_to_listeners(sender, is_collecting, batch, now),
            _ => self.collect(sender as u32, room, target, batch),
        }
    }

    /// Delivers the messages of one read to members that only receive, while there is no other receiver. Where messages
    /// wait for one, these do as well.
    fn route_to_listeners(&mut self, sender: usize, is_collecting: bool, batch: &mut Batch, now: Moment) {
        let (room, role) = (self.members[sender].room, self.members[sender].role);
        let target = receivers_of(role);
        let listeners = self.rooms[room as usize].sides[target].receive_only;
        let waits = self.wait(sender, (room, target), batch, listeners > 0, now);
        match listeners {
            0 => {
                self.tally.undelivered += if waits { 0 } else { batch.messages };
                self.recycle(batch);
            }
            1 if !is_collecting => {
                let listener = self.rooms[room as usize].sides[target].slots().find(|slot| *slot != sender);
                match listener.filter(|listener| !waits || self.members[*listener].is_present()) {
                    Some(listener) => self.hand_over(listener, batch, now),
                    None => self.recycle(batch),
                }
            }
            _ => self.collect(sender as u32, room, target, batch),
        }
    }

    /// Sends the batch to its single receiver.
    pub(super) fn hand_over(&mut self, receiver: usize, batch: &mut Batch, now: Moment) {
        let member = &mut self.members[receiver];
        if !member.is_present() {
            let place = (member.room, side_of(member.role));
            let waits = !member.receives_only && self.wait(receiver, place, batch, false, now);
            self.tally.undelivered += if waits { 0 } else { batch.messages };
            return self.recycle(batch);
        }
        member.count_sent(batch.messages, batch.bytes, &mut self.tally);
        let slices = slices_of(batch, &self.scratch, usize::MAX);
        let at_most = self.quantum.write_usual();
        let sent = if !member.can_be_written_to() {
            Ok(0)
        } else if batch.bytes <= at_most {
            send_all(&mut member.link, &slices)
        } else {
            send_all(&mut member.link, &slices_of(batch, &self.scratch, at_most))
        };
        self.quantum.note_moved(*sent.as_ref().unwrap_or(&0));
        match sent {
            Ok(sent) if sent == batch.bytes => {
                drop(slices);
                self.recycle(batch);
            }
            Ok(sent) => {
                let begun = rest_of_begun_frame(&slices, sent);
                drop(slices);
                self.queue(receiver, batch, sent, begun, now);
                if sent == at_most {
                    self.write_later(receiver);
                }
            }
            Err(_) => {
                drop(slices);
                self.recycle(batch);
                self.mark(receiver, CloseReason::Lost);
            }
        }
    }

    /// Puts all of the batch but its first `sent` bytes into a member's outbox.
    fn queue(&mut self, receiver: usize, batch: &mut Batch, mut sent: usize, mut begun: usize, now: Moment) {
        let outbox = self.members[receiver].outbox.get_or_insert_with(|| self.pools.take_outbox(now));
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
                Piece::InPlace(_) if outbox.keeps_sent() && rest.len() <= SMALL => {
                    outbox.push_small(&self.scratch[rest]);
                }
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
        self.on_queued(receiver, now);
    }

    /// Does what follows from bytes that were just put into a member's outbox.
    pub(super) fn on_queued(&mut self, slot: usize, now: Moment) {
        self.enforce_outbox_limit(slot);
        let member = &mut self.members[slot];
        let was_empty = member.flags.has_session && member.is_up_to_date();
        if was_empty && let Some(outbox) = &mut member.outbox {
            outbox.note_progress(now);
        }
        let is_to_write = member.flags.has_session && !member.outbox.as_deref().is_some_and(Outbox::is_blocked);
        self.account(slot);
        if is_to_write {
            self.drain(slot, now);
        }
    }

    /// Adds the messages of one read, or one from outside, to a side's pending broadcast.
    pub(super) fn collect(&mut self, sender: u32, room: u32, side: usize, batch: &mut Batch) {
        let pending = &mut self.rooms[room as usize].sides[side].pending;
        let before = pending.as_deref().map_or(0, PendingBroadcast::memory);
        let pending = pending.get_or_insert_with(|| {
            self.fan_out.enqueue(room, side);
            self.pools.take_broadcast()
        });
        pending.push(sender, batch, &self.scratch, &mut self.buffers);
        self.memory.broadcasts += (pending.memory() - before) as u64;
        if let Some(member) = self.members.get_mut(sender as usize) {
            member.flags.is_broadcasting = true;
        }
    }

    /// Continues broadcasts for about `work` small writes, as many as the other members can wait for;
    /// [`Shard::has_work`] returns whether something is left.
    pub fn flush_some(&mut self, work: usize, now: Moment) {
        let mut work = if self.quantum.is_used_up() { 1 } else { work };
        while work > 0
            && let Some(current) = self.fan_out.take(&mut self.rooms, |room| self.run_queue.is_filling(room))
        {
            work -= self.continue_transmission(current, work, now);
        }
        self.reap(now);
    }

    /// Sends all pending broadcasts, also to rooms whose members' sockets are being filled.
    pub(super) fn flush_fan_outs(&mut self, now: Moment) {
        self.fan_out.unpark_all();
        while let Some(current) = self.fan_out.take(&mut self.rooms, |_| false) {
            self.continue_transmission(current, usize::MAX, now);
        }
    }

    /// Continues a broadcast until its turn is over, as far as `work` allows; returns the work done.
    fn continue_transmission(&mut self, mut current: Transmission, work: usize, now: Moment) -> usize {
        let turn = current.turn.min(work);
        let done = turn - self.transmit(&mut current, turn, now);
        current.turn -= done;
        if current.is_through() {
            self.finish_transmission(current);
        } else {
            self.fan_out.interrupt(current);
        }
        done
    }

    /// Serves the next members as far as `work` allows; returns the work that is left.
    fn transmit(&mut self, current: &mut Transmission, mut work: usize, now: Moment) -> usize {
        let broadcast = &*current.broadcast;
        let everything = broadcast.slices(NOBODY, 0, self.quantum.first_write(broadcast.bytes));
        while work > 0 && !current.is_through() {
            let place = current.next;
            current.next += 1;
            let Some(slot) = self.rooms[current.room as usize].sides[current.side].at(place) else { continue };
            let sent = if self.members[slot].is_present() {
                self.send_broadcast(slot, place, broadcast, Some(&everything), now)
            } else {
                0
            };
            work = work.saturating_sub(1 + sent / WRITE_COST);
        }
        work
    }

    /// Sends a member its part of a broadcast, and queues what it doesn't take; returns the bytes that it took.
    pub(super) fn send_broadcast(
        &mut self,
        slot: usize,
        place: usize,
        broadcast: &PendingBroadcast,
        everything: Option<&Slices<'_>>,
        now: Moment,
    ) -> usize {
        let member = &mut self.members[slot];
        let first = broadcast.first_part(place);
        let is_for_all = first == 0 && !member.flags.is_broadcasting;
        let (bytes, messages) =
            if is_for_all { (broadcast.bytes, broadcast.messages) } else { broadcast.size_for(slot as u32, first) };
        if bytes == 0 {
            return 0;
        }
        member.count_sent(messages, bytes, &mut self.tally);
        let at_most = self.quantum.first_write(broadcast.bytes);
        let sent = match everything {
            _ if !member.can_be_written_to() => Ok(0),
            Some(everything) if is_for_all => send_all(&mut member.link, everything),
            _ => send_all(&mut member.link, &broadcast.slices(slot as u32, first, at_most)),
        };
        self.quantum.note_moved(*sent.as_ref().unwrap_or(&0));
        match sent {
            Ok(sent) if sent == bytes => sent,
            Ok(sent) => {
                let outbox = member.outbox.get_or_insert_with(|| self.pools.take_outbox(now));
                broadcast.enqueue_rest(slot as u32, first, sent, outbox, &mut self.buffers);
                self.on_queued(slot, now);
                if sent == at_most {
                    self.write_later(slot);
                }
                sent
            }
            Err(_) => {
                self.mark(slot, CloseReason::Lost);
                0
            }
        }
    }

    /// Ends a broadcast, and resumes reading from its senders.
    pub(super) fn finish_transmission(&mut self, current: Transmission) {
        let Transmission { room, side: at, broadcast, holds_senders, .. } = current;
        self.set_broadcasting(room, &broadcast, false);
        if let Some(found) = self.rooms.get_mut(room as usize) {
            let side = &mut found.sides[at];
            side.close_holes(|slot, place| self.members[slot].place = place);
            if let Some(next) = side.pending.take() {
                self.set_broadcasting(room, &next, true);
                self.rooms[room as usize].sides[at].pending = Some(next);
                self.fan_out.enqueue(room, at);
            }
        }
        self.recycle_broadcast(broadcast);
        if holds_senders {
            self.wake_senders(room, at);
        }
    }

    /// Marks the senders of a broadcast as having a message in one, or not. A sender may have left, and its slot may be
    /// that of a member of another room.
    fn set_broadcasting(&mut self, room: u32, broadcast: &PendingBroadcast, is_broadcasting: bool) {
        for sender in broadcast.senders() {
            if let Some(member) = self.members.get_mut(sender as usize).filter(|member| member.room == room) {
                member.flags.is_broadcasting = is_broadcasting;
            }
        }
    }

    pub(super) fn recycle_broadcast(&mut self, broadcast: Box<PendingBroadcast>) {
        self.memory.broadcasts -= broadcast.memory() as u64;
        self.pools.give_broadcast(broadcast, &mut self.buffers);
    }

    /// Sends a member its outbox, as far as its socket takes it; returns the number of writes.
    fn drain(&mut self, slot: usize, now: Moment) -> usize {
        let member = &self.members[slot];
        if matches!(member.phase, Phase::Away(_) | Phase::Leaving(_) | Phase::Closed) {
            return 0;
        }
        let at_most = match member.outbox {
            None => 0,
            Some(_) if self.lane_of(slot) == Lane::Usual => self.quantum.write_usual(),
            Some(_) => self.quantum.write_filling(),
        };
        let (mut writes, mut written) = (0, 0);
        let member = &mut self.members[slot];
        while let Some(outbox) = member.outbox.as_mut().filter(|outbox| outbox.queued() > 0) {
            if writes == WRITES_PER_TURN || written == at_most {
                self.write_later(slot);
                break;
            }
            writes += 1;
            let slices = outbox.front(at_most - written);
            let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
            let sent = member.link.send(&slices);
            drop(slices);
            let Ok(sent) = sent else {
                self.mark(slot, CloseReason::Lost);
                return writes;
            };
            written += sent;
            self.quantum.note_moved(sent);
            outbox.consume(sent, now, &mut self.buffers);
            if sent < wanted {
                outbox.set_blocked(true);
                break;
            }
            if outbox.queued() == 0 {
                // A ping that waited in the outbox is only sent now.
                member.pinged.renew(now);
                member.ack_progress = None;
                if let Some(outbox) = member.outbox.take_if(|outbox| !outbox.keeps_sent()) {
                    self.pools.give_outbox(outbox, &mut self.buffers);
                }
            }
        }
        self.account(slot);
        self.finish_if_closed(slot);
        writes
    }

    /// Answers pings.
    fn pong(&mut self, slot: usize, pongs: &[u8], last: usize, now: Moment) {
        let member = &mut self.members[slot];
        if !member.is_open() {
            return;
        }
        match member.outbox.as_mut().filter(|outbox| outbox.queued() > 0) {
            Some(outbox) => {
                outbox.push_pong(pongs, last);
                self.account(slot);
            }
            None => self.send_frames(slot, pongs, last, now),
        }
    }

    /// Sends a ping.
    pub(super) fn ping(&mut self, slot: usize, now: Moment) {
        let member = &mut self.members[slot];
        (member.pinged, member.ack_progress) = (now.into(), None);
        self.send_control(slot, ServerHeader::new(Opcode::Ping, 0).as_bytes(), now);
    }

    /// Sends control frames after everything in the outbox.
    pub(super) fn send_control(&mut self, slot: usize, frames: &[u8], now: Moment) {
        self.send_frames(slot, frames, 0, now);
    }

    /// Sends control frames; of those that the socket doesn't take, what comes before `newest` is left out, save the
    /// rest of a frame that is begun.
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
                let outbox = member.outbox.get_or_insert_with(|| self.pools.take_outbox(now));
                if outbox.keeps_sent() {
                    outbox.push_small(&frames[newest..]);
                    return self.on_queued(slot, now);
                }
                if begun > 0 {
                    outbox.push(Rc::new(frames[sent..sent + begun].to_vec()), 0..begun, begun);
                }
                let rest = &frames[newest.max(sent + begun)..];
                if !rest.is_empty() {
                    outbox.push(Rc::new(rest.to_vec()), 0..rest.len(), 0);
                }
                self.account(slot);
            }
            Err(_) => self.mark(slot, CloseReason::Lost),
        }
    }

    /// Discards the input of a member that is closing, until its close frame or the end of its stream.
    fn discard(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        match member.link.receive(&mut [IoSliceMut::new(&mut self.scratch[..self.share])]) {
            Ok(Received { bytes: 0, .. }) => self.mark(slot, CloseReason::Lost),
            Ok(Received { bytes, more }) => {
                if more || member.flags.is_ending {
                    self.run_queue.schedule(slot, member);
                }
                if !member.flags.peer_closed && !member.flags.is_undecodable {
                    match member.decoder.discard(&self.scratch[..bytes]) {
                        Ok(Discarded::Frames) => {}
                        Ok(Discarded::CloseFrame) => member.flags.peer_closed = true,
                        Err(_) => member.flags.is_undecodable = true,
                    }
                    self.account(slot);
                    self.finish_if_closed(slot);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if matches!(member.phase, Phase::Finishing(_)) {
                    self.mark(slot, CloseReason::Lost);
                }
            }
            Err(_) => self.mark(slot, CloseReason::Lost),
        }
    }

    /// Releases the memory of messages that have been delivered.
    pub(super) fn recycle(&mut self, batch: &mut Batch) {
        for piece in batch.pieces.drain(..) {
            if let Piece::Assembled(buffer, _) = piece {
                self.buffers.give(buffer);
            }
        }
    }

    /// Closes a member whose outbox was above its limit before what was just added to it.
    pub(super) fn enforce_outbox_limit(&mut self, slot: usize) {
        let member = &self.members[slot];
        // Nobody waits for members that only receive.
        if (!self.rules.pace || member.receives_only) && member.was_above(self.rules.outbox) {
            self.mark(slot, CloseReason::TooSlow);
        }
    }

    /// Updates all sums with what a member holds now, and resumes its senders when it has room again.
    pub(super) fn account(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        let (room, side, receives_only) = (member.room, side_of(member.role), member.receives_only);
        match member.account(&mut self.memory, &mut self.tally) {
            Watermark::Unchanged => {}
            Watermark::Rose => *self.rooms[room as usize].sides[side].above_mut(receives_only) += 1,
            Watermark::Fell => {
                *self.rooms[room as usize].sides[side].above_mut(receives_only) -= 1;
                self.wake_senders(room, side);
            }
        }
    }

    /// Stops reading from a member that has sent more than its rate allows.
    pub(super) fn throttle(&mut self, slot: usize, now: Moment) {
        let member = &mut self.members[slot];
        if member.is_open() && self.throttled.throttle(slot, member, now) {
            self.tally.reads_throttled += 1;
        }
    }

    /// Returns whether a member's receivers are too far behind to take more of it, or are still being served.
    fn must_pause(&self, slot: usize) -> bool {
        let member = &self.members[slot];
        let Some(room) = self.rooms.get(member.room as usize) else { return false };
        let target = receivers_of(member.role);
        let side = &room.sides[target];
        if member.receives_only {
            return false;
        }
        let is_lobby = target == side_of(member.role);
        self.fan_out.serves(member.room, target)
            || side.pending.as_deref().is_some_and(PendingBroadcast::is_full)
            || side.is_behind(is_lobby, member.flags.above_high_water, self.rules.pace)
    }

    fn pause(&mut self, slot: usize) {
        let member = &mut self.members[slot];
        if !member.flags.is_paused {
            member.flags.is_paused = true;
            if let Some(room) = self.rooms.get_mut(member.room as usize) {
                room.sides[receivers_of(member.role)].paused.push(slot as u32);
            }
        }
    }

    /// Resumes reading from all members that were paused because of a side that has room now.
    pub(super) fn wake_senders(&mut self, room: u32, side: usize) {
        let Some(found) = self.rooms.get_mut(room as usize) else { return };
        self.awaited.on_progress(room, side, found.serial);
        let mut paused = std::mem::take(&mut found.sides[side].paused);
        for slot in paused.drain(..) {
            if let Some(member) = self.members.get_mut(slot as usize)
                && std::mem::take(&mut member.flags.is_paused)
            {
                self.run_queue.schedule(slot as usize, member);
            }
        }
        found.sides[side].paused = paused;
    }
}

pub(super) fn bytes_of<'a>(piece: &'a Piece, scratch: &'a [u8]) -> &'a [u8] {
    match piece {
        Piece::InPlace(range) => &scratch[range.clone()],
        Piece::Assembled(buffer, range) => &buffer[range.clone()],
    }
}

/// Returns the bytes of a batch for one write, `at_most` in all.
fn slices_of<'a>(batch: &'a Batch, scratch: &'a [u8], mut at_most: usize) -> Slices<'a> {
    batch.pieces.iter().map_while(|piece| next_slice(bytes_of(piece, scratch), &mut at_most)).collect()
}

/// Sends slices, however many there are, until the socket takes no more.
fn send_all<L: Link>(link: &mut L, slices: &[IoSlice<'_>]) -> std::io::Result<usize> {
    if slices.len() <= SLICES_PER_WRITE {
        return link.send(slices);
    }
    let mut sent = 0;
    for part in slices.chunks(SLICES_PER_WRITE) {
        let wanted: usize = part.iter().map(|slice| slice.len()).sum();
        let taken = link.send(part)?;
        sent += taken;
        if taken < wanted {
            break;
        }
    }
    Ok(sent)
}

/// A slot number that no member has.
const NOBODY: u32 = u32::MAX;
/// Slices that the kernel takes in one call (IOV_MAX, limits.h).
const SLICES_PER_WRITE: usize = 1024;
/// Most bytes that the kernel holds for a member that doesn't read.
const SOCKET_BUFFER: usize = 1 << 20;
/// Members on a side above which sockets are filled one after the other.
const LARGE_ROOM: usize = 16;
/// Payload from which a part of a message is passed on within a pair: as much as is queued for a slow receiver anyway.
const FRAGMENT: usize = HIGH_WATER;
/// Scheduled members that have a turn in an iteration, and writes to them from which no further one has: what the other
/// members can wait for.
const TURNS_PER_ITERATION: usize = 64;
/// Writes to one member before the others have their turn; the rest waits for the next readiness or iteration.
const WRITES_PER_TURN: usize = 16;
