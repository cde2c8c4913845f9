//! What has to happen again and again beside the life cycle: registrations that end by time, signs of life, memory
//! given back after a rush.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::server::Server;
use crate::sys;
use crate::systemd;

/// Ends registrations whose time has come, and counts those that are left, until `stop`.
pub(super) async fn sweep(server: Arc<Server>, stop: CancellationToken) {
    let mut ticks = ticks(SWEEP);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        server.sweep(Instant::now());
    }
}

/// Gives memory back when a rush of connections is over, until `stop`.
pub(super) async fn tidy(server: Arc<Server>, stop: CancellationToken) {
    let mut ticks = ticks(QUIET);
    let (mut before, mut tidied) = (0, 0);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let accepted = server.metrics().accepted.value();
        if accepted == before && accepted - tidied >= RUSH {
            sys::release_free_memory();
            tidied = accepted;
        }
        before = accepted;
    }
}

/// Gives the watchdog its sign of life, until `stop`, as long as messages really pass through the relay.
pub(super) async fn watchdog(server: Arc<Server>, stop: CancellationToken) {
    let Some(patience) = systemd::watchdog_interval() else { return };
    let half = (patience / 2).max(Duration::from_millis(1));
    let mut ticks = ticks(half);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match stop.run_until_cancelled(server.self_test(half)).await {
            Some(true) => systemd::alive(),
            Some(false) => tracing::error!("no message passes through the relay, so the watchdog gets no sign of life"),
            None => return,
        }
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Coarse, since nobody waits for the end of a registration to the millisecond.
const SWEEP: Duration = Duration::from_millis(250);
/// So long nobody has come when a rush is over.
const QUIET: Duration = Duration::from_millis(250);
/// Connections whose handshakes leave enough behind to be worth the look.
const RUSH: u64 = 256;
