//! Latency of messages in a relay thread: from the thread's wake-up to the end of the iteration in which the messages were
//! written to their receivers' sockets or added to outboxes.
//!
//! The clock is read once per iteration, and the duration of the iteration counts for each delivery in it. This is an upper
//! bound, and costs nothing per message. A message to many receivers may be delivered in several iterations; each delivery
//! counts with its own iteration. The time that a message waits in an outbox for a slow receiver is not included; the
//! metric of outbox bytes shows that.

use std::time::Duration;

use super::Counter;

/// A histogram with one writer.
#[derive(Debug, Default)]
pub struct Latency {
    counts: [Counter; BOUNDS.len() + 1],
    nanos: Counter,
}

/// A sum of histograms at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistogramSnapshot {
    /// Number of messages for each of [`BOUNDS`], above the previous bound and up to this one. The last number is for
    /// messages above all bounds.
    pub counts: [u64; BOUNDS.len() + 1],
    /// Sum of all latencies.
    pub sum: Duration,
}

impl Latency {
    /// Counts `messages` that took `latency`; the thread is the only writer.
    pub fn observe(&self, latency: Duration, messages: u64) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let count = &self.counts[BOUNDS.partition_point(|bound| *bound < latency)];
        count.set(count.value() + messages);
        self.nanos.set(self.nanos.value().wrapping_add(nanos.wrapping_mul(messages)));
    }
}

impl HistogramSnapshot {
    /// Adds a histogram's numbers.
    pub fn add(&mut self, latency: &Latency) {
        for (all, one) in self.counts.iter_mut().zip(&latency.counts) {
            *all += one.value();
        }
        self.sum += Duration::from_nanos(latency.nanos.value());
    }
}

/// Upper bounds of the buckets: from below the 20 to 60 µs of an idle router to one second.
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
        let (latency, mut snapshot) = (Latency::default(), HistogramSnapshot::default());
        latency.observe(Duration::from_micros(25), 3);
        latency.observe(Duration::from_micros(26), 1);
        latency.observe(Duration::from_secs(2), 2);
        snapshot.add(&latency);
        assert_eq!((snapshot.counts[1], snapshot.counts[2], snapshot.counts[BOUNDS.len()]), (3, 1, 2));
        assert_eq!(snapshot.sum, Duration::from_micros(3 * 25 + 26 + 4_000_000));
    }
}
