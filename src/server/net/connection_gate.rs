//! Connection limits: the total limits, and the limits of the client's network.
//!
//! The total limits are checked when a connection is accepted. The network's limits are checked as soon as the client's
//! address is known: immediately, or after the PROXY header, but always before the TLS handshake, which costs CPU time.
//! Behind an HTTP proxy the client's address comes with each request, so `http` checks the network's limits there.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::permit::{ConnectionPermit, connection_limit, evicted_limit};
use super::stream::{NotAConnection, Stream};
use super::{ClientLimits, Connection, PendingPool, TooManyConnections};
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
    pub clients: Arc<ClientLimits>,
    /// Connections that are not websockets yet.
    pub pending: Arc<PendingPool>,
}

/// Reason why a connection is not admitted. A connection above a limit has already been counted in the metrics, and
/// reported by a rate-limited log message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// `limits.connections` has been reached, or `limits.pending` leaves no room.
    #[error("rejected; raise limits.connections or limits.pending")]
    TotalLimit,
    /// The client's network has reached one of its limits.
    #[error("rejected; raise limits.connection-rate, limits.connections-per-address or limits.pending")]
    NetworkLimit,
    /// The peer has disconnected.
    #[error("the peer has disconnected")]
    Disconnected,
}

/// Reason why a connection that another program accepted isn't served.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The descriptor can't be served.
    #[error("handed-over connection: {0}")]
    NotAConnection(#[from] NotAConnection),
    /// The connection is above a limit, or has ended.
    #[error("handed-over connection: {0}")]
    Rejected(#[from] Rejected),
}

impl ConnectionGate {
    /// Admits a connected stream socket that another program (inetd) accepted. The same limits apply, and the socket is
    /// closed if one has been reached.
    pub fn adopt(&self, descriptor: OwnedFd) -> Result<Connection, AdoptError> {
        let stream = Stream::adopt(descriptor)?;
        self.metrics.accepted.increment();
        Ok(self.admit(stream, true)?)
    }

    /// Checks the total limits and, if the peer is the client itself (`is_client`) and not a proxy, those of its network.
    pub(super) fn admit(&self, stream: Stream, is_client: bool) -> Result<Connection, Rejected> {
        let peer = stream.peer().map_err(|_| Rejected::Disconnected)?;
        let (permit, pending) = {
            let config = self.config.borrow();
            let network = ClientLimits::network_of(&peer, &config.http);
            let pending = self.pending.admit(network, self.pending_limit(&config.limits));
            let pending = pending.map_err(|why| self.reject(&peer, why))?;
            // The pool has kept the limit, but evicted connections may not be closed yet.
            let limit = connection_limit(&config.limits).saturating_add(evicted_limit());
            let permit = ConnectionPermit::take(&self.metrics, limit);
            (permit.ok_or_else(|| self.reject(&peer, Rejection::Limit))?, pending)
        };
        let mut connection = Connection::plain(stream, peer, permit, pending);
        if is_client {
            self.admit_client(&mut connection)?;
        }
        connection.disable_buffering().map_err(|_| Rejected::Disconnected)?;
        Ok(connection)
    }

    /// Checks the limits of the client's network. Called when the client's address is known.
    pub(super) fn admit_client(&self, connection: &mut Connection) -> Result<(), Rejected> {
        let config = self.config.borrow();
        let peer = connection.peer();
        let network = ClientLimits::network_of(&peer, &config.http);
        connection.assign(network, self.pending_limit(&config.limits)).map_err(|why| self.reject(&peer, why))?;
        let Some(network) = network else { return Ok(()) };
        if self.clients.count_connection(network, &config.limits.connection_rate).is_err() {
            return Err(self.reject(&peer, Rejection::Rate));
        }
        match self.clients.hold(&peer, &config) {
            Ok(slot) => connection.hold(slot),
            Err(TooManyConnections) => return Err(self.reject(&peer, Rejection::PerAddress)),
        }
        Ok(())
    }

    /// Returns the limit of pending connections: `limits.pending`, or the number of connections that websockets leave
    /// free, whichever is lower.
    fn pending_limit(&self, limits: &config::Limits) -> usize {
        let websockets = self.metrics.connections.value().saturating_sub(self.metrics.pending.value());
        let free = connection_limit(limits).saturating_sub(usize::try_from(websockets).unwrap_or(usize::MAX));
        limits.pending.min(free)
    }

    /// Counts and logs a rejected connection. The message names the limit, since it may be too low for an address that
    /// many clients share.
    fn reject(&self, peer: &Peer, why: Rejection) -> Rejected {
        let (limit, rejected) = match why {
            Rejection::Limit => ("limits.connections or limits.pending", Rejected::TotalLimit),
            Rejection::Share | Rejection::Evicted => ("limits.pending", Rejected::NetworkLimit),
            Rejection::Rate => ("limits.connection-rate", Rejected::NetworkLimit),
            Rejection::PerAddress => ("limits.connections-per-address", Rejected::NetworkLimit),
        };
        self.metrics.rejected(why);
        if let Some(suppressed) = REJECTED.should_log(Instant::now()) {
            tracing::warn!(message_id = messages::CONNECTION_REJECTED, %peer, limit, suppressed, "connection rejected: limit reached");
        }
        rejected
    }
}

/// Rate limit for a log message that peers can trigger.
static REJECTED: RateLimitedLog = RateLimitedLog::every(Duration::from_secs(30));
