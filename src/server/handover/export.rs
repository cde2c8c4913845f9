//! The old process's side of a hand-over: the bundle that the next process receives.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{CONNECTIONS, ListenerHandle, STATE};
use crate::server::{FrozenServer, RELEASE_TIME, Server};
use crate::snapshot::Snapshot;
use crate::sys;
use crate::systemd::Notify;

/// Snapshot and descriptors for the next process. The relay threads are stopped until it is dropped.
#[derive(Debug)]
pub struct HandoverBundle {
    pub(super) state: OwnedFd,
    pub(super) connections: OwnedFd,
    server: FrozenServer,
}

/// Returns a snapshot of the running router, for the trial of a new program. The relay threads are stopped only while
/// their state is copied.
pub async fn trial_snapshot(server: &Server, listeners: &[ListenerHandle]) -> Snapshot {
    let mut snapshot = server.snapshot().await.thaw();
    snapshot.listeners = keys(listeners);
    snapshot
}

fn keys(listeners: &[ListenerHandle]) -> Vec<String> {
    listeners.iter().map(|listener| listener.key.clone()).collect()
}

impl HandoverBundle {
    /// Creates the bundle from the state of a router whose relay threads are stopped, and its listening sockets.
    pub fn seal(mut server: FrozenServer, listeners: &[ListenerHandle]) -> io::Result<Self> {
        server.snapshot.listeners = keys(listeners);
        let sockets = listeners.iter().map(|listener| listener.descriptor.as_raw_fd());
        let descriptors: Vec<RawFd> = sockets.chain(server.descriptors.iter().copied()).collect();
        let (state, connections) = (server.snapshot.seal()?, sys::send_fds(&descriptors)?);
        Ok(Self { state, connections, server })
    }

    /// Returns the number of members in the bundle, without connections that are only closing.
    pub fn members(&self) -> usize {
        self.server.snapshot.members.iter().filter(|member| !member.member.is_closing()).count()
    }

    /// Sends the descriptors to the service manager's store, and waits until it has stored them.
    pub fn store(&self) -> io::Result<()> {
        Notify::store(STATE, self.state.as_fd())?;
        Notify::store(CONNECTIONS, self.connections.as_fd())?;
        Notify::barrier(STORE_TIME)
    }
}

/// Returns the maximum duration of a hand-over through the service manager's store.
pub fn max_duration(close_timeout: Duration) -> Duration {
    REQUESTS_TIME * 2 + RELEASE_TIME + close_timeout + STORE_TIME
}

/// Time for finishing requests in progress.
pub const REQUESTS_TIME: Duration = Duration::from_secs(2);
/// Time for the service manager to store the descriptors.
const STORE_TIME: Duration = Duration::from_secs(5);
