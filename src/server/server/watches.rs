//! Watches of members by clients that are no members: their limits, and the reasons for which they end.
//!
//! A watch ends with its registration, or when the router drains, restarts or stops, none of which waits for it.

use strum::IntoStaticStr;
use tokio::sync::watch;
use ws_router_admin_api::event::EndReason;

use super::Unavailable;
use crate::peer::Share;
use crate::registry::{self, MemberCounts};

/// Watch of the members of a registration, which counts for `limits.watchers` until it is dropped.
#[derive(Debug)]
pub struct MembersWatch {
    members: registry::Watch,
    interruption: watch::Receiver<Option<WatchEnd>>,
    _share: Share,
}

/// Reason for which a watch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum WatchEnd {
    /// The registration was removed by a request or an administrator.
    Removed,
    /// The time that the registration's device had chosen is over.
    Expired,
    /// The registration ended because it had no members.
    Emptied,
    /// The router restarts, and the registration continues.
    Restart,
    /// The router is being taken out of service.
    Drain,
    /// The router stops.
    Stopped,
}

impl WatchEnd {
    /// Returns the name that clients receive.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

impl From<EndReason> for WatchEnd {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Removed | EndReason::RemovedByAdmin => Self::Removed,
            EndReason::Expired => Self::Expired,
            EndReason::Emptied | EndReason::Lingered | EndReason::Unclaimed => Self::Emptied,
        }
    }
}

impl MembersWatch {
    pub(super) fn new(members: registry::Watch, interruption: watch::Receiver<Option<WatchEnd>>, share: Share) -> Self {
        Self { members, interruption, _share: share }
    }

    /// Returns the current numbers of members, or the reason for which the watch has ended.
    pub fn state(&self) -> Result<MemberCounts, WatchEnd> {
        // It comes first: when the router stops, the registrations end for it.
        let interruption = *self.interruption.borrow();
        interruption.map_or_else(|| Ok(self.members.state()?), Err)
    }

    /// Waits until the state may have changed. Cancel safe.
    pub async fn changed(&mut self) {
        tokio::select! {
            () = self.members.changed() => {}
            () = interrupted(&mut self.interruption) => {}
        }
    }

    /// Waits until the watch ends although the registration continues. Cancel safe.
    pub async fn interrupted(&mut self) {
        interrupted(&mut self.interruption).await;
    }
}

async fn interrupted(interruption: &mut watch::Receiver<Option<WatchEnd>>) {
    // The router is gone if there is no sender any more.
    let _ = interruption.wait_for(Option::is_some).await;
}

/// Reason why members can't be watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// No newcomers are admitted.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// `limits.watchers` or the network's share of it has been reached.
    #[error("too many watchers")]
    TooManyWatchers,
}
