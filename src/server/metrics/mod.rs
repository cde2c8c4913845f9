//! Counters and gauges of the whole process.
//!
//! The frontend uses shared atomics, since it counts rarely. A relay thread keeps its own plain numbers and publishes them
//! once per iteration in its [`ThreadTotals`], so that the path of a message touches no shared cache line.
//! [`families`] defines the names of the metrics, and [`Exposition`] writes them in Prometheus's format.

pub mod families;
mod latency;
mod text;

use strum::{EnumCount, IntoStaticStr, VariantArray};
use ws_router_core::close::CloseReason;
use ws_router_core::shard::DiscardReason;

pub use families::{Family, MetricKind};
pub use latency::{BOUNDS, HistogramSnapshot, Latency};
pub use text::Exposition;

use std::time::{Duration, SystemTime};

use crate::sync::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Publishes the number of a counter that has a single writer.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Subtracts one.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Sets the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns the number.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reason for which a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Refusal {
    /// The request is malformed, or a parameter is missing, repeated, empty or malformed.
    Malformed,
    /// A key is wrong.
    WrongKey,
    /// The registration or the path doesn't exist.
    Unknown,
    /// The path doesn't support the method.
    Method,
    /// The request isn't an upgrade to websocket version 13.
    NoUpgrade,
    /// The requested id is taken.
    Taken,
    /// A limit is reached.
    Full,
    /// Nobody is there to receive the message.
    NoReceiver,
    /// All receivers of the message are behind.
    SlowReceivers,
    /// The client's network exceeds a rate of requests, registrations, messages or wrong keys.
    TooOften,
    /// The head or the body is larger than its limit.
    TooLarge,
    /// The head or the body wasn't complete within `http.request-timeout`.
    Timeout,
    /// The access rules deny the request.
    Access,
    /// The request is for a host name that isn't one of `http.hosts`.
    Host,
}

impl Refusal {
    /// All reasons, in the order of their discriminants.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the metric label.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Result of a request to send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum SendResult {
    /// It was written to, or queued for, at least one receiver.
    Sent,
    /// Nobody was there to receive it, and it waits for the next member (the term `wait`).
    Waiting,
    /// Nobody was there to receive it.
    NoReceiver,
    /// All receivers were behind for too long.
    TooSlow,
    /// The relay thread was busy or about to stop.
    Busy,
}

impl SendResult {
    /// All results, in the order of their discriminants.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the metric label.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Reason for which a connection was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumCount, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case")]
pub enum Rejection {
    /// `limits.connections` or `limits.pending` is reached.
    Limit,
    /// The client's network holds its share of `limits.pending`.
    Share,
    /// The connection waited for its peer when another one needed its slot.
    Evicted,
    /// The client's network connects more often than `limits.connection-rate`.
    Rate,
    /// The client's network has `limits.connections-per-address` connections.
    PerAddress,
}

impl Rejection {
    /// All reasons, in the order of their discriminants.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Returns the metric label.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// Counters and gauges of the frontend.
#[derive(Debug, Default)]
pub struct FrontendMetrics {
    /// Connections open now, websockets included.
    pub connections: Gauge,
    /// Connections that are not websockets yet: handshakes in progress and HTTP requests.
    pub pending: Gauge,
    /// TLS sessions open now.
    pub tls_sessions: Gauge,
    /// TLS sessions open now that are in the kernel.
    pub tls_kernel_sessions: Gauge,
    /// Registrations now.
    pub registrations: Gauge,
    /// Memory of the messages that requests are sending, in bytes.
    pub send_bytes: Gauge,
    /// Requests refused because buffered data is near `limits.memory`.
    pub out_of_memory: Counter,
    /// Connections accepted since the start.
    pub accepted: Counter,
    /// Forwarding headers that were ignored, since their sender isn't a trusted proxy.
    pub untrusted_forwarded: Counter,
    /// Connections closed because no request came for the idle or the request timeout.
    pub idle: Counter,
    /// Connections dropped because their client read nothing of an answer for `http.request-timeout`.
    pub stalled: Counter,
    /// Calls of accept(2) that failed.
    pub accept_errors: Counter,
    /// Connections closed because no trusted proxy sent a valid PROXY header.
    pub proxy_failures: Counter,
    /// TLS handshakes that failed or timed out.
    pub tls_failures: Counter,
    /// TLS handshakes completed.
    pub tls_handshakes: Counter,
    /// Connections closed because the kernel rejected their keys, or isn't able to take them and has to.
    pub tls_kernel_failures: Counter,
    /// Registrations created since the start.
    pub registered: Counter,
    /// Requests answered.
    pub requests: Counter,
    /// Requests that an external authorizer didn't answer.
    pub auth_request_failures: Counter,
    /// Reloads that took effect.
    pub reloads: Counter,
    /// Reloads refused because of a mistake in the configuration.
    pub failed_reloads: Counter,
    /// 1 while a mistake in the configuration keeps the settings from before a restart in use.
    pub config_stale: Gauge,
    /// Restarts with a hand-over since the last start without one.
    pub restarts: Counter,
    /// Connections handed over by restarts.
    pub handed_over: Counter,
    /// Connections that restarts couldn't hand over.
    pub lost: Counter,
    refusals: [TimedCounter; Refusal::COUNT],
    rejections: [TimedCounter; Rejection::COUNT],
    sends: [Counter; SendResult::COUNT],
}

impl FrontendMetrics {
    /// Counts a rejected connection.
    pub fn rejected(&self, why: Rejection) {
        self.rejections[why as usize].increment();
    }

    /// Returns how many connections were rejected for this reason.
    pub fn rejections(&self, why: Rejection) -> u64 {
        self.rejections[why as usize].count.value()
    }

    /// Returns how long ago the last connection was rejected for this reason, in whole seconds.
    pub fn last_rejection(&self, why: Rejection) -> Option<Duration> {
        self.rejections[why as usize].since_last()
    }

    /// Counts a request to send a message.
    pub fn sent(&self, result: SendResult) {
        self.sends[result as usize].increment();
    }

    /// Returns how many requests to send a message had this result.
    pub fn sends(&self, result: SendResult) -> u64 {
        self.sends[result as usize].value()
    }

    /// Counts a refused request.
    pub fn refused(&self, why: Refusal) {
        self.refusals[why as usize].increment();
    }

    /// Returns how many requests were refused for this reason.
    pub fn refusals(&self, why: Refusal) -> u64 {
        self.refusals[why as usize].count.value()
    }

    /// Returns how long ago the last request was refused for this reason, in whole seconds.
    pub fn last_refusal(&self, why: Refusal) -> Option<Duration> {
        self.refusals[why as usize].since_last()
    }
}

/// A counter that remembers when it was last incremented.
#[derive(Debug, Default)]
struct TimedCounter {
    count: Counter,
    /// Seconds since the Unix epoch.
    last: Gauge,
}

impl TimedCounter {
    fn increment(&self) {
        self.count.increment();
        self.last.set(now());
    }

    fn since_last(&self) -> Option<Duration> {
        (self.count.value() > 0).then(|| Duration::from_secs(now().saturating_sub(self.last.value())))
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Counters and gauges of one relay thread, which publishes them once an iteration.
#[derive(Debug, Default)]
pub struct ThreadTotals {
    /// Members now.
    pub members: Gauge,
    /// Messages received.
    pub messages_in: Counter,
    /// Payload bytes received.
    pub bytes_in: Counter,
    /// Messages handed to receivers, counted once for each receiver.
    pub deliveries: Counter,
    /// Bytes handed to receivers, frame headers included.
    pub bytes_out: Counter,
    /// Messages without a receiver.
    pub messages_undelivered: Counter,
    /// Times that reading from a member paused because it exceeded its rate.
    pub reads_throttled: Counter,
    /// Connections dropped because the closing handshake took longer than `websocket.close-timeout`.
    pub close_timeouts: Counter,
    /// Clients of paired registrations that wait now.
    pub waiting_clients: Gauge,
    /// Clients that a host accepted.
    pub accepted_clients: Counter,
    /// Clients that a host rejected.
    pub rejected_clients: Counter,
    /// Clients that no host accepted in time.
    pub accept_timeouts: Counter,
    /// Members of sessions that are without a connection now.
    pub members_away: Gauge,
    /// Sessions that were resumed.
    pub sessions_resumed: Counter,
    /// Sessions that ended because the device wasn't back in time.
    pub sessions_expired: Counter,
    /// Sessions that ended because what the device had missed wasn't kept any more.
    pub session_gaps: Counter,
    /// Sessions that ended in another way.
    pub sessions_closed: Counter,
    /// Messages of POST /send that wait for slow receivers now.
    pub waiting_sends: Gauge,
    /// Bytes in outboxes now.
    pub outbox_bytes: Gauge,
    /// Messages that wait for a receiver now.
    pub waiting_messages: Gauge,
    /// Bytes of these messages, frame headers included.
    pub waiting_bytes: Gauge,
    /// Bytes of memory that members' streams take now: outboxes, unfinished messages and pending broadcasts, and what
    /// waits for a receiver.
    pub held: Gauge,
    /// Members closed because a message that they had started didn't grow for `websocket.stall-timeout`.
    pub stalled_messages: Counter,
    /// Members closed because of `limits.memory`.
    pub relieved: Counter,
    /// Time that messages took through the thread.
    pub latency: Latency,
    closes: [Counter; CloseReason::COUNT],
    waiting_discarded: [Counter; DiscardReason::COUNT],
}

impl ThreadTotals {
    /// Sets how many memberships ended for this reason; the thread is the only writer.
    pub fn set_closes(&self, reason: CloseReason, count: u64) {
        self.closes[reason as usize].set(count);
    }

    /// Sets how many waiting messages were discarded for this reason; the thread is the only writer.
    pub fn set_waiting_discarded(&self, reason: DiscardReason, count: u64) {
        self.waiting_discarded[reason as usize].set(count);
    }

    /// Returns how many waiting messages were discarded for this reason.
    pub fn waiting_discarded(&self, reason: DiscardReason) -> u64 {
        self.waiting_discarded[reason as usize].value()
    }

    /// Returns how many memberships ended for this reason.
    pub fn closes(&self, reason: CloseReason) -> u64 {
        self.closes[reason as usize].value()
    }
}
