//! What each client network does and holds: how often it connects, registers and gives wrong keys, and how many
//! connections it has open.
//!
//! A network is an IPv4 address or an IPv6 /64, since whoever has one address of a /64 has them all. All devices behind
//! one NAT are one network, so what is limited here is meant for the flood and not for the crowd: the buckets are as
//! deep as the largest crowd that comes back at once. Nobody is banned: an empty bucket gives on at its rate, whatever
//! was asked of it meanwhile. Peers on this machine and trusted proxies are no clients, and aren't limited as such.
//!
//! Wrong keys are counted for each network *and* registration, so that a right key is never refused because of others
//! behind the same NAT, unless they try keys of the very same registration; then it waits for its turn at the rate. To
//! let right keys pass even so would tell the guesser which one it is.
//!
//! The tables are bounded: see `table`.

mod table;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::permit::address_limit;
use crate::config::{self, Config, RateLimit};
use crate::peer::{Network, Peer};
use table::Table;

/// All client networks.
#[derive(Debug)]
pub struct Clients {
    began: Instant,
    connects: Mutex<Table<Network>>,
    registers: Mutex<Table<Network>>,
    wrong_keys: Mutex<Table<(Network, u64)>>,
    /// Shortens ids, so that a table of them is of one size.
    ids: RandomState,
    open: Mutex<HashMap<Network, usize>>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            connects: Mutex::default(),
            registers: Mutex::default(),
            wrong_keys: Mutex::default(),
            ids: RandomState::new(),
            open: Mutex::default(),
        }
    }
}

impl Clients {
    /// Tells which network's limits hold for a peer: none for a process of this machine, and for a proxy itself.
    pub fn network_of(peer: &Peer, http: &config::Http) -> Option<Network> {
        let address = peer.ip().filter(|address| !address.is_loopback())?;
        (!http.trusted_proxies.contain(peer)).then(|| Network::of(address))
    }

    /// Counts a connection, or a request that is as good as one; tells how long to wait if there were too many.
    pub fn connect(&self, network: Network, limit: &RateLimit) -> Result<(), Duration> {
        take(&self.connects, network, limit, self.now())
    }

    /// Counts a request for a registration; tells how long to wait if there were too many.
    pub fn register(&self, network: Network, limit: &RateLimit) -> Result<(), Duration> {
        take(&self.registers, network, limit, self.now())
    }

    /// Tells how long to wait if too many keys for this id were wrong; to be asked before a key is looked at.
    pub fn may_try(&self, network: Network, id: &str, limit: &RateLimit) -> Result<(), Duration> {
        let RateLimit(Some(rate)) = limit else { return Ok(()) };
        match lock(&self.wrong_keys).wait(&(network, self.ids.hash_one(id)), rate, self.now()) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// Counts a wrong key for this id.
    pub fn tried_in_vain(&self, network: Network, id: &str, limit: &RateLimit) {
        if let RateLimit(Some(rate)) = limit {
            lock(&self.wrong_keys).charge((network, self.ids.hash_one(id)), rate, self.now());
        }
    }

    /// Counts an open connection of a peer as long as the place lives, unless its network has as many as it may.
    pub fn hold(self: &Arc<Self>, peer: &Peer, config: &Config) -> Result<Option<Place>, Crowded> {
        match Self::network_of(peer, &config.http) {
            Some(network) => self.place(network, address_limit(&config.limits)).map(Some).ok_or(Crowded),
            None => Ok(None),
        }
    }

    /// Counts an open connection that a predecessor let in.
    pub fn hold_carried(self: &Arc<Self>, peer: &Peer, config: &Config) -> Option<Place> {
        Self::network_of(peer, &config.http).and_then(|network| self.place(network, usize::MAX))
    }

    fn place(self: &Arc<Self>, network: Network, limit: usize) -> Option<Place> {
        let mut open = lock(&self.open);
        let count = open.entry(network).or_default();
        if *count >= limit {
            // A limit is never zero, so there is something in the entry.
            return None;
        }
        *count += 1;
        Some(Place(Arc::clone(self), network))
    }

    /// Tells how many connections a network has open.
    pub fn open(&self, network: Network) -> usize {
        lock(&self.open).get(&network).copied().unwrap_or_default()
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A network has as many connections as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

/// A connection's place among those of its network.
#[derive(Debug)]
pub struct Place(Arc<Clients>, Network);

impl Drop for Place {
    fn drop(&mut self) {
        let Self(clients, network) = self;
        let mut open = lock(&clients.open);
        if let Some(count) = open.get_mut(network) {
            *count -= 1;
            if *count == 0 {
                open.remove(network);
                // After a crowd has gone, its table needn't stay.
                if open.capacity() > ROOMY && open.len() < open.capacity() / 8 {
                    open.shrink_to_fit();
                }
            }
        }
    }
}

fn take(table: &Mutex<Table<Network>>, network: Network, limit: &RateLimit, now: Duration) -> Result<(), Duration> {
    match limit {
        RateLimit(Some(rate)) => lock(table).take(network, rate, now),
        RateLimit(None) => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A table that is smaller than this isn't worth shrinking.
const ROOMY: usize = 4096;

#[cfg(test)]
mod tests;
