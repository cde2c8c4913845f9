//! What happens to registrations and members, as `GET /v1/events` and the history show it.

use serde::{Deserialize, Serialize};
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, RegistrationId};
use ws_router_core::kind::{Kind, Role};

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
