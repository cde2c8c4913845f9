//! Connections that are not websockets yet: how many each network may have, and which are evicted to make room.
//!
//! A connection costs its peer one packet, but occupies one of the `limits.pending` slots until it becomes a websocket.
//! Three rules prevent strangers from using up the slots:
//!
//! - A network may hold half of the slots that other networks leave free, but at least one. Above this share, a new
//!   connection replaces the longest waiting one of its network; if none has waited long enough, it is rejected.
//! - Once three quarters of the slots are taken, connections that have been silent or idle for [`PATIENCE`] are evicted.
//! - Once all slots are taken, a new connection replaces the oldest one without a request of the network that holds the
//!   most slots.
//!
//! A connection whose request is being answered is never evicted. Peers without a network (trusted proxies until their
//! header is read, and peers on this machine) have no share, but are evicted like others when all slots are taken. A
//! search visits at most [`SCANNED_NETWORKS`] networks and [`SCANNED_CONNECTIONS`] connections of each.

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

    /// Admits a connection, and evicts others for it by the rules of this module.
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

    /// Releases a connection's slot, unless it is released already or the connection was evicted.
    fn release(&self, network: Option<Network>, number: u64) {
        if self.lock().remove(network, number).is_some() {
            self.metrics.pending.decrement();
        }
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

/// Guard of a connection's slot in the pool, which is released when it is dropped.
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
                // The connection was evicted, and is about to notice.
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
        let (pool, slot) = (Arc::clone(&self.pool), Arc::clone(&self.slot));
        Activity { pool, slot, number: self.number, network: self.network }
    }

    /// Waits until the connection is evicted.
    pub(super) fn evicted(&self) -> WaitForCancellationFutureOwned {
        self.slot.evicted.clone().cancelled_owned()
    }

    /// Reports that the peer has sent its first byte.
    pub(super) fn on_first_byte(&self) {
        if self.slot.phase().0 == Phase::Silent {
            self.slot.set(Phase::Opening, self.pool.now());
        }
    }

    /// Reports that the handshake is complete and a request is expected.
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
        self.pool.release(self.network, self.number);
    }
}

/// Handle that reports the requests of a pending connection, which isn't evicted during a request.
#[derive(Debug, Clone)]
pub struct Activity {
    pool: Arc<PendingPool>,
    slot: Arc<Slot>,
    number: u64,
    network: Option<Network>,
}

impl Activity {
    /// Reports the start of a request, which ends when the guard is dropped.
    #[must_use]
    pub fn request(&self) -> ActiveRequest<'_> {
        self.slot.set(Phase::Requested, self.pool.now());
        ActiveRequest(self)
    }

    /// Releases the connection's slot before its end, since another limit applies to it from now on. It isn't evicted any
    /// more.
    pub fn release(&self) {
        self.pool.release(self.network, self.number);
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

/// Event that a pending connection waits for.
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
    /// Networks in the order of the number of their connections, and then of the age of their oldest one.
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

    /// Makes room for one more connection of a network, and appends the connections that are evicted for it to `evicted`.
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

    /// Evicts a few connections that have been silent or idle for [`PATIENCE`].
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

    /// Returns the oldest connection without a request, of the largest network that has one.
    fn victim(&self, now: Duration) -> Option<(Option<Network>, u64)> {
        self.largest().find_map(|network| Some((network, self.waiting(network, now, Duration::ZERO)?)))
    }

    /// Returns the oldest connection of a network whose peer has kept it waiting too long. A connection whose peer has
    /// sent nothing at all for `patience` takes precedence.
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
        self.by_size.remove(&size_key(slots, network));
        slots.insert(number, slot);
        self.by_size.insert(size_key(slots, network));
        self.total += 1;
    }

    fn remove(&mut self, network: Option<Network>, number: u64) -> Option<Arc<Slot>> {
        let slots = self.networks.get_mut(&network)?;
        let before = size_key(slots, network);
        let slot = slots.remove(&number)?;
        self.total -= 1;
        self.by_size.remove(&before);
        if slots.is_empty() {
            self.networks.remove(&network);
        } else {
            self.by_size.insert(size_key(slots, network));
        }
        Some(slot)
    }
}

/// Returns the key of a network in [`State::by_size`].
fn size_key(slots: &Slots, network: Option<Network>) -> (usize, Reverse<u64>, Option<Network>) {
    let oldest = slots.first_key_value().map_or(0, |(number, _)| *number);
    (slots.len(), Reverse(oldest), network)
}

/// Time for which a connection may be silent or idle before it may be evicted.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time for which a handshake or a request may be incomplete before its connection may be evicted. It is longer than
/// [`PATIENCE`], since in a mass reconnect the peer may be waiting for this machine, which by then has done the expensive
/// half of a TLS handshake.
const OPENING_PATIENCE: Duration = Duration::from_secs(3);

/// Networks that a search visits, those with the most connections first.
const SCANNED_NETWORKS: usize = 8;

/// Connections of a network that a search visits, the oldest first.
const SCANNED_CONNECTIONS: usize = 128;

/// Silent and idle connections that are evicted for one new connection: enough to fall below three quarters soon, and few
/// enough to hold the lock only briefly.
const REAPED_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests;
