//! The limits that a connection has to pass before anything is spent on it: those of all connections, and those of its
//! client's network.
//!
//! They are checked as soon as the client's address is known, which is at once or after the PROXY header, and in any
//! case before the TLS handshake. Behind an HTTP proxy the address comes with each request, and the routes check the
//! network's limits there.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::permit::{ConnectionPermit, PendingGuard, connection_limit};
use super::stream::Stream;
use super::{Clients, Connection, ListenError, TooManyConnections};
use crate::config;
use crate::log::{RateLimitedLog, messages};
use crate::metrics::{FrontendMetrics, Rejection};
use crate::peer::Peer;

/// Admission of new connections, shared by all listeners; cheap to clone.
#[derive(Debug, Clone)]
pub struct ConnectionGate {
    /// The running configuration.
    pub config: config::Live,
    /// Counters of the frontend.
    pub metrics: Arc<FrontendMetrics>,
    /// Rates and connections of each client network.
    pub clients: Arc<Clients>,
}

/// Reason why a connection is not admitted; limits are counted and logged already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    /// `limits.connections` or `limits.pending` is reached.
    #[error("rejected; raise limits.connections or limits.pending")]
    TotalLimit,
    /// The client's network is at a limit.
    #[error("rejected; raise limits.connection-rate or limits.connections-per-address")]
    NetworkLimit,
    /// The peer has disconnected.
    #[error("the peer has disconnected")]
    Disconnected,
}

impl ConnectionGate {
    /// Admits a connected stream socket that another program (inetd) accepted, within the same limits; it is closed if
    /// they are reached.
    pub fn adopt(&self, descriptor: OwnedFd) -> Result<Connection, ListenError> {
        let stream = Stream::adopt(descriptor)?;
        self.metrics.accepted.increment();
        self.admit(stream, true).map_err(|why| ListenError::Unavailable(format!("handed-over connection: {why}")))
    }

    /// Gives a connection its permits; `is_client` says that the peer is the client itself and not a proxy.
    pub(super) fn admit(&self, stream: Stream, is_client: bool) -> Result<Connection, Rejected> {
        let peer = stream.peer().map_err(|_| Rejected::Disconnected)?;
        let (permit, pending) = self.permits().ok_or_else(|| {
            self.metrics.rejected(Rejection::Limit);
            log_rejection(&peer, "limits.connections or limits.pending");
            Rejected::TotalLimit
        })?;
        let mut connection = Connection::plain(stream, peer, permit, pending);
        if is_client {
            self.admit_client(&mut connection)?;
        }
        connection.disable_buffering().map_err(|_| Rejected::Disconnected)?;
        Ok(connection)
    }

    /// Checks the limits of the client's network, once it is known.
    pub(super) fn admit_client(&self, connection: &mut Connection) -> Result<(), Rejected> {
        let config = self.config.borrow();
        let peer = connection.peer();
        let Some(network) = Clients::network_of(&peer, &config.http) else { return Ok(()) };
        if self.clients.connect(network, &config.limits.connection_rate).is_err() {
            self.metrics.rejected(Rejection::Rate);
            log_rejection(&peer, "limits.connection-rate");
            return Err(Rejected::NetworkLimit);
        }
        match self.clients.hold(&peer, &config) {
            Ok(slot) => connection.hold(slot),
            Err(TooManyConnections) => {
                self.metrics.rejected(Rejection::PerAddress);
                log_rejection(&peer, "limits.connections-per-address");
                return Err(Rejected::NetworkLimit);
            }
        }
        Ok(())
    }

    fn permits(&self) -> Option<(ConnectionPermit, PendingGuard)> {
        let limits = &self.config.borrow().limits;
        let permit = ConnectionPermit::take(&self.metrics, connection_limit(limits))?;
        Some((permit, PendingGuard::take(&self.metrics, limits.pending)?))
    }
}

/// Logs which limit closed a connection. Many clients may share one address, for which the limit is then too low.
fn log_rejection(peer: &Peer, limit: &'static str) {
    if let Some(suppressed) = REJECTED.should_log(Instant::now()) {
        tracing::warn!(message_id = messages::CONNECTION_REJECTED, %peer, limit, suppressed, "connection rejected: limit reached");
    }
}

/// Limits a message that peers can trigger.
static REJECTED: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(30));
