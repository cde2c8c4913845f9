//! Rate limit for log messages that a peer can trigger at will.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ws_router_core::rate::{Bucket, Rate};

/// Rate limit of one log message, or of a group of messages; counts those that it suppresses.
///
/// ```ignore
/// static REJECTED: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(10));
/// if let Some(suppressed) = REJECTED.should_log(Instant::now()) {
///     tracing::warn!(suppressed, "connection rejected");
/// }
/// ```
#[derive(Debug)]
pub struct RateLimitedLog {
    rate: Rate,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Time of the first message, from which the bucket counts.
    start: Option<Instant>,
    bucket: Bucket,
    suppressed: u64,
}

impl RateLimitedLog {
    /// Allows one message in each `interval`.
    pub const fn every(interval: Duration) -> Self {
        Self::new(Rate::new(1, interval, 1))
    }

    /// Allows this rate of messages.
    pub const fn new(rate: Rate) -> Self {
        Self { rate, state: Mutex::new(State { start: None, bucket: Bucket::FULL, suppressed: 0 }) }
    }

    /// Returns whether to log a message now, and if so how many were suppressed since the last one.
    pub fn should_log(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let elapsed = now.saturating_duration_since(*state.start.get_or_insert(now));
        match state.bucket.take(&self.rate, elapsed, 1) {
            Ok(()) => Some(std::mem::take(&mut state.suppressed)),
            Err(_) => {
                state.suppressed += 1;
                None
            }
        }
    }

    /// Counts messages that were lost before this limit could see them.
    pub fn count_suppressed(&self, messages: u64) {
        self.state.lock().suppressed += messages;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_in_each_interval_is_logged_with_the_number_of_suppressed_ones() {
        let (log, start) = (RateLimitedLog::every(Duration::from_secs(10)), Instant::now());
        assert_eq!(log.should_log(start), Some(0));
        for second in 1..10 {
            assert_eq!(log.should_log(start + Duration::from_secs(second)), None);
        }
        assert_eq!(log.should_log(start + Duration::from_secs(10)), Some(9));
        assert_eq!(log.should_log(start + Duration::from_secs(20)), Some(0));
    }

    #[test]
    fn a_burst_is_logged_up_to_its_limit() {
        let (log, start) = (RateLimitedLog::new(Rate::per_second(20, 500)), Instant::now());
        assert_eq!((0..600).filter(|_| log.should_log(start).is_some()).count(), 500);
        log.count_suppressed(3);
        assert_eq!(log.should_log(start + Duration::from_secs(1)), Some(103));
        assert_eq!(log.should_log(start + Duration::from_secs(1)), Some(0));
    }
}
