//! The metric families: the one list that the exposition, the manual, the dashboard and the alerts follow.
//!
//! Names are `wsrouter_<noun>_<unit>[_total]`. Counters count from the start of the process, except those of restarts,
//! which are part of the handed-over state.

/// A metric family: one sample, or several that differ in a label, under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// The kind.
    pub kind: MetricKind,
    /// The help text.
    pub help: &'static str,
}

/// Kind of a metric family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// Defines the constants and the list of all from lines of `CONSTANT Kind "name" "help";`.
macro_rules! families {
    ($($constant:ident $kind:ident $name:literal $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Family = Family { name: $name, kind: MetricKind::$kind, help: $help };
        )+
        /// All families, in the order in which they are written.
        pub const ALL: &[Family] = &[$($constant),+];
    };
}

families! {
    BUILD_INFO Gauge "wsrouter_build_info" "Version of the running program, as a label of the constant 1.";
    START_TIME Gauge "wsrouter_start_time_seconds" "Start time of the process, in seconds since the Unix epoch.";
    THREADS Gauge "wsrouter_relay_threads" "Number of relay threads.";
    DRAINING Gauge "wsrouter_draining" "1 while the daemon drains or is drained; else 0.";
    CONNECTIONS Gauge "wsrouter_connections" "Connections open now, websockets included.";
    PENDING Gauge "wsrouter_pending_connections" "Connections open now that are neither websockets nor streams of /members: handshakes and HTTP requests.";
    WATCHERS Gauge "wsrouter_watchers" "Streams of /members open now.";
    ACCEPTED Counter "wsrouter_connections_accepted_total" "Connections accepted.";
    REJECTED Counter "wsrouter_connections_rejected_total" "Connections closed at once because of a limit, by reason.";
    IDLE Counter "wsrouter_connections_idle_total" "Connections closed because no request came within the timeout.";
    STALLED Counter "wsrouter_connections_stalled_total" "Connections dropped because their client read nothing of an answer within the request timeout.";
    ACCEPT_ERRORS Counter "wsrouter_accept_errors_total" "Accept calls that failed, as when descriptors have run out.";
    PROXY_FAILURES Counter "wsrouter_proxy_header_failures_total" "Connections closed because no trusted proxy sent a valid PROXY header.";
    UNTRUSTED_FORWARDED Counter "wsrouter_forwarded_headers_ignored_total" "Requests whose forwarding header was ignored because their sender is not a trusted proxy.";
    TLS_HANDSHAKES Counter "wsrouter_tls_handshakes_total" "TLS handshakes completed.";
    TLS_FAILURES Counter "wsrouter_tls_handshake_failures_total" "TLS handshakes that failed or timed out.";
    TLS_SESSIONS Gauge "wsrouter_tls_sessions" "TLS sessions open now.";
    TLS_KERNEL_SESSIONS Gauge "wsrouter_tls_kernel_sessions" "TLS sessions open now that are in the kernel.";
    TLS_KERNEL_FAILURES Counter "wsrouter_tls_kernel_failures_total" "TLS connections closed because they couldn't move into the kernel.";
    CERTIFICATE Gauge "wsrouter_certificate_expiry_timestamp_seconds" "Earliest expiry of the certificates in use, in seconds since the Unix epoch; absent without TLS.";
    REQUESTS Counter "wsrouter_requests_total" "HTTP requests answered.";
    REFUSED Counter "wsrouter_requests_refused_total" "HTTP requests refused, by reason.";
    AUTH_FAILURES Counter "wsrouter_auth_request_failures_total" "Requests denied because an external authorizer did not answer, or had too many requests already.";
    OUT_OF_MEMORY Counter "wsrouter_requests_out_of_memory_total" "Requests refused because buffered data is near the memory limit.";
    SENDS Counter "wsrouter_sends_total" "Messages of POST /send that were ready to be sent, by result.";
    SENDS_WAITING Gauge "wsrouter_sends_waiting" "Messages of POST /send that wait for slow receivers now.";
    REGISTRATIONS Gauge "wsrouter_registrations" "Registrations now.";
    REGISTERED Counter "wsrouter_registrations_made_total" "Registrations created.";
    ENDED Counter "wsrouter_registrations_ended_total" "Registrations that ended, by reason.";
    MEMBERS Gauge "wsrouter_members" "Members of all registrations now.";
    CLOSES Counter "wsrouter_closes_total" "Memberships that ended, by reason.";
    STALLED_MESSAGES Counter "wsrouter_stalled_messages_total" "Members closed because a message that they had started did not grow for the stall timeout.";
    CLOSE_TIMEOUTS Counter "wsrouter_close_timeouts_total" "Connections of members dropped because the closing handshake timed out.";
    WAITING_CLIENTS Gauge "wsrouter_waiting_clients" "Clients of paired registrations that wait until a host accepts them now.";
    ACCEPTED_CLIENTS Counter "wsrouter_clients_accepted_total" "Clients of paired registrations that a host accepted.";
    REJECTED_CLIENTS Counter "wsrouter_clients_rejected_total" "Clients of paired registrations that a host rejected.";
    ACCEPT_TIMEOUTS Counter "wsrouter_accept_timeouts_total" "Clients of paired registrations that no host accepted in time.";
    MEMBERS_AWAY Gauge "wsrouter_members_away" "Members of sessions that are without a connection now.";
    SESSIONS_RESUMED Counter "wsrouter_sessions_resumed_total" "Sessions that a device resumed over another connection.";
    SESSIONS_ENDED Counter "wsrouter_sessions_ended_total" "Sessions that ended, by reason.";
    MESSAGES_IN Counter "wsrouter_messages_received_total" "Messages received from members and by POST /send.";
    BYTES_IN Counter "wsrouter_received_bytes_total" "Payload bytes received from members and by POST /send.";
    MESSAGES_OUT Counter "wsrouter_messages_delivered_total" "Messages handed to receivers, each receiver counted.";
    BYTES_OUT Counter "wsrouter_delivered_bytes_total" "Bytes handed to receivers, frame headers included.";
    UNDELIVERED Counter "wsrouter_messages_undelivered_total" "Messages without a receiver.";
    WAITING_MESSAGES Gauge "wsrouter_waiting_messages" "Messages that wait for a receiver now.";
    WAITING Gauge "wsrouter_waiting_bytes" "Bytes of messages that wait for a receiver now.";
    WAITING_DISCARDED Counter "wsrouter_waiting_messages_discarded_total" "Messages discarded while they waited for a receiver, by reason.";
    READS_THROTTLED Counter "wsrouter_reads_throttled_total" "Times that reading from a member paused because it exceeded the rate of its access rule.";
    OUTBOX Gauge "wsrouter_outbox_bytes" "Bytes that wait for receivers that read slowly.";
    BUFFERED Gauge "wsrouter_buffered_bytes" "Memory that the daemon uses to buffer peers' data now.";
    BUFFERED_LIMIT Gauge "wsrouter_buffered_limit_bytes" "Limit of the memory that buffers peers' data.";
    RELIEVED Counter "wsrouter_closes_for_memory_total" "Members closed because buffered data exceeded the memory limit.";
    LATENCY Histogram "wsrouter_relay_latency_seconds" "Time of messages from the wake-up of their relay thread to their write or an outbox, for each receiver.";
    RELOADS Counter "wsrouter_reloads_total" "Reloads that took effect.";
    FAILED_RELOADS Counter "wsrouter_reloads_refused_total" "Reloads refused because of a mistake in the configuration.";
    CONFIG_STALE Gauge "wsrouter_config_stale" "1 while a mistake in the configuration keeps the settings from before a restart in use.";
    RESTARTS Counter "wsrouter_restarts_total" "Restarts that handed connections over, since the last start without a hand-over.";
    HANDED_OVER Counter "wsrouter_restart_carried_connections_total" "Connections handed over by restarts.";
    LOST Counter "wsrouter_restart_lost_connections_total" "Connections that restarts could not hand over.";
    RESIDENT Gauge "wsrouter_memory_resident_bytes" "Resident memory of the process.";
    PEAK Gauge "wsrouter_memory_peak_bytes" "Peak resident memory of the process.";
    DESCRIPTORS Gauge "wsrouter_descriptors" "Open descriptors.";
    DESCRIPTOR_LIMIT Gauge "wsrouter_descriptors_limit" "Limit of open descriptors.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_those_of_counters_end_in_total() {
        let mut names: Vec<_> = ALL.iter().map(|family| family.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for family in ALL {
            assert!(family.name.starts_with("wsrouter_"), "{}", family.name);
            assert_eq!(family.name.ends_with("_total"), family.kind == MetricKind::Counter, "{}", family.name);
        }
    }
}
