//! Limits of open connections, and the permit that counts a connection until it is closed.

use nix::sys::resource::{Resource, getrlimit};

use super::NetworkSlot;
use crate::config;
use crate::metrics::FrontendMetrics;
use crate::sync::Arc;

/// Returns the limit of open connections: `limits.connections`, or the number that the process's descriptor limit allows if
/// that is lower or the key is unset.
pub fn connection_limit(limits: &config::Limits) -> usize {
    let possible = usize::try_from(connections_within(descriptor_limit())).unwrap_or(usize::MAX);
    limits.connections.map_or(possible, |wanted| wanted.min(possible))
}

/// Returns the soft limit of open descriptors, which the daemon has raised to the hard one.
fn descriptor_limit() -> u64 {
    // If the limit can't be read, accept(2) fails when it has been reached.
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Returns how many connections a process with this descriptor limit can hold: all descriptors except
/// [`RESERVED_DESCRIPTORS`], but at least half of the limit.
pub fn connections_within(descriptors: u64) -> u64 {
    descriptors.saturating_sub(RESERVED_DESCRIPTORS).max(descriptors / 2)
}

/// Returns how many evicted connections may still be open while others take their slots. They use up to a quarter of the
/// reserved descriptors.
pub(super) fn evicted_limit() -> usize {
    let descriptors = descriptor_limit();
    let reserve = descriptors.saturating_sub(connections_within(descriptors));
    usize::try_from(reserve / 4).unwrap_or(usize::MAX).min(MAX_EVICTED)
}

/// Returns the limit of open connections for one client network, while all others have `others`:
/// `limits.connections-per-address`, or three quarters of the connections that these leave free, so that no network can
/// exclude the others.
pub(super) fn network_limit(limits: &config::Limits, others: usize) -> usize {
    let share = || (connection_limit(limits).saturating_sub(others) / 4 * 3).max(1);
    limits.connections_per_address.unwrap_or_else(share)
}

/// Counts an open connection in [`FrontendMetrics::connections`] until it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    metrics: Arc<FrontendMetrics>,
    extra: Option<Box<Extra>>,
}

/// Further counts, boxed because most connections have none.
#[derive(Debug, Default)]
struct Extra {
    /// Guard that counts the connection for the client's network.
    slot: Option<NetworkSlot>,
    /// Whether the connection counts as a TLS session.
    has_tls: bool,
    /// Whether it also counts as one that is in the kernel.
    is_in_kernel: bool,
}

impl ConnectionPermit {
    /// Counts one more connection. Returns `None` if `limit` connections are open already.
    pub fn take(metrics: &Arc<FrontendMetrics>, limit: usize) -> Option<Self> {
        let permit = Self::unlimited(metrics);
        (metrics.connections.value() <= limit as u64).then_some(permit)
    }

    /// Counts one more connection regardless of the limit, such as one that the old process handed over.
    pub fn unlimited(metrics: &Arc<FrontendMetrics>) -> Self {
        metrics.connections.increment();
        Self { metrics: Arc::clone(metrics), extra: None }
    }

    /// Counts the connection as a TLS session as well.
    pub(super) fn count_tls(&mut self) {
        if !std::mem::replace(&mut self.extra.get_or_insert_default().has_tls, true) {
            self.metrics.tls_sessions.increment();
        }
    }

    /// Counts the connection as a TLS session that is in the kernel as well.
    pub(super) fn count_kernel_tls(&mut self) {
        self.count_tls();
        if !std::mem::replace(&mut self.extra.get_or_insert_default().is_in_kernel, true) {
            self.metrics.tls_kernel_sessions.increment();
        }
    }

    /// Keeps the guard of the connection's network until the connection is closed.
    pub fn hold(&mut self, slot: Option<NetworkSlot>) {
        if slot.is_some() {
            self.extra.get_or_insert_default().slot = slot;
        }
    }

    /// Takes the guard of the connection's network out, for something else that counts as a connection of it.
    pub fn take_slot(&mut self) -> Option<NetworkSlot> {
        self.extra.as_mut().and_then(|extra| extra.slot.take())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.metrics.connections.decrement();
        if self.extra.as_ref().is_some_and(|extra| extra.has_tls) {
            self.metrics.tls_sessions.decrement();
        }
        if self.extra.as_ref().is_some_and(|extra| extra.is_in_kernel) {
            self.metrics.tls_kernel_sessions.decrement();
        }
    }
}

/// Descriptors that are reserved for other uses: listeners, event loops, the admin interface's connections, files.
pub const RESERVED_DESCRIPTORS: u64 = 256;

/// Maximum number of evicted connections that are still open. Each is closed within moments.
const MAX_EVICTED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_limit_holds_below_what_the_descriptors_allow() {
        let limits = |connections| config::Limits { connections, ..config::Limits::default() };
        let possible = connection_limit(&limits(None));
        assert!(possible > 0);
        assert_eq!(connection_limit(&limits(Some(1))), 1);
        assert_eq!(connection_limit(&limits(Some(usize::MAX))), possible);
    }
}
