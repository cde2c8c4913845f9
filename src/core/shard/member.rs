//! One member: a few hundred bytes while it is idle, and all accounting of what it holds.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use strum::EnumCount;

use super::listening::Pairing;
use super::liveness::{ASK_AFTER, AckProgress, Activity, Growth, Verdict};
use super::memory_account::MemoryAccount;
use super::outbox::Outbox;
use super::rate::RateLimiter;
use super::sessions::{SessionTally, keeps_session};
use super::waiting::{DiscardReason, WaitingTotals};
use super::{Link, Moment, Rules};
use crate::close::CloseReason;
use crate::frame::{Batch, CloseFrame, Decoder};
use crate::ids::{MemberId, Serial};
use crate::kind::Role;

/// A member that joins.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer {
    /// The member's number.
    pub id: MemberId,
    /// The registration.
    pub serial: Serial,
    /// Its role.
    pub role: Role,
    /// Whether it may only receive: it is closed as soon as it sends a message.
    pub receives_only: bool,
    /// Whether it counts in the shard's tally; members of a self-test don't.
    pub counts: bool,
}

/// A member and its connection.
#[derive(Debug)]
pub(super) struct Member<L> {
    pub(super) link: L,
    pub(super) id: MemberId,
    pub(super) room: u32,
    /// Index in its side's list of members.
    pub(super) place: u32,
    pub(super) role: Role,
    pub(super) counts: bool,
    pub(super) receives_only: bool,
    pub(super) phase: Phase,
    pub(super) flags: Flags,
    pub(super) joined: Moment,
    pub(super) last_received: Moment,
    /// Time of the last ping, while it is unanswered.
    pub(super) pinged: OptionalMoment,
    /// Progress of acknowledgments, while a pong or its outbox has been overdue for some time.
    pub(super) ack_progress: Option<Box<AckProgress>>,
    pub(super) decoder: Decoder,
    pub(super) outbox: Option<Box<Outbox>>,
    pub(super) rate: Option<Box<RateLimiter>>,
    pub(super) tally: MemberTally,
    pub(super) accounted: Accounted,
}

/// Phase of a connection's life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A member without a connection: messages to it are queued in its outbox, until the deadline at most.
    Away(Moment),
    /// A member with a connection.
    Open,
    /// Marked for closing, and still in its room: it neither sends nor receives, and is closed at the end of the call.
    Leaving(Cause),
    /// No longer a member: its outbox and the close frame are sent, and input is discarded until the peer's close
    /// frame.
    Closing(Moment),
    /// Both close frames are through. The socket is still read, since closing it with unread bytes resets the
    /// connection.
    Finishing(Moment),
    /// The connection is dropped at the end of the call.
    Closed,
}

/// Cause for closing a member's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) reason: CloseReason,
    /// The close frame that the member sent, if any.
    pub(super) received: Option<CloseFrame>,
    /// Whether its memory is needed, so that not even the rest of a large frame is sent.
    pub(super) frees_memory: bool,
}

impl From<CloseReason> for Cause {
    fn from(reason: CloseReason) -> Self {
        Self { reason, received: None, frees_memory: false }
    }
}

/// A moment or none, in the size of a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OptionalMoment(Moment);

impl OptionalMoment {
    /// No moment; no clock reaches the one that stands for it.
    pub(super) const NONE: Self = Self(Moment(u64::MAX));

    pub(super) fn get(self) -> Option<Moment> {
        (self != Self::NONE).then_some(self.0)
    }

    /// Replaces the moment by a later one, if there is one.
    pub(super) fn renew(&mut self, now: Moment) {
        if *self != Self::NONE {
            self.0 = now;
        }
    }
}

impl From<Moment> for OptionalMoment {
    fn from(moment: Moment) -> Self {
        Self(moment)
    }
}

impl From<Option<Moment>> for OptionalMoment {
    fn from(moment: Option<Moment>) -> Self {
        moment.map_or(Self::NONE, Self)
    }
}

/// States of a member that may hold at the same time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// It is in the run queue.
    pub(super) is_scheduled: bool,
    /// It isn't read from until its receivers have room.
    pub(super) is_paused: bool,
    /// It isn't read from until its rate lets it send more.
    pub(super) is_throttled: bool,
    /// Its outbox is above the high-water mark.
    pub(super) above_high_water: bool,
    /// The end of its stream was announced by the kernel, and hasn't been read yet.
    pub(super) is_ending: bool,
    /// It has used up its writes of this iteration, and its socket could take more.
    pub(super) write_pending: bool,
    /// The peer sent its close frame.
    pub(super) peer_closed: bool,
    /// It broke the protocol, so its input isn't decoded any more (RFC 6455 section 7.1.7).
    pub(super) is_undecodable: bool,
    /// Its room's broadcast, pending or in progress, contains a message of it.
    pub(super) is_broadcasting: bool,
    /// It only receives, or is an end of a pair: what it sends is handled differently.
    pub(super) is_special: bool,
    /// It is closed once it has taken its outbox, and not at a fixed time.
    pub(super) delivers_all: bool,
    /// It has a session, and therefore an outbox all the time.
    pub(super) has_session: bool,
}

/// The part of a member's memory that is contained in its shard's sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Accounted {
    /// Bytes of memory, saturating at 4 GiB.
    memory: u32,
    /// Bytes in the outbox, saturating at 4 GiB.
    queued: u32,
}

/// Change of a member's outbox that matters for its senders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watermark {
    /// It rose above the high-water mark.
    Rose,
    /// It fell below the low-water mark.
    Fell,
    Unchanged,
}

/// Traffic of a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberTally {
    /// Messages received from it.
    pub messages_in: u64,
    /// Payload bytes of messages received from it.
    pub bytes_in: u64,
    /// Messages sent to it.
    pub messages_out: u64,
    /// Bytes sent to it, frame headers included.
    pub bytes_out: u64,
}

impl MemberTally {
    pub(super) fn add(&mut self, other: &Self) {
        self.messages_in += other.messages_in;
        self.bytes_in += other.bytes_in;
        self.messages_out += other.messages_out;
        self.bytes_out += other.bytes_out;
    }
}

/// Traffic of a registration, members that have left included. It isn't counted while messages flow, but summed up on
/// request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All members together, since the room was empty.
    pub tally: MemberTally,
    /// Bytes that currently wait for the members' sockets.
    pub outbox: u64,
    /// What currently waits for a receiver.
    pub waiting: WaitingTotals,
}

impl Traffic {
    /// Adds the traffic of other members.
    pub fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.outbox += other.outbox;
        self.waiting.add(&other.waiting);
    }
}

/// Counters of a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardTally {
    /// Current members.
    pub members: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Payload bytes of messages received.
    pub bytes_in: u64,
    /// Messages sent to receivers.
    pub deliveries: u64,
    /// Bytes sent to receivers, frame headers included.
    pub bytes_out: u64,
    /// Messages for which there was no receiver.
    pub undelivered: u64,
    /// Bytes that currently wait in outboxes.
    pub outbox_bytes: u64,
    /// Messages that currently wait for a receiver.
    pub waiting_messages: u64,
    /// Bytes of these messages, frame headers included.
    pub waiting_bytes: u64,
    /// Messages that were discarded while they waited for a receiver, by reason.
    pub waiting_discarded: [u64; DiscardReason::COUNT],
    /// Number of times that a member exceeded its rate and wasn't read from for a while.
    pub reads_throttled: u64,
    /// Members closed because a message that they had started didn't grow for the stall timeout.
    pub stalled_messages: u64,
    /// Connections dropped because the peer did not answer the close frame in time.
    pub close_timeouts: u64,
    /// Clients of paired registrations that currently wait.
    pub waiting_clients: u64,
    /// Clients that a host accepted.
    pub accepted: u64,
    /// Clients that a host rejected.
    pub rejected: u64,
    /// Clients that no host accepted in time.
    pub accept_timeouts: u64,
    /// Sessions.
    pub sessions: SessionTally,
    /// Connections that ended, by reason.
    pub closes: [u64; CloseReason::COUNT],
}

/// A summary of a member.
#[derive(Debug)]
pub struct MemberSummary<'a, L> {
    /// The connection.
    pub link: &'a L,
    /// The member's number.
    pub id: MemberId,
    /// Its role.
    pub role: Role,
    /// Whether it may only receive.
    pub receives_only: bool,
    /// Its part in a paired registration; `None` in others.
    pub pairing: Option<Pairing>,
    /// Whether it has a session.
    pub has_session: bool,
    /// Time since which it has been without a connection; `None` if it has one, or its first one follows.
    pub away_since: Option<Moment>,
    /// Time at which it joined.
    pub joined: Moment,
    /// Time at which its last bytes were received.
    pub last_received: Moment,
    /// Its traffic.
    pub tally: MemberTally,
    /// Bytes that wait for its socket.
    pub outbox: usize,
}

impl<L> Member<L> {
    pub(super) fn new(newcomer: &Newcomer, link: L, now: Moment) -> Self {
        Self {
            link,
            id: newcomer.id,
            room: 0,
            place: 0,
            role: newcomer.role,
            counts: newcomer.counts,
            receives_only: newcomer.receives_only,
            phase: Phase::Open,
            flags: Flags::default(),
            joined: now,
            last_received: now,
            pinged: OptionalMoment::NONE,
            ack_progress: None,
            decoder: Decoder::default(),
            outbox: None,
            rate: None,
            tally: MemberTally::default(),
            accounted: Accounted::default(),
        }
    }

    /// Returns whether it is a member with a connection.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Returns whether it is a member that isn't marked for closing, with a connection or without.
    pub(super) fn is_present(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Away(_)) || self.is_about_to_be_away()
    }

    /// Returns whether it is marked because of its connection only, and stays for its session: what is sent to it waits.
    fn is_about_to_be_away(&self) -> bool {
        matches!(&self.phase, Phase::Leaving(cause) if self.flags.has_session && keeps_session(cause))
    }

    /// Returns whether it can be closed for the memory that it holds. A member that is closing holds it for a short time
    /// only, unless it is still to receive its outbox.
    pub(super) fn can_be_shed(&self) -> bool {
        self.is_present() || (matches!(self.phase, Phase::Closing(_)) && self.flags.delivers_all)
    }

    /// Returns whether everything that it has sent has been read.
    pub(super) fn is_read(&self) -> bool {
        !self.flags.is_paused && !self.flags.is_throttled && !self.flags.is_scheduled
    }

    /// Returns whether its socket may be written to directly, since nothing is queued.
    pub(super) fn can_be_written_to(&self) -> bool {
        self.outbox.is_none() && !matches!(self.phase, Phase::Away(_))
    }

    /// Returns whether nothing waited in its outbox at the last accounting.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.accounted.queued == 0
    }

    /// Returns whether it has lost its connection and sets the pace of others that would wait for it for too long.
    pub(super) fn holds_others_up(&self, rules: &Rules, now: Moment) -> bool {
        let Some(outbox) = self.backlog().filter(|_| self.flags.has_session && rules.pace) else { return false };
        self.flags.above_high_water && now.since(outbox.progress()) >= rules.stall_timeout
    }

    /// Returns its outbox, unless nothing waits in it.
    pub(super) fn backlog(&self) -> Option<&Outbox> {
        self.outbox.as_deref().filter(|outbox| outbox.queued() > 0)
    }

    /// Bytes that wait for its socket.
    pub(super) fn queued(&self) -> usize {
        self.outbox.as_deref().map_or(0, Outbox::queued)
    }

    /// Returns the bytes of memory that it holds, with shared chunks counted in full.
    pub(super) fn held(&self) -> usize {
        self.outbox.as_deref().map_or(0, Outbox::kept) + self.decoder.held()
    }

    /// Returns the bytes of memory that it holds, with its part of shared chunks.
    pub(super) fn share(&self) -> u64 {
        let outbox = self.outbox.as_deref().map_or(0, Outbox::share);
        (outbox + self.decoder.held()) as u64
    }

    /// Updates the shard's sums with what the member holds now; returns the change that matters for its senders.
    pub(super) fn account(&mut self, memory: &mut MemoryAccount, tally: &mut ShardTally) -> Watermark {
        let before = std::mem::take(&mut self.accounted);
        if let Some(outbox) = self.outbox.as_deref() {
            self.accounted.queued = saturated(outbox.queued());
        } else if self.decoder.is_idle() && before == self.accounted {
            return Watermark::Unchanged;
        }
        self.accounted.memory = saturated(self.held());
        memory.change(before.memory, self.accounted.memory);
        tally.outbox_bytes = tally.outbox_bytes + u64::from(self.accounted.queued) - u64::from(before.queued);
        self.update_watermark()
    }

    fn update_watermark(&mut self) -> Watermark {
        if !self.is_present() {
            return Watermark::Unchanged;
        }
        let weight = self.outbox.as_deref().map_or(0, Outbox::weight);
        if !self.flags.above_high_water && weight > HIGH_WATER {
            self.flags.above_high_water = true;
            Watermark::Rose
        } else if self.flags.above_high_water && weight <= LOW_WATER {
            self.flags.above_high_water = false;
            Watermark::Fell
        } else {
            Watermark::Unchanged
        }
    }

    /// Returns whether the outbox was above its limit before what was added since the last accounting: one message
    /// more is accepted.
    pub(super) fn was_above(&self, limit: usize) -> bool {
        let Some(outbox) = self.outbox.as_deref() else { return false };
        let added = outbox.queued().saturating_sub(self.accounted.queued as usize);
        outbox.weight().saturating_sub(added + outbox.again()) > limit
    }

    /// Counts messages received from it, and their payload bytes.
    pub(super) fn count_received(&mut self, messages: u64, payload: u64, tally: &mut ShardTally) {
        self.tally.messages_in += messages;
        self.tally.bytes_in += payload;
        if self.counts {
            tally.messages_in += messages;
            tally.bytes_in += payload;
        }
    }

    /// Counts the messages of a read, also for its rate.
    #[inline]
    pub(super) fn count_batch(&mut self, batch: &Batch, tally: &mut ShardTally, now: Moment) {
        if batch.messages > 0 {
            self.count_received(batch.messages, batch.payload, tally);
            if let Some(rate) = &mut self.rate {
                rate.charge_messages(batch.messages, now);
            }
        }
    }

    /// Counts messages sent to it.
    pub(super) fn count_sent(&mut self, messages: u64, bytes: usize, tally: &mut ShardTally) {
        self.tally.messages_out += messages;
        self.tally.bytes_out += bytes as u64;
        if self.counts {
            tally.deliveries += messages;
            tally.bytes_out += bytes as u64;
        }
    }

    /// Extends the deadline of a member that is still to receive its outbox, as long as it does.
    pub(super) fn extend_closing(&mut self, rules: &Rules, now: Moment) {
        let deadline = match self.backlog() {
            Some(outbox) => outbox.progress().after(rules.stall_timeout),
            None => now.after(rules.close_timeout),
        };
        // A deadline that has passed is handled as any other by the next sweep.
        self.flags.delivers_all = self.outbox.is_some() && deadline > now;
        self.phase = Phase::Closing(deadline);
    }

    pub(super) fn summary(&self) -> MemberSummary<'_, L> {
        MemberSummary {
            link: &self.link,
            id: self.id,
            role: self.role,
            receives_only: self.receives_only && self.role != Role::Host,
            pairing: None,
            has_session: self.flags.has_session,
            away_since: None,
            joined: self.joined,
            last_received: self.last_received,
            tally: self.tally,
            outbox: self.queued(),
        }
    }
}

impl<L: Link> Member<L> {
    /// Judges whether the member is alive; called about once a second.
    pub(super) fn check_liveness(&mut self, rules: &Rules, now: Moment) -> Verdict {
        if !self.is_read() {
            // Its pong may have arrived without being read, so the timeout starts when it is read again.
            self.pinged.renew(now);
        }
        let is_read = self.is_read();
        if self.decoder.stalled(is_read, now.0).is_some_and(|ms| Duration::from_millis(ms) >= rules.stall_timeout) {
            return Verdict::MessageStalled;
        }
        self.note_acknowledgments(now);
        let last_taken = self.backlog().map(Outbox::progress);
        Activity { last_received: self.last_received, pinged: self.pinged.get(), last_taken }.judge(rules, now)
    }

    /// Queries what was acknowledged since the last sweep, if the member is behind, and takes that as a sign of life.
    fn note_acknowledgments(&mut self, now: Moment) {
        let outbox = self.outbox.as_deref_mut().filter(|outbox| outbox.queued() > 0);
        if outbox.is_none() && self.pinged.get().is_none() {
            self.ack_progress = None;
            return;
        }
        let last_sign = outbox.as_deref().map(Outbox::progress).max(self.pinged.get());
        if last_sign.is_some_and(|sign| now.since(sign) < ASK_AFTER) {
            return;
        }
        let Some(transit) = self.link.transit() else { return };
        let Some(progress) = self.ack_progress.as_deref_mut() else {
            self.ack_progress = Some(Box::new(AckProgress::new(transit)));
            return;
        };
        match (progress.update(transit), outbox) {
            (None, _) | (Some(Growth::Further), None) => {}
            (Some(_), Some(outbox)) => outbox.note_progress(now),
            (Some(Growth::TowardsPing), None) => self.pinged = now.into(),
        }
    }
}

/// Returns a number of bytes, saturating at 4 GiB.
pub(super) fn saturated(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Weight of an outbox above which the receiver's senders are no longer read from.
pub(super) const HIGH_WATER: usize = 256 << 10;
/// Weight of an outbox below which they are read from again.
pub(super) const LOW_WATER: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::super::room::Room;
    use super::*;

    #[test]
    fn a_member_and_its_room_stay_small() {
        assert!(size_of::<Member<()>>() <= 144);
        assert!(size_of::<Room>() <= 160);
    }
}
