//! How fast a member may send, where the rule that let it in says so.
//!
//! Nothing is refused or lost: a member above its rate rests, which is to say that it isn't read from until its bucket
//! has room again, and TCP holds it back from there. What it has read already is charged after the fact, so it reads in
//! smaller pieces, such that little is charged that isn't there. A member without a rate costs nothing here but the look
//! that finds none.

use std::cmp::Reverse;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Link, Moment, READ, Shard};
use crate::bucket::{Bucket, Rate};

/// How much a member may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Messages.
    pub messages: Option<Rate>,
    /// Bytes as they come over its connection, frame headers included.
    pub bytes: Option<Rate>,
}

/// A member's rates and what is left of them.
#[derive(Debug)]
pub(super) struct Pace {
    messages: Option<(Rate, Bucket)>,
    bytes: Option<(Rate, Bucket)>,
    /// Until when the member rests.
    until: Option<Moment>,
}

/// A pace as it is handed over to a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PaceState {
    messages: Option<MeterState>,
    bytes: Option<MeterState>,
}

/// One of its rates, and how long the bucket takes to be full again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct MeterState {
    amount: u64,
    per_ms: u64,
    burst: u64,
    behind_ms: u64,
}

impl Pace {
    fn new(rates: &Rates) -> Self {
        let full = |rate: Rate| (rate, Bucket::default());
        Self { messages: rates.messages.map(full), bytes: rates.bytes.map(full), until: None }
    }

    /// Tells how many bytes may be read at once.
    pub(super) fn at_once(&self, now: Moment) -> usize {
        let left = |meter: &Option<(Rate, Bucket)>, size: u64| {
            meter.as_ref().map_or(u64::MAX, |(rate, bucket)| bucket.left(rate, time(now)).saturating_mul(size))
        };
        let bytes = left(&self.bytes, 1).min(left(&self.messages, SMALLEST_MESSAGE));
        usize::try_from(bytes).unwrap_or(READ).clamp(LEAST_READ, READ)
    }

    /// Takes note of bytes that were read.
    pub(super) fn charge_bytes(&mut self, bytes: usize, now: Moment) {
        if let Some((rate, bucket)) = &mut self.bytes {
            bucket.charge(rate, time(now), bytes as u64);
        }
    }

    /// Takes note of messages that were in them.
    pub(super) fn charge_messages(&mut self, messages: u64, now: Moment) {
        if let Some((rate, bucket)) = &mut self.messages {
            bucket.charge(rate, time(now), messages);
        }
    }

    pub(super) fn state(&self, now: Moment) -> PaceState {
        let state = |(rate, bucket): &(Rate, Bucket)| MeterState {
            amount: rate.amount(),
            per_ms: rate.per().as_millis() as u64,
            burst: rate.burst(),
            behind_ms: bucket.wait(rate, time(now), rate.burst()).as_millis() as u64,
        };
        PaceState { messages: self.messages.as_ref().map(state), bytes: self.bytes.as_ref().map(state) }
    }

    pub(super) fn resume(state: &PaceState, now: Moment) -> Self {
        let resume = |state: MeterState| {
            let rate = Rate::new(state.amount, Duration::from_millis(state.per_ms), state.burst);
            (rate, Bucket::behind(time(now), Duration::from_millis(state.behind_ms)))
        };
        Self { messages: state.messages.map(resume), bytes: state.bytes.map(resume), until: None }
    }

    /// Tells how long the member has to rest.
    fn wait(&self, now: Moment) -> Duration {
        let wait = |meter: &Option<(Rate, Bucket)>| {
            meter.as_ref().map_or(Duration::ZERO, |(rate, bucket)| bucket.wait(rate, time(now), 1))
        };
        wait(&self.messages).max(wait(&self.bytes))
    }
}

impl<L: Link> Shard<L> {
    /// Sets how much a member may send from now on.
    pub fn pace(&mut self, slot: usize, rates: &Rates) {
        if let Some(member) = self.members.get_mut(slot) {
            member.pace = Some(Box::new(Pace::new(rates)));
        }
    }

    /// Tells when a member is to be read from again whom no readiness will announce.
    pub fn next_due(&self) -> Option<Moment> {
        self.resting.peek().map(|Reverse((due, _))| *due)
    }

    /// Has a member rest that has sent more than it may.
    pub(super) fn rest(&mut self, slot: usize, now: Moment) {
        let Some(member) = self.members.get_mut(slot).filter(|member| member.is_open()) else { return };
        let Some(pace) = member.pace.as_deref_mut() else { return };
        let wait = pace.wait(now);
        if wait.is_zero() || member.flags.resting {
            return;
        }
        // A moment is a millisecond. Whoever leaves meanwhile leaves its entry behind, so none lies there for long.
        let due = now.after(wait.clamp(Duration::from_millis(1), LONGEST_REST));
        pace.until = Some(due);
        member.flags.resting = true;
        self.tally.rests += 1;
        self.resting.push(Reverse((due, slot as u32)));
    }

    /// Reads again from those whose rest is over.
    pub(super) fn wake_rested(&mut self, now: Moment) {
        while let Some(&Reverse((due, slot))) = self.resting.peek()
            && due <= now
        {
            self.resting.pop();
            // The member may be gone, and its slot another's.
            let member = self.members.get_mut(slot as usize);
            let Some(member) = member.filter(|member| member.flags.resting) else { continue };
            let Some(pace) = member.pace.as_deref_mut().filter(|pace| pace.until == Some(due)) else { continue };
            pace.until = None;
            member.flags.resting = false;
            if !member.is_open() {
                continue;
            }
            self.rest(slot as usize, now);
            if !self.members[slot as usize].flags.resting {
                self.heat(slot as usize);
            }
        }
    }
}

/// A moment as buckets count time.
fn time(moment: Moment) -> Duration {
    Duration::from_millis(moment.0)
}

/// Bytes of a client's shortest frame: header and mask (RFC 6455 section 5.2).
const SMALLEST_MESSAGE: u64 = 6;
/// What is read at once of a member that has nothing left; less would cost more calls than it saves.
const LEAST_READ: usize = 4 << 10;
/// After so long it is looked at again whether a member has to rest on.
const LONGEST_REST: Duration = Duration::from_secs(1);
