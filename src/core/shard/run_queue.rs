//! Members to read from again without waiting for readiness: their last read left something, or they were paused.

use super::member::Member;

/// Members to be read from in the next iteration, each once.
#[derive(Debug, Default)]
pub(super) struct RunQueue {
    slots: Vec<u32>,
    /// The list of the last iteration, kept for its memory.
    spare: Vec<u32>,
}

impl RunQueue {
    /// Schedules a member for the next turn.
    pub(super) fn schedule<L>(&mut self, slot: usize, member: &mut Member<L>) {
        if !member.flags.is_scheduled {
            member.flags.is_scheduled = true;
            self.slots.push(slot as u32);
        }
    }

    /// Takes all scheduled members; those that are scheduled from now on have the turn after.
    pub(super) fn take_turn(&mut self) -> Vec<u32> {
        std::mem::replace(&mut self.slots, std::mem::take(&mut self.spare))
    }

    /// Gives the list of a turn back.
    pub(super) fn end_turn(&mut self, mut turn: Vec<u32>) {
        turn.clear();
        self.spare = turn;
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
