//! The queue of members to be closed.
//!
//! Code that finds a reason to end a connection only marks the member, wherever in the delivery of a message that is.
//! The marked member neither sends nor receives any more, and its slot stays valid. [`super::Shard`] does the work at
//! the end of each entry point, for a bounded number of members per iteration of the event loop.

use std::collections::VecDeque;

use super::member::{Cause, Member, Phase};
use super::sessions::keeps_session;
use crate::close::CloseReason;

/// The marked members, in the order of marking.
#[derive(Debug)]
pub(super) struct ClosingQueue {
    slots: VecDeque<u32>,
    /// Work left for this iteration; a unit is a member, or [`super::WRITE_COST`] bytes sent to one.
    budget: usize,
}

impl Default for ClosingQueue {
    fn default() -> Self {
        Self { slots: VecDeque::new(), budget: PER_ITERATION }
    }
}

impl ClosingQueue {
    /// Marks a member; the first cause counts, unless a session would outlive it. A member that is already closing is
    /// marked only by the loss of its connection.
    pub(super) fn mark<L>(&mut self, slot: usize, member: &mut Member<L>, cause: impl Into<Cause>) {
        let cause = cause.into();
        member.phase = match member.phase {
            Phase::Open | Phase::Away(_) => Phase::Leaving(cause),
            Phase::Closing(_) | Phase::Finishing(_) if cause.reason == CloseReason::Lost => Phase::Closed,
            // It would stay for its session, which ends now.
            Phase::Leaving(first) if member.flags.has_session && keeps_session(&first) && !keeps_session(&cause) => {
                member.phase = Phase::Leaving(cause);
                return;
            }
            Phase::Leaving(_) | Phase::Closing(_) | Phase::Finishing(_) | Phase::Closed => return,
        };
        self.slots.push_back(slot as u32);
    }

    /// Returns the next marked member, if one may be closed in this iteration.
    pub(super) fn pop(&mut self) -> Option<usize> {
        if self.budget == 0 {
            return None;
        }
        let slot = self.slots.pop_front()?;
        self.budget -= 1;
        Some(slot as usize)
    }

    /// Charges work beyond the usual for closing a member.
    pub(super) fn spend(&mut self, budget: usize) {
        self.budget = self.budget.saturating_sub(budget);
    }

    /// Starts the budget of the next iteration.
    pub(super) fn start_iteration(&mut self, budget: usize) {
        self.budget = budget;
    }

    /// Lifts the limit for this iteration.
    pub(super) fn lift_limit(&mut self) {
        self.budget = usize::MAX;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

/// Returns whether a member is still sent its outbox: not if it closed itself, broke the protocol or receives nothing.
pub(super) fn delivers_queue(reason: CloseReason) -> bool {
    match reason {
        CloseReason::Stopping
        | CloseReason::Restarting
        | CloseReason::Draining
        | CloseReason::Removed
        | CloseReason::RemovedByAdmin
        | CloseReason::ClosedByAdmin
        | CloseReason::NotAccepted
        | CloseReason::PeerDisconnected
        | CloseReason::TlsEnded => true,
        CloseReason::Left
        | CloseReason::Lost
        | CloseReason::Protocol
        | CloseReason::InvalidUtf8
        | CloseReason::TooBig
        | CloseReason::TooSlow
        | CloseReason::NoPong
        | CloseReason::NotPermitted
        | CloseReason::TakenOver
        | CloseReason::SessionLost => false,
    }
}

/// Members closed per iteration, with up to three writes for each: what the other members can wait for.
pub(super) const PER_ITERATION: usize = 64;
