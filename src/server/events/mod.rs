//! Events of registrations and members: published to subscribers, and kept in a history.
//!
//! Subscribers, such as clients of the admin interface, read from a bounded broadcast channel. A subscriber that reads
//! too slowly misses events and gets their number; publishing never waits. The [`History`] keeps each registration's
//! last events beyond its end, in order to answer later why a device was disconnected. Messages cause no events.

mod history;

use std::time::SystemTime;

pub use history::History;

use tokio::sync::broadcast;
use ws_router_admin_api::event::{Event, EventKind};

use crate::sync::{Arc, Mutex, MutexGuard};

/// Handle to the channel and the history of events; cheap to clone.
#[derive(Debug, Clone)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    subscribers: broadcast::Sender<Arc<Event>>,
    history: Mutex<History>,
}

impl Events {
    /// Creates a channel without subscribers, and an empty history.
    pub fn new() -> Self {
        let history = Mutex::new(History::default());
        Self(Arc::new(Inner { subscribers: broadcast::Sender::new(BACKLOG), history }))
    }

    /// Records an event in the history, and sends it to all subscribers.
    pub fn publish(&self, kind: EventKind) {
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
