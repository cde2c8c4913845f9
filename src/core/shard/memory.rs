//! What the members' streams make this shard hold, and whom it costs the seat when that is too much.
//!
//! The sum of all outboxes and unfinished messages is kept up with every change, so that it can be asked each round.
//! It counts what several lag behind once for each of them, so it is too high for a large group that hears the same;
//! [`Shard::measure`] finds out by how much, and what comes after is added to that. So it is never too low. What rooms
//! have collected and not sent yet is counted beside it: the rounds of many large rooms wait for each other.

use super::{Link, Member, Moment, Shard};
use crate::close::CloseReason;

/// What is held, and how sure that is.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// All members' together, what they share counted for each.
    pub(super) sum: u64,
    /// What was there when it was last looked at closely.
    measured: u64,
    /// What has come since, without what has gone.
    since: u64,
    /// What rooms have collected, the round that is on its way included.
    pub(super) rounds: u64,
}

impl<L: Link> Shard<L> {
    /// Bytes held for the members' streams, or somewhat more.
    pub fn held(&self) -> u64 {
        self.held.sum.min(self.held.measured.saturating_add(self.held.since)) + self.held.rounds
    }

    /// Looks closely at what is held; takes the longer the more waits in outboxes.
    pub fn measure(&mut self) {
        self.held.measured = self.members.iter().map(|(_, member)| member.share()).sum();
        self.held.since = 0;
    }

    /// Closes those who hold most, until so many bytes are free; tells how many members that were. What others hold,
    /// too, counts in parts, since it isn't free before they all are gone.
    pub fn relieve(&mut self, bytes: u64, now: Moment) -> u64 {
        let before = self.held();
        // What rooms have collected costs nobody the seat: it goes out now, or those owe it who don't take it.
        self.flush(now);
        self.measure();
        let (mut freed, mut closed) = (before.saturating_sub(self.held()), 0);
        let open = self.members.iter().filter(|(_, member)| member.is_open());
        let mut by_share: Vec<(u64, usize)> = open.map(|(slot, member)| (member.share(), slot)).collect();
        by_share.retain(|(share, _)| *share >= WORTH_A_SEAT);
        by_share.sort_unstable_by(|one, other| other.cmp(one));
        for (share, slot) in by_share {
            if freed >= bytes {
                break;
            }
            self.close(slot, CloseReason::TooSlow, None, now);
            if self.members.get(slot).is_some_and(|member| member.share() >= WORTH_A_SEAT) {
                // The rest of a large message that is on its way already; there is no room to wait for its end.
                self.drop_connection(slot);
            }
            (freed, closed) = (freed + share, closed + 1);
        }
        closed
    }

    /// Takes note of what a member makes the shard hold now.
    pub(super) fn recount(&mut self, slot: usize) {
        let Some(member) = self.members.get_mut(slot) else { return };
        let (before, now) = (member.counted, member.held());
        member.counted = now;
        self.held.change(before, now);
    }

    /// Takes note that a member is gone.
    pub(super) fn discount(&mut self, member: &Member<L>) {
        self.held.change(member.counted, 0);
    }
}

impl Held {
    fn change(&mut self, before: u32, now: u32) {
        self.sum = self.sum + u64::from(now) - u64::from(before);
        self.since += u64::from(now.saturating_sub(before));
    }
}

impl<L> Member<L> {
    /// What the member makes the shard hold, as if it shared nothing; more than 4 GiB is as much.
    pub(super) fn held(&self) -> u32 {
        let outbox = self.outbox.as_deref().map_or(0, super::outbox::Outbox::kept);
        u32::try_from(outbox + self.decoder.held()).unwrap_or(u32::MAX)
    }

    /// What it makes the shard hold, its part of what it shares.
    pub(super) fn share(&self) -> u64 {
        let outbox = self.outbox.as_deref().map_or(0, super::outbox::Outbox::share);
        (outbox + self.decoder.held()) as u64
    }
}

/// Who holds less isn't worth closing: thousands would lose their seats for little.
const WORTH_A_SEAT: u64 = 64 << 10;
