//! Members to read from again without waiting for readiness: their last read left something, or they were paused.

use std::collections::VecDeque;

use super::member::Member;

/// Members to be read from in the next iterations, each once, in order.
#[derive(Debug, Default)]
pub(super) struct RunQueue(VecDeque<u32>);

impl RunQueue {
    /// Schedules a member, behind those that are scheduled already.
    pub(super) fn schedule<L>(&mut self, slot: usize, member: &mut Member<L>) {
        if !member.flags.is_scheduled {
            member.flags.is_scheduled = true;
            self.0.push_back(slot as u32);
        }
    }

    /// Returns the next scheduled member.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.0.pop_front().map(|slot| slot as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
