//! Rates and open connections of each client network.
//!
//! A network is an IPv4 address or an IPv6 /64, since a host with one address of a /64 usually has all of them. All
//! devices behind one NAT are one network, so these limits are meant for floods and not for crowds: the buckets are as
//! deep as the largest crowd that returns at once. No network is banned: an empty bucket refills at its rate, whatever
//! was requested meanwhile. Peers on this machine and trusted proxies are not clients and have no network.
//!
//! Wrong keys are counted for each network *and* registration, so that a right key is rejected only if others behind
//! the same NAT try wrong keys of the same registration. Admitting right keys even then would tell a guesser which key
//! is right. This limit applies to peers on this machine and to proxies as well: a proxy that the configuration doesn't
//! name would otherwise lift it for all its clients.
//!
//! All tables are bounded, see [`RateTable`].

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ws_router_core::rate::{Bucket, Rate};

use super::permit::network_limit;
use crate::config::{self, Config, RateLimit};
use crate::peer::{Network, Peer};

/// Rates and open connections of all client networks.
#[derive(Debug)]
pub struct Clients {
    start: Instant,
    connects: Mutex<RateTable<Network>>,
    registers: Mutex<RateTable<Network>>,
    failed_keys: Mutex<RateTable<(Network, u64)>>,
    /// Hashes ids, so that the keys of [`Self::failed_keys`] have a fixed size.
    ids: RandomState,
    open: Mutex<OpenConnections>,
}

/// Open connections that have a network.
#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    by_network: HashMap<Network, usize>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            connects: Mutex::default(),
            registers: Mutex::default(),
            failed_keys: Mutex::default(),
            ids: RandomState::new(),
            open: Mutex::default(),
        }
    }
}

impl Clients {
    /// Returns the network whose limits apply to a peer; `None` for a process of this machine and for a trusted proxy.
    pub fn network_of(peer: &Peer, http: &config::Http) -> Option<Network> {
        let address = peer.ip().filter(|address| !address.is_loopback())?;
        (!http.trusted_proxies.contain(peer)).then(|| Network::of(address))
    }

    /// Counts a connection, or a request that stands for one behind a proxy; above the rate, returns the time to wait.
    pub fn connect(&self, network: Network, limit: &RateLimit) -> Result<(), Duration> {
        take(&self.connects, network, limit, self.now())
    }

    /// Counts a request for a registration; above the rate, returns the time to wait.
    pub fn register(&self, network: Network, limit: &RateLimit) -> Result<(), Duration> {
        take(&self.registers, network, limit, self.now())
    }

    /// Returns the time to wait if the peer's network has tried too many wrong keys of this id. Must be called before a key is
    /// compared.
    pub fn check_key_attempts(&self, peer: &Peer, id: &str, limit: &RateLimit) -> Result<(), Duration> {
        let RateLimit(Some(rate)) = limit else { return Ok(()) };
        let network = Network::of_peer(peer);
        match self.failed_keys.lock().wait(&(network, self.ids.hash_one(id)), rate, self.now()) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// Counts a wrong key of this id.
    pub fn record_failed_key(&self, peer: &Peer, id: &str, limit: &RateLimit) {
        if let RateLimit(Some(rate)) = limit {
            let network = Network::of_peer(peer);
            self.failed_keys.lock().charge((network, self.ids.hash_one(id)), rate, self.now());
        }
    }

    /// Counts an open connection of a peer's network as long as the slot is held; fails at the network's limit.
    pub fn hold(self: &Arc<Self>, peer: &Peer, config: &Config) -> Result<Option<NetworkSlot>, TooManyConnections> {
        match Self::network_of(peer, &config.http) {
            Some(network) => self.slot(network, |others| network_limit(&config.limits, others)).map(Some),
            None => Ok(None),
        }
    }

    /// Counts an open connection that an old process admitted.
    pub fn hold_carried(self: &Arc<Self>, peer: &Peer, config: &Config) -> Option<NetworkSlot> {
        Self::network_of(peer, &config.http).and_then(|network| self.slot(network, |_| usize::MAX).ok())
    }

    /// Counts a connection, unless the network has as many as `limit` allows while others have the given number.
    fn slot(
        self: &Arc<Self>,
        network: Network,
        limit: impl FnOnce(usize) -> usize,
    ) -> Result<NetworkSlot, TooManyConnections> {
        let mut open = self.open.lock();
        let OpenConnections { total, by_network } = &mut *open;
        let count = by_network.entry(network).or_default();
        if *count >= limit(*total - *count) {
            // A limit is never zero, so the entry isn't empty.
            return Err(TooManyConnections);
        }
        *count += 1;
        *total += 1;
        Ok(NetworkSlot(Arc::clone(self), network))
    }

    /// Returns how many connections a network has open.
    pub fn open(&self, network: Network) -> usize {
        self.open.lock().by_network.get(&network).copied().unwrap_or_default()
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The error of a network that has as many connections as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the network has too many connections")]
pub struct TooManyConnections;

/// Slot of an open connection among those of its client's network.
#[derive(Debug)]
pub struct NetworkSlot(Arc<Clients>, Network);

impl Drop for NetworkSlot {
    fn drop(&mut self) {
        let Self(clients, network) = self;
        let mut open = clients.open.lock();
        let OpenConnections { total, by_network } = &mut *open;
        if let Some(count) = by_network.get_mut(network) {
            *count -= 1;
            *total -= 1;
            if *count == 0 {
                by_network.remove(network);
                // The table of a crowd that has left is released.
                if by_network.capacity() > SHRINK_ABOVE && by_network.len() < by_network.capacity() / 8 {
                    by_network.shrink_to_fit();
                }
            }
        }
    }
}

/// Rate buckets by key, at most [`MAX_BUCKETS`]; a missing bucket is full.
///
/// When the table is full, buckets that have refilled are dropped, since they equal missing ones. If there are none,
/// those that are closest to full are dropped, since they restrict least. An attacker with enough networks to gain from
/// this has as many fresh buckets anyway.
#[derive(Debug)]
struct RateTable<K>(HashMap<K, Bucket>);

impl<K> Default for RateTable<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Copy> RateTable<K> {
    /// Takes a token, or returns the time to wait for one.
    fn take(&mut self, key: K, rate: &Rate, now: Duration) -> Result<(), Duration> {
        self.bucket(key, now).take(rate, now, 1)
    }

    /// Takes a token even if there is none, which makes the wait longer.
    fn charge(&mut self, key: K, rate: &Rate, now: Duration) {
        self.bucket(key, now).charge(rate, now, 1);
    }

    /// Returns the time to wait for a token.
    fn wait(&self, key: &K, rate: &Rate, now: Duration) -> Duration {
        self.0.get(key).map_or(Duration::ZERO, |bucket| bucket.wait(rate, now, 1))
    }

    fn bucket(&mut self, key: K, now: Duration) -> &mut Bucket {
        if self.0.len() >= MAX_BUCKETS && !self.0.contains_key(&key) {
            self.evict(now);
        }
        self.0.entry(key).or_default()
    }

    /// Drops full buckets, and of the others so many that half of [`MAX_BUCKETS`] remain, which makes the next eviction
    /// rare.
    fn evict(&mut self, now: Duration) {
        self.0.retain(|_, bucket| !bucket.is_full(now));
        if self.0.len() > MAX_BUCKETS / 2 {
            let mut by_need: Vec<(Duration, K)> = self.0.iter().map(|(key, bucket)| (bucket.full_at(), *key)).collect();
            let excess = by_need.len() - MAX_BUCKETS / 2;
            by_need.select_nth_unstable_by_key(excess, |(full_at, _)| *full_at);
            for (_, key) in &by_need[..excess] {
                self.0.remove(key);
            }
        }
    }
}

fn take(table: &Mutex<RateTable<Network>>, network: Network, limit: &RateLimit, now: Duration) -> Result<(), Duration> {
    match limit {
        RateLimit(Some(rate)) => table.lock().take(network, rate, now),
        RateLimit(None) => Ok(()),
    }
}

/// A table of at most this capacity isn't worth shrinking.
const SHRINK_ABOVE: usize = 4096;

/// Buckets in a table: a few megabytes.
const MAX_BUCKETS: usize = 65_536;

#[cfg(test)]
mod tests;
