//! The memory of messages that HTTP requests are about to send: at most an eighth of `limits.memory`, of which a client
//! network may hold half of what others leave free.
//!
//! A message is counted from before its body is read until its request is answered. What is sent then is in the
//! receivers' outboxes, which count on their own.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::metrics::FrontendMetrics;
use crate::peer::{Network, network_share};

/// Bytes of all messages that are being received or wait to be sent.
#[derive(Debug)]
pub struct SendBuffers {
    metrics: Arc<FrontendMetrics>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_network: HashMap<Network, usize>,
}

impl SendBuffers {
    /// Creates the empty account, which sets [`FrontendMetrics::send_bytes`].
    pub fn new(metrics: Arc<FrontendMetrics>) -> Self {
        Self { metrics, held: Mutex::default() }
    }

    /// Counts the bytes of a message until the returned guard is dropped. Peers without a network have no share. If
    /// nothing else is held, any message is admitted.
    pub fn reserve(
        self: &Arc<Self>,
        network: Option<Network>,
        bytes: usize,
        memory_limit: u64,
    ) -> Result<SendBuffer, SendBuffersFull> {
        let limit = usize::try_from(memory_limit / PART_OF_MEMORY).unwrap_or(usize::MAX);
        let mut held = self.held.lock();
        let own = network.and_then(|network| held.by_network.get(&network)).copied().unwrap_or_default();
        let share = if network.is_some() { network_share(limit, held.total - own) } else { limit };
        let fits = held.total.saturating_add(bytes) <= limit && own.saturating_add(bytes) <= share;
        if !fits && held.total > 0 {
            return Err(SendBuffersFull);
        }
        held.total += bytes;
        if let Some(network) = network {
            *held.by_network.entry(network).or_default() += bytes;
        }
        self.metrics.send_bytes.set(held.total as u64);
        Ok(SendBuffer { account: Arc::clone(self), network, bytes })
    }
}

/// Guard that counts the bytes of a message until it is dropped.
#[derive(Debug)]
pub struct SendBuffer {
    account: Arc<SendBuffers>,
    network: Option<Network>,
    bytes: usize,
}

impl Drop for SendBuffer {
    fn drop(&mut self) {
        let mut held = self.account.held.lock();
        held.total -= self.bytes;
        if let Some(network) = self.network
            && let Some(own) = held.by_network.get_mut(&network)
        {
            *own -= self.bytes;
            if *own == 0 {
                held.by_network.remove(&network);
            }
        }
        self.account.metrics.send_bytes.set(held.total as u64);
    }
}

/// The memory for messages of requests, or the network's share of it, is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the memory for messages of requests is used up")]
pub struct SendBuffersFull;

/// Divisor of `limits.memory`: most of the memory is for members.
const PART_OF_MEMORY: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn network(last: u8) -> Option<Network> {
        Some(Network::of([192, 0, 2, last].into()))
    }

    #[test]
    fn a_network_holds_half_of_what_others_leave_free_and_gives_it_back() {
        let metrics = Arc::<FrontendMetrics>::default();
        let buffers = Arc::new(SendBuffers::new(Arc::clone(&metrics)));
        let reserve = |network, bytes| buffers.reserve(network, bytes, 8 * 1000);
        let first = reserve(network(1), 500).unwrap();
        assert_eq!(reserve(network(1), 1).unwrap_err(), SendBuffersFull);
        let second = reserve(network(2), 250).unwrap();
        assert_eq!(reserve(network(2), 1).unwrap_err(), SendBuffersFull);
        let local = reserve(None, 250).unwrap();
        assert_eq!(reserve(None, 1).unwrap_err(), SendBuffersFull);
        assert_eq!(metrics.send_bytes.value(), 1000);
        drop((first, second, local));
        assert_eq!(metrics.send_bytes.value(), 0);
        assert!(buffers.held.lock().by_network.is_empty());
        let _whole = reserve(network(1), 5000).unwrap();
        assert_eq!(reserve(network(2), 1).unwrap_err(), SendBuffersFull);
    }
}
