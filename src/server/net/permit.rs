//! How many connections there may be, and how many of them may still be on their way to a websocket.
//!
//! Every connection holds a [`Permit`](super::Permit) as long as it lives. Until it is a websocket it also holds a
//! [`Pending`], so that peers that open connections and say nothing can't take the descriptors of those who talk.

use nix::sys::resource::{Resource, getrlimit};

use crate::config;
use crate::metrics::Front;
use crate::sync::Arc;

/// Tells how many connections may be open: `limits.connections`, or what the process's descriptor limit allows when
/// that is unset or higher.
pub fn connection_limit(limits: &config::Limits) -> usize {
    // A limit that can't be read is about as likely as one that is missing; then accept's own errors are the limit.
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(usize::MAX, |(soft, _)| soft as usize);
    let room = descriptors.saturating_sub(RESERVE).max(descriptors / 2);
    limits.connections.map_or(room, |wanted| wanted.min(room))
}

/// Tells how many connections one client network may have open: `limits.connections-per-address`, or three quarters of
/// all, so that no single one can shut the others out.
pub(super) fn address_limit(limits: &config::Limits) -> usize {
    limits.connections_per_address.unwrap_or_else(|| (connection_limit(limits) / 4 * 3).max(1))
}

/// Counts a connection in [`Front::pending`] until it is a websocket.
#[derive(Debug)]
pub(super) struct Pending(Arc<Front>);

impl Pending {
    /// Counts one more, unless there are `limit` already.
    pub(super) fn take(front: &Arc<Front>, limit: usize) -> Option<Self> {
        front.pending.up();
        let pending = Self(Arc::clone(front));
        (front.pending.value() <= limit as u64).then_some(pending)
    }

    /// Where what becomes of the connection is counted.
    pub(super) fn front(&self) -> &Front {
        &self.0
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.down();
    }
}

/// Descriptors that no connection gets: listeners, event loops, the admin interface's connections, files being read.
pub const RESERVE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wanted_limit_holds_below_what_the_descriptors_allow() {
        let limits = |connections| config::Limits { connections, ..config::Limits::default() };
        let room = connection_limit(&limits(None));
        assert!(room > 0);
        assert_eq!(connection_limit(&limits(Some(1))), 1);
        assert_eq!(connection_limit(&limits(Some(usize::MAX))), room);
    }

    #[test]
    fn a_pending_place_is_given_back() {
        let front = Arc::new(Front::default());
        let first = Pending::take(&front, 1);
        assert!(first.is_some());
        assert!(Pending::take(&front, 1).is_none());
        drop(first);
        assert!(Pending::take(&front, 1).is_some());
        assert_eq!(front.pending.value(), 0);
    }
}
