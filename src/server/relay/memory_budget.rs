//! The limit on the memory that peers can make the router hold (`limits.memory`).
//!
//! Each relay thread publishes in every iteration how much memory its members' streams take. Connections, requests in
//! progress and registrations count with a fixed estimate each, and the messages that requests send with their size. Near the limit, newcomers are rejected
//! ([`MemoryBudget::is_tight`]), and each thread with at least its share of the memory closes the members that take the
//! most, until enough is free. Otherwise the kernel's OOM killer would end the router, with all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{FrontendMetrics, ThreadTotals};

/// The memory limit and its use.
#[derive(Debug)]
pub struct MemoryBudget {
    limit: AtomicU64,
    metrics: Arc<FrontendMetrics>,
    threads: Vec<Arc<ThreadTotals>>,
}

impl MemoryBudget {
    /// Creates a budget without a limit.
    pub(super) fn new(metrics: Arc<FrontendMetrics>, threads: Vec<Arc<ThreadTotals>>) -> Self {
        Self { limit: AtomicU64::new(u64::MAX), metrics, threads }
    }

    /// Sets the limit in bytes.
    pub fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Ordering::Relaxed);
    }

    /// Returns the limit in bytes.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes that the data of all peers takes.
    pub fn used(&self) -> u64 {
        let metrics = &self.metrics;
        self.streams()
            + metrics.connections.value() * CONNECTION
            + metrics.tls_sessions.value().saturating_sub(metrics.tls_kernel_sessions.value()) * TLS_SESSION
            + metrics.pending.value() * REQUEST
            + metrics.send_bytes.value()
            + metrics.registrations.value() * REGISTRATION
    }

    /// Returns whether the limit is so near that newcomers are rejected.
    pub fn is_tight(&self) -> bool {
        self.used() >= self.limit() / 16 * 15
    }

    /// Returns the number of bytes that a thread has to free, of the `own` bytes that it holds. Freeing starts at the same
    /// level as rejecting newcomers, so that they are not rejected forever while nothing is freed.
    pub(super) fn excess(&self, own: u64) -> u64 {
        let (limit, used) = (self.limit(), self.used());
        if !self.is_tight() || own.saturating_mul(self.threads.len() as u64) < self.streams() {
            return 0;
        }
        // More than necessary, so that the limit isn't reached again at once.
        (used - limit / 8 * 7).min(own)
    }

    fn streams(&self) -> u64 {
        self.threads.iter().map(|thread| thread.held.value()).sum()
    }
}

/// Estimate for an idle member and its socket's entries in the event loops.
pub const CONNECTION: u64 = 1 << 10;
/// Estimate for a TLS session in the process, with the records that may wait for the socket.
pub const TLS_SESSION: u64 = 32 << 10;
/// Estimate for a request in progress: its task and its buffers, before `http.max-head` and `http.max-body` make them
/// larger.
pub const REQUEST: u64 = 24 << 10;
/// Estimate for a registration: its id, the hashes of its keys, and its table entries.
pub const REGISTRATION: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(held: &[u64], limit: u64) -> MemoryBudget {
        let threads = held.iter().map(|held| {
            let totals = ThreadTotals::default();
            totals.held.set(*held);
            Arc::new(totals)
        });
        let budget = MemoryBudget::new(Arc::default(), threads.collect());
        budget.set_limit(limit);
        budget
    }

    #[test]
    fn nothing_is_freed_below_the_limit_and_a_little_more_than_needed_above() {
        assert_eq!(budget(&[920], 1000).excess(920), 0);
        assert_eq!(budget(&[1000], 1000).excess(1000), 125);
        assert_eq!(budget(&[1100], 1000).excess(1100), 225);
        assert_eq!(budget(&[u64::MAX / 2], u64::MAX).excess(u64::MAX / 2), 0);
    }

    #[test]
    fn the_thread_that_holds_more_frees_it() {
        let budget = budget(&[1000, 200], 1000);
        assert_eq!(budget.excess(200), 0);
        assert!(budget.excess(1000) > 200);
    }

    #[test]
    fn the_budget_is_tight_before_it_is_full_and_counts_registrations() {
        let budget = budget(&[900], 1000);
        assert!(!budget.is_tight());
        budget.metrics.registrations.increment();
        assert!(budget.is_tight());
        assert_eq!(budget.used(), 900 + REGISTRATION);
    }
}
