//! What rooms and members need only now and then, kept for the next who needs it, so that a stream that goes on
//! allocates nothing. Bounded: what is beyond the bounds is left to the allocator.

use super::Moment;
use super::outbox::Outbox;
use super::room::Round;
use crate::frame::Buffers;

/// Rounds and outboxes that wait for their next use; boxed, since they are moved into rooms and members and back.
#[derive(Debug, Default)]
#[allow(clippy::vec_box)]
pub(super) struct Spares {
    rounds: Vec<Box<Round>>,
    /// Bytes of memory of the rounds.
    bytes: usize,
    outboxes: Vec<Box<Outbox>>,
}

impl Spares {
    /// Gives an empty round.
    pub(super) fn take_round(&mut self) -> Box<Round> {
        let round = self.rounds.pop().unwrap_or_default();
        self.bytes -= round.memory();
        round
    }

    /// Takes a cleared round back.
    pub(super) fn give_round(&mut self, round: Box<Round>) {
        if self.rounds.len() < ROUNDS && self.bytes + round.memory() <= KEPT {
            self.bytes += round.memory();
            self.rounds.push(round);
        }
    }

    /// Gives an empty outbox.
    pub(super) fn take_outbox(&mut self, now: Moment) -> Box<Outbox> {
        let mut outbox = self.outboxes.pop().unwrap_or_else(|| Box::new(Outbox::new(now)));
        outbox.begin(now);
        outbox
    }

    /// Takes an outbox back, and what is still in it.
    pub(super) fn give_outbox(&mut self, mut outbox: Box<Outbox>, buffers: &mut Buffers) {
        outbox.clear(buffers);
        if self.outboxes.len() < OUTBOXES {
            self.outboxes.push(outbox);
        }
    }
}

/// As many busy rooms as a round of the loop is likely to see.
const ROUNDS: usize = 256;
/// Bytes of rounds that are kept at most.
const KEPT: usize = 8 << 20;
/// As many as may lag for a moment in a large room; each keeps less than 3 KiB.
const OUTBOXES: usize = 256;
