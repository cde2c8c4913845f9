//! Log messages about registrations and their members, written by a separate task.
//!
//! The task subscribes to events, so that a relay thread never waits for the log. Any peer can trigger events, so the rate
//! of messages is limited, and the number of suppressed messages is logged with the next one. The admin interface provides
//! all events.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use ws_router_admin_api::event::{Admission, Event, EventKind, Terms};
use ws_router_core::rate::Rate;

use crate::events::Events;
use crate::log::RateLimitedLog;
use crate::log::messages;

/// The task that logs events; it ends when this is dropped.
#[derive(Debug)]
pub struct EventLogger {
    flush_requests: mpsc::Sender<oneshot::Sender<()>>,
    _task: AbortOnDropHandle<()>,
}

impl EventLogger {
    /// Starts the task, which logs the events from now on.
    pub fn start(events: &Events) -> Self {
        let (flush_requests, requested) = mpsc::channel(1);
        Self { flush_requests, _task: AbortOnDropHandle::new(tokio::spawn(log_events(events.subscribe(), requested))) }
    }

    /// Waits until all events so far are logged. Call it before the process exits.
    pub async fn flush(&self) {
        let (done, is_done) = oneshot::channel();
        if self.flush_requests.send(done).await.is_ok() {
            // An error means that the task has ended, and nothing more will be logged.
            let _ = is_done.await;
        }
    }
}

async fn log_events(mut events: Receiver<Arc<Event>>, mut flush_requests: mpsc::Receiver<oneshot::Sender<()>>) {
    let limit = RateLimitedLog::new(MESSAGES);
    loop {
        tokio::select! {
            // Events first: a flush is done when none is left.
            biased;
            received = events.recv() => match received {
                Ok(event) => {
                    let Some(suppressed) = limit.should_log(Instant::now()) else { continue };
                    if suppressed > 0 {
                        tracing::info!(message_id = messages::EVENTS_SUPPRESSED, suppressed, "events not logged; there were too many");
                    }
                    log(&event.kind);
                }
                Err(RecvError::Lagged(missed)) => limit.count_suppressed(missed),
                Err(RecvError::Closed) => return,
            },
            request = flush_requests.recv() => match request {
                // The caller may have given up meanwhile.
                Some(done) => drop(done.send(())),
                None => return,
            },
        }
    }
}

fn log(kind: &EventKind) {
    match kind {
        EventKind::Registered { registration, kind, terms } => {
            let Terms { client_key, receive_key, max_members, ends_in_ms, subprotocol, wait_ms } = terms;
            let [client_key, receive_key] = [client_key, receive_key].map(|is_there| is_there.then_some(true));
            tracing::info!(
                message_id = messages::REGISTERED,
                %registration, kind = kind.as_str(),
                client_key, receive_key, max_members, ends_in_ms, subprotocol = subprotocol.as_deref(), wait_ms,
                "registration created"
            );
        }
        EventKind::Reclaimed { registration } => {
            tracing::info!(message_id = messages::RENEWED, %registration, "registration renewed")
        }
        EventKind::Ended { registration, reason, .. } => {
            tracing::info!(message_id = messages::ENDED, %registration, reason = reason.label(), "registration ended");
        }
        EventKind::Joined { registration, member, role, peer, admission } => {
            let (role, (rule, token_name)) = (role.as_str(), names(admission.as_deref()));
            tracing::info!(message_id = messages::JOINED, %registration, %member, role, %peer, rule, token_name, "member joined");
        }
        EventKind::Left {
            registration,
            member,
            role,
            reason,
            by: _,
            code,
            silent_ms,
            messages_in,
            bytes_in,
            messages_out,
            bytes_out,
            admission,
        } => {
            let (role, reason, (rule, token_name)) = (role.as_str(), reason.label(), names(admission.as_deref()));
            tracing::info!(
                message_id = messages::LEFT,
                %registration, %member, role, reason, code, silent_ms, rule, token_name,
                messages_in, bytes_in, messages_out, bytes_out,
                "member left"
            );
        }
        EventKind::Away { registration, member, role, reason, silent_ms } => {
            let (role, reason) = (role.as_str(), reason.label());
            tracing::info!(
                message_id = messages::AWAY,
                %registration, %member, role, reason, silent_ms,
                "member lost its connection and may come back"
            );
        }
        EventKind::Returned { registration, member, role, peer, away_ms, again } => {
            let role = role.as_str();
            tracing::info!(
                message_id = messages::RETURNED,
                %registration, %member, role, %peer, away_ms, again,
                "member came back"
            );
        }
        EventKind::Sent { registration, messages_in, bytes_in, admission } => {
            let (rule, token_name) = names(admission.as_deref());
            tracing::info!(
                message_id = messages::SENT,
                %registration, rule, token_name, messages_in, bytes_in,
                "messages sent without joining"
            );
        }
        // Logged by the code that publishes them.
        EventKind::Reloaded | EventKind::DrainBegun { .. } | EventKind::Drained | EventKind::DrainUndone => {}
    }
}

/// Returns the names of the access rule and the token that admitted a member or sender.
fn names(admission: Option<&Admission>) -> (Option<&str>, Option<&str>) {
    (admission.map(|admission| &*admission.rule), admission.and_then(|admission| admission.token_name.as_deref()))
}

/// Maximum rate of messages: more than a person reads, and far below the journal's own limit (journald.conf(5),
/// RateLimitBurst=).
const MESSAGES: Rate = Rate::per_second(20, 500);
