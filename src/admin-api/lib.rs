//! JSON documents of the admin interface, shared by the daemon, the control program and other clients.
//!
//! The field names are part of the interface, documented in ws-routerctl(1). Fields may be added, and readers must ignore
//! unknown ones; none is renamed. Units are part of the names: `_ms` are milliseconds (`at_ms` and `since_ms` count from
//! the Unix epoch), `_bytes` and `bytes_` are bytes. No document contains a key.

pub mod admin_socket;
pub mod cli;
pub mod event;
pub mod finding;
mod listen_address;
pub mod peer;

use std::collections::BTreeMap;
use std::ops::Not;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;
use ws_router_core::kind::{Kind, Role};

use event::{Admission, Event, Terms};
pub use listen_address::{AddressError, ListenAddress, socket_path};

/// Answer to `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Time since the start.
    pub uptime_ms: u64,
    /// Addresses on which the daemon listens.
    pub listeners: Vec<String>,
    /// Current number of registrations.
    pub registrations: u64,
    /// Current number of members of all registrations.
    pub members: u64,
    /// Current number of connections, members included.
    pub connections: u64,
    /// Current number of connections that are not websockets: handshakes in progress and HTTP requests.
    pub pending: u64,
    /// Current number of streams of `/members`, which are connections, too.
    #[serde(default)]
    pub watchers: u64,
    /// Counters of the frontend, which accepts connections and answers requests, since the start.
    pub frontend: Frontend,
    /// Counters of all relay threads since the start.
    pub relay: Relay,
    /// Number of rejected requests since the start, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// Number of members that left since the start, by reason.
    pub closes: BTreeMap<String, u64>,
    /// The daemon's memory.
    pub memory: Memory,
    /// The daemon's open files and sockets.
    pub descriptors: Descriptors,
    /// Whether a mistake in the configuration keeps the settings from before a restart in use.
    #[serde(default)]
    pub config_stale: bool,
    /// State of a drain.
    #[serde(default)]
    pub drain: Drain,
    /// Phase of a restart that hands over connections.
    #[serde(default)]
    pub handover: HandoverPhase,
}

/// Counters of the frontend, which accepts connections and answers requests, since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontend {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once because of a limit, by reason: "limit", "rate" or "per-address".
    #[serde(default)]
    pub connections_rejected: BTreeMap<String, u64>,
    /// Connections closed because no request arrived in time.
    #[serde(default)]
    pub idle: u64,
    /// Connections dropped because the client read nothing of a response in time.
    #[serde(default)]
    pub stalled: u64,
    /// Requests that an external authorizer did not answer.
    #[serde(default)]
    pub auth_request_failures: u64,
    /// Requests rejected because the memory held for peers is near its limit.
    #[serde(default)]
    pub out_of_memory: u64,
    /// Failed accepts.
    pub accept_errors: u64,
    /// Connections closed because they had no PROXY header from a trusted proxy.
    #[serde(default)]
    pub proxy_failures: u64,
    /// Requests whose forwarding header was ignored, since their sender isn't a trusted proxy.
    #[serde(default)]
    pub forwarded_headers_ignored: u64,
    /// Completed TLS handshakes.
    pub tls_handshakes: u64,
    /// TLS handshakes that failed or timed out.
    pub tls_failures: u64,
    /// TLS sessions open now.
    #[serde(default)]
    pub tls_sessions: u64,
    /// TLS sessions open now that are in the kernel, which a restart keeps.
    #[serde(default)]
    pub tls_kernel_sessions: u64,
    /// Connections closed because they couldn't move into the kernel.
    #[serde(default)]
    pub tls_kernel_failures: u64,
    /// Answered requests.
    pub requests: u64,
    /// Registrations created.
    pub registered: u64,
    /// Successful reloads.
    pub reloads: u64,
    /// Refused reloads.
    pub failed_reloads: u64,
}

/// Counters of all relay threads since the start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Relay {
    /// Number of threads.
    pub threads: u64,
    /// Messages received from members.
    pub messages_in: u64,
    /// Payload bytes received from members.
    pub bytes_in: u64,
    /// Messages delivered, counted for each receiver.
    pub messages_out: u64,
    /// Bytes delivered, frame headers included.
    pub bytes_out: u64,
    /// Messages without a receiver.
    pub messages_undelivered: u64,
    /// Pauses in reading from a member that exceeded the rate of its access rule.
    #[serde(default)]
    pub reads_throttled: u64,
    /// Connections of members dropped because the closing handshake took too long.
    #[serde(default)]
    pub close_timeouts: u64,
    /// Bytes that currently wait for their receivers' sockets.
    pub outbox_bytes: u64,
    /// Messages that currently wait until a receiver joins.
    #[serde(default)]
    pub waiting_messages: u64,
    /// Bytes of these messages, frame headers included.
    #[serde(default)]
    pub waiting_bytes: u64,
    /// Messages that were discarded while they waited, by reason.
    #[serde(default)]
    pub waiting_discarded: BTreeMap<String, u64>,
    /// Clients of paired registrations that currently wait until a host accepts them.
    #[serde(default)]
    pub waiting_clients: u64,
    /// Clients of paired registrations that a host accepted.
    #[serde(default)]
    pub clients_accepted: u64,
    /// Clients of paired registrations that a host rejected.
    #[serde(default)]
    pub clients_rejected: u64,
    /// Clients of paired registrations that no host accepted in time.
    #[serde(default)]
    pub accept_timeouts: u64,
    /// Memory currently held for peers.
    #[serde(default)]
    pub buffered_bytes: u64,
    /// Limit of that memory.
    #[serde(default)]
    pub buffered_limit_bytes: u64,
    /// Members closed because of the memory limit.
    #[serde(default)]
    pub relieved: u64,
}

/// The daemon's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Current use.
    pub resident_bytes: u64,
    /// Highest use since the start.
    pub peak_bytes: u64,
}

/// The daemon's open files and sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Descriptors {
    /// Currently open.
    pub open: u64,
    /// Limit of open descriptors.
    pub limit: u64,
}

/// State of a drain: a line of `GET /v1/drain`, the answer to `POST` and `DELETE` there, and a part of [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Drain {
    /// Phase of the drain.
    pub state: DrainPhase,
    /// Time over which members are closed.
    pub over_ms: u64,
    /// Time that is left.
    pub left_ms: u64,
    /// Number of members when the drain started.
    pub members_before: u64,
    /// Current number of members.
    pub members: u64,
    /// Whether the daemon keeps running after the last member has left, because the next connection to a socket of the
    /// service manager would start it again.
    pub stays: bool,
}

/// Phase of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainPhase {
    /// In service.
    #[default]
    Serving,
    /// New connections are rejected, and members are closed.
    Draining,
    /// No member is left.
    Drained,
}

/// Phase of a restart that hands over connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum HandoverPhase {
    /// No restart is under way.
    #[default]
    Serving,
    /// The new program is tried out while the old one serves.
    Trying,
    /// No connection is accepted, and requests in progress are finished.
    FinishingRequests,
    /// Members that can't be handed over are asked to reconnect (1012).
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
    /// Returns the name in the log and in JSON.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Registration in `GET /v1/registrations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The id.
    pub id: String,
    /// Kind of the registration, which determines the receivers of each member's messages.
    pub kind: Kind,
    /// Number of members and of devices that are joining.
    pub seats: u64,
    /// Time of its creation.
    pub since_ms: u64,
    /// Time since its creation.
    pub age_ms: u64,
    /// Time until it expires if no device joins; `null` while it has members, and if it never expires.
    pub expires_in_ms: Option<u64>,
    /// Time until it ends, whether or not it has members; `null` if its device has chosen none (`expires_in`).
    #[serde(default)]
    pub ends_in_ms: Option<u64>,
    /// Most members; `null` if its device has chosen no limit (`max_members`).
    #[serde(default)]
    pub max_members: Option<u64>,
    /// Whether it has a key that admits clients only (`client_key`).
    #[serde(default)]
    pub client_key: bool,
    /// Whether it has a key that admits members that only receive (`receive_key`).
    #[serde(default)]
    pub receive_key: bool,
    /// Websocket subprotocol that is chosen for members that offer it; `null` if its device has named none (`subprotocol`).
    #[serde(default)]
    pub subprotocol: Option<String>,
    /// Access rule under which it was created, by name or number; `null` if there were no rules.
    #[serde(default)]
    pub rule: Option<String>,
    /// Messages received from its members, including those that have left. This and the next three counters are reset when
    /// the last member leaves, and don't include members that left before a restart.
    #[serde(default)]
    pub messages_in: u64,
    /// Payload bytes received from them.
    #[serde(default)]
    pub bytes_in: u64,
    /// Messages delivered to them, counted for each receiver.
    #[serde(default)]
    pub messages_out: u64,
    /// Bytes delivered to them, frame headers included.
    #[serde(default)]
    pub bytes_out: u64,
    /// Bytes that currently wait for the members' sockets.
    #[serde(default)]
    pub outbox_bytes: u64,
    /// Time for which messages wait for a receiver at most; `null` if its device has not asked for that (`wait`).
    #[serde(default)]
    pub wait_ms: Option<u64>,
    /// Messages that currently wait for a receiver.
    #[serde(default)]
    pub waiting_messages: u64,
    /// Bytes of these messages, frame headers included.
    #[serde(default)]
    pub waiting_bytes: u64,
    /// Time until the oldest of these messages is discarded; `null` if none waits.
    #[serde(default)]
    pub waiting_left_ms: Option<u64>,
    /// Roles that these messages wait for.
    #[serde(default)]
    pub waiting_for: Vec<Role>,
    /// Clients that a host has accepted; `null` unless it is paired.
    #[serde(default)]
    pub pairs: Option<u64>,
    /// Clients that wait until a host accepts them; `null` unless it is paired.
    #[serde(default)]
    pub waiting_clients: Option<u64>,
}

impl Registration {
    /// Returns the terms that its device has chosen.
    pub fn terms(&self) -> Terms {
        Terms {
            client_key: self.client_key,
            receive_key: self.receive_key,
            max_members: self.max_members,
            ends_in_ms: self.ends_in_ms,
            subprotocol: self.subprotocol.as_deref().map(Into::into),
            wait_ms: self.wait_ms,
        }
    }
}

/// Answer to `GET /v1/registrations/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationDetail {
    /// The registration, as in the list.
    #[serde(flatten)]
    pub registration: Registration,
    /// The members, the oldest first.
    pub members: Vec<Member>,
}

/// Answer to `GET /v1/registrations/{id}/history`, for a registration that may have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The id.
    pub id: String,
    /// Number of earlier events that were dropped.
    pub forgotten: u64,
    /// The last events in the form of `GET /v1/events`, the oldest first.
    pub events: Vec<Event>,
}

/// Answer to `GET /v1/connections/{n}`, and part of [`RegistrationDetail`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The connection's number, never used again.
    pub id: u64,
    /// Id of its registration.
    pub registration: String,
    /// Its role.
    pub role: Role,
    /// Whether it may only receive.
    #[serde(default)]
    pub receives_only: bool,
    /// Access rule that admitted it, by name or number, and the name of its token; both are missing if there were no rules.
    #[serde(default, flatten)]
    pub admission: Option<Arc<Admission>>,
    /// Its part in a paired registration; missing in others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pairing: Option<Pairing>,
    /// Number of the other end of its pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paired_with: Option<u64>,
    /// Address of the peer.
    pub address: String,
    /// Whether the connection uses TLS.
    pub tls: bool,
    /// Whether its TLS is in the kernel, so that a restart keeps it.
    #[serde(default)]
    pub tls_in_kernel: bool,
    /// Time at which it joined.
    pub since_ms: u64,
    /// Time since then.
    pub age_ms: u64,
    /// Time since something was last received from it.
    pub silent_ms: u64,
    /// Messages received from it.
    pub messages_in: u64,
    /// Payload bytes received from it.
    pub bytes_in: u64,
    /// Messages delivered to it.
    pub messages_out: u64,
    /// Bytes delivered to it, frame headers included.
    pub bytes_out: u64,
    /// Bytes that currently wait for its socket.
    pub outbox_bytes: u64,
    /// Whether it has a session.
    #[serde(default, skip_serializing_if = "Not::not")]
    pub session: bool,
    /// Time for which it has been without a connection; missing unless it is away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_ms: Option<u64>,
    /// Round-trip time in microseconds, as measured by the kernel. This and the next two exist only for TCP, and for the
    /// first 500 members of a registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// Number of segments that the kernel retransmitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retransmits: Option<u64>,
    /// Bytes in the kernel's send queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsent_bytes: Option<u64>,
}

/// Part of a member in a paired registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairing {
    /// A host that listens.
    Listening,
    /// A client that no host has accepted yet.
    Waiting,
    /// One end of a pair.
    Paired,
}

/// Answer to `DELETE /v1/registrations/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The id, which is free now.
    pub removed: String,
}

/// Answer to `DELETE /v1/connections/{n}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnected {
    /// The connection that is being closed.
    pub disconnected: u64,
}

/// Answer to `POST /v1/reload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Keys whose new values took effect.
    pub changed: Vec<String>,
    /// Keys that differ in the file but only take effect with a restart.
    pub need_restart: Vec<String>,
}

/// Line of `GET /v1/events` in place of events that a slow client missed. All other lines are
/// [`crate::event::Event`]s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// Time at which the loss was noticed.
    pub at_ms: u64,
    /// Always `missed`.
    pub event: String,
    /// Number of missed events.
    pub count: u64,
}

/// Body of every answer that isn't a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The problem, with its fix.
    pub error: String,
    /// All problems of a refused reload or upgrade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// Answer to `POST /v1/upgrade`, just before the program on the disk is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// Always true; a refused upgrade is answered with an error.
    pub upgrading: bool,
}
