//! The log's lines about registrations and their members, written beside the work and not within it.
//!
//! They come from the events, so that a relay thread never waits for a log; and since any peer can cause them, there are
//! only so many in a second. How many were held back is told; the admin interface has all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use ws_router_admin_api::event::{Event, EventKind};
use ws_router_core::rate::{Bucket, Rate};

use crate::events::Events;

/// The task that writes them, as long as this is there.
#[derive(Debug)]
pub(super) struct Story {
    wishes: mpsc::Sender<oneshot::Sender<()>>,
    _task: AbortOnDropHandle<()>,
}

impl Story {
    /// Begins with what happens from now on.
    pub(super) fn begin(events: &Events) -> Self {
        let (wishes, taken) = mpsc::channel(1);
        Self { wishes, _task: AbortOnDropHandle::new(tokio::spawn(tell(events.subscribe(), taken))) }
    }

    /// Returns when all is written that has happened; to be called before the process ends.
    pub(super) async fn catch_up(&self) {
        let (done, is_done) = oneshot::channel();
        if self.wishes.send(done).await.is_ok() {
            // An error says that the task has ended, and then nothing more is to come.
            let _ = is_done.await;
        }
    }
}

async fn tell(mut events: Receiver<Arc<Event>>, mut wishes: mpsc::Receiver<oneshot::Sender<()>>) {
    let (begin, mut brake) = (Instant::now(), Brake::default());
    loop {
        tokio::select! {
            // Whoever wishes to be told that all is written waits for what is there.
            biased;
            heard = events.recv() => match heard {
                Ok(event) => {
                    let Some(suppressed) = brake.admit(begin.elapsed()) else { continue };
                    if suppressed > 0 {
                        tracing::info!(suppressed, "events of registrations not logged, there are too many");
                    }
                    log(&event.kind);
                }
                Err(RecvError::Lagged(missed)) => brake.suppressed += missed,
                Err(RecvError::Closed) => return,
            },
            wish = wishes.recv() => match wish {
                // Who has wished may have gone meanwhile.
                Some(done) => drop(done.send(())),
                None => return,
            },
        }
    }
}

/// Lets so many lines through, and counts the others.
#[derive(Debug, Default)]
struct Brake {
    bucket: Bucket,
    suppressed: u64,
}

impl Brake {
    /// Tells whether a line may be written, and then how many were not since the last one.
    fn admit(&mut self, now: Duration) -> Option<u64> {
        match self.bucket.take(&LINES, now, 1) {
            Ok(()) => Some(std::mem::take(&mut self.suppressed)),
            Err(_) => {
                self.suppressed += 1;
                None
            }
        }
    }
}

fn log(kind: &EventKind) {
    match kind {
        EventKind::Registered { registration, kind } => {
            tracing::info!(%registration, kind = kind.as_str(), "registration made");
        }
        EventKind::Reclaimed { registration } => tracing::info!(%registration, "registration taken up again"),
        EventKind::Ended { registration, reason, .. } => {
            tracing::info!(%registration, reason = reason.label(), "registration ended");
        }
        EventKind::Joined { registration, member, role, peer } => {
            tracing::info!(%registration, %member, role = role.as_str(), %peer, "member joined");
        }
        EventKind::Left { registration, member, role, reason, code, silent_ms, .. } => {
            let (role, reason) = (role.as_str(), reason.label());
            tracing::info!(%registration, %member, role, reason, code, silent_ms, "member left");
        }
        // Those are logged by who does them.
        EventKind::Reloaded | EventKind::DrainBegun { .. } | EventKind::Drained | EventKind::DrainUndone => {}
    }
}

/// A person reads no more, and the journal's own limit (journald.conf(5), RateLimitBurst=) is far.
const LINES: Rate = Rate::per_second(20, 500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rush_is_cut_and_told_with_the_next_line() {
        let mut brake = Brake::default();
        let written = (0..600).filter(|_| brake.admit(Duration::ZERO).is_some()).count();
        assert_eq!(written, 500);
        assert_eq!(brake.admit(Duration::from_secs(1)), Some(100));
        assert_eq!(brake.admit(Duration::from_secs(1)), Some(0));
    }
}
