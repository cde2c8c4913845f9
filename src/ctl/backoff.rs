//! Pauses between attempts to reach the router: each twice as long as the one before, and random, so that the devices of
//! a router that restarts don't come back all at once.

use std::time::Duration;

/// State of a series of attempts.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns the pause after an attempt that lasted so long, from random bits. A connection that lasted longer than any
    /// pause begins a new series.
    pub(super) fn pause(&mut self, lasted: Duration, random: u32) -> Duration {
        if lasted > LONGEST {
            self.failures = 0;
        }
        let limit = SHORTEST.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        limit / 2 + (limit / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Enough for the longest pause.
const MAX_DOUBLINGS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_are_random_by_half() {
        let mut backoff = Backoff::default();
        let longest: Vec<u64> =
            (0..8).map(|_| backoff.pause(Duration::ZERO, u32::MAX).as_millis().try_into().unwrap()).collect();
        assert_eq!(longest, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(backoff.pause(Duration::ZERO, 0), Duration::from_secs(30));
        assert_eq!(backoff.pause(Duration::from_secs(61), 0), Duration::from_millis(500));
    }
}
