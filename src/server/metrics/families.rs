//! What monitoring sees, by name: the one list that the exposition, the manual, the dashboard and the alerts go by.
//!
//! Names are `wsrouter_<noun>_<unit>[_total]`. Counters count since the start of the process, except those of restarts,
//! which are handed over with everything else.

/// A number, or numbers that differ in a label, under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// How it moves.
    pub sort: Sort,
    /// What it says.
    pub help: &'static str,
}

/// How a number moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// Makes the constants, and the list of all, from lines of `CONSTANT Sort "name" "help";`.
macro_rules! families {
    ($($constant:ident $sort:ident $name:literal $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Family = Family { name: $name, sort: Sort::$sort, help: $help };
        )+
        /// All of them, in the order in which they are written.
        pub const ALL: &[Family] = &[$($constant),+];
    };
}

families! {
    BUILD_INFO Gauge "wsrouter_build_info" "The version of the running program, as a label of the number 1.";
    START_TIME Gauge "wsrouter_start_time_seconds" "When the process started, in seconds since the Unix epoch.";
    THREADS Gauge "wsrouter_relay_threads" "Relay threads.";
    DRAINING Gauge "wsrouter_draining" "1 while the daemon is taken out of service, or is out of it; else 0.";
    CONNECTIONS Gauge "wsrouter_connections" "Connections open now, websockets included.";
    PENDING Gauge "wsrouter_pending_connections" "Connections that are not websockets: handshakes in progress and HTTP requests.";
    ACCEPTED Counter "wsrouter_connections_accepted_total" "Connections accepted.";
    REJECTED Counter "wsrouter_connections_rejected_total" "Connections closed at once because of a limit, by reason.";
    IDLE Counter "wsrouter_connections_idle_total" "Connections closed because nothing was asked on them for as long as a request may take.";
    STALLED Counter "wsrouter_connections_stalled_total" "Connections dropped because their client took nothing of an answer for as long.";
    ACCEPT_ERRORS Counter "wsrouter_accept_errors_total" "Accepts that failed, as for want of descriptors.";
    PROXY_FAILURES Counter "wsrouter_proxy_header_failures_total" "Connections closed for want of a PROXY header from a trusted proxy.";
    TLS_HANDSHAKES Counter "wsrouter_tls_handshakes_total" "TLS handshakes done.";
    TLS_FAILURES Counter "wsrouter_tls_handshake_failures_total" "TLS handshakes that failed or took too long.";
    TLS_SESSIONS Gauge "wsrouter_tls_sessions" "TLS sessions open now.";
    CERTIFICATE Gauge "wsrouter_certificate_expiry_timestamp_seconds" "When the first certificate in use ends, in seconds since the Unix epoch; absent without TLS.";
    REQUESTS Counter "wsrouter_requests_total" "HTTP requests answered.";
    REFUSED Counter "wsrouter_requests_refused_total" "HTTP requests refused, by reason.";
    AUTH_FAILURES Counter "wsrouter_auth_request_failures_total" "Requests that an external authorizer gave no answer to, or that were too many to ask about.";
    OUT_OF_MEMORY Counter "wsrouter_requests_out_of_memory_total" "Requests refused because peers make the daemon hold nearly as much memory as they may.";
    REGISTRATIONS Gauge "wsrouter_registrations" "Registrations now.";
    REGISTERED Counter "wsrouter_registrations_made_total" "Registrations made.";
    ENDED Counter "wsrouter_registrations_ended_total" "Registrations that ended, by reason.";
    MEMBERS Gauge "wsrouter_members" "Members of all registrations now.";
    CLOSES Counter "wsrouter_closes_total" "Memberships that ended, by reason.";
    STALLED_MESSAGES Counter "wsrouter_stalled_messages_total" "Members closed because a message that they had started did not grow for the stall timeout.";
    CLOSE_TIMEOUTS Counter "wsrouter_close_timeouts_total" "Connections of members dropped because the closing handshake took too long.";
    MESSAGES_IN Counter "wsrouter_messages_received_total" "Messages received from members.";
    BYTES_IN Counter "wsrouter_received_bytes_total" "Payload bytes received from members.";
    MESSAGES_OUT Counter "wsrouter_messages_delivered_total" "Messages handed to receivers, each receiver counted.";
    BYTES_OUT Counter "wsrouter_delivered_bytes_total" "Bytes handed to receivers, frame headers included.";
    UNDELIVERED Counter "wsrouter_messages_undelivered_total" "Messages without a receiver.";
    READS_THROTTLED Counter "wsrouter_reads_throttled_total" "Times that a member exceeded the rate of its access rule and was not read from for a while.";
    OUTBOX Gauge "wsrouter_outbox_bytes" "Bytes that wait for their receivers' sockets now.";
    BUFFERED Gauge "wsrouter_buffered_bytes" "Memory that peers make the daemon hold now.";
    BUFFERED_LIMIT Gauge "wsrouter_buffered_limit_bytes" "Limit of the memory that peers may make the daemon hold.";
    RELIEVED Counter "wsrouter_closes_for_memory_total" "Members closed because that was too much.";
    LATENCY Histogram "wsrouter_relay_latency_seconds" "Time of messages from the wake-up of their relay thread to their write or an outbox, for each receiver.";
    RELOADS Counter "wsrouter_reloads_total" "Reloads that took effect.";
    FAILED_RELOADS Counter "wsrouter_reloads_refused_total" "Reloads that were refused because of the configuration.";
    CONFIG_STALE Gauge "wsrouter_config_stale" "1 while a mistake in the configuration keeps the settings from before a restart in force.";
    RESTARTS Counter "wsrouter_restarts_total" "Restarts that handed over the connections, since the last stop.";
    CARRIED Counter "wsrouter_restart_carried_connections_total" "Connections that restarts carried over.";
    LOST Counter "wsrouter_restart_lost_connections_total" "Connections that were handed over and could not be taken up again.";
    RESIDENT Gauge "wsrouter_memory_resident_bytes" "Memory in use.";
    PEAK Gauge "wsrouter_memory_peak_bytes" "The most memory that has ever been in use.";
    DESCRIPTORS Gauge "wsrouter_descriptors" "Open files and sockets.";
    DESCRIPTOR_LIMIT Gauge "wsrouter_descriptors_limit" "As many files and sockets as may be open.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_counters_by_their_end_and_are_given_once() {
        let mut names: Vec<_> = ALL.iter().map(|family| family.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for family in ALL {
            assert!(family.name.starts_with("wsrouter_"), "{}", family.name);
            assert_eq!(family.name.ends_with("_total"), family.sort == Sort::Counter, "{}", family.name);
        }
    }
}
