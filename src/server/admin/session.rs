//! State that the requests of an admin connection share.

use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Context;

/// Peer of an admin connection as reported by the kernel, logged with each change.
#[derive(Debug, Clone, Copy)]
pub(super) struct Administrator {
    /// The user.
    pub(super) uid: u32,
    /// The process, 0 if unknown.
    pub(super) pid: i32,
}

/// Requests that an admin socket allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminAccess {
    /// All requests.
    Full,
    /// Requests that change nothing (`GET`).
    ReadOnly,
}

/// An admin connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) context: Context,
    pub(super) administrator: Administrator,
    pub(super) access: AdminAccess,
    pub(super) stop: CancellationToken,
    /// Upgrade that a request has set. After its answer, the connection is no longer HTTP.
    upgrade: Mutex<Option<OnUpgrade>>,
}

impl Session {
    /// Creates the session of a connection.
    pub(super) fn new(
        context: Context,
        administrator: Administrator,
        access: AdminAccess,
        stop: CancellationToken,
    ) -> Self {
        Self { context, administrator, access, stop, upgrade: Mutex::new(None) }
    }

    /// Sets the upgrade that follows the answer.
    pub(super) fn set_upgrade(&self, upgrade: OnUpgrade) {
        *self.upgrade.lock() = Some(upgrade);
    }

    /// Returns the upgrade, if a request has set one.
    pub(super) fn take_upgrade(&self) -> Option<OnUpgrade> {
        self.upgrade.lock().take()
    }
}
