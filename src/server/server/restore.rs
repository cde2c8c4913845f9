//! The hand-over of the router's state and the members' connections to the next process.
//!
//! The order of the steps prevents any loss. Members that can't be handed over are asked to reconnect before the snapshot
//! is taken, and their registrations are kept for them. From the snapshot on, the relay threads are stopped. The new
//! process restores all members before it accepts the first connection.

use std::collections::HashSet;
use std::io::Read;
use std::net::Shutdown;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::Socket as RawSocket;
use tokio::time::{interval, timeout};
use ws_router_admin_api::event::Admission;
use ws_router_core::close::CloseReason;
use ws_router_core::frame::close_frame;

use super::{Server, WatchEnd};
use crate::events::Events;
use crate::log::messages;
use crate::net::Socket;
use crate::registry::{self, Registry};
use crate::relay::{AwayHold, Frozen, RestoredConnection, RestoredMember};
use crate::snapshot::{RestartCounts, Snapshot, WaitingSnapshot};

/// State and connections that an old process handed over.
#[derive(Debug)]
pub struct Inherited {
    /// The router's state.
    pub snapshot: Snapshot,
    /// The connections of the members, in the order of the snapshot.
    pub members: Vec<OwnedFd>,
}

impl Inherited {
    /// Restores the registrations and their history.
    pub(super) fn registry(&self, rules: registry::Rules, events: &Events) -> Arc<Registry> {
        self.snapshot.decode_events().iter().for_each(|event| events.history().record(event));
        Registry::restore(self.snapshot.registry.clone(), rules, events.clone(), Instant::now())
    }
}

/// A router's state for a new process. The relay threads are stopped until this is dropped.
#[derive(Debug)]
pub struct FrozenServer {
    /// The router's state without the listeners, which the router doesn't own.
    pub snapshot: Snapshot,
    /// The descriptors of the members, in the order of the snapshot. The relay threads still own them.
    pub descriptors: Vec<RawFd>,
    _frozen: Frozen,
}

impl FrozenServer {
    /// Resumes the relay threads, and returns the state.
    pub fn thaw(self) -> Snapshot {
        self.snapshot
    }
}

impl Server {
    /// Asks the members whose connections can't be handed over to reconnect, spread over some time. Their registrations are
    /// kept for them. To be followed by [`Server::snapshot`], or by [`Server::cancel_release`].
    pub async fn release_immovable(&self) {
        let mut rules = registry::Rules::of(&self.config.borrow());
        rules.linger = rules.linger.max(COME_BACK);
        self.registry.set_rules(rules);
        let total = self.relay.release(0, CloseReason::Restarting).await;
        let latency = Duration::from_millis(total as u64).min(RELEASE_TIME);
        let patience = self.config.borrow().websocket.close_timeout;
        let steps = (latency.as_millis() / STEP.as_millis()).max(1) as usize;
        let at_once = total.div_ceil(steps);
        let all = async {
            let mut ticks = interval(STEP);
            while self.relay.release(at_once, CloseReason::Restarting).await > 0 {
                ticks.tick().await;
            }
        };
        if total > 0 && timeout(latency + patience, all).await.is_err() {
            tracing::warn!("not all members that can't be handed over have disconnected in time");
        }
    }

    /// Returns to the configured rules after a hand-over that failed, and admits watches of members again.
    pub fn cancel_release(&self) {
        self.interruption.send_replace(self.is_draining().then_some(WatchEnd::Drain));
        self.registry.set_rules(registry::Rules::of(&self.config.borrow()));
    }

    pub(super) async fn take_snapshot(&self) -> FrozenServer {
        // Encoded before the threads are stopped, since it takes some time.
        self.events.publish_sends();
        let events = self.events.history().export();
        let history = Snapshot::encode_events(&events);
        let mut frozen = self.relay.freeze().await;
        let (members, descriptors) = std::mem::take(&mut frozen.members).into_iter().unzip();
        let (away, waiting) = (std::mem::take(&mut frozen.away), std::mem::take(&mut frozen.waiting));
        let (now, metrics) = (Instant::now(), &self.metrics);
        let snapshot = Snapshot {
            version: env!("CARGO_PKG_VERSION").into(),
            registry: self.registry.snapshot(now),
            last_member: self.relay.last_member(),
            listeners: Vec::new(),
            members,
            away,
            waiting,
            drain: self.drain.state(now),
            restarts: RestartCounts {
                count: metrics.restarts.value(),
                handed_over: metrics.handed_over.value(),
                lost: metrics.lost.value(),
            },
            history,
            settings: Some(self.config.borrow().to_toml()),
        };
        FrozenServer { snapshot, descriptors, _frozen: frozen }
    }

    /// Admits the members of an old process again, and resumes its drain.
    pub(super) fn restore(&self, inherited: Inherited) {
        let Inherited { snapshot: state, members } = inherited;
        let (gate, total) = (self.connection_gate(), state.members.len() + state.away.len());
        self.relay.skip_members(state.last_member);
        let (mut restored, mut closing) = (Vec::with_capacity(total), Vec::new());
        let mut admissions = HashSet::new();
        let connected = state.members.into_iter().zip(members.into_iter().map(Some));
        for (member, descriptor) in connected.chain(state.away.into_iter().map(|member| (member, None))) {
            let (id, known, peer) = (member.registration.as_str(), member.member, member.peer);
            let connection = |descriptor| match descriptor {
                Some(descriptor) => {
                    RestoredConnection::Socket(Socket::handed_over(descriptor, peer, member.sealed, &gate))
                }
                None => {
                    let slot = self.clients.hold_handed_over(&peer, &self.config.borrow());
                    RestoredConnection::Away(peer, AwayHold::new(self.away.take_handed_over(&peer), slot))
                }
            };
            if known.is_closing() {
                let connection = connection(descriptor);
                closing.push(RestoredMember { seat: None, state: known, connection, share: None });
                continue;
            }
            let seat = if known.is_accepted_end() {
                self.registry.restore_accepted(id, known.serial)
            } else {
                self.registry.restore_seat(id, known.serial, known.role, known.receives_only)
            };
            let Some(mut seat) = seat else {
                if let Some(descriptor) = descriptor {
                    ask_to_reconnect(descriptor);
                }
                continue;
            };
            seat.admission = member.admission.map(|admission| shared(admission, &mut admissions));
            let share = known.is_waiting().then(|| self.waiting.take(self.network_of(&member.peer), usize::MAX).ok());
            let (seat, connection, share) = (Some(seat), connection(descriptor), share.flatten());
            restored.push(RestoredMember { seat, state: known, connection, share });
        }
        let (count, total) = (restored.len(), total - closing.len());
        restored.append(&mut closing);
        self.metrics.restarts.set(state.restarts.count + 1);
        self.metrics.handed_over.set(state.restarts.handed_over + count as u64);
        self.metrics.lost.set(state.restarts.lost + (total - count) as u64);
        // All holds are taken before a thread starts, since a member may leave at once.
        let holds = state.waiting.into_iter().filter_map(|WaitingSnapshot { registration, waiting }| {
            let (wait, hold) = self.registry.restore_hold(registration.as_str(), waiting.serial)?;
            Some((hold, wait, waiting))
        });
        let waiting: Vec<_> = holds.collect();
        self.relay.restore(restored, waiting);
        self.registry.finish_restore(COME_BACK, Instant::now());
        tracing::info!(
            message_id = messages::MEMBERS_HANDED_OVER,
            old_version = state.version,
            members = count,
            lost = total - count,
            "members handed over"
        );
        if let Some(drain) = state.drain {
            self.drain.resume(drain, Instant::now());
        }
    }
}

/// Returns the one of equal admissions that all members share.
fn shared(admission: Arc<Admission>, known: &mut HashSet<Arc<Admission>>) -> Arc<Admission> {
    let shared = known.get(&admission).cloned();
    shared.unwrap_or_else(|| {
        known.insert(Arc::clone(&admission));
        admission
    })
}

/// Sends a close frame (1012) to a device whose stream state is unknown. The device may not receive it.
pub fn ask_to_reconnect(descriptor: OwnedFd) {
    let mut socket = RawSocket::from(descriptor);
    // Unread bytes would turn the close into a reset, and the device might miss the frame. Errors are ignored: a device
    // that is gone needs no frame.
    let _ = socket.set_nonblocking(true);
    let mut bytes = [0; 4096];
    while socket.read(&mut bytes).is_ok_and(|read| read > 0) {}
    if let Some(frame) = close_frame(CloseReason::Restarting, None) {
        let _ = socket.send(&frame);
    }
    let _ = socket.shutdown(Shutdown::Write);
}

/// Minimum time for which a registration is kept for members that were asked to reconnect.
const COME_BACK: Duration = Duration::from_secs(60);

/// Maximum time over which members that can't be handed over are asked to reconnect; up to then, a thousand per second.
pub const RELEASE_TIME: Duration = Duration::from_secs(10);

/// Interval between two groups of members that are asked to reconnect.
const STEP: Duration = Duration::from_millis(20);
