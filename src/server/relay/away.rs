//! Members of sessions that are without a connection: their limit, and what such a member holds meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::net::NetworkSlot;
use crate::peer::{Network, Peer, Share, Shares};

/// `limits.away`, and the members that count.
#[derive(Debug, Clone)]
pub struct AwayPool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shares: Shares,
    limit: AtomicUsize,
}

/// What a member holds while it is without a connection: it counts as a connection of its network.
#[derive(Debug)]
pub struct AwayHold {
    _share: Option<Share>,
    _slot: Option<NetworkSlot>,
}

impl AwayHold {
    /// Counts a member, also if it can't have a share.
    pub fn new(share: Option<Share>, slot: Option<NetworkSlot>) -> Self {
        Self { _share: share, _slot: slot }
    }
}

impl AwayPool {
    /// Creates the pool with its limit.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { shares: Shares::default(), limit: AtomicUsize::new(limit) }))
    }

    /// Changes the limit for members that lose their connection from now on.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// Counts a member without a connection; `None` if there are too many, of its network or of all.
    pub fn take(&self, peer: &Peer) -> Option<Share> {
        self.take_within(peer, self.0.limit.load(Ordering::Relaxed))
    }

    /// Counts a member that the old process has handed over, even above the limit.
    pub fn take_handed_over(&self, peer: &Peer) -> Option<Share> {
        self.take_within(peer, usize::MAX)
    }

    fn take_within(&self, peer: &Peer, limit: usize) -> Option<Share> {
        let network = peer.ip().filter(|address| !address.is_loopback()).map(Network::of);
        self.0.shares.take(network, limit).ok()
    }
}
