//! A brake for log lines that a peer can cause at will.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one event through in an interval, and counts those that it held back.
///
/// ```
/// use std::time::{Duration, Instant};
/// use ws_router::log::Rarely;
///
/// static REFUSALS: Rarely = Rarely::new(Duration::from_secs(10));
/// if let Some(suppressed) = REFUSALS.ask(Instant::now()) {
///     tracing::warn!(suppressed, "a connection was refused");
/// }
/// ```
#[derive(Debug)]
pub struct Rarely {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl Rarely {
    /// Makes a brake that lets one event through in each `interval`.
    pub const fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { last: None, suppressed: 0 }) }
    }

    /// Tells whether an event may be logged now, and if so how many were held back since the last one.
    pub fn ask(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < self.interval) {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_an_interval_passes_and_tells_how_many_did_not() {
        let (brake, start) = (Rarely::new(Duration::from_secs(10)), Instant::now());
        assert_eq!(brake.ask(start), Some(0));
        for second in 1..10 {
            assert_eq!(brake.ask(start + Duration::from_secs(second)), None);
        }
        assert_eq!(brake.ask(start + Duration::from_secs(10)), Some(9));
        assert_eq!(brake.ask(start + Duration::from_secs(20)), Some(0));
    }
}
