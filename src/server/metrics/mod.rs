//! Counters and gauges of the whole process: what was accepted, refused, relayed and closed.
//!
//! The front counts with atomics, since nothing there is hot. A relay thread keeps plain numbers of its own and
//! publishes them once a round into its [`ThreadTotals`], so that the hot path touches no shared cache line.
//! [`families`] has their names as monitoring sees them, and [`Exposition`] writes them down.

pub mod families;
mod latency;
mod text;

use ws_router_core::close::CloseReason;

pub use families::{Family, Sort};
pub use latency::{BOUNDS, Latency, Spread};
pub use text::Exposition;

use crate::sync::{AtomicU64, Ordering};

/// A number that only grows, or a gauge that one writer sets.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one.
    pub fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one off a gauge.
    pub fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sets a gauge, or a counter that has one writer.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads the number.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A parameter is missing, repeated, empty or malformed, or the request itself is.
    Malformed,
    /// A key is wrong.
    WrongKey,
    /// There is no such registration, or no such path.
    Unknown,
    /// A method that the path doesn't take.
    Method,
    /// No websocket upgrade, or not of version 13.
    NoUpgrade,
    /// The id that was asked for is taken.
    Taken,
    /// A limit is reached.
    Full,
    /// The client's network asks, registers or gives wrong keys too often.
    TooOften,
    /// Head or body above their limits.
    TooLarge,
    /// Head or body not complete within `http.request-timeout`.
    Timeout,
    /// The access rules let nobody like this one in.
    Access,
}

impl Refusal {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::WrongKey,
        Self::Unknown,
        Self::Method,
        Self::NoUpgrade,
        Self::Taken,
        Self::Full,
        Self::TooOften,
        Self::TooLarge,
        Self::Timeout,
        Self::Access,
    ];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::WrongKey => "wrong-key",
            Self::Unknown => "unknown",
            Self::Method => "method",
            Self::NoUpgrade => "no-upgrade",
            Self::Taken => "taken",
            Self::Full => "full",
            Self::TooOften => "too-often",
            Self::TooLarge => "too-large",
            Self::Timeout => "timeout",
            Self::Access => "access",
        }
    }
}

/// Why a connection was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// `limits.connections` or `limits.pending` is reached.
    Limit,
    /// The client's network connects more often than `limits.connection-rate`.
    Rate,
    /// The client's network has `limits.connections-per-address` connections.
    PerAddress,
}

impl Rejection {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; 3] = [Self::Limit, Self::Rate, Self::PerAddress];

    /// Returns the metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Rate => "rate",
            Self::PerAddress => "per-address",
        }
    }
}

/// What the front counts.
#[derive(Debug, Default)]
pub struct Front {
    /// Connections open now, websockets included.
    pub connections: Count,
    /// Connections that are not websockets yet: handshakes in progress and HTTP requests.
    pub pending: Count,
    /// TLS sessions open now.
    pub tls_sessions: Count,
    /// Registrations now, as of a moment ago.
    pub registrations: Count,
    /// Requests refused because what peers make us hold is near `limits.memory`.
    pub out_of_memory: Count,
    /// Connections accepted since the start.
    pub accepted: Count,
    /// Connections closed because nothing was asked on them for `http.request-timeout`.
    pub idle: Count,
    /// Connections dropped because their client took nothing of an answer for `http.request-timeout`.
    pub stalled: Count,
    /// `accept` calls that failed.
    pub accept_errors: Count,
    /// Connections closed for want of a PROXY header from a proxy that is trusted.
    pub proxy_failures: Count,
    /// TLS handshakes that failed or took too long.
    pub tls_failures: Count,
    /// TLS handshakes done.
    pub tls_handshakes: Count,
    /// Registrations made since the start.
    pub registered: Count,
    /// Requests that were answered.
    pub requests: Count,
    /// Requests that an access rule's external authorizer gave no answer to.
    pub auth_request_failures: Count,
    /// Reloads that took effect.
    pub reloads: Count,
    /// Reloads that were refused because of the file.
    pub failed_reloads: Count,
    /// One while the settings from before a restart are in force, because the file has a mistake.
    pub config_stale: Count,
    /// Restarts that handed everything over, since the first process of this line.
    pub restarts: Count,
    /// Connections that were carried over by them.
    pub carried: Count,
    /// Connections that could not be.
    pub lost: Count,
    refusals: [Count; Refusal::ALL.len()],
    rejections: [Count; Rejection::ALL.len()],
}

impl Front {
    /// Counts a rejected connection.
    pub fn rejected(&self, why: Rejection) {
        self.rejections[why as usize].up();
    }

    /// Returns how many connections were rejected for this reason.
    pub fn rejections(&self, why: Rejection) -> u64 {
        self.rejections[why as usize].value()
    }

    /// Counts a refused request.
    pub fn refused(&self, why: Refusal) {
        self.refusals[why as usize].up();
    }

    /// Reads how many requests were refused for this reason.
    pub fn refusals(&self, why: Refusal) -> u64 {
        self.refusals[why as usize].value()
    }
}

/// What one relay thread has done, published by it once a round.
#[derive(Debug, Default)]
pub struct ThreadTotals {
    /// Members now.
    pub members: Count,
    /// Messages received.
    pub messages_in: Count,
    /// Payload bytes received.
    pub bytes_in: Count,
    /// Messages handed to receivers.
    pub deliveries: Count,
    /// Bytes handed to receivers, frame headers included.
    pub bytes_out: Count,
    /// Messages without a receiver.
    pub messages_undelivered: Count,
    /// Times that a member exceeded its rate and was not read from for a while.
    pub reads_throttled: Count,
    /// Connections dropped because the closing handshake took longer than `websocket.close-timeout`.
    pub close_timeouts: Count,
    /// Bytes that wait in outboxes now.
    pub outbox_bytes: Count,
    /// Bytes of memory that members' streams take now: outboxes, unfinished messages, and what rooms have collected.
    pub held: Count,
    /// Members closed because a message that they had started didn't grow for `websocket.stall-timeout`.
    pub stalled_messages: Count,
    /// Members closed because of `limits.memory`.
    pub relieved: Count,
    /// How long messages took through the thread.
    pub latency: Latency,
    closes: [Count; CloseReason::ALL.len()],
}

impl ThreadTotals {
    /// Sets how many connections ended for this reason; the thread is the only writer.
    pub fn set_closes(&self, reason: CloseReason, count: u64) {
        self.closes[reason as usize].set(count);
    }

    /// Reads how many connections ended for this reason.
    pub fn closes(&self, reason: CloseReason) -> u64 {
        self.closes[reason as usize].value()
    }
}
