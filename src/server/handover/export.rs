//! The old process's side: the bundle that the next process gets.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use tokio::time::{interval, timeout};
use ws_router_admin_api::event::Event;
use ws_router_core::close::CloseReason;

use super::{COME_BACK, CONNECTIONS, ListenerHandle, STATE};
use crate::directory::{Directory, Rules};
use crate::metrics::Front;
use crate::relay::{Frozen, Relay};
use crate::snapshot::{DrainState, MemberSnapshot, RestartCounts, Snapshot};
use crate::sys;
use crate::systemd::Notify;

/// A router that has stopped accepting, as far as the next process has to know it.
#[derive(Debug)]
pub struct Source<'a> {
    /// Registrations.
    pub directory: &'a Directory,
    /// Relay, for the numbers of members.
    pub relay: &'a Relay,
    /// Counts of restarts.
    pub front: &'a Front,
    /// Listening sockets.
    pub listeners: &'a [ListenerHandle],
    /// Progress of draining.
    pub drain: Option<DrainState>,
    /// Last events, encoded before the relay threads stopped.
    pub history: Vec<u8>,
}

/// Everything that the next process gets. While it exists, no relay thread moves.
#[derive(Debug)]
pub struct HandoverBundle {
    pub(super) state: OwnedFd,
    pub(super) connections: OwnedFd,
    members: usize,
    _frozen: Frozen,
}

/// Tells the members that can't be carried over to come back, not all at once; their registrations wait for them.
pub async fn release(directory: &Directory, relay: &Relay, mut rules: Rules, close_timeout: Duration) {
    rules.linger = rules.linger.max(COME_BACK);
    directory.set_rules(rules);
    let total = relay.release(0, CloseReason::Restarting).await;
    let spread = Duration::from_millis(total as u64).min(SPREAD);
    let steps = (spread.as_millis() / STEP.as_millis()).max(1) as usize;
    let at_once = total.div_ceil(steps);
    let all = async {
        let mut ticks = interval(STEP);
        while relay.release(at_once, CloseReason::Restarting).await > 0 {
            ticks.tick().await;
        }
    };
    if total > 0 && timeout(spread + close_timeout, all).await.is_err() {
        tracing::warn!("not all members that can't be carried over have answered");
    }
}

/// Encodes the last events, before the relay threads stop.
pub fn encode_events(events: &[Event]) -> Vec<u8> {
    Snapshot::encode_events(events)
}

/// Returns the state of a running router, for the trial of a new program. Members wait no longer than it takes to copy
/// their state.
pub async fn rehearse(source: Source<'_>) -> Snapshot {
    let mut frozen = source.relay.freeze().await;
    let members = mem::take(&mut frozen.members).into_iter().map(|(member, _)| member).collect();
    let snapshot = source.snapshot(members);
    drop(frozen);
    snapshot
}

impl Source<'_> {
    fn snapshot(self, members: Vec<MemberSnapshot>) -> Snapshot {
        let Self { directory, relay, front, listeners, drain, history } = self;
        Snapshot {
            program: env!("CARGO_PKG_VERSION").into(),
            directory: directory.state(Instant::now()),
            last_member: relay.last_member(),
            listeners: listeners.iter().map(|listener| listener.key.clone()).collect(),
            members,
            drain,
            restarts: RestartCounts {
                count: front.restarts.value(),
                carried: front.carried.value(),
                lost: front.lost.value(),
            },
            history,
        }
    }
}

impl HandoverBundle {
    /// Seals the state of a router whose relay threads are stopped.
    pub fn seal(source: Source<'_>, mut frozen: Frozen) -> io::Result<Self> {
        let (members, sockets): (Vec<_>, Vec<RawFd>) = mem::take(&mut frozen.members).into_iter().unzip();
        let count = members.len();
        let listeners = source.listeners.iter().map(|listener| listener.descriptor.as_raw_fd());
        let descriptors: Vec<RawFd> = listeners.chain(sockets).collect();
        let (state, connections) = (source.snapshot(members).seal()?, sys::send_fds(&descriptors)?);
        Ok(Self { state, connections, members: count, _frozen: frozen })
    }

    /// Returns the number of members in it.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Puts everything into the service manager's store, and waits until it is there.
    pub fn store(&self) -> io::Result<()> {
        Notify::store(STATE, self.state.as_fd())?;
        Notify::store(CONNECTIONS, self.connections.as_fd())?;
        Notify::barrier(STORED)
    }
}

/// Returns the longest time from the first step to the end of a hand-over through the service manager's store.
pub fn patience(close_timeout: Duration) -> Duration {
    REQUESTS * 2 + SPREAD + close_timeout + STORED
}

/// Time in which requests in progress are finished.
pub const REQUESTS: Duration = Duration::from_secs(2);
/// Time over which members that can't move are told to come back: a thousand a second, but no longer than this.
const SPREAD: Duration = Duration::from_secs(10);
/// Interval at which some of them are.
const STEP: Duration = Duration::from_millis(20);
/// Time that the service manager may take to store the descriptors.
const STORED: Duration = Duration::from_secs(5);
