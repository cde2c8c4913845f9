//! The daemon's numbers as monitoring reads them, gathered from where they are counted.

use std::time::SystemTime;

use ws_router_core::close::CloseReason;

use super::{Context, process, wire};
use crate::metrics::{Count, Exposition, Refusal, Rejection, Spread, ThreadTotals, families};

/// Writes all numbers down.
pub(super) async fn text(context: &Context) -> String {
    // Counting descriptors takes a while on a busy daemon; the event loop has better things to do.
    let process = tokio::task::spawn_blocking(|| (process::memory(), process::descriptors())).await;
    let (memory, descriptors) = process.unwrap_or_default();
    let mut text = Exposition::default();
    life(&mut text, context);
    front(&mut text, context);
    relay(&mut text, context);
    text.one(&families::RESIDENT, memory.resident_bytes);
    text.one(&families::PEAK, memory.peak_bytes);
    text.one(&families::DESCRIPTORS, descriptors.open);
    text.one(&families::DESCRIPTOR_LIMIT, descriptors.limit);
    text.into_text()
}

fn life(text: &mut Exposition, context: &Context) {
    let front = context.server.metrics();
    let started = SystemTime::now() - context.server.uptime();
    let started = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    text.each(&families::BUILD_INFO, "version", [(env!("CARGO_PKG_VERSION"), 1)]);
    text.one(&families::START_TIME, started.as_secs_f64());
    text.one(&families::DRAINING, u8::from(context.drain.borrow().state != wire::DrainPhase::Serving));
    text.one(&families::RELOADS, front.reloads.value());
    text.one(&families::FAILED_RELOADS, front.failed_reloads.value());
    text.one(&families::CONFIG_STALE, front.config_stale.value());
    text.one(&families::RESTARTS, front.restarts.value());
    text.one(&families::CARRIED, front.carried.value());
    text.one(&families::LOST, front.lost.value());
}

fn front(text: &mut Exposition, context: &Context) {
    let front = context.server.metrics();
    text.one(&families::CONNECTIONS, front.connections.value());
    text.one(&families::PENDING, front.pending.value());
    text.one(&families::ACCEPTED, front.accepted.value());
    text.each(&families::REJECTED, "reason", Rejection::ALL.map(|why| (why.label(), front.rejections(why))));
    text.one(&families::IDLE, front.idle.value());
    text.one(&families::STALLED, front.stalled.value());
    text.one(&families::ACCEPT_ERRORS, front.accept_errors.value());
    text.one(&families::PROXY_FAILURES, front.proxy_failures.value());
    text.one(&families::TLS_HANDSHAKES, front.tls_handshakes.value());
    text.one(&families::TLS_FAILURES, front.tls_failures.value());
    text.one(&families::TLS_SESSIONS, front.tls_sessions.value());
    if let Some(ends) = context.certificates.iter().filter_map(|used| used.expires()).min() {
        text.one(&families::CERTIFICATE, ends);
    }
    text.one(&families::REQUESTS, front.requests.value());
    text.each(&families::REFUSED, "reason", Refusal::ALL.map(|why| (why.label(), front.refusals(why))));
    text.one(&families::AUTH_FAILURES, front.auth_request_failures.value());
    text.one(&families::OUT_OF_MEMORY, front.out_of_memory.value());
    text.one(&families::REGISTRATIONS, context.server.registrations());
    text.one(&families::REGISTERED, front.registered.value());
    text.each(&families::ENDED, "reason", context.server.ended().map(|(why, count)| (why.label(), count)));
}

fn relay(text: &mut Exposition, context: &Context) {
    let threads = context.server.thread_totals();
    let all = |number: fn(&ThreadTotals) -> &Count| threads.iter().map(|thread| number(thread).value()).sum::<u64>();
    let closes = |why| threads.iter().map(|thread| thread.closes(why)).sum();
    let mut spread = Spread::default();
    threads.iter().for_each(|thread| spread.add(&thread.latency));
    text.one(&families::THREADS, threads.len());
    text.one(&families::MEMBERS, all(|thread| &thread.members));
    text.each(&families::CLOSES, "reason", CloseReason::ALL.map(|why| (why.label(), closes(why))));
    text.one(&families::STALLED_MESSAGES, all(|thread| &thread.stalled_messages));
    text.one(&families::CLOSE_TIMEOUTS, all(|thread| &thread.close_timeouts));
    text.one(&families::MESSAGES_IN, all(|thread| &thread.messages_in));
    text.one(&families::BYTES_IN, all(|thread| &thread.bytes_in));
    text.one(&families::MESSAGES_OUT, all(|thread| &thread.deliveries));
    text.one(&families::BYTES_OUT, all(|thread| &thread.bytes_out));
    text.one(&families::UNDELIVERED, all(|thread| &thread.messages_undelivered));
    text.one(&families::READS_THROTTLED, all(|thread| &thread.reads_throttled));
    text.one(&families::OUTBOX, all(|thread| &thread.outbox_bytes));
    text.one(&families::BUFFERED, context.server.memory().used());
    text.one(&families::BUFFERED_LIMIT, context.server.memory().limit());
    text.one(&families::RELIEVED, all(|thread| &thread.relieved));
    text.histogram(&families::LATENCY, &spread);
}
