//! Connections that are not websockets yet: how many each network may have, and which are closed to make room.
//!
//! A connection costs its peer one packet, and until it is a websocket it occupies one of `limits.pending` slots. So
//! that no stranger can use them up, three rules hold:
//!
//! - A network may hold at most half of what other networks leave free, at least one slot. Above that its own longest
//!   waiting connection makes room for the new one, or the new one is rejected.
//! - Above three quarters, connections that have not sent a byte for [`PATIENCE`], and kept-alive ones that have been
//!   idle as long, are closed.
//! - In a full pool, the oldest connection without a request of the network that holds most is closed for a new one.
//!
//! A connection whose request is being answered is never closed. Peers without a network (trusted proxies until their
//! header is read, and this machine) have no share, but their connections are closed like others when the pool is full.
//! Each search looks at [`SCANNED_NETWORKS`] networks and [`SCANNED_CONNECTIONS`] connections of each at most.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::metrics::{FrontendMetrics, Rejection};
use crate::peer::{Network, network_share};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering};

/// All connections that are not websockets yet.
#[derive(Debug)]
pub struct PendingPool {
    start: Instant,
    metrics: Arc<FrontendMetrics>,
    state: Mutex<State>,
}

impl PendingPool {
    /// Creates an empty pool, which counts in [`FrontendMetrics::pending`].
    pub fn new(metrics: Arc<FrontendMetrics>) -> Self {
        Self { start: Instant::now(), metrics, state: Mutex::default() }
    }

    /// Admits a connection, and closes others for it as the rules say.
    pub(super) fn admit(self: &Arc<Self>, network: Option<Network>, limit: usize) -> Result<PendingGuard, Rejection> {
        let now = self.now();
        let (admitted, evicted) = {
            let mut state = self.lock();
            let mut evicted = Vec::new();
            (state.admit(network, limit, now, &mut evicted), evicted)
        };
        self.close(evicted);
        let (number, slot) = admitted?;
        self.metrics.pending.increment();
        Ok(PendingGuard { pool: Arc::clone(self), slot, number, network })
    }

    fn close(&self, evicted: Vec<Arc<Slot>>) {
        for slot in evicted {
            self.metrics.pending.decrement();
            self.metrics.rejected(Rejection::Evicted);
            slot.evicted.cancel();
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// Slot of a connection in the pool, given back when dropped.
#[derive(Debug)]
pub struct PendingGuard {
    pool: Arc<PendingPool>,
    slot: Arc<Slot>,
    number: u64,
    network: Option<Network>,
}

impl PendingGuard {
    /// Moves the slot to the client's network, which a PROXY header has named.
    pub(super) fn assign(&mut self, network: Option<Network>, limit: usize) -> Result<(), Rejection> {
        if network == self.network {
            return Ok(());
        }
        let now = self.pool.now();
        let mut evicted = Vec::new();
        let assigned = {
            let mut state = self.pool.lock();
            match state.remove(self.network, self.number) {
                // It was evicted meanwhile, and its connection is about to notice.
                None => Ok(()),
                Some(slot) => match state.make_room(network, limit, now, &mut evicted) {
                    Ok(()) => {
                        state.insert(network, self.number, slot);
                        self.network = network;
                        Ok(())
                    }
                    Err(why) => {
                        self.pool.metrics.pending.decrement();
                        Err(why)
                    }
                },
            }
        };
        self.pool.close(evicted);
        assigned
    }

    /// Returns a handle that reports what the connection waits for.
    pub(super) fn activity(&self) -> Activity {
        Activity { pool: Arc::clone(&self.pool), slot: Arc::clone(&self.slot) }
    }

    /// Waits until the connection is to be closed for another one.
    pub(super) fn evicted(&self) -> WaitForCancellationFutureOwned {
        self.slot.evicted.clone().cancelled_owned()
    }

    /// Reports that the peer has sent its first byte.
    pub(super) fn on_first_byte(&self) {
        if self.slot.phase().0 == Phase::Silent {
            self.slot.set(Phase::Opening, self.pool.now());
        }
    }

    /// Reports that the handshake is done and a request is expected.
    pub(super) fn on_handshake(&self) {
        self.slot.set(Phase::Opening, self.pool.now());
    }

    /// Returns the counters of the frontend.
    pub(super) fn metrics(&self) -> &FrontendMetrics {
        &self.pool.metrics
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        if self.pool.lock().remove(self.network, self.number).is_some() {
            self.pool.metrics.pending.decrement();
        }
    }
}

/// Reports the requests of a pending connection, whose slot is safe from eviction meanwhile.
#[derive(Debug, Clone)]
pub struct Activity {
    pool: Arc<PendingPool>,
    slot: Arc<Slot>,
}

impl Activity {
    /// Reports a request, which ends when the guard is dropped.
    #[must_use]
    pub fn request(&self) -> ActiveRequest<'_> {
        self.slot.set(Phase::Requested, self.pool.now());
        ActiveRequest(self)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct ActiveRequest<'a>(&'a Activity);

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.0.slot.set(Phase::Idle, self.0.pool.now());
    }
}

/// State of one pending connection.
#[derive(Debug)]
struct Slot {
    /// Phase in the lowest two bits, and above them the time of its start in milliseconds.
    phase: AtomicU64,
    evicted: CancellationToken,
}

/// What a pending connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The peer's first byte.
    Silent,
    /// The rest of its handshake or of its first request.
    Opening,
    /// The answer to its request.
    Requested,
    /// Its next request.
    Idle,
}

impl Slot {
    fn new(now: Duration) -> Self {
        let slot = Self { phase: AtomicU64::new(0), evicted: CancellationToken::new() };
        slot.set(Phase::Silent, now);
        slot
    }

    fn set(&self, phase: Phase, now: Duration) {
        let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.phase.store(millis << 2 | phase as u64, Ordering::Relaxed);
    }

    fn phase(&self) -> (Phase, Duration) {
        let packed = self.phase.load(Ordering::Relaxed);
        let phase = match packed & 3 {
            0 => Phase::Silent,
            1 => Phase::Opening,
            2 => Phase::Requested,
            _ => Phase::Idle,
        };
        (phase, Duration::from_millis(packed >> 2))
    }
}

/// Connections of one network by their number, which ascends with the time of their acceptance.
type Slots = BTreeMap<u64, Arc<Slot>>;

#[derive(Debug, Default)]
struct State {
    last_number: u64,
    total: usize,
    networks: HashMap<Option<Network>, Slots>,
    /// Networks by the number of their connections, and of equal ones by their oldest connection.
    by_size: BTreeSet<(usize, Reverse<u64>, Option<Network>)>,
}

impl State {
    fn admit(
        &mut self,
        network: Option<Network>,
        limit: usize,
        now: Duration,
        evicted: &mut Vec<Arc<Slot>>,
    ) -> Result<(u64, Arc<Slot>), Rejection> {
        self.make_room(network, limit, now, evicted)?;
        self.last_number += 1;
        let slot = Arc::new(Slot::new(now));
        self.insert(network, self.last_number, Arc::clone(&slot));
        Ok((self.last_number, slot))
    }

    /// Finds room for one more connection of a network, and appends those that are closed for it to `evicted`.
    fn make_room(
        &mut self,
        network: Option<Network>,
        limit: usize,
        now: Duration,
        evicted: &mut Vec<Arc<Slot>>,
    ) -> Result<(), Rejection> {
        let held = self.held(network);
        if network.is_some() && held >= network_share(limit, self.total - held) {
            let number = self.waiting(network, now, PATIENCE).ok_or(Rejection::Share)?;
            evicted.extend(self.remove(network, number));
        }
        if self.total >= limit - limit / 4 {
            self.reap(now, evicted);
        }
        if self.total >= limit {
            let (network, number) = self.victim(now).ok_or(Rejection::Limit)?;
            evicted.extend(self.remove(network, number));
        }
        Ok(())
    }

    /// Closes connections that have been silent or idle for [`PATIENCE`], a few at each call.
    fn reap(&mut self, now: Duration, evicted: &mut Vec<Arc<Slot>>) {
        let mut found = Vec::new();
        for network in self.largest().filter(Option::is_some) {
            let slots = self.networks.get(&network).into_iter().flatten().take(SCANNED_CONNECTIONS);
            found.extend(slots.filter_map(|(number, slot)| {
                let (phase, since) = slot.phase();
                let is_due = matches!(phase, Phase::Silent | Phase::Idle) && since + PATIENCE <= now;
                is_due.then_some((network, *number))
            }));
            if found.len() >= REAPED_AT_ONCE {
                break;
            }
        }
        for (network, number) in found.into_iter().take(REAPED_AT_ONCE) {
            evicted.extend(self.remove(network, number));
        }
    }

    /// Returns the oldest connection without a request of the network that holds most and has one.
    fn victim(&self, now: Duration) -> Option<(Option<Network>, u64)> {
        self.largest().find_map(|network| Some((network, self.waiting(network, now, Duration::ZERO)?)))
    }

    /// Returns the oldest connection of a network that has waited too long for its peer. One that has sent nothing is
    /// taken first, after `patience`.
    fn waiting(&self, network: Option<Network>, now: Duration, patience: Duration) -> Option<u64> {
        let mut waiting = None;
        for (number, slot) in self.networks.get(&network)?.iter().take(SCANNED_CONNECTIONS) {
            match slot.phase() {
                (Phase::Silent, since) if since + patience <= now => return Some(*number),
                (Phase::Opening, since) if since + OPENING_PATIENCE <= now => {
                    waiting.get_or_insert(*number);
                }
                (Phase::Idle, since) if since + PATIENCE <= now => {
                    waiting.get_or_insert(*number);
                }
                _ => {}
            }
        }
        waiting
    }

    fn largest(&self) -> impl Iterator<Item = Option<Network>> {
        self.by_size.iter().rev().take(SCANNED_NETWORKS).map(|(_, _, network)| *network)
    }

    fn held(&self, network: Option<Network>) -> usize {
        self.networks.get(&network).map_or(0, BTreeMap::len)
    }

    fn insert(&mut self, network: Option<Network>, number: u64, slot: Arc<Slot>) {
        let slots = self.networks.entry(network).or_default();
        self.by_size.remove(&size(slots, network));
        slots.insert(number, slot);
        self.by_size.insert(size(slots, network));
        self.total += 1;
    }

    fn remove(&mut self, network: Option<Network>, number: u64) -> Option<Arc<Slot>> {
        let slots = self.networks.get_mut(&network)?;
        let before = size(slots, network);
        let slot = slots.remove(&number)?;
        self.total -= 1;
        self.by_size.remove(&before);
        if slots.is_empty() {
            self.networks.remove(&network);
        } else {
            self.by_size.insert(size(slots, network));
        }
        Some(slot)
    }
}

/// Returns the place of a network in [`State::by_size`].
fn size(slots: &Slots, network: Option<Network>) -> (usize, Reverse<u64>, Option<Network>) {
    let oldest = slots.first_key_value().map_or(0, |(number, _)| *number);
    (slots.len(), Reverse(oldest), network)
}

/// Time that a peer has for the first byte of its connection or its next request, before the connection may be closed
/// for another one.
const PATIENCE: Duration = Duration::from_secs(1);

/// The same for a handshake or a request that has started. It is longer, since in a mass reconnect the wait may be for
/// this machine, which has spent the expensive half of a TLS handshake by then.
const OPENING_PATIENCE: Duration = Duration::from_secs(3);

/// Networks that a search looks at, those with the most connections first.
const SCANNED_NETWORKS: usize = 8;

/// Connections of a network that a search looks at, the oldest first.
const SCANNED_CONNECTIONS: usize = 128;

/// Silent and idle connections that are closed for one new connection: enough to get below three quarters soon, and few
/// enough to be quick.
const REAPED_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests;
