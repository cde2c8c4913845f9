//! The members that aren't read from until their rates allow it again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use slab::Slab;

use super::Moment;
use super::member::Member;

/// Members that have exceeded their rate, and when they are read from again.
#[derive(Debug, Default)]
pub(super) struct Throttled {
    /// The earliest first. The entry of a member that leaves stays behind, for a second at most.
    due: BinaryHeap<Reverse<(Moment, u32)>>,
}

impl Throttled {
    /// Stops reading from a member that has exceeded its rate; returns whether it wasn't throttled before.
    pub(super) fn throttle<L>(&mut self, slot: usize, member: &mut Member<L>, now: Moment) -> bool {
        let Some(limiter) = member.rate.as_deref_mut() else { return false };
        let wait = limiter.wait(now);
        if wait.is_zero() || member.flags.is_throttled {
            return false;
        }
        // A moment is a millisecond.
        let due = now.after(wait.clamp(Duration::from_millis(1), LONGEST_WAIT));
        limiter.until = Some(due);
        member.flags.is_throttled = true;
        self.due.push(Reverse((due, slot as u32)));
        true
    }

    /// Returns a member that is due, if it is still the one that was throttled.
    pub(super) fn release<L>(&mut self, members: &mut Slab<Member<L>>, now: Moment) -> Option<usize> {
        while let Some(&Reverse((due, slot))) = self.due.peek()
            && due <= now
        {
            self.due.pop();
            let Some(member) = members.get_mut(slot as usize).filter(|member| member.flags.is_throttled) else {
                continue;
            };
            let Some(limiter) = member.rate.as_deref_mut().filter(|limiter| limiter.until == Some(due)) else {
                continue;
            };
            limiter.until = None;
            member.flags.is_throttled = false;
            return Some(slot as usize);
        }
        None
    }

    /// Returns when the next member is due.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }
}

/// Longest time after which it is checked again whether a member is still throttled.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
