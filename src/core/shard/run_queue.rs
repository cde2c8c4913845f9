//! Members to serve again without waiting for readiness: their last read left something, they were paused, or their
//! sockets may take more.
//!
//! Two kinds of members have queues of their own, since there may be thousands of them and the others shouldn't wait
//! behind them: those that are closing, and those of a large room whose sockets are being filled with a broadcast.
//! Sockets are filled one after the other. Otherwise a member that reads would wait for all that don't.

use std::collections::VecDeque;

use super::member::Member;

/// Members to be served in the next iterations, each once.
#[derive(Debug, Default)]
pub(super) struct RunQueue {
    queues: [VecDeque<u32>; 3],
}

/// One of the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Members in order.
    Usual,
    /// Members of large rooms whose sockets are being filled, the latest first.
    Filling,
    /// Members that are closing, in order.
    Closing,
}

impl Lane {
    /// All queues, in the order in which they are served.
    pub(super) const ALL: [Self; 3] = [Self::Usual, Self::Filling, Self::Closing];
}

impl RunQueue {
    /// Schedules a member in the usual queue.
    pub(super) fn schedule<L>(&mut self, slot: usize, member: &mut Member<L>) {
        self.schedule_in(Lane::Usual, slot, member);
    }

    /// Schedules a member, unless it is scheduled already.
    pub(super) fn schedule_in<L>(&mut self, lane: Lane, slot: usize, member: &mut Member<L>) {
        if member.flags.is_scheduled {
            return;
        }
        member.flags.is_scheduled = true;
        let queue = &mut self.queues[lane as usize];
        match lane {
            Lane::Filling => queue.push_front(slot as u32),
            Lane::Usual | Lane::Closing => queue.push_back(slot as u32),
        }
    }

    /// Returns the next scheduled member of a queue.
    pub(super) fn pop(&mut self, lane: Lane) -> Option<usize> {
        self.queues[lane as usize].pop_front().map(|slot| slot as usize)
    }

    /// Returns the length of a queue.
    pub(super) fn len(&self, lane: Lane) -> usize {
        self.queues[lane as usize].len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }
}
