//! How long messages take through a relay thread: from its wake-up for them to the end of the round in which they were
//! written to their receivers' sockets, or put into outboxes.
//!
//! The clock is read once a round, and all that the round delivered counts with the whole round's time: an upper bound
//! for each message, at no cost for the single one. A large room's messages, which go out over several rounds, count by
//! receivers with the round that reached each. What waits in an outbox for a slow receiver is that receiver's
//! time, and is seen in the outboxes' bytes.

use std::time::Duration;

use super::Count;

/// A histogram with one writer.
#[derive(Debug, Default)]
pub struct Latency {
    counts: [Count; BOUNDS.len() + 1],
    nanos: Count,
}

/// A copy of one or several histograms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spread {
    /// How many messages took no longer than each of [`BOUNDS`] and longer than the one before; the last, longer.
    pub counts: [u64; BOUNDS.len() + 1],
    /// What all took together.
    pub sum: Duration,
}

impl Latency {
    /// Counts `messages` that took so long; the thread is the only writer.
    pub fn observe(&self, took: Duration, messages: u64) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let count = &self.counts[BOUNDS.partition_point(|bound| *bound < took)];
        count.set(count.value() + messages);
        self.nanos.set(self.nanos.value().wrapping_add(nanos.wrapping_mul(messages)));
    }
}

impl Spread {
    /// Adds a histogram's numbers.
    pub fn add(&mut self, latency: &Latency) {
        for (all, one) in self.counts.iter_mut().zip(&latency.counts) {
            *all += one.value();
        }
        self.sum += Duration::from_nanos(latency.nanos.value());
    }
}

/// The histogram's bounds: around the 20 to 60 us that a message takes through an idle router, and up to a second.
pub const BOUNDS: [Duration; 15] = [
    Duration::from_micros(10),
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_secs(1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_count_in_the_first_bound_that_is_not_below_their_time() {
        let (latency, mut spread) = (Latency::default(), Spread::default());
        latency.observe(Duration::from_micros(25), 3);
        latency.observe(Duration::from_micros(26), 1);
        latency.observe(Duration::from_secs(2), 2);
        spread.add(&latency);
        assert_eq!((spread.counts[1], spread.counts[2], spread.counts[BOUNDS.len()]), (3, 1, 2));
        assert_eq!(spread.sum, Duration::from_micros(3 * 25 + 26 + 4_000_000));
    }
}
