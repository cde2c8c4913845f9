//! Events of registrations and members, in the form of `GET /v1/events` and of the history.

use std::ops::Not;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strum::{EnumCount, IntoStaticStr, VariantArray};
use ws_router_core::close::CloseReason;
use ws_router_core::ids::{MemberId, RegistrationId};
use ws_router_core::kind::{Kind, Role};

use crate::peer::{self, Peer};

/// Event with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Kind of an event, with what is specific to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum EventKind {
    /// A device asked for a registration.
    Registered {
        registration: RegistrationId,
        kind: Kind,
        #[serde(default, flatten)]
        terms: Terms,
    },
    /// A device registered again with the keys of its registration.
    Reclaimed { registration: RegistrationId },
    /// A registration ended.
    Ended {
        registration: RegistrationId,
        reason: EndReason,
        /// The administrator who removed it.
        #[serde(default, with = "peer::shown_if_known", skip_serializing_if = "Option::is_none")]
        by: Option<Peer>,
    },
    /// A member joined.
    Joined {
        registration: RegistrationId,
        member: MemberId,
        role: Role,
        #[serde(with = "peer::shown")]
        peer: Peer,
        /// The access rule and token that admitted it; `None` without access rules.
        #[serde(default, flatten)]
        admission: Option<Arc<Admission>>,
    },
    /// A member's connection ended.
    Left {
        registration: RegistrationId,
        member: MemberId,
        role: Role,
        reason: CloseReason,
        /// The administrator who closed it.
        #[serde(default, with = "peer::shown_if_known", skip_serializing_if = "Option::is_none")]
        by: Option<Peer>,
        /// Close code that the member sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        /// Time since something was last received from it.
        #[serde(default)]
        silent_ms: u64,
        /// Messages received from it.
        #[serde(default)]
        messages_in: u64,
        /// Payload bytes received from it.
        #[serde(default)]
        bytes_in: u64,
        /// Messages delivered to it.
        #[serde(default)]
        messages_out: u64,
        /// Bytes delivered to it, frame headers included.
        #[serde(default)]
        bytes_out: u64,
        /// The access rule and token that admitted it; `None` without access rules.
        #[serde(default, flatten)]
        admission: Option<Arc<Admission>>,
    },
    /// A member with a session lost its connection, and stays without one.
    Away {
        registration: RegistrationId,
        member: MemberId,
        role: Role,
        /// What happened to the connection.
        reason: CloseReason,
        /// Time since something was last received from it.
        #[serde(default)]
        silent_ms: u64,
    },
    /// The device of a member that was away is back.
    Returned {
        registration: RegistrationId,
        member: MemberId,
        role: Role,
        #[serde(with = "peer::shown")]
        peer: Peer,
        /// Time for which it was away.
        away_ms: u64,
        /// Messages that are sent again.
        again: u64,
    },
    /// Clients sent messages without joining (`POST /send`), since the last such event.
    Sent {
        registration: RegistrationId,
        /// Messages received from them.
        messages_in: u64,
        /// Payload bytes received from them.
        bytes_in: u64,
        /// The access rule and token that admitted them; `None` without access rules.
        #[serde(default, flatten)]
        admission: Option<Arc<Admission>>,
    },
    /// The configuration was reloaded.
    Reloaded,
    /// A drain has begun.
    DrainBegun { over_ms: u64 },
    /// The last member has left during a drain.
    Drained,
    /// The router is back in service.
    DrainUndone,
}

/// The terms that a device has chosen for its registration. Keys are known, but never shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Terms {
    /// Whether there is a key that admits clients only.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub client_key: bool,
    /// Whether there is a key that admits members that only receive.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub receive_key: bool,
    /// Most members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_members: Option<u64>,
    /// Time until it ends, whether or not it has members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_in_ms: Option<u64>,
    /// Websocket subprotocol that is chosen for members that offer it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subprotocol: Option<Box<str>>,
    /// Time for which messages wait for a receiver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// The access rule and the token by which a member, or a client that sends without joining, was admitted. All that were
/// admitted alike share one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Admission {
    /// Name of the access rule, or its number.
    pub rule: Arc<str>,
    /// Name of the token, if the rule requires one; the token itself is nowhere kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_name: Option<Arc<str>>,
}

/// Reason for which a registration ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumCount, IntoStaticStr, VariantArray)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum EndReason {
    /// A request with both keys removed it.
    Removed,
    /// An administrator removed it.
    RemovedByAdmin,
    /// The time that its device had chosen was over.
    Expired,
    /// The last member left.
    Emptied,
    /// Nobody came back within the linger time.
    Lingered,
    /// Nobody ever joined.
    Unclaimed,
}

impl EndReason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the reason with which the remaining members are closed.
    pub const fn close_reason(self) -> CloseReason {
        match self {
            Self::RemovedByAdmin => CloseReason::RemovedByAdmin,
            _ => CloseReason::Removed,
        }
    }

    /// Returns whether members may have been present. They leave after the registration ended, not before.
    pub const fn may_have_members(self) -> bool {
        matches!(self, Self::Removed | Self::RemovedByAdmin | Self::Expired)
    }

    /// Returns the name in logs and events.
    pub fn label(self) -> &'static str {
        self.into()
    }
}
