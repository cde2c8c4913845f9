//! What happens to registrations and members, told to whoever listens on the admin interface.
//!
//! A bounded broadcast: a listener that reads too slowly misses events and is told how many; nobody waits for it.
//! Nothing is built while nobody listens.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::close::CloseReason;
use crate::ids::{MemberId, RegistrationId};
use crate::kind::{Kind, Role};

/// Something that happened, with its time.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, Serialize)]
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
    Joined { registration: RegistrationId, member: MemberId, role: Role, peer: String },
    /// A member's connection ended.
    Left { registration: RegistrationId, member: MemberId, role: Role, reason: CloseReason },
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
pub struct Events(broadcast::Sender<Arc<Event>>);

impl Events {
    /// Makes a stream without listeners.
    pub fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    /// Tells all listeners; `what` is only called if there are any.
    pub fn tell(&self, what: impl FnOnce() -> What) {
        if self.0.receiver_count() > 0 {
            let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let event = Event { at_ms: since_epoch.as_millis() as u64, what: what() };
            // A listener that went away in between is no loss.
            let _ = self.0.send(Arc::new(event));
        }
    }

    /// Listens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.subscribe()
    }
}

impl Default for Events {
    fn default() -> Self {
        Self::new()
    }
}

/// Events that a slow listener may be behind: some seconds of a busy router, half a megabyte at most.
const BACKLOG: usize = 4096;
