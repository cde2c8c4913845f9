//! What happens to registrations and members: told to whoever listens on the admin interface, and remembered for a while.
//!
//! A bounded broadcast: a listener that reads too slowly misses events and is told how many; nobody waits for it. The
//! [`history`](History) keeps each registration's last events, also after its end, so that it can be asked later why a
//! device went away. Messages are no events: only joins, leaves and what happens to a registration as a whole get here.

mod history;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

pub use history::History;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::close::CloseReason;
use crate::ids::{MemberId, RegistrationId};
use crate::kind::{Kind, Role};
use crate::peer::{self, Peer};

/// Something that happened, with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum What {
    /// A device asked for a registration.
    Registered { registration: RegistrationId, kind: Kind },
    /// A device took over its own registration again.
    Reclaimed { registration: RegistrationId },
    /// A registration ended.
    Ended { registration: RegistrationId, reason: EndReason },
    /// A member joined.
    Joined {
        registration: RegistrationId,
        member: MemberId,
        role: Role,
        #[serde(with = "peer::shown")]
        peer: Peer,
    },
    /// A member's connection ended.
    Left {
        registration: RegistrationId,
        member: MemberId,
        role: Role,
        reason: CloseReason,
        /// The close code with which the member said goodbye.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        /// How long nothing had been heard of it.
        #[serde(default)]
        silent_ms: u64,
        /// Messages received from it.
        #[serde(default)]
        messages_in: u64,
        /// Messages handed to it.
        #[serde(default)]
        messages_out: u64,
    },
    /// The configuration was read again.
    Reloaded,
    /// The router is being taken out of service.
    DrainBegun { over_ms: u64 },
    /// The last member has left a router that is taken out of service.
    Drained,
    /// It stays in service after all.
    DrainUndone,
}

/// Why a registration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// By a request with both keys.
    Removed,
    /// By an administrator.
    RemovedByAdmin,
    /// The last member left.
    Emptied,
    /// Nobody came back within the linger time.
    Lingered,
    /// Nobody ever joined.
    Unclaimed,
}

impl EndReason {
    /// What members that are still there are closed with.
    pub const fn close_reason(self) -> CloseReason {
        match self {
            Self::RemovedByAdmin => CloseReason::RemovedByAdmin,
            _ => CloseReason::Removed,
        }
    }

    /// Tells whether members may have been there, who then leave after the end and not before it.
    pub const fn may_have_members(self) -> bool {
        matches!(self, Self::Removed | Self::RemovedByAdmin)
    }

    /// The name in logs and events.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::RemovedByAdmin => "removed-by-admin",
            Self::Emptied => "emptied",
            Self::Lingered => "lingered",
            Self::Unclaimed => "unclaimed",
        }
    }
}

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
    pub fn tell(&self, what: What) {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let event = Event { at_ms: since_epoch.as_millis() as u64, what };
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
