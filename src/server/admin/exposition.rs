//! The daemon's metrics in the Prometheus text format, collected from where they are counted.

use std::time::SystemTime;

use ws_router_core::close::CloseReason;
use ws_router_core::shard::DiscardReason;

use super::{Context, wire};
use crate::metrics::{Exposition, HistogramSnapshot, Refusal, Rejection, SendResult, ThreadTotals, families};
use crate::sys;

/// Returns all metrics.
pub(super) async fn text(context: &Context) -> String {
    // Counting descriptors may take milliseconds, which is too long for the event loop.
    let usage = tokio::task::spawn_blocking(|| (sys::process_memory(), sys::descriptor_usage())).await;
    let (memory, descriptors) = usage.unwrap_or_default();
    let mut text = Exposition::default();
    process(&mut text, context);
    frontend(&mut text, context);
    relay(&mut text, context);
    text.single(&families::RESIDENT, memory.resident);
    text.single(&families::PEAK, memory.peak);
    text.single(&families::DESCRIPTORS, descriptors.open);
    text.single(&families::DESCRIPTOR_LIMIT, descriptors.limit);
    text.into_text()
}

fn process(text: &mut Exposition, context: &Context) {
    let metrics = context.server.metrics();
    let started = SystemTime::now() - context.server.uptime();
    let started = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    text.labeled(&families::BUILD_INFO, "version", [(env!("CARGO_PKG_VERSION"), 1)]);
    text.single(&families::START_TIME, started.as_secs_f64());
    text.single(&families::DRAINING, u8::from(context.drain.borrow().state != wire::DrainPhase::Serving));
    text.single(&families::RELOADS, metrics.reloads.value());
    text.single(&families::FAILED_RELOADS, metrics.failed_reloads.value());
    text.single(&families::CONFIG_STALE, metrics.config_stale.value());
    text.single(&families::RESTARTS, metrics.restarts.value());
    text.single(&families::HANDED_OVER, metrics.handed_over.value());
    text.single(&families::LOST, metrics.lost.value());
}

fn frontend(text: &mut Exposition, context: &Context) {
    let metrics = context.server.metrics();
    text.single(&families::CONNECTIONS, metrics.connections.value());
    text.single(&families::PENDING, metrics.pending.value());
    text.single(&families::WATCHERS, context.server.watchers());
    text.single(&families::ACCEPTED, metrics.accepted.value());
    text.labeled(
        &families::REJECTED,
        "reason",
        Rejection::ALL.iter().map(|&why| (why.label(), metrics.rejections(why))),
    );
    text.single(&families::IDLE, metrics.idle.value());
    text.single(&families::STALLED, metrics.stalled.value());
    text.single(&families::ACCEPT_ERRORS, metrics.accept_errors.value());
    text.single(&families::PROXY_FAILURES, metrics.proxy_failures.value());
    text.single(&families::UNTRUSTED_FORWARDED, metrics.untrusted_forwarded.value());
    text.single(&families::TLS_HANDSHAKES, metrics.tls_handshakes.value());
    text.single(&families::TLS_FAILURES, metrics.tls_failures.value());
    text.single(&families::TLS_SESSIONS, metrics.tls_sessions.value());
    text.single(&families::TLS_KERNEL_SESSIONS, metrics.tls_kernel_sessions.value());
    text.single(&families::TLS_KERNEL_FAILURES, metrics.tls_kernel_failures.value());
    if let Some(ends) = context.certificates.iter().filter_map(|used| used.expires()).min() {
        text.single(&families::CERTIFICATE, ends);
    }
    text.single(&families::REQUESTS, metrics.requests.value());
    text.labeled(&families::REFUSED, "reason", Refusal::ALL.iter().map(|&why| (why.label(), metrics.refusals(why))));
    text.single(&families::AUTH_FAILURES, metrics.auth_request_failures.value());
    text.single(&families::OUT_OF_MEMORY, metrics.out_of_memory.value());
    text.labeled(
        &families::SENDS,
        "result",
        SendResult::ALL.iter().map(|&result| (result.label(), metrics.sends(result))),
    );
    text.single(&families::REGISTRATIONS, context.server.registrations());
    text.single(&families::REGISTERED, metrics.registered.value());
    text.labeled(&families::ENDED, "reason", context.server.ended().map(|(why, count)| (why.label(), count)));
}

fn relay(text: &mut Exposition, context: &Context) {
    let threads = context.server.thread_totals();
    let all = |number: fn(&ThreadTotals) -> u64| threads.iter().map(|thread| number(thread)).sum::<u64>();
    let closes = |why| threads.iter().map(|thread| thread.closes(why)).sum();
    let mut latency = HistogramSnapshot::default();
    threads.iter().for_each(|thread| latency.add(&thread.latency));
    text.single(&families::THREADS, threads.len());
    text.single(&families::MEMBERS, all(|thread| thread.members.value()));
    text.labeled(&families::CLOSES, "reason", CloseReason::ALL.iter().map(|&why| (why.label(), closes(why))));
    text.single(&families::STALLED_MESSAGES, all(|thread| thread.stalled_messages.value()));
    text.single(&families::CLOSE_TIMEOUTS, all(|thread| thread.close_timeouts.value()));
    text.single(&families::WAITING_CLIENTS, all(|thread| thread.waiting_clients.value()));
    text.single(&families::ACCEPTED_CLIENTS, all(|thread| thread.accepted_clients.value()));
    text.single(&families::REJECTED_CLIENTS, all(|thread| thread.rejected_clients.value()));
    text.single(&families::ACCEPT_TIMEOUTS, all(|thread| thread.accept_timeouts.value()));
    text.single(&families::MEMBERS_AWAY, all(|thread| thread.members_away.value()));
    text.single(&families::SESSIONS_RESUMED, all(|thread| thread.sessions_resumed.value()));
    let ended = [
        ("expired", all(|thread| thread.sessions_expired.value())),
        ("gap", all(|thread| thread.session_gaps.value())),
        ("closed", all(|thread| thread.sessions_closed.value())),
    ];
    text.labeled(&families::SESSIONS_ENDED, "reason", ended);
    text.single(&families::MESSAGES_IN, all(|thread| thread.messages_in.value()));
    text.single(&families::BYTES_IN, all(|thread| thread.bytes_in.value()));
    text.single(&families::MESSAGES_OUT, all(|thread| thread.deliveries.value()));
    text.single(&families::BYTES_OUT, all(|thread| thread.bytes_out.value()));
    text.single(&families::UNDELIVERED, all(|thread| thread.messages_undelivered.value()));
    text.single(&families::WAITING_MESSAGES, all(|thread| thread.waiting_messages.value()));
    text.single(&families::WAITING, all(|thread| thread.waiting_bytes.value()));
    let discarded = |why| threads.iter().map(|thread| thread.waiting_discarded(why)).sum();
    let discarded = DiscardReason::ALL.iter().map(|&why| (why.label(), discarded(why)));
    text.labeled(&families::WAITING_DISCARDED, "reason", discarded);
    text.single(&families::READS_THROTTLED, all(|thread| thread.reads_throttled.value()));
    text.single(&families::SENDS_WAITING, all(|thread| thread.waiting_sends.value()));
    text.single(&families::OUTBOX, all(|thread| thread.outbox_bytes.value()));
    text.single(&families::BUFFERED, context.server.memory().used());
    text.single(&families::BUFFERED_LIMIT, context.server.memory().limit());
    text.single(&families::RELIEVED, all(|thread| thread.relieved.value()));
    text.histogram(&families::LATENCY, &latency);
}
