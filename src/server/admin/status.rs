//! Status, registrations and members in the form of the admin interface.

use std::time::{Duration, Instant, SystemTime};

use ws_router_core::close::CloseReason;
use ws_router_core::kind::{Kind, Role};
use ws_router_core::shard::{DiscardReason, Pairing, Traffic, WaitingTotals};

use super::{Context, wire};
use crate::metrics::{Refusal, Rejection};
use crate::registry::Summary;
use crate::relay::{MemberView, TlsPlace};
use crate::sys;

/// Returns the status of the daemon.
pub(super) async fn status(context: &Context) -> wire::Status {
    // Counting descriptors may take milliseconds, which is too long for the event loop.
    let usage = tokio::task::spawn_blocking(|| (sys::process_memory(), sys::descriptor_usage())).await;
    let (memory, descriptors) = usage.unwrap_or_default();
    let threads = context.server.thread_totals();
    let metrics = context.server.metrics();
    wire::Status {
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        uptime_ms: millis(context.server.uptime()),
        listeners: context.listeners.clone(),
        registrations: context.server.registrations() as u64,
        members: context.server.member_count(),
        connections: metrics.connections.value(),
        pending: metrics.pending.value(),
        watchers: context.server.watchers() as u64,
        frontend: wire::Frontend {
            accepted: metrics.accepted.value(),
            connections_rejected: Rejection::ALL
                .iter()
                .map(|why| (why.label().to_owned(), metrics.rejections(*why)))
                .collect(),
            idle: metrics.idle.value(),
            stalled: metrics.stalled.value(),
            auth_request_failures: metrics.auth_request_failures.value(),
            out_of_memory: metrics.out_of_memory.value(),
            accept_errors: metrics.accept_errors.value(),
            proxy_failures: metrics.proxy_failures.value(),
            forwarded_headers_ignored: metrics.untrusted_forwarded.value(),
            tls_handshakes: metrics.tls_handshakes.value(),
            tls_failures: metrics.tls_failures.value(),
            tls_sessions: metrics.tls_sessions.value(),
            tls_kernel_sessions: metrics.tls_kernel_sessions.value(),
            tls_kernel_failures: metrics.tls_kernel_failures.value(),
            requests: metrics.requests.value(),
            registered: metrics.registered.value(),
            reloads: metrics.reloads.value(),
            failed_reloads: metrics.failed_reloads.value(),
        },
        relay: wire::Relay {
            threads: threads.len() as u64,
            messages_in: threads.iter().map(|thread| thread.messages_in.value()).sum(),
            bytes_in: threads.iter().map(|thread| thread.bytes_in.value()).sum(),
            messages_out: threads.iter().map(|thread| thread.deliveries.value()).sum(),
            bytes_out: threads.iter().map(|thread| thread.bytes_out.value()).sum(),
            messages_undelivered: threads.iter().map(|thread| thread.messages_undelivered.value()).sum(),
            reads_throttled: threads.iter().map(|thread| thread.reads_throttled.value()).sum(),
            close_timeouts: threads.iter().map(|thread| thread.close_timeouts.value()).sum(),
            outbox_bytes: threads.iter().map(|thread| thread.outbox_bytes.value()).sum(),
            waiting_messages: threads.iter().map(|thread| thread.waiting_messages.value()).sum(),
            waiting_bytes: threads.iter().map(|thread| thread.waiting_bytes.value()).sum(),
            waiting_discarded: DiscardReason::ALL
                .iter()
                .map(|why| (why.label().to_owned(), threads.iter().map(|thread| thread.waiting_discarded(*why)).sum()))
                .collect(),
            waiting_clients: threads.iter().map(|thread| thread.waiting_clients.value()).sum(),
            clients_accepted: threads.iter().map(|thread| thread.accepted_clients.value()).sum(),
            clients_rejected: threads.iter().map(|thread| thread.rejected_clients.value()).sum(),
            accept_timeouts: threads.iter().map(|thread| thread.accept_timeouts.value()).sum(),
            buffered_bytes: context.server.memory().used(),
            buffered_limit_bytes: context.server.memory().limit(),
            relieved: threads.iter().map(|thread| thread.relieved.value()).sum(),
        },
        refusals: Refusal::ALL.iter().map(|why| (why.label().to_owned(), metrics.refusals(*why))).collect(),
        closes: CloseReason::ALL
            .iter()
            .map(|why| (why.label().to_owned(), threads.iter().map(|thread| thread.closes(*why)).sum()))
            .collect(),
        memory: wire::Memory { resident_bytes: memory.resident, peak_bytes: memory.peak },
        descriptors: wire::Descriptors { open: descriptors.open, limit: descriptors.limit },
        config_stale: metrics.config_stale.value() > 0,
        drain: *context.drain.borrow(),
        handover: *context.handover.borrow(),
    }
}

/// Converts a registration to its JSON form.
pub(super) fn registration(summary: &Summary, traffic: Traffic, now: Instant) -> wire::Registration {
    let registration = &summary.registration;
    // The client of a pair may leave before the host's end.
    let clients = summary.seats - summary.hosts;
    let pairs = (registration.kind == Kind::Paired).then(|| summary.pairs.min(clients));
    wire::Registration {
        id: registration.id.to_string(),
        kind: registration.kind,
        seats: summary.seats as u64,
        since_ms: since_epoch(registration.created),
        age_ms: millis(registration.created.elapsed().unwrap_or_default()),
        expires_in_ms: summary.expires.map(|when| millis(when.saturating_duration_since(now))),
        ends_in_ms: summary.expires_at.map(|at| millis(at.duration_since(SystemTime::now()).unwrap_or_default())),
        max_members: registration.max_members.map(|most| most as u64),
        client_key: registration.has_client_key(),
        receive_key: registration.has_receive_key(),
        subprotocol: registration.subprotocol.as_deref().map(str::to_owned),
        rule: registration.rule.as_deref().map(str::to_owned),
        messages_in: traffic.tally.messages_in,
        bytes_in: traffic.tally.bytes_in,
        messages_out: traffic.tally.messages_out,
        bytes_out: traffic.tally.bytes_out,
        outbox_bytes: traffic.outbox,
        wait_ms: registration.wait().map(millis),
        waiting_messages: traffic.waiting.messages,
        waiting_bytes: traffic.waiting.bytes,
        waiting_left_ms: traffic.waiting.left.map(millis),
        waiting_for: waiting_for(registration.kind, &traffic.waiting),
        pairs: pairs.map(|pairs| pairs as u64),
        waiting_clients: pairs.map(|pairs| (clients - pairs) as u64),
    }
}

/// Returns the roles that messages wait for.
fn waiting_for(kind: Kind, waiting: &WaitingTotals) -> Vec<Role> {
    let first = if kind == Kind::Lobby { Role::Peer } else { Role::Host };
    let roles = [(waiting.for_host_or_peer, first), (waiting.for_client, Role::Client)];
    roles.into_iter().filter_map(|(waits, role)| waits.then_some(role)).collect()
}

/// Converts a member to its JSON form.
pub(super) fn member(view: &MemberView) -> wire::Member {
    wire::Member {
        id: view.id.0,
        registration: view.registration.to_string(),
        role: view.role,
        receives_only: view.receives_only,
        admission: view.admission.clone(),
        pairing: view.pairing.map(|pairing| match pairing {
            Pairing::Listens => wire::Pairing::Listening,
            Pairing::Waits => wire::Pairing::Waiting,
            Pairing::Paired(_) => wire::Pairing::Paired,
        }),
        paired_with: match view.pairing {
            Some(Pairing::Paired(Some(other))) => Some(other.0),
            _ => None,
        },
        address: view.peer.to_string(),
        tls: view.tls.is_some(),
        tls_in_kernel: view.tls == Some(TlsPlace::Kernel),
        // If the clock was set back to before the age allows, the earliest time that the field can express.
        since_ms: SystemTime::now().checked_sub(view.age).map_or(0, since_epoch),
        age_ms: millis(view.age),
        silent_ms: millis(view.silent),
        messages_in: view.messages_in,
        bytes_in: view.bytes_in,
        messages_out: view.messages_out,
        bytes_out: view.bytes_out,
        outbox_bytes: view.outbox,
        session: view.has_session,
        away_ms: view.away.map(millis),
        round_trip_us: view.tcp.map(|tcp| u64::try_from(tcp.round_trip.as_micros()).unwrap_or(u64::MAX)),
        retransmits: view.tcp.map(|tcp| tcp.retransmits.into()),
        unsent_bytes: view.tcp.map(|tcp| tcp.unsent.into()),
    }
}

fn since_epoch(time: SystemTime) -> u64 {
    millis(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
