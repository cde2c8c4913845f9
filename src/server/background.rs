//! Periodic tasks: ending registrations by time, returning free memory to the system, notifying the watchdog.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::log::messages;
use crate::server::Server;
use crate::sys;
use crate::systemd;

/// Ends registrations whose deadline has passed, until `stop`.
pub async fn sweep(server: Arc<Server>, stop: CancellationToken) {
    let mut ticks = ticks(SWEEP);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        server.sweep(Instant::now());
    }
}

/// Returns free memory to the system after a burst of connections, until `stop`.
pub async fn trim_memory(server: Arc<Server>, stop: CancellationToken) {
    let mut ticks = ticks(QUIET);
    let (mut before, mut trimmed) = (0, 0);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let accepted = server.metrics().accepted.value();
        if accepted == before && accepted - trimmed >= BURST {
            sys::release_free_memory();
            trimmed = accepted;
        }
        before = accepted;
    }
}

/// Notifies the service manager's watchdog while messages pass through every relay thread, until `stop`.
pub async fn watchdog(server: Arc<Server>, stop: CancellationToken) {
    let Some(timeout) = systemd::watchdog_interval() else { return };
    let half = (timeout / 2).max(Duration::from_millis(1));
    let mut ticks = ticks(half);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match stop.run_until_cancelled(server.self_test(half)).await {
            Some(true) => systemd::alive(),
            Some(false) => tracing::error!(
                message_id = messages::SELF_TEST_FAILED,
                "relay self-test failed; the watchdog is not notified"
            ),
            None => return,
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Interval at which registrations are ended. Their deadlines need no higher precision.
const SWEEP: Duration = Duration::from_millis(250);
/// Time without a new connection after which a burst is over.
const QUIET: Duration = Duration::from_millis(250);
/// Number of connections whose handshakes leave enough free memory to be worth returning.
const BURST: u64 = 256;
