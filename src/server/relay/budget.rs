//! One budget of memory for all that peers can make us hold (`limits.memory`).
//!
//! Relay threads say each round what their members' streams take; connections, requests in progress and registrations
//! count with what one of them may cost. Near the budget nobody new is let in ([`Budget::is_tight`]), and each thread that
//! holds its share or more closes those who hold most, until there is room again. So the kernel never has to decide,
//! which would end everybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{Front, ThreadTotals};

/// What there is and what is taken.
#[derive(Debug)]
pub struct Budget {
    limit: AtomicU64,
    front: Arc<Front>,
    threads: Vec<Arc<ThreadTotals>>,
}

impl Budget {
    /// Makes a budget without a limit.
    pub(super) fn new(front: Arc<Front>, threads: Vec<Arc<ThreadTotals>>) -> Self {
        Self { limit: AtomicU64::new(u64::MAX), front, threads }
    }

    /// Sets the limit in bytes.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Tells the limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Bytes that all peers together make us hold.
    pub fn used(&self) -> u64 {
        let front = &self.front;
        self.streams()
            + front.connections.value() * CONNECTION
            + front.tls_sessions.value() * TLS_SESSION
            + front.pending.value() * REQUEST
            + front.registrations.value() * REGISTRATION
    }

    /// Tells whether so little is left that nobody new is to be let in.
    pub fn is_tight(&self) -> bool {
        self.used() >= self.limit() / 16 * 15
    }

    /// Returns how much a thread that holds `own` has to free, from where newcomers are rejected, so that there is no state in
    /// which they are rejected for good and nothing is freed.
    pub(super) fn to_free(&self, own: u64) -> u64 {
        let (limit, used) = (self.limit(), self.used());
        if !self.is_tight() || own.saturating_mul(self.threads.len() as u64) < self.streams() {
            return 0;
        }
        // A little more than needed, so that it isn't needed again at once.
        (used - limit / 8 * 7).min(own)
    }

    fn streams(&self) -> u64 {
        self.threads.iter().map(|thread| thread.held.value()).sum()
    }
}

/// A member without anything on its way, and its socket's place in the event loops.
pub const CONNECTION: u64 = 1 << 10;
/// What a TLS session takes beside it, with the records that may wait for the socket.
pub const TLS_SESSION: u64 = 32 << 10;
/// A request in progress: its task and its buffers, before `http.max-head` and `http.max-body` make them larger.
pub const REQUEST: u64 = 24 << 10;
/// A registration: its id, the hashes of its keys, and its place in the tables.
pub const REGISTRATION: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(held: &[u64], limit: u64) -> Budget {
        let threads = held.iter().map(|held| {
            let totals = ThreadTotals::default();
            totals.held.set(*held);
            Arc::new(totals)
        });
        let budget = Budget::new(Arc::default(), threads.collect());
        budget.set_limit(limit);
        budget
    }

    #[test]
    fn nothing_is_freed_below_the_limit_and_a_little_more_than_needed_above() {
        assert_eq!(budget(&[920], 1000).to_free(920), 0);
        assert_eq!(budget(&[1000], 1000).to_free(1000), 125);
        assert_eq!(budget(&[1100], 1000).to_free(1100), 225);
        assert_eq!(budget(&[u64::MAX / 2], u64::MAX).to_free(u64::MAX / 2), 0);
    }

    #[test]
    fn the_thread_that_holds_more_frees_it() {
        let budget = budget(&[1000, 200], 1000);
        assert_eq!(budget.to_free(200), 0);
        assert!(budget.to_free(1000) > 200);
    }

    #[test]
    fn it_is_tight_before_it_is_full_and_all_that_peers_cause_counts() {
        let budget = budget(&[900], 1000);
        assert!(!budget.is_tight());
        budget.front.registrations.up();
        assert!(budget.is_tight());
        assert_eq!(budget.used(), 900 + REGISTRATION);
    }
}
