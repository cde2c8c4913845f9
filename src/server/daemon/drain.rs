//! Taking the router out of service gently, so that its devices go elsewhere a few at a time.
//!
//! While it goes on nobody new is let in: health checks, registrations and joins are answered with 503. Members are
//! closed (1012) evenly over the time that was asked for, a registration's together, so that they also come back
//! together. It can be undone until the last one has left; then the daemon ends, unless the service manager holds its
//! sockets: the next caller, such as a load balancer's health check, would have it started again, and it would be in
//! service. So it stays and refuses, until it is stopped with its socket units or the drain is undone.
//!
//! The new process goes on where the old one was, since a restart is no reason to let devices in again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use ws_router_admin_api::event::What;
use ws_router_admin_api::{self as wire, DrainPhase};
use ws_router_core::close::CloseReason;

use crate::directory::{Directory, Registration};
use crate::events::Events;
use crate::relay::Relay;
use crate::snapshot::DrainState;

/// Whether the router is in service.
#[derive(Debug)]
pub(super) struct Drain {
    /// Set while nobody new is let in.
    pub(super) flag: Arc<AtomicBool>,
    /// Where members are.
    pub(super) relay: Relay,
    /// Which registrations there are.
    pub(super) directory: Arc<Directory>,
    /// Where it is told.
    pub(super) events: Events,
    /// Where administrators see it.
    pub(super) publish: watch::Sender<wire::Drain>,
    /// Whether the daemon stays when it is empty.
    pub(super) stays: bool,
    /// Set while it is taken out of service.
    pub(super) plan: Option<Plan>,
}

impl Drain {
    /// Begins, or goes on with another time for the rest.
    pub(super) fn begin(&mut self, over: Duration, now: Instant) -> wire::Drain {
        self.flag.store(true, Ordering::Relaxed);
        let members = self.seats();
        tracing::info!(members, over_ms = millis(over), "draining");
        self.events.tell(What::DrainBegun { over_ms: millis(over) });
        self.plan = Some(Plan::new(self.occupied(), members, over, now));
        self.show(DrainPhase::Draining, now)
    }

    /// Goes on where the old process was.
    pub(super) fn resume(&mut self, state: DrainState, now: Instant) {
        self.flag.store(true, Ordering::Relaxed);
        let begun = now.checked_sub(Duration::from_millis(state.spent_ms)).unwrap_or(now);
        let over = Duration::from_millis(state.over_ms);
        self.plan = Some(Plan::new(self.occupied(), state.members_before, over, begun));
        self.show(DrainPhase::Draining, now);
    }

    /// Lets devices in again.
    pub(super) fn undo(&mut self, now: Instant) -> wire::Drain {
        self.flag.store(false, Ordering::Relaxed);
        if self.plan.take().is_some() {
            tracing::info!("in service again");
            self.events.tell(What::DrainUndone);
        }
        self.show(DrainPhase::Serving, now)
    }

    /// Closes those whose time has come; tells whether the daemon is to end.
    pub(super) fn step(&mut self, now: Instant) -> bool {
        let Some(plan) = &mut self.plan else { return false };
        for registration in plan.due(now) {
            self.relay.end(&registration, CloseReason::Draining);
        }
        // Members that were about to join when it began.
        if plan.is_over(now) && self.members() > 0 {
            for (registration, _) in self.occupied() {
                self.relay.end(&registration, CloseReason::Draining);
            }
        }
        if self.members() > 0 || self.seats() > 0 {
            self.show(DrainPhase::Draining, now);
            return false;
        }
        tracing::info!(stays = self.stays, "drained");
        self.events.tell(What::Drained);
        self.show(DrainPhase::Drained, now);
        !self.stays
    }

    /// Tells whether it is going on, or done.
    pub(super) fn phase(&self) -> DrainPhase {
        self.publish.borrow().state
    }

    /// Returns what the new process has to know.
    pub(super) fn state(&self, now: Instant) -> Option<DrainState> {
        self.plan.as_ref().map(|plan| DrainState {
            over_ms: millis(plan.over),
            spent_ms: millis(now.saturating_duration_since(plan.begun)),
            members_before: plan.members,
        })
    }

    /// Tells administrators how it stands.
    fn show(&self, state: DrainPhase, now: Instant) -> wire::Drain {
        let mut shown = wire::Drain { state, members: self.members(), stays: self.stays, ..wire::Drain::default() };
        if let Some(plan) = &self.plan {
            shown.over_ms = millis(plan.over);
            shown.members_before = plan.members;
            shown.left_ms = if state == DrainPhase::Draining { millis(plan.left(now)) } else { 0 };
        }
        self.publish.send_if_modified(|published| std::mem::replace(published, shown) != shown);
        shown
    }

    fn members(&self) -> u64 {
        self.relay.totals().iter().map(|thread| thread.members.value()).sum()
    }

    fn seats(&self) -> u64 {
        self.directory.seats() as u64
    }

    /// The registrations that have members, with how many.
    fn occupied(&self) -> Vec<(Arc<Registration>, u64)> {
        let all = self.directory.list().into_iter().filter(|one| one.seats > 0);
        all.map(|one| (one.registration, one.seats as u64)).collect()
    }
}

/// Which registration's members are closed when.
#[derive(Debug)]
pub(super) struct Plan {
    begun: Instant,
    over: Duration,
    /// Members when it began.
    members: u64,
    /// What is left, in order, each with how many members are closed before it.
    queue: VecDeque<(u64, Arc<Registration>)>,
}

impl Plan {
    fn new(occupied: Vec<(Arc<Registration>, u64)>, members: u64, over: Duration, begun: Instant) -> Self {
        let there: u64 = occupied.iter().map(|(_, seats)| seats).sum();
        let mut before = members.saturating_sub(there);
        let place = |(registration, seats): (_, u64)| {
            let place = before;
            before += seats;
            (place, registration)
        };
        let queue = occupied.into_iter().map(place).collect();
        Self { begun, over, members: members.max(there), queue }
    }

    /// Takes those whose time has come: in proportion to their members, so that each moment sees as many leave.
    fn due(&mut self, now: Instant) -> Vec<Arc<Registration>> {
        let spent = now.saturating_duration_since(self.begun).as_millis();
        let (over, members) = (self.over.as_millis(), u128::from(self.members));
        let is_due = |before: u64| spent >= over || u128::from(before) * over <= spent * members;
        let count = self.queue.iter().take_while(|(before, _)| is_due(*before)).count();
        self.queue.drain(..count).map(|(_, registration)| registration).collect()
    }

    fn is_over(&self, now: Instant) -> bool {
        self.left(now).is_zero()
    }

    fn left(&self, now: Instant) -> Duration {
        self.over.saturating_sub(now.saturating_duration_since(self.begun))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How often those whose time has come are looked for; unnoticeable beside any time that is asked for.
pub(super) const STEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
