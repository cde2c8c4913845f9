//! One member: a few hundred bytes while it is idle.

use serde::{Deserialize, Serialize};

use super::outbox::Outbox;
use super::pace::Pace;
use super::transit::Watch;
use super::{Link, Moment};
use crate::close::CloseReason;
use crate::frame::Decoder;
use crate::ids::{MemberId, Serial};
use crate::kind::Role;

/// Who joins, and where.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer {
    /// The member's number.
    pub id: MemberId,
    /// The registration.
    pub serial: Serial,
    /// As what.
    pub role: Role,
    /// Whether it counts in the shard's tally; a probe doesn't.
    pub counts: bool,
}

/// A member and its connection.
#[derive(Debug)]
pub(super) struct Member<L> {
    pub(super) link: L,
    pub(super) id: MemberId,
    pub(super) room: u32,
    /// Where in its side's list of members it stands.
    pub(super) place: u32,
    pub(super) role: Role,
    pub(super) counts: bool,
    pub(super) phase: Phase,
    pub(super) flags: Flags,
    pub(super) joined: Moment,
    pub(super) heard: Moment,
    pub(super) pinged: Option<Moment>,
    /// While it has owed an answer or bytes for a while.
    pub(super) watch: Option<Box<Watch>>,
    pub(super) decoder: Decoder,
    pub(super) outbox: Option<Box<Outbox>>,
    pub(super) pace: Option<Box<Pace>>,
    pub(super) tally: MemberTally,
    /// What it made the shard hold when that was last counted.
    pub(super) counted: u32,
}

/// How far a connection's life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A member.
    Open,
    /// No member any more: what is owed and the close frame go out, what comes in is thrown away.
    Closing(Moment),
    /// All is out; the peer is waited for to end the connection.
    Finished(Moment),
}

/// What is going on with a member in this round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// It stands in the list of those to read from again.
    pub(super) hot: bool,
    /// It isn't read from until its receivers take more.
    pub(super) paused: bool,
    /// It isn't read from until its rate lets it send more.
    pub(super) resting: bool,
    /// Its outbox is above the high-water mark.
    pub(super) above: bool,
    /// The end of its stream is announced, and not yet reached.
    pub(super) ending: bool,
    /// It has had its turn of writes and could take more.
    pub(super) owing: bool,
    /// It said goodbye itself.
    pub(super) parted: bool,
    /// It sent something in this round.
    pub(super) spoke: bool,
}

/// What a member has sent and been sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberTally {
    /// Messages received from it.
    pub messages_in: u64,
    /// Bytes of messages received from it, as frames of the server.
    pub bytes_in: u64,
    /// Messages handed to it.
    pub messages_out: u64,
    /// Bytes handed to it.
    pub bytes_out: u64,
}

/// What a shard has done in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShardTally {
    /// Members now.
    pub members: u64,
    /// Messages received.
    pub messages_in: u64,
    /// Bytes of messages received.
    pub bytes_in: u64,
    /// Messages handed to receivers.
    pub deliveries: u64,
    /// Bytes handed to receivers.
    pub bytes_out: u64,
    /// Messages that nobody was there for.
    pub unheard: u64,
    /// Bytes that wait in outboxes now.
    pub outbox_bytes: u64,
    /// Times that a member sent more than its rate, and had to rest.
    pub rests: u64,
    /// Connections dropped because the goodbye took too long.
    pub overdue: u64,
    /// Connections that ended, by reason.
    pub closes: [u64; CloseReason::ALL.len()],
}

/// A look at a member.
#[derive(Debug)]
pub struct Glimpse<'a, L> {
    /// The connection.
    pub link: &'a L,
    /// The member's number.
    pub id: MemberId,
    /// As what.
    pub role: Role,
    /// When it came.
    pub joined: Moment,
    /// When it was last heard of.
    pub heard: Moment,
    /// What it has sent and been sent.
    pub tally: MemberTally,
    /// Bytes that wait for its socket.
    pub outbox: usize,
}

impl<L: Link> Member<L> {
    pub(super) fn new(newcomer: &Newcomer, link: L, now: Moment) -> Self {
        Self {
            link,
            id: newcomer.id,
            room: 0,
            place: 0,
            role: newcomer.role,
            counts: newcomer.counts,
            phase: Phase::Open,
            flags: Flags::default(),
            joined: now,
            heard: now,
            pinged: None,
            watch: None,
            decoder: Decoder::default(),
            outbox: None,
            pace: None,
            tally: MemberTally::default(),
            counted: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Bytes that wait for its socket.
    pub(super) fn queued(&self) -> usize {
        self.outbox.as_deref().map_or(0, Outbox::queued)
    }

    /// What it costs to keep them.
    pub(super) fn weight(&self) -> usize {
        self.outbox.as_deref().map_or(0, Outbox::weight)
    }

    pub(super) fn glimpse(&self) -> Glimpse<'_, L> {
        Glimpse {
            link: &self.link,
            id: self.id,
            role: self.role,
            joined: self.joined,
            heard: self.heard,
            tally: self.tally,
            outbox: self.queued(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::room::Room;
    use super::*;

    #[test]
    fn a_member_and_its_room_stay_small() {
        assert!(size_of::<Member<()>>() <= 144);
        assert!(size_of::<Room>() <= 144);
    }
}
