//! Pools of broadcasts and outboxes, so that a steady stream allocates nothing. They are bounded: the rest is left to
//! the allocator.

use super::Moment;
use super::broadcast::PendingBroadcast;
use super::outbox::Outbox;
use crate::frame::Buffers;

/// Emptied broadcasts and outboxes; boxed, since they are moved into rooms and members and back.
#[derive(Debug, Default)]
#[allow(clippy::vec_box)]
pub(super) struct Pools {
    broadcasts: Vec<Box<PendingBroadcast>>,
    /// Memory of the broadcasts, in bytes.
    bytes: usize,
    outboxes: Vec<Box<Outbox>>,
}

impl Pools {
    /// Returns an empty broadcast.
    pub(super) fn take_broadcast(&mut self) -> Box<PendingBroadcast> {
        let broadcast = self.broadcasts.pop().unwrap_or_default();
        self.bytes -= broadcast.memory();
        broadcast
    }

    /// Takes a broadcast back.
    pub(super) fn give_broadcast(&mut self, mut broadcast: Box<PendingBroadcast>, buffers: &mut Buffers) {
        broadcast.clear(buffers);
        if self.broadcasts.len() < BROADCASTS && self.bytes + broadcast.memory() <= BROADCAST_BYTES {
            self.bytes += broadcast.memory();
            self.broadcasts.push(broadcast);
        }
    }

    /// Returns an empty outbox, whose progress starts now.
    pub(super) fn take_outbox(&mut self, now: Moment) -> Box<Outbox> {
        let mut outbox = self.outboxes.pop().unwrap_or_else(|| Box::new(Outbox::new(now)));
        outbox.note_progress(now);
        outbox
    }

    /// Takes an outbox back, and drops its contents.
    pub(super) fn give_outbox(&mut self, mut outbox: Box<Outbox>, buffers: &mut Buffers) {
        outbox.clear(buffers);
        if self.outboxes.len() < OUTBOXES {
            self.outboxes.push(outbox);
        }
    }
}

/// Most broadcasts kept: as many busy rooms as an iteration is likely to see.
const BROADCASTS: usize = 256;
/// Most bytes of broadcasts kept.
const BROADCAST_BYTES: usize = 8 << 20;
/// Most outboxes kept: as many members as may lag for a moment in a large room. Each keeps less than 3 KiB.
const OUTBOXES: usize = 256;
