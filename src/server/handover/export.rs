//! The old process's side: the bundle that the next process gets.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{CONNECTIONS, ListenerHandle, STATE};
use crate::server::{FrozenServer, RELEASE_TIME, Server};
use crate::snapshot::Snapshot;
use crate::sys;
use crate::systemd::Notify;

/// Everything that the next process gets. While it exists, no relay thread moves.
#[derive(Debug)]
pub struct HandoverBundle {
    pub(super) state: OwnedFd,
    pub(super) connections: OwnedFd,
    server: FrozenServer,
}

/// Returns the state of a running router, for the trial of a new program. Members wait no longer than it takes to copy
/// their state.
pub async fn rehearse(server: &Server, listeners: &[ListenerHandle]) -> Snapshot {
    let mut snapshot = server.snapshot().await.thaw();
    snapshot.listeners = keys(listeners);
    snapshot
}

fn keys(listeners: &[ListenerHandle]) -> Vec<String> {
    listeners.iter().map(|listener| listener.key.clone()).collect()
}

impl HandoverBundle {
    /// Seals the state of a router whose relay threads are stopped, with its listening sockets.
    pub fn seal(mut server: FrozenServer, listeners: &[ListenerHandle]) -> io::Result<Self> {
        server.snapshot.listeners = keys(listeners);
        let sockets = listeners.iter().map(|listener| listener.descriptor.as_raw_fd());
        let descriptors: Vec<RawFd> = sockets.chain(server.descriptors.iter().copied()).collect();
        let (state, connections) = (server.snapshot.seal()?, sys::send_fds(&descriptors)?);
        Ok(Self { state, connections, server })
    }

    /// Returns the number of members in it.
    pub fn members(&self) -> usize {
        self.server.descriptors.len()
    }

    /// Puts everything into the service manager's store, and waits until it is there.
    pub fn store(&self) -> io::Result<()> {
        Notify::store(STATE, self.state.as_fd())?;
        Notify::store(CONNECTIONS, self.connections.as_fd())?;
        Notify::barrier(STORED)
    }
}

/// Returns the longest time from the first step to the end of a hand-over through the service manager's store.
pub fn patience(close_timeout: Duration) -> Duration {
    REQUESTS * 2 + RELEASE_TIME + close_timeout + STORED
}

/// Time in which requests in progress are finished.
pub const REQUESTS: Duration = Duration::from_secs(2);
/// Time that the service manager may take to store the descriptors.
const STORED: Duration = Duration::from_secs(5);
