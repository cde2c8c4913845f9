//! The daemon's metrics in the Prometheus text format, collected from where they are counted.

use std::time::SystemTime;

use ws_router_core::close::CloseReason;

use super::{Context, wire};
use crate::metrics::{Exposition, HistogramSnapshot, Refusal, Rejection, ThreadTotals, families};
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
    text.one(&families::RESIDENT, memory.resident);
    text.one(&families::PEAK, memory.peak);
    text.one(&families::DESCRIPTORS, descriptors.open);
    text.one(&families::DESCRIPTOR_LIMIT, descriptors.limit);
    text.into_text()
}

fn process(text: &mut Exposition, context: &Context) {
    let metrics = context.server.metrics();
    let started = SystemTime::now() - context.server.uptime();
    let started = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    text.each(&families::BUILD_INFO, "version", [(env!("CARGO_PKG_VERSION"), 1)]);
    text.one(&families::START_TIME, started.as_secs_f64());
    text.one(&families::DRAINING, u8::from(context.drain.borrow().state != wire::DrainPhase::Serving));
    text.one(&families::RELOADS, metrics.reloads.value());
    text.one(&families::FAILED_RELOADS, metrics.failed_reloads.value());
    text.one(&families::CONFIG_STALE, metrics.config_stale.value());
    text.one(&families::RESTARTS, metrics.restarts.value());
    text.one(&families::HANDED_OVER, metrics.handed_over.value());
    text.one(&families::LOST, metrics.lost.value());
}

fn frontend(text: &mut Exposition, context: &Context) {
    let metrics = context.server.metrics();
    text.one(&families::CONNECTIONS, metrics.connections.value());
    text.one(&families::PENDING, metrics.pending.value());
    text.one(&families::ACCEPTED, metrics.accepted.value());
    text.each(&families::REJECTED, "reason", Rejection::ALL.iter().map(|&why| (why.label(), metrics.rejections(why))));
    text.one(&families::IDLE, metrics.idle.value());
    text.one(&families::STALLED, metrics.stalled.value());
    text.one(&families::ACCEPT_ERRORS, metrics.accept_errors.value());
    text.one(&families::PROXY_FAILURES, metrics.proxy_failures.value());
    text.one(&families::UNTRUSTED_FORWARDED, metrics.untrusted_forwarded.value());
    text.one(&families::TLS_HANDSHAKES, metrics.tls_handshakes.value());
    text.one(&families::TLS_FAILURES, metrics.tls_failures.value());
    text.one(&families::TLS_SESSIONS, metrics.tls_sessions.value());
    if let Some(ends) = context.certificates.iter().filter_map(|used| used.expires()).min() {
        text.one(&families::CERTIFICATE, ends);
    }
    text.one(&families::REQUESTS, metrics.requests.value());
    text.each(&families::REFUSED, "reason", Refusal::ALL.iter().map(|&why| (why.label(), metrics.refusals(why))));
    text.one(&families::AUTH_FAILURES, metrics.auth_request_failures.value());
    text.one(&families::OUT_OF_MEMORY, metrics.out_of_memory.value());
    text.one(&families::REGISTRATIONS, context.server.registrations());
    text.one(&families::REGISTERED, metrics.registered.value());
    text.each(&families::ENDED, "reason", context.server.ended().map(|(why, count)| (why.label(), count)));
}

fn relay(text: &mut Exposition, context: &Context) {
    let threads = context.server.thread_totals();
    let all = |number: fn(&ThreadTotals) -> u64| threads.iter().map(|thread| number(thread)).sum::<u64>();
    let closes = |why| threads.iter().map(|thread| thread.closes(why)).sum();
    let mut latency = HistogramSnapshot::default();
    threads.iter().for_each(|thread| latency.add(&thread.latency));
    text.one(&families::THREADS, threads.len());
    text.one(&families::MEMBERS, all(|thread| thread.members.value()));
    text.each(&families::CLOSES, "reason", CloseReason::ALL.iter().map(|&why| (why.label(), closes(why))));
    text.one(&families::STALLED_MESSAGES, all(|thread| thread.stalled_messages.value()));
    text.one(&families::CLOSE_TIMEOUTS, all(|thread| thread.close_timeouts.value()));
    text.one(&families::MESSAGES_IN, all(|thread| thread.messages_in.value()));
    text.one(&families::BYTES_IN, all(|thread| thread.bytes_in.value()));
    text.one(&families::MESSAGES_OUT, all(|thread| thread.deliveries.value()));
    text.one(&families::BYTES_OUT, all(|thread| thread.bytes_out.value()));
    text.one(&families::UNDELIVERED, all(|thread| thread.messages_undelivered.value()));
    text.one(&families::READS_THROTTLED, all(|thread| thread.reads_throttled.value()));
    text.one(&families::OUTBOX, all(|thread| thread.outbox_bytes.value()));
    text.one(&families::BUFFERED, context.server.memory().used());
    text.one(&families::BUFFERED_LIMIT, context.server.memory().limit());
    text.one(&families::RELIEVED, all(|thread| thread.relieved.value()));
    text.histogram(&families::LATENCY, &latency);
}
