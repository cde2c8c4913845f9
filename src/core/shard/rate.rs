//! Limits on how fast a member may send, where the access rule that admitted it has some.
//!
//! Nothing is rejected or lost: a member above its rate is throttled, which means that it isn't read from until its
//! bucket has room again, and TCP slows it down from there. Bytes are charged after they were read, so they are read in
//! smaller pieces, so that little is read that isn't allowed yet. A member without a rate costs one comparison.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Moment, READ};
use crate::rate::{Bucket, Rate};

/// Rates at which a member may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Rate of messages.
    pub messages: Option<Rate>,
    /// Rate of bytes on its connection, frame headers included.
    pub bytes: Option<Rate>,
}

/// A member's rates, and the buckets that hold it to them.
#[derive(Debug)]
pub(super) struct RateLimiter {
    messages: Option<(Rate, Bucket)>,
    bytes: Option<(Rate, Bucket)>,
    /// Time until which the member isn't read from.
    pub(super) until: Option<Moment>,
}

/// A rate limiter as it is handed over to a new process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RateState {
    messages: Option<MeterState>,
    bytes: Option<MeterState>,
}

/// One of its rates, and the time until its bucket is full again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct MeterState {
    amount: u64,
    per_ms: u64,
    burst: u64,
    behind_ms: u64,
}

impl RateLimiter {
    pub(super) fn new(rates: &Rates) -> Self {
        let full = |rate: Rate| (rate, Bucket::default());
        Self { messages: rates.messages.map(full), bytes: rates.bytes.map(full), until: None }
    }

    /// Returns how many bytes may be read at once.
    pub(super) fn at_once(&self, now: Moment) -> usize {
        let left = |meter: &Option<(Rate, Bucket)>, size: u64| {
            meter.as_ref().map_or(u64::MAX, |(rate, bucket)| bucket.left(rate, time(now)).saturating_mul(size))
        };
        let bytes = left(&self.bytes, 1).min(left(&self.messages, SMALLEST_MESSAGE));
        usize::try_from(bytes).unwrap_or(READ).clamp(LEAST_READ, READ)
    }

    /// Charges bytes that were read.
    pub(super) fn charge_bytes(&mut self, bytes: usize, now: Moment) {
        if let Some((rate, bucket)) = &mut self.bytes {
            bucket.charge(rate, time(now), bytes as u64);
        }
    }

    /// Charges messages that were in them.
    pub(super) fn charge_messages(&mut self, messages: u64, now: Moment) {
        if let Some((rate, bucket)) = &mut self.messages {
            bucket.charge(rate, time(now), messages);
        }
    }

    pub(super) fn state(&self, now: Moment) -> RateState {
        let state = |(rate, bucket): &(Rate, Bucket)| MeterState {
            amount: rate.amount(),
            per_ms: rate.per().as_millis() as u64,
            burst: rate.burst(),
            behind_ms: bucket.wait(rate, time(now), rate.burst()).as_millis() as u64,
        };
        RateState { messages: self.messages.as_ref().map(state), bytes: self.bytes.as_ref().map(state) }
    }

    pub(super) fn resume(state: &RateState, now: Moment) -> Self {
        let resume = |state: MeterState| {
            let rate = Rate::new(state.amount, Duration::from_millis(state.per_ms), state.burst);
            (rate, Bucket::behind(time(now), Duration::from_millis(state.behind_ms)))
        };
        Self { messages: state.messages.map(resume), bytes: state.bytes.map(resume), until: None }
    }

    /// Returns how long the member must wait.
    pub(super) fn wait(&self, now: Moment) -> Duration {
        let wait = |meter: &Option<(Rate, Bucket)>| {
            meter.as_ref().map_or(Duration::ZERO, |(rate, bucket)| bucket.wait(rate, time(now), 1))
        };
        wait(&self.messages).max(wait(&self.bytes))
    }
}

/// Converts a moment to the time of buckets.
fn time(moment: Moment) -> Duration {
    Duration::from_millis(moment.0)
}

/// Bytes of a client's shortest frame: header and mask (RFC 6455 section 5.2).
const SMALLEST_MESSAGE: u64 = 6;
/// Fewest bytes read at once; less would cost more system calls than it saves.
const LEAST_READ: usize = 4 << 10;
