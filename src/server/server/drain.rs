//! Takes the router out of service gradually, so that its devices move elsewhere a few at a time.
//!
//! While draining, newcomers are rejected: health checks, registrations and joins are answered with 503. Members are
//! closed (1012) evenly over the requested time. The members of a registration are closed together, so that they also
//! reconnect together. A drain can be undone until the last member has left; then the process exits, unless the service
//! manager holds its sockets. In that case the next connection, such as a load balancer's health check, would start the
//! router again and put it back into service. So the process keeps running and rejecting newcomers until its socket units
//! are stopped or the drain is undone.
//!
//! After a restart, the new process continues the drain of the old one.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use ws_router_admin_api::event::EventKind;
use ws_router_admin_api::{self as wire, DrainPhase};
use ws_router_core::close::CloseReason;

use crate::events::Events;
use crate::log::messages;
use crate::registry::{Registration, Registry};
use crate::relay::Relay;
use crate::snapshot::DrainState;

/// State of draining: whether newcomers are rejected, and the schedule of closing the members.
#[derive(Debug)]
pub(super) struct Drain {
    registry: Arc<Registry>,
    relay: Relay,
    events: Events,
    /// Whether newcomers are rejected.
    is_closed: AtomicBool,
    /// Whether the process keeps running after the last member has left.
    stays: AtomicBool,
    plan: Mutex<Option<Plan>>,
    progress: watch::Sender<wire::Drain>,
}

impl Drain {
    pub(super) fn new(registry: Arc<Registry>, relay: Relay, events: Events) -> Self {
        let (plan, progress) = (Mutex::default(), watch::Sender::default());
        Self { registry, relay, events, is_closed: AtomicBool::default(), stays: AtomicBool::default(), plan, progress }
    }

    /// Starts a drain, or continues one with another time for the remaining members.
    pub(super) fn begin(&self, over: Duration, now: Instant) -> wire::Drain {
        self.close();
        let members = self.seats();
        tracing::info!(message_id = messages::DRAINING, members, over_ms = millis(over), "draining");
        self.events.publish(EventKind::DrainBegun { over_ms: millis(over) });
        self.follow(Plan::new(self.occupied(), members, over, now), now)
    }

    /// Continues the drain of an old process.
    pub(super) fn resume(&self, state: DrainState, now: Instant) {
        self.close();
        let begun = now.checked_sub(Duration::from_millis(state.spent_ms)).unwrap_or(now);
        let over = Duration::from_millis(state.over_ms);
        self.follow(Plan::new(self.occupied(), state.members_before, over, begun), now);
    }

    fn follow(&self, plan: Plan, now: Instant) -> wire::Drain {
        let mut current = self.plan();
        let plan = current.insert(plan);
        self.publish(Some(plan), DrainPhase::Draining, now)
    }

    /// Admits newcomers again.
    pub(super) fn undo(&self, now: Instant) -> wire::Drain {
        self.is_closed.store(false, Ordering::Relaxed);
        self.registry.set_rejects_newcomers(false);
        let mut plan = self.plan();
        if plan.take().is_some() {
            tracing::info!(message_id = messages::DRAIN_UNDONE, "in service again");
            self.events.publish(EventKind::DrainUndone);
        }
        self.publish(None, DrainPhase::Serving, now)
    }

    /// Closes the members that are due, and returns whether the process should exit.
    pub(super) fn step(&self, now: Instant) -> bool {
        let mut guard = self.plan();
        let Some(plan) = guard.as_mut() else { return false };
        for registration in plan.due(now) {
            self.relay.end(&registration, CloseReason::Draining);
        }
        // Members that were joining when the drain started.
        if plan.is_over(now) && self.members() > 0 {
            for (registration, _) in self.occupied() {
                self.relay.end(&registration, CloseReason::Draining);
            }
        }
        if self.members() > 0 || self.seats() > 0 {
            self.publish(Some(plan), DrainPhase::Draining, now);
            return false;
        }
        // Nobody is left for whom messages could wait.
        for registration in self.registry.held() {
            self.relay.end(&registration, CloseReason::Draining);
        }
        let stays = self.stays.load(Ordering::Relaxed);
        tracing::info!(message_id = messages::DRAINED, stays, "drained");
        self.events.publish(EventKind::Drained);
        self.publish(Some(plan), DrainPhase::Drained, now);
        !stays
    }

    /// Rejects newcomers.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.registry.set_rejects_newcomers(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// Keeps the process running after the last member has left.
    pub(super) fn set_stays(&self) {
        self.stays.store(true, Ordering::Relaxed);
        self.progress.send_modify(|progress| progress.stays = true);
    }

    pub(super) fn phase(&self) -> DrainPhase {
        self.progress.borrow().state
    }

    pub(super) fn watch(&self) -> watch::Receiver<wire::Drain> {
        self.progress.subscribe()
    }

    /// Returns the state with which a new process continues the drain.
    pub(super) fn state(&self, now: Instant) -> Option<DrainState> {
        self.plan().as_ref().map(|plan| DrainState {
            over_ms: millis(plan.over),
            spent_ms: millis(now.saturating_duration_since(plan.begun)),
            members_before: plan.members,
        })
    }

    fn publish(&self, plan: Option<&Plan>, state: DrainPhase, now: Instant) -> wire::Drain {
        let (members, stays) = (self.members(), self.stays.load(Ordering::Relaxed));
        let mut shown = wire::Drain { state, members, stays, ..wire::Drain::default() };
        if let Some(plan) = plan {
            shown.over_ms = millis(plan.over);
            shown.members_before = plan.members;
            shown.left_ms = if state == DrainPhase::Draining { millis(plan.left(now)) } else { 0 };
        }
        self.progress.send_if_modified(|published| std::mem::replace(published, shown) != shown);
        shown
    }

    fn plan(&self) -> MutexGuard<'_, Option<Plan>> {
        self.plan.lock()
    }

    fn members(&self) -> u64 {
        self.relay.totals().iter().map(|thread| thread.members.value()).sum()
    }

    fn seats(&self) -> u64 {
        self.registry.seats() as u64
    }

    /// Lists the registrations that have members, with their number of members.
    fn occupied(&self) -> Vec<(Arc<Registration>, u64)> {
        let all = self.registry.list().into_iter().filter(|one| one.seats > 0);
        all.map(|one| (one.registration, one.seats as u64)).collect()
    }
}

/// Schedule by which the members of each registration are closed.
#[derive(Debug)]
struct Plan {
    begun: Instant,
    over: Duration,
    /// Number of members when the drain started.
    members: u64,
    /// Remaining registrations in order, each with the number of members that are closed before it.
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

    /// Takes the registrations that are due. The times are proportional to their members, so that members leave at a
    /// constant rate.
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

/// Interval at which due registrations are closed; short compared to any useful duration of a drain.
pub const STEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
