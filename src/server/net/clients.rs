//! Rate limits and connection limits per client network.
//!
//! A network is an IPv4 address or an IPv6 /64, since a host that has one address in a /64 can usually use all of them.
//! All devices behind one NAT share a network, so the limits must stop floods without rejecting crowds: the default
//! bursts admit tens of thousands of devices that reconnect at the same moment. No network is ever banned: its bucket
//! refills at the configured rate, even while requests are being rejected. Peers on this machine and trusted proxies have
//! no network, and these limits don't apply to them.
//!
//! Wrong keys are counted per network *and* registration id. A correct key is rejected only while its network has tried
//! too many wrong keys for the same registration; if it were accepted even then, guessing could continue at full speed.
//! This limit also applies to peers on this machine and to proxies: otherwise it would have no effect for clients behind
//! a local proxy that isn't listed in `http.trusted-proxies`.
//!
//! The number of rate buckets is bounded, see [`RateTable`].

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

/// Rate buckets and numbers of open connections for all client networks.
#[derive(Debug)]
pub struct ClientLimits {
    start: Instant,
    connects: Mutex<RateTable<Network>>,
    registers: Mutex<RateTable<Network>>,
    sends: Mutex<RateTable<Network>>,
    failed_keys: Mutex<RateTable<(Network, u64)>>,
    /// Hash function for registration ids, so that the keys of [`Self::failed_keys`] have a fixed size.
    id_hasher: RandomState,
    open: Mutex<OpenConnections>,
}

/// Numbers of open connections whose peers have a network.
#[derive(Debug, Default)]
struct OpenConnections {
    total: usize,
    by_network: HashMap<Network, usize>,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            connects: Mutex::default(),
            registers: Mutex::default(),
            sends: Mutex::default(),
            failed_keys: Mutex::default(),
            id_hasher: RandomState::new(),
            open: Mutex::default(),
        }
    }
}

impl ClientLimits {
    /// Returns the network whose limits apply to a peer; `None` for a process on this machine and for a trusted proxy.
    pub fn network_of(peer: &Peer, http: &config::Http) -> Option<Network> {
        let address = peer.ip().filter(|address| !address.is_loopback())?;
        (!http.trusted_proxies.contain(peer)).then(|| Network::of(address))
    }

    /// Counts a new connection, or a request that a proxy forwards for a client. Returns the time to wait if the rate is
    /// exceeded.
    pub fn count_connection(&self, network: Network, limit: &RateLimit) -> Result<(), Duration> {
        take(&self.connects, network, limit, self.now())
    }

    /// Counts a request to register. Returns the time to wait if the rate is exceeded.
    pub fn count_registration(&self, network: Network, limit: &RateLimit) -> Result<(), Duration> {
        take(&self.registers, network, limit, self.now())
    }

    /// Counts a request to send a message. Returns the time to wait if the rate is exceeded.
    pub fn count_send(&self, network: Network, limit: &RateLimit) -> Result<(), Duration> {
        take(&self.sends, network, limit, self.now())
    }

    /// Returns the time to wait if the peer's network has tried too many wrong keys for this id. Must be called before a
    /// key is compared.
    pub fn check_key_attempts(&self, peer: &Peer, id: &str, limit: &RateLimit) -> Result<(), Duration> {
        let RateLimit(Some(rate)) = limit else { return Ok(()) };
        let network = Network::of_peer(peer);
        match self.failed_keys.lock().wait(&(network, self.id_hasher.hash_one(id)), rate, self.now()) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// Counts a wrong key for this id.
    pub fn record_failed_key(&self, peer: &Peer, id: &str, limit: &RateLimit) {
        if let RateLimit(Some(rate)) = limit {
            let network = Network::of_peer(peer);
            self.failed_keys.lock().charge((network, self.id_hasher.hash_one(id)), rate, self.now());
        }
    }

    /// Counts an open connection for the peer's network, until the returned slot is dropped. Fails if the network has
    /// reached its limit; returns `None` if the peer has no network.
    pub fn hold(self: &Arc<Self>, peer: &Peer, config: &Config) -> Result<Option<NetworkSlot>, TooManyConnections> {
        match Self::network_of(peer, &config.http) {
            Some(network) => self.slot(network, |others| network_limit(&config.limits, others)).map(Some),
            None => Ok(None),
        }
    }

    /// Counts an open connection that the old process handed over, even above the limit.
    pub fn hold_handed_over(self: &Arc<Self>, peer: &Peer, config: &Config) -> Option<NetworkSlot> {
        Self::network_of(peer, &config.http).and_then(|network| self.slot(network, |_| usize::MAX).ok())
    }

    /// Counts a connection, unless the network has reached its limit. `limit` is called with the number of open
    /// connections of all other networks, and returns the limit for this one.
    fn slot(
        self: &Arc<Self>,
        network: Network,
        limit: impl FnOnce(usize) -> usize,
    ) -> Result<NetworkSlot, TooManyConnections> {
        let mut open = self.open.lock();
        let OpenConnections { total, by_network } = &mut *open;
        let count = by_network.entry(network).or_default();
        if *count >= limit(*total - *count) {
            // The limit is at least one, so `count` isn't zero, and the entry existed before this call.
            return Err(TooManyConnections);
        }
        *count += 1;
        *total += 1;
        Ok(NetworkSlot(Arc::clone(self), network))
    }

    /// Returns the number of open connections from a network.
    pub fn open_connections(&self, network: Network) -> usize {
        self.open.lock().by_network.get(&network).copied().unwrap_or_default()
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// The client's network has reached its limit of open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the network has too many connections")]
pub struct TooManyConnections;

/// Guard that counts an open connection for its network until it is dropped.
#[derive(Debug)]
pub struct NetworkSlot(Arc<ClientLimits>, Network);

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
                // After a crowd has disconnected, its memory is released.
                if by_network.capacity() > SHRINK_ABOVE && by_network.len() < by_network.capacity() / 8 {
                    by_network.shrink_to_fit();
                }
            }
        }
    }
}

/// Rate buckets by key, at most [`MAX_BUCKETS`]; a missing bucket is full.
///
/// When the table is full, refilled buckets are dropped, since they are equivalent to missing ones. If more than half
/// of the table remains, the buckets closest to full are dropped as well, since they restrict the least. An attacker
/// gains nothing by filling the table: that takes many networks, each of which has a full bucket of its own.
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

    /// Takes a token even if the bucket is empty, which extends the time to wait.
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

    /// Drops all full buckets, and then those closest to full until at most half of [`MAX_BUCKETS`] remain, so that
    /// evictions are rare.
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

/// Capacity up to which the table of open connections is never shrunk.
const SHRINK_ABOVE: usize = 4096;

/// Limit of buckets in a table, which then takes a few megabytes.
const MAX_BUCKETS: usize = 65_536;

#[cfg(test)]
mod tests;
