//! What goes over the admin socket, as JSON: the one description that daemon, control program and programs of others
//! share.
//!
//! The field names are a part of the interface and are documented in ws-routerctl(1). A field may be added, so readers
//! ignore the ones that they don't know; none is renamed. JSON knows no units, so they stand in the names: `_ms` are
//! milliseconds (`at_ms` and `since_ms` count from the Unix epoch), `_bytes` and `bytes_` are bytes. No key is ever in
//! here.

pub mod admin_socket;
pub mod cli;
pub mod event;
mod listen_address;
pub mod peer;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ws_router_core::kind::{Kind, Role};

use event::Event;
pub use listen_address::{AddressError, ListenAddress, socket_path};

/// Answers `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// How long it has been running.
    pub uptime_ms: u64,
    /// Where it listens.
    pub listeners: Vec<String>,
    /// Registrations now.
    pub registrations: u64,
    /// Members of all registrations now.
    pub members: u64,
    /// Connections open now, members included.
    pub connections: u64,
    /// Those among them that are not websockets: handshakes in progress and HTTP requests.
    pub pending: u64,
    /// What the front has done since the start.
    pub front: Front,
    /// What the relay threads have done since the start, all together.
    pub relay: Relay,
    /// Refused requests since the start, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Ended memberships since the start, by reason.
    pub closes: BTreeMap<String, u64>,
    /// The daemon's memory.
    pub memory: Memory,
    /// The daemon's open files and sockets.
    pub descriptors: Descriptors,
    /// Whether a mistake in the configuration keeps the settings from before a restart in force.
    #[serde(default)]
    pub config_stale: bool,
    /// Whether it is in service.
    #[serde(default)]
    pub drain: Drain,
    /// Phase of a restart that carries connections over.
    #[serde(default)]
    pub handover: HandoverPhase,
}

/// What the front has done since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Front {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because of a limit, by reason: "limit", "rate" or "per-address".
    #[serde(default)]
    pub connections_rejected: BTreeMap<String, u64>,
    /// Connections closed because nothing was asked on them for as long as a request may take.
    #[serde(default)]
    pub idle: u64,
    /// Connections dropped because their client took nothing of an answer for as long.
    #[serde(default)]
    pub stalled: u64,
    /// Requests that an external authorizer gave no answer to.
    #[serde(default)]
    pub auth_request_failures: u64,
    /// Requests refused because what peers make the daemon hold is near its limit.
    #[serde(default)]
    pub out_of_memory: u64,
    /// Accepts that failed.
    pub accept_errors: u64,
    /// Connections closed for want of a PROXY header from a trusted proxy.
    #[serde(default)]
    pub proxy_failures: u64,
    /// TLS handshakes done.
    pub tls_handshakes: u64,
    /// TLS handshakes that failed or took too long.
    pub tls_failures: u64,
    /// Requests answered.
    pub requests: u64,
    /// Registrations made.
    pub registered: u64,
    /// Reloads that took effect.
    pub reloads: u64,
    /// Reloads that were refused.
    pub failed_reloads: u64,
}

/// What the relay threads have done since the start, all together.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Relay {
    /// How many threads there are.
    pub threads: u64,
    /// Messages received from members.
    pub messages_in: u64,
    /// Payload bytes received from members.
    pub bytes_in: u64,
    /// Messages handed to receivers, each receiver counted.
    pub messages_out: u64,
    /// Bytes handed to receivers, frame headers included.
    pub bytes_out: u64,
    /// Messages without a receiver.
    pub messages_undelivered: u64,
    /// Times that a member exceeded the rate of its access rule and was not read from for a while.
    #[serde(default)]
    pub reads_throttled: u64,
    /// Connections of members dropped because the closing handshake took too long.
    #[serde(default)]
    pub close_timeouts: u64,
    /// Bytes that wait for their receivers' sockets now.
    pub outbox_bytes: u64,
    /// Memory that peers make the daemon hold now.
    #[serde(default)]
    pub buffered_bytes: u64,
    /// Limit of that memory.
    #[serde(default)]
    pub buffered_limit_bytes: u64,
    /// Members closed because that was too much.
    #[serde(default)]
    pub relieved: u64,
}

/// The daemon's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// In use now.
    pub resident_bytes: u64,
    /// The most that has ever been in use.
    pub peak_bytes: u64,
}

/// The daemon's open files and sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Descriptors {
    /// Open now.
    pub open: u64,
    /// As many as may be open.
    pub limit: u64,
}

/// How far the daemon is with being taken out of service. A line of `GET /v1/drain`, the answer to `POST` and `DELETE`
/// there, and a part of [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Drain {
    /// How far.
    pub state: DrainPhase,
    /// Over how long members are closed.
    pub over_ms: u64,
    /// How much of that is left.
    pub left_ms: u64,
    /// Members when it began.
    pub members_before: u64,
    /// Members now.
    pub members: u64,
    /// Whether the daemon stays when the last one has left, because the sockets of its service manager would have it
    /// started again by the next caller.
    pub stays: bool,
}

/// How far the daemon is with being taken out of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainPhase {
    /// In service.
    #[default]
    Serving,
    /// Newcomers are rejected, and members are closed.
    Draining,
    /// Nobody is left.
    Drained,
}

/// Phase of a restart that carries connections over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HandoverPhase {
    /// No restart is under way.
    #[default]
    Serving,
    /// The new program is tried out, and the old one serves.
    Trying,
    /// No connection is accepted, and requests in progress are finished.
    FinishingRequests,
    /// Members that can't be carried over are asked to reconnect (1012).
    ReleasingMembers,
    /// The relay threads are stopped, and the snapshot is written; administrators are not served from here on.
    Exporting,
    /// The snapshot and all descriptors are given to the service manager's store.
    Storing,
    /// The new program takes the old one's place in this process.
    Executing,
    /// The new process restores what the old one handed over.
    Importing,
    /// The hand-over has failed, and the old process starts to accept connections again.
    Resuming,
}

impl HandoverPhase {
    /// Returns its name, the same in the log and in JSON.
    pub fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Trying => "trying",
            Self::FinishingRequests => "finishing-requests",
            Self::ReleasingMembers => "releasing-members",
            Self::Exporting => "exporting",
            Self::Storing => "storing",
            Self::Executing => "executing",
            Self::Importing => "importing",
            Self::Resuming => "resuming",
        }
    }
}

/// A line of `GET /v1/registrations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The id.
    pub id: String,
    /// Who hears whom.
    pub kind: Kind,
    /// Members, and devices that are about to be.
    pub seats: u64,
    /// When it was made.
    pub since_ms: u64,
    /// How long ago that was.
    pub age_ms: u64,
    /// How long it still has if nobody joins; `null` while it has members, or where it never expires.
    pub expires_in_ms: Option<u64>,
    /// The access rule under which it was made, by name or number; `null` if there were no rules.
    #[serde(default)]
    pub rule: Option<String>,
    /// Messages received from its members, those who have left included; like the next three zero again once the last
    /// member has left, and without those who had left before a restart.
    #[serde(default)]
    pub messages_in: u64,
    /// Payload bytes received from them.
    #[serde(default)]
    pub bytes_in: u64,
    /// Messages handed to them, each receiver counted.
    #[serde(default)]
    pub messages_out: u64,
    /// Bytes handed to them, frame headers included.
    #[serde(default)]
    pub bytes_out: u64,
    /// Bytes that wait for the members' sockets now.
    #[serde(default)]
    pub outbox_bytes: u64,
}

/// Answers `GET /v1/registrations/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationDetail {
    /// The registration, as in the list.
    #[serde(flatten)]
    pub registration: Registration,
    /// Who is in it, the earliest first.
    pub members: Vec<Member>,
}

/// Answers `GET /v1/registrations/{id}/history`: what is remembered, also of one that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The id.
    pub id: String,
    /// Earlier events that are forgotten.
    pub forgotten: u64,
    /// The last events, the earliest first, as `GET /v1/events` reports them.
    pub events: Vec<Event>,
}

/// Answers `GET /v1/connections/{n}`, and is a part of [`RegistrationDetail`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The connection's number, never given twice.
    pub id: u64,
    /// Where it is a member.
    pub registration: String,
    /// As what.
    pub role: Role,
    /// From where.
    pub address: String,
    /// Whether through TLS.
    pub tls: bool,
    /// When it joined.
    pub since_ms: u64,
    /// How long ago that was.
    pub age_ms: u64,
    /// How long nothing has been heard of it.
    pub silent_ms: u64,
    /// Messages received from it.
    pub messages_in: u64,
    /// Payload bytes received from it.
    pub bytes_in: u64,
    /// Messages handed to it.
    pub messages_out: u64,
    /// Bytes handed to it, frame headers included.
    pub bytes_out: u64,
    /// Bytes that wait for its socket.
    pub outbox_bytes: u64,
    /// The time of a round trip to it, in microseconds, as the kernel knows it; like the next two only of TCP, and of
    /// the first 500 members of a registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// Segments that the kernel has sent it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// Bytes that the kernel holds for it and hasn't sent yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsent_bytes: Option<u64>,
}

/// Answers `DELETE /v1/registrations/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The id that is free again.
    pub removed: String,
}

/// Answers `DELETE /v1/connections/{n}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnected {
    /// The connection that is being closed.
    pub disconnected: u64,
}

/// Answers `POST /v1/reload`: what the reload did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Keys whose new values are in force.
    pub changed: Vec<String>,
    /// Keys that differ in the file but only take effect with a restart.
    pub need_restart: Vec<String>,
}

/// A line of `GET /v1/events` that stands for events which a slow listener has missed. All other lines are
/// [`crate::event::Event`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// When it was noticed.
    pub at_ms: u64,
    /// Always `missed`.
    pub event: String,
    /// How many events are missing here.
    pub count: u64,
}

/// The body of every answer that isn't a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What is wrong, and the mend.
    pub error: String,
    /// A refused reload's reasons, one each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// The daemon is about to become the program that is on the disk now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// Always true; a refusal is an error.
    pub upgrading: bool,
}
