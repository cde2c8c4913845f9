//! What happens to registrations and members: told to whoever listens on the admin interface, and remembered for a while.
//!
//! A bounded broadcast: a listener that reads too slowly misses events and is told how many; nobody waits for it. The
//! [`history`](History) keeps each registration's last events, also after its end, so that it can be asked later why a
//! device went away. Messages are no events: only joins, leaves and what happens to a registration as a whole get here.

mod history;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub use history::History;

use tokio::sync::broadcast;
use ws_router_admin_api::event::{Event, EventKind};

/// Where events go to and come from; cheap to clone.
#[derive(Debug, Clone)]
pub struct Events(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    listeners: broadcast::Sender<Arc<Event>>,
    history: Mutex<History>,
}

impl Events {
    /// Makes a stream without listeners, and an empty history.
    pub fn new() -> Self {
        let history = Mutex::new(History::default());
        Self(Arc::new(Inner { listeners: broadcast::Sender::new(BACKLOG), history }))
    }

    /// Remembers what happened, and tells all listeners.
    pub fn publish(&self, kind: EventKind) {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let event = Event { at_ms: since_epoch.as_millis() as u64, kind };
        self.history().record(&event);
        if self.0.listeners.receiver_count() > 0 {
            // A listener that went away in between is no loss.
            let _ = self.0.listeners.send(Arc::new(event));
        }
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.listeners.subscribe()
    }

    /// What is remembered. The lock is held as long as the guard lives, and everybody who joins or leaves waits for it.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.0.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

/// Events that a slow listener may be behind: some seconds of a busy router, half a megabyte at most.
const BACKLOG: usize = 4096;
