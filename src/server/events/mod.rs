//! Events of registrations and members: published to subscribers, and kept in a history.
//!
//! Subscribers, such as clients of the admin interface, read from a bounded broadcast channel. A subscriber that reads
//! too slowly misses events and gets their number; publishing never waits. The [`History`] keeps each registration's
//! last events beyond its end, in order to answer later why a device was disconnected. Messages cause no events; those of
//! `POST /send` are added up (`sends.rs`).

mod history;
mod sends;

use std::time::{Instant, SystemTime};

pub use history::History;

use tokio::sync::broadcast;
use ws_router_admin_api::event::{Admission, Event, EventKind};
use ws_router_core::ids::RegistrationId;

use self::sends::UnreportedSends;
use crate::sync::{Arc, Mutex, MutexGuard};

/// Handle to the channel and the history of events; cheap to clone.
#[derive(Debug, Clone)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    subscribers: broadcast::Sender<Arc<Event>>,
    history: Mutex<History>,
    sends: Mutex<UnreportedSends>,
}

impl Events {
    /// Creates a channel without subscribers, and an empty history.
    pub fn new() -> Self {
        let (history, sends) = (Mutex::new(History::default()), Mutex::new(UnreportedSends::default()));
        Self(Arc::new(Inner { subscribers: broadcast::Sender::new(BACKLOG), history, sends }))
    }

    /// Records an event in the history, and sends it to all subscribers. The end of a registration comes after the report
    /// of what was sent to it.
    pub fn publish(&self, kind: EventKind) {
        if let EventKind::Ended { registration, .. } = &kind {
            let sends = self.0.sends.lock().take(registration);
            self.publish_all(sends);
        }
        self.publish_one(kind);
    }

    /// Counts a message that a client has sent without joining, for a later event.
    pub fn count_send(&self, registration: &RegistrationId, admission: Option<Arc<Admission>>, bytes: usize) {
        let others = self.0.sends.lock().count(registration, admission, bytes, Instant::now());
        self.publish_all(others);
    }

    /// Publishes the events about sends that are due. Call it periodically.
    pub fn publish_due_sends(&self, now: Instant) {
        let due = self.0.sends.lock().take_due(now);
        self.publish_all(due);
    }

    /// Publishes all events about sends. Call it before the process ends.
    pub fn publish_sends(&self) {
        let all = self.0.sends.lock().take_all();
        self.publish_all(all);
    }

    fn publish_all(&self, kinds: Vec<EventKind>) {
        kinds.into_iter().for_each(|kind| self.publish_one(kind));
    }

    fn publish_one(&self, kind: EventKind) {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let event = Event { at_ms: since_epoch.as_millis() as u64, kind };
        self.history().record(&event);
        if self.0.subscribers.receiver_count() > 0 {
            // Fails if the last subscriber has unsubscribed in the meantime.
            let _ = self.0.subscribers.send(Arc::new(event));
        }
    }

    /// Subscribes to the events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.subscribers.subscribe()
    }

    /// Locks the history. Joins and leaves wait while the guard is held.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.0.history.lock()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

/// Capacity of the channel, which limits how far a slow subscriber can fall behind: some seconds of a busy router, at most
/// half a megabyte.
const BACKLOG: usize = 4096;
